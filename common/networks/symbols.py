"""MXNet symbol files of convolutional networks, node by node as AWS's images write them."""

from __future__ import annotations

from collections.abc import Sequence

from common.formats.archive import Graph

# As the symbol library of MXNet's example networks sets them.
EPSILON, MOMENTUM = "2e-05", "0.9"
_DOUBLED = {"__init__": '["constant", {"value": 0.0}]', "__lr_mult__": "2.0"}


class NetworkGraph:
    """A `Graph` in terms of layers, each of which makes the variables of its parameters.

    Layers take and return node numbers.
    """

    def __init__(self) -> None:
        self._graph = Graph()
        self._flattened = 0

    def variable(self, name: str, **attributes: object) -> int:
        """Data or a label."""
        return self._graph.variable(name, **attributes)

    def operator(
        self, op: str, name: str, inputs: Sequence[int | tuple[int, int]], **attributes: object
    ) -> int:
        """Any operator."""
        return self._graph.operator(op, name, inputs, **attributes)

    def convolution(
        self,
        name: str,
        source: int,
        filters: int,
        kernel: int,
        stride: int = 1,
        pad: int | None = 0,
        *,
        dilate: int = 1,
        bias: bool = True,
        workspace: int | None = None,
        doubled: bool = False,
    ) -> int:
        """A square convolution; ``pad`` None leaves it to MXNet, which has none.

        ``doubled``: the bias begins with zero and learns twice as fast.
        """
        attributes: dict[str, object] = {}
        if dilate != 1:
            attributes["dilate"] = (dilate, dilate)
        attributes["kernel"] = (kernel, kernel)
        if not bias:
            attributes["no_bias"] = True
        attributes["num_filter"] = filters
        if pad is not None:
            attributes["pad"] = (pad, pad)
        attributes["stride"] = (stride, stride)
        if workspace is not None:
            attributes["workspace"] = workspace
        inputs = [self._graph.variable(f"{name}_weight", **attributes)]
        if bias:
            inputs.append(self._graph.variable(f"{name}_bias", **(_DOUBLED if doubled else attributes)))
        return self._graph.operator("Convolution", name, [source, *inputs], **attributes)

    def norm(self, name: str, source: int, fixed: bool = False) -> int:
        """Batch normalisation; ``fixed`` has no scale."""
        attributes = {"eps": EPSILON, "fix_gamma": fixed, "momentum": MOMENTUM}
        inputs = [self._graph.variable(f"{name}_{each}", **attributes) for each in ("gamma", "beta")]
        for each, start in (("moving_mean", "zero"), ("moving_var", "one")):
            inputs.append(self._graph.variable(f"{name}_{each}", __init__=f'["{start}", {{}}]', **attributes))
        return self._graph.operator("BatchNorm", name, [source, *inputs], **attributes)

    def relu(self, name: str, source: int) -> int:
        """A rectifier."""
        return self._graph.operator("Activation", name, [source], act_type="relu")

    def pool(
        self, name: str, source: int, kind: str, kernel: int, stride: int, pad: int = 0, *, full: bool = False
    ) -> int:
        """``max`` or ``avg`` over squares; ``full`` rounds the output's size up."""
        attributes: dict[str, object] = {"kernel": (kernel, kernel)}
        if pad:
            attributes["pad"] = (pad, pad)
        attributes["pool_type"] = kind
        if full:
            attributes["pooling_convention"] = "full"
        attributes["stride"] = (stride, stride)
        return self._graph.operator("Pooling", name, [source], **attributes)

    def mean(self, name: str, source: int) -> int:
        """The mean over height and width."""
        return self._graph.operator(
            "Pooling", name, [source], global_pool=True, kernel=(7, 7), pool_type="avg"
        )

    def flatten(self, source: int) -> int:
        """All but the first axis as one; named as MXNet numbers them."""
        name = f"flatten{self._flattened}"
        self._flattened += 1
        return self._graph.operator("Flatten", name, [source])

    def dense(self, name: str, source: int, units: int) -> int:
        """A fully connected layer."""
        inputs = [self._graph.variable(f"{name}_{each}", num_hidden=units) for each in ("weight", "bias")]
        return self._graph.operator("FullyConnected", name, [source, *inputs], num_hidden=units)

    def dumps(self, *heads: int) -> bytes:
        """The JSON file, whose outputs are the nodes ``heads``."""
        return self._graph.dumps(*heads)
