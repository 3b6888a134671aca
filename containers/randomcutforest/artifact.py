"""model_algo-1: the forest's arrays in one MXNet NDArray file, each under its name in `Forest`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.finite import LARGEST
from common.formats import ndarray
from containers.randomcutforest.hyperparameters import MOST_FEATURES, MOST_SAMPLES, MOST_TREES
from containers.randomcutforest.model import Forest
from containers.randomcutforest.scoring import NotAForest, Scorer

NAME = "model_algo-1"
_FLOATS = ("points", "values")
_FIELDS = tuple(field.name for field in fields(Forest))


def save(path: Path, forest: Forest) -> None:
    """Writes the file. Boxes are not in it: they follow from the points."""
    ndarray.save(path, {name: getattr(forest, name) for name in _FIELDS})


def load(folder: Path) -> Scorer:
    """The forest of an extracted model.tar.gz, ready to score.

    Raises ClientError when there is none, or when its arrays can't be those of a forest.
    """
    path = folder / NAME
    if not path.is_file():
        raise ClientError(f"the model has no file {NAME}; accepted: a random cut forest's file of that name")
    arrays = ndarray.load(path)
    if not isinstance(arrays, dict) or set(arrays) != set(_FIELDS):
        raise _fault(f"doesn't hold the arrays {', '.join(_FIELDS)}")
    for name in _FIELDS:
        _check_form(name, arrays[name])
    forest = Forest(**arrays)
    _check(forest)
    try:
        return Scorer(forest)
    except NotAForest as error:
        raise _fault(f"is damaged: {error}") from None


def _check_form(name: str, array: NDArray[Any]) -> None:
    dtype = np.dtype(np.float32 if name in _FLOATS else np.int32)
    dimensions = 2 if name == "points" else 1
    if array.dtype != dtype or array.ndim != dimensions:
        raise _fault(
            f"has {name} of type {array.dtype} and shape {array.shape}; "
            f"accepted: {dtype} of {dimensions} dimension{'s' * (dimensions > 1)}"
        )


def _check(forest: Forest) -> None:
    trees, leaves = len(forest.leaves), len(forest.points)
    if not 1 <= trees <= MOST_TREES:
        raise _fault(f"has {trees} trees; accepted: 1 to {MOST_TREES}")
    if not 1 <= forest.feature_dim <= MOST_FEATURES:
        raise _fault(f"has points of {forest.feature_dim} features; accepted: 1 to {MOST_FEATURES}")
    if forest.leaves.min() < 1 or int(forest.leaves.sum(dtype=np.int64)) != leaves:
        raise _fault(f"has {leaves} points, which is not what its trees have leaves")
    if len(forest.counts) != leaves or forest.counts.min() < 1:
        raise _fault("has not a count of at least 1 for each point")
    masses = np.add.reduceat(forest.counts.astype(np.int64), forest.first_leaves[:-1])
    if masses.max() > MOST_SAMPLES:
        raise _fault(f"has a tree of {masses.max()} points; accepted: at most {MOST_SAMPLES}")
    nodes = leaves - trees
    if {len(forest.dimensions), len(forest.values), len(forest.lefts)} != {nodes}:
        raise _fault(f"has not {nodes} cuts for {leaves} points in {trees} trees")
    if nodes and not 0 <= forest.dimensions.min() <= forest.dimensions.max() < forest.feature_dim:
        raise _fault(f"cuts in a dimension that points of {forest.feature_dim} features don't have")
    if not (np.abs(forest.points) <= LARGEST).all():
        raise _fault(f"has points that are not numbers from {-LARGEST:g} to {LARGEST:g}")


def _fault(what: str) -> ClientError:
    return ClientError(f"{NAME} {what}; a random cut forest's NDArray file is read")
