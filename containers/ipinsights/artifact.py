"""model_algo-1: an MXNet NDArray file of the rows that were learnt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Int64
from common.failures import ClientError
from common.formats import ndarray
from containers.ipinsights import kernels
from containers.ipinsights.hyperparameters import DECLARATION
from containers.ipinsights.model import Model, Shape

NAME = "model_algo-1"
_VERSION = 1
_NUMBERS = ("num_entity_vectors", "vector_dim", "num_ip_encoder_layers")
_NOTHING = np.empty(0, np.float32)
_PART = 1 << 12  # rows that are looked through at a time


def write(path: Path, model: Model) -> None:
    """Writes a model."""
    shape = model.shape
    described = [_VERSION, shape.num_entity_vectors, shape.vector_dim, shape.layers, shape.seed]
    arrays: dict[str, NDArray[Any]] = {
        "description": np.array(described, np.int64),
        "entity_rows": model.rows,
        "entity_vectors": model.entities,
        "prefix_vectors": model.prefixes,
        "encoder_layers": model.layers,
    }
    ndarray.save(path, {name: array for name, array in arrays.items() if array.size})


def read(folder: Path) -> Model:
    """The model of a folder. Raises ClientError when there is none, or one that can't be right."""
    path = folder / NAME
    if not path.is_file():
        raise ClientError(f"the model has no file {NAME}; accepted: one that training wrote")
    arrays = ndarray.load(_content(path))
    if not isinstance(arrays, dict) or "description" not in arrays:
        raise ClientError(f"{NAME} is no model of IP Insights; accepted: one that training wrote")
    shape = _shape(arrays["description"])
    rows = arrays.get("entity_rows", np.empty(0, np.int64))
    if rows.dtype != np.int64 or rows.ndim != 1:
        raise ClientError(f"entity_rows in {NAME} are not a list of 64-bit integers")
    _check_rows(rows, shape.num_entity_vectors)
    width = shape.vector_dim

    def table(name: str, *wanted: int) -> NDArray[np.float32]:
        return _table(name, arrays.get(name, _NOTHING), wanted)

    return Model(
        shape,
        rows,
        table("entity_vectors", len(rows), width),
        table("prefix_vectors", kernels.PREFIX_ROWS, -(-width // 4)),
        table("encoder_layers", shape.layers * (width + 1), width),
    )


def _content(path: Path) -> bytearray:
    """A file's bytes, of which arrays can be views: a large model is in memory once."""
    content = bytearray(path.stat().st_size)
    with open(path, "rb") as file:
        file.readinto(content)
    return content


def _shape(described: NDArray[Any]) -> Shape:
    if described.dtype != np.int64 or described.shape != (5,) or described[0] != _VERSION:
        raise ClientError(f"the description in {NAME} is not that of a model that is read here")
    _, count, width, layers, seed = (int(number) for number in described)
    for name, number in zip(_NUMBERS, (count, width, layers), strict=True):
        try:
            DECLARATION[name].read(number)
        except ValueError as error:
            raise ClientError(f"{name} in {NAME} is {number}; accepted: {error}") from None
    if not 0 <= seed < 1 << 32:
        raise ClientError(f"the seed in {NAME} is {seed}; accepted: an integer from 0 to 4294967295")
    return Shape(count, width, layers, seed)


def _check_rows(rows: Int64, count: int) -> None:
    ascending = np.sort(rows)
    if len(rows) and (ascending[0] < 0 or ascending[-1] >= count or (ascending[1:] == ascending[:-1]).any()):
        raise ClientError(f"entity_rows in {NAME} are not different numbers from 0 to {count - 1}")


def _table(name: str, array: NDArray[Any], wanted: tuple[int, ...]) -> NDArray[np.float32]:
    if not math.prod(wanted):
        return np.empty(wanted, np.float32)  # what would be empty isn't written
    if array.dtype != np.float32 or array.shape != wanted:
        raise ClientError(f"{name} in {NAME} has the shape {array.shape}; accepted: {wanted}, float32")
    for start in range(0, len(array), _PART):
        if not np.isfinite(array[start : start + _PART]).all():
            raise ClientError(f"{name} in {NAME} are not all finite numbers")
    return array
