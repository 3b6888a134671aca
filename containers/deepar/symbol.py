"""The network's step as an MXNet symbol.

Its inputs are ``data`` (batch, lags, calendar, age and dynamic features), ``scale`` (batch, 1), ``cat``
(batch, features) where there are categories, and the state of each layer before the step,
``lstm0_begin_state_0`` (output) and ``_1`` (cell). Its outputs are the numbers that describe the
distribution, and the state behind the step. Zoneout is what it is on average.
"""

from __future__ import annotations

from common.formats.archive import Graph
from containers.deepar.artifact import Settings
from containers.deepar.sampling import LIKELIHOODS


def dumps(settings: Settings) -> bytes:
    """The JSON file."""
    graph = Graph()
    parts = [graph.variable("data")]
    if settings.cardinality:
        cat = graph.variable("cat")
        for feature, size in enumerate(settings.cardinality):
            column = graph.operator(
                "slice_axis", f"cat{feature}", [cat], axis=1, begin=feature, end=feature + 1
            )
            weight = graph.variable(f"embedding{feature}_weight")
            vector = graph.operator(
                *("Embedding", f"embedding{feature}", [column, weight]),
                input_dim=size,
                output_dim=settings.embedding_dimension,
            )
            parts.append(graph.operator("Flatten", f"vector{feature}", [vector]))
    parts.append(graph.operator("log", "log_scale", [graph.variable("scale")]))
    out = graph.operator("Concat", "inputs", parts, num_args=len(parts), dim=1)
    states: list[int] = []
    for layer in range(settings.num_layers):
        out, cell = _layer(graph, f"lstm{layer}", out, settings)
        states += [out, cell]
    weights = [graph.variable("projection_weight"), graph.variable("projection_bias")]
    count = LIKELIHOODS[settings.likelihood].parameters
    head = graph.operator("FullyConnected", "projection", [out, *weights], num_hidden=count)
    return graph.dumps(head, *states)


def _layer(graph: Graph, name: str, inputs: int, settings: Settings) -> tuple[int, int]:
    """What a layer puts out, and its cells."""
    cells = settings.num_cells
    hidden, cell = (graph.variable(f"{name}_begin_state_{number}") for number in range(2))
    weight, bias = graph.variable(f"{name}_i2h_weight"), graph.variable(f"{name}_i2h_bias")
    recurrent = graph.variable(f"{name}_h2h_weight")
    below = graph.operator("FullyConnected", f"{name}_i2h", [inputs, weight, bias], num_hidden=4 * cells)
    own = graph.operator(
        "FullyConnected", f"{name}_h2h", [hidden, recurrent], num_hidden=4 * cells, no_bias=True
    )
    sums = graph.operator("elemwise_add", f"{name}_sums", [below, own])
    gates = []
    for number, (gate, kind) in enumerate(
        [("i", "sigmoid"), ("f", "sigmoid"), ("c", "tanh"), ("o", "sigmoid")]
    ):
        part = graph.operator(
            *("slice_axis", f"{name}_{gate}_sum", [sums]),
            axis=1,
            begin=number * cells,
            end=(number + 1) * cells,
        )
        gates.append(graph.operator("Activation", f"{name}_{gate}", [part], act_type=kind))
    kept = graph.operator("elemwise_mul", f"{name}_kept", [gates[1], cell])
    entered = graph.operator("elemwise_mul", f"{name}_entered", [gates[0], gates[2]])
    value = graph.operator("elemwise_add", f"{name}_value", [kept, entered])
    bent = graph.operator("Activation", f"{name}_bent", [value], act_type="tanh")
    shown = graph.operator("elemwise_mul", f"{name}_shown", [gates[3], bent])
    rate = settings.dropout_rate
    return (
        _mixed(graph, f"{name}_state_0", hidden, shown, rate),
        _mixed(graph, f"{name}_state_1", cell, value, rate),
    )


def _mixed(graph: Graph, name: str, old: int, new: int, rate: float) -> int:
    """``rate`` parts of the old and the rest of the new."""
    if not rate:
        return new
    stays = graph.operator("_mul_scalar", f"{name}_old", [old], scalar=rate)
    comes = graph.operator("_mul_scalar", f"{name}_new", [new], scalar=1 - rate)
    return graph.operator("elemwise_add", name, [stays, comes])
