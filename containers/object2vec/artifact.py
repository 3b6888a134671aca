"""model_algo-1: a zip of an NDArray file with all parameters, and JSON that says what network they make."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.failures import ClientError
from common.formats import archive, ndarray
from containers.object2vec.hyperparameters import COMPARATORS, NETWORKS
from containers.object2vec.model import ACTIVATIONS, EncoderPlan, Network, Plan

NAME = "model_algo-1"
PARAMETERS, META = "params", "meta.json"
_EMBEDDING = "token_embedding_{}"


@dataclass(frozen=True, slots=True)
class Model:
    """A trained network, its tables of token embeddings (one, or one a side), and how long sequences were."""

    network: Network
    tables: list[Tensor]
    longest: tuple[int, int]


def write(path: Path, model: Model) -> None:
    """Writes the zip."""
    arrays = {name: value.detach().cpu().numpy() for name, value in model.network.state_dict().items()}
    arrays.update({_EMBEDDING.format(n): table.cpu().numpy() for n, table in enumerate(model.tables)})
    meta = {
        "algorithm": "object2vec",
        "plan": asdict(model.network.plan),
        "max_seq_len": model.longest,
        "vocab_size": [len(table) for table in model.tables],
    }
    members: dict[str, Any] = {PARAMETERS: ndarray.pieces(arrays), META: json.dumps(meta, indent=1).encode()}
    archive.write(path, members)


def read(folder: Path) -> Model:
    """The model in a folder. Raises ClientError when it holds none, or one that can't be understood."""
    with archive.opened(folder / NAME, "an Object2Vec model") as zipped:
        meta, arrays = zipped.json(META), zipped.arrays(PARAMETERS)
    try:
        plan = _plan(meta["plan"])
        first, second = (_integer(value, 1, 5000) for value in meta["max_seq_len"])
        sizes = [_integer(value, 2, 3_000_000) for value in meta["vocab_size"]]
        if len(sizes) not in (1, 2) or not plan.comparators:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ClientError(f"{META} in {NAME} does not describe an Object2Vec model") from None
    with torch.device("meta"):  # nothing takes memory before its shape is seen to be right
        network = Network(plan)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    tables = [_EMBEDDING.format(number) for number in range(len(sizes))]
    for number, name in enumerate(tables):
        shapes[name] = (sizes[number], plan.encoders[number].token_dim)
    tensors = {name: _tensor(arrays, name, shape) for name, shape in shapes.items()}
    found = [tensors.pop(name) for name in tables]
    network.load_state_dict(tensors, assign=True)
    return Model(network.requires_grad_(False).eval(), found, (first, second))


def _plan(meta: Any) -> Plan:
    """Raises KeyError, TypeError or ValueError for what is no plan."""
    first, second = (
        EncoderPlan(
            _one_of(one["network"], NETWORKS),
            _integer(one["layers"], 1, 4),
            _integer(one["width"], 1, 9),
            _integer(one["token_dim"], 2, 1000),
        )
        for one in meta["encoders"]
    )
    return Plan(
        (first, second),
        _integer(meta["enc_dim"], 4, 10_000),
        tuple(_one_of(name, COMPARATORS) for name in meta["comparators"][: len(COMPARATORS)]),
        _integer(meta["mlp_layers"], 0, 10),
        _integer(meta["mlp_dim"], 2, 10_000),
        _one_of(meta["activation"], ACTIVATIONS),
        None if meta["classes"] is None else _integer(meta["classes"], 2, 30),
    )


def _integer(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError
    return value


def _one_of(value: Any, known: Container[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError
    return value


def _tensor(arrays: dict[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype != np.float32:
        raise ClientError(
            f"{PARAMETERS} in {NAME} has no {name} of {'x'.join(map(str, shape))} 32-bit floats"
        )
    if not np.isfinite(array).all():
        raise ClientError(f"{PARAMETERS} in {NAME}: {name} holds values that are not finite numbers")
    return torch.from_numpy(np.require(array, None, ["C", "W", "A"]))
