"""Checks a model's values before the library sees them.

The library follows the children, parents and indices in a model file wherever they point. Here they must
point at what is there and make trees, so that neither loading nor predicting can leave memory or go round in
circles. All trees are checked at once: a model may have a hundred thousand.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from containers.xgboost import ubjson

WIDEST = 100_000_000
"""Features of a model: the library keeps some memory for each, whether a row has it or not."""

_MOST = 1 << 24  # no count of classes, outputs or categories is larger
_DELETED = 0x7FFFFFFF
_PER_NODE = ("left_children", "right_children", "parents", "split_indices", "default_left")
_FLOATS = ("split_conditions", "base_weights", "loss_changes", "sum_hessian")
_FLOATS_OF_MANY = ("split_conditions", "loss_changes", "sum_hessian")
_WHOLE = re.compile(r"\d{1,9}")


def check(data: bytes) -> None:
    """Raises ClientError unless ``data``, JSON or UBJSON, is a model that can be loaded without harm.

    A pickled booster's state, which has its settings besides the model, is one too.
    """
    found = _object(_parsed(data), "model")
    if "Model" in found and "learner" in found:
        raise ClientError("the file holds two models")
    learner = _object(_object(found.get("Model", found), "model").get("learner"), "learner")
    parameters = _object(learner.get("learner_model_param"), "learner_model_param")
    features = _count(parameters, "num_feature", WIDEST)
    groups = max(_count(parameters, "num_class", _MOST), _count(parameters, "num_target", _MOST), 1)
    scores = str(parameters.get("base_score")).count(",") + 1
    if scores not in (1, groups):
        raise ClientError(f"base_score of the model has {scores} numbers for {groups} outputs")
    _check_objective(_object(learner.get("objective"), "objective"), groups)
    _check_names(learner, features)
    booster = _object(learner.get("gradient_booster"), "gradient_booster")
    if booster.get("name") == "gblinear":
        weights = _numbers(_object(booster.get("model"), "model"), "weights", "biuf")
        if len(weights) != (features + 1) * groups:
            due = (features + 1) * groups
            raise ClientError(f"the linear model has {len(weights)} weights where {due} are due")
        return
    trees = _object(booster.get("gbtree", booster), "gbtree")
    count = _check_forest(_object(trees.get("model"), "model"), features, groups)
    if booster.get("name") == "dart" and len(_numbers(booster, "weight_drop", "biuf")) != count:
        raise ClientError(f"weight_drop of the model doesn't have one number for each of its {count} trees")


def _parsed(data: bytes) -> Any:
    # The library tells the two apart by the same byte.
    if data[1:2] in (b"L", b"}"):
        return ubjson.loads(data)
    try:
        return json.loads(data.rstrip(b"\0"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ClientError(f"the JSON can't be read: {' '.join(str(error).split())[:100]}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ClientError("an object of the JSON holds a name twice")
    return found


def _check_objective(objective: dict[str, Any], groups: int) -> None:
    softmax = objective.get("softmax_multiclass_param")
    if softmax is not None and _count(_object(softmax, "objective"), "num_class", _MOST) != groups:
        raise ClientError("the model's objective has another num_class than its trees")


def _check_names(learner: dict[str, Any], features: int) -> None:
    for name in ("feature_names", "feature_types"):
        values = learner.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ClientError(f"{name} of the model is no list of texts")
        if len(values) not in (0, features):
            raise ClientError(f"{name} of the model has {len(values)} entries for {features} features")
    attributes = _object(learner.get("attributes", {}), "attributes")
    best = attributes.get("best_iteration", "0")
    if not all(isinstance(value, str) for value in attributes.values()) or not _WHOLE.fullmatch(best):
        raise ClientError("the attributes of the model are damaged")


def _check_forest(model: dict[str, Any], features: int, groups: int) -> int:
    trees = model.get("trees")
    if not isinstance(trees, list):
        raise ClientError("trees of the model is no list")
    count = len(trees)
    if _count(_object(model.get("gbtree_model_param"), "gbtree_model_param"), "num_trees", 1 << 31) != count:
        raise ClientError(f"the model has {count} trees and claims another number")
    info = _numbers(model, "tree_info")
    if len(info) != count or (count and (info.min() < 0 or info.max() >= groups)):
        raise ClientError(f"tree_info of the model doesn't tell a class of each of its {count} trees")
    if "iteration_indptr" in model:
        rounds = _numbers(model, "iteration_indptr")
        if not len(rounds) or rounds[0] != 0 or rounds[-1] != count or (np.diff(rounds) < 0).any():
            raise ClientError(f"iteration_indptr of the model doesn't divide its {count} trees into rounds")
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*_PER_NODE, "split_type")}
    categorical: list[NDArray[Any]] = []
    leaves: list[int] = []
    deleted: list[int] = []
    for number, tree in enumerate(trees):
        parameters, columns, nodes = _columns(_object(tree, f"tree {number}"), number, groups)
        for name, column in columns.items():
            parts[name].append(column)
        categorical.append(_categorical(tree, number, nodes))
        leaves.append(parameters[0])
        deleted.append(parameters[1])
    if count:
        _check_nodes({name: np.concatenate(found) for name, found in parts.items()}, parts, features, leaves)
        _check_splits(parts, categorical, deleted)
    return count


def _columns(
    tree: dict[str, Any], number: int, groups: int
) -> tuple[tuple[int, int], dict[str, NDArray[Any]], int]:
    """(leaves with a vector, deleted nodes), what is known of each node, and how many there are."""
    parameters = _object(tree.get("tree_param"), "tree_param")
    nodes = _count(parameters, "num_nodes", 1 << 31)
    outputs = max(_count(parameters, "size_leaf_vector", _MOST), 1)
    columns = {name: _numbers(tree, name) for name in _PER_NODE}
    columns["split_type"] = (
        _numbers(tree, "split_type") if "split_type" in tree else np.zeros(nodes, np.int64)
    )
    fits = nodes >= 1 and all(len(column) == nodes for column in columns.values())
    # Trees of several outputs had less before their leaves had weights of their own.
    for name in _FLOATS if outputs == 1 else _FLOATS_OF_MANY if "leaf_weights" in tree else _FLOATS[:1]:
        fits = fits and len(_numbers(tree, name, "biuf")) == nodes
    vectors = 0
    if outputs > 1:
        weights = len(_numbers(tree, "base_weights", "biuf"))
        vectors = len(_numbers(tree, "leaf_weights", "biuf")) // outputs if "leaf_weights" in tree else 0
        fits = fits and outputs == groups and weights == nodes * outputs
    if not fits or tree.get("id", number) != number:
        raise ClientError(f"tree {number} of the model doesn't have what each of its {nodes} nodes needs")
    return (vectors, _count(parameters, "num_deleted", 1 << 31)), columns, nodes


def _check_nodes(
    columns: dict[str, NDArray[Any]],
    parts: dict[str, list[NDArray[Any]]],
    features: int,
    vectors: list[int],
) -> None:
    """Every tree is one: children are its own, have one parent each, and the root is nobody's child."""
    left, right, parent = (columns[name] for name in ("left_children", "right_children", "parents"))
    split = columns["split_indices"]
    sizes = np.array([len(part) for part in parts["left_children"]])
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    size = np.repeat(sizes, sizes)
    place = np.arange(len(left))
    root = place == start
    inner = left != -1
    # A leaf of several values keeps where they are in place of its right child.
    beyond = np.maximum(np.repeat(np.array(vectors), sizes), 0)
    wrong = ~inner & ((right < -1) | (right >= beyond))
    wrong |= inner & ((left <= 0) | (right <= 0) | (left >= size) | (right >= size) | (left == right))
    wrong |= inner & ((split < 0) | (split >= max(features, 1)))
    wrong |= ~root & ((parent < 0) | (parent >= size))
    wrong |= root & (parent != -1) & (parent != _DELETED)
    _refuse(wrong, sizes)
    children = np.concatenate([(start + left)[inner], (start + right)[inner]])
    above = np.tile(place[inner], 2)
    wrong[children] |= (start[children] + parent[children] != above) | (split[children] == _DELETED)
    wrong |= np.bincount(children, minlength=len(left)) > 1
    _refuse(wrong, sizes)


def _check_splits(
    parts: dict[str, list[NDArray[Any]]], categorical: list[NDArray[Any]], deleted: list[int]
) -> None:
    for number, kind in enumerate(parts["split_type"]):
        gone = parts["split_indices"][number] == _DELETED
        inner = parts["left_children"][number] != -1
        by_category = np.flatnonzero((kind != 0) & inner)
        if len(by_category) and (
            kind[by_category].max() > 1 or np.setdiff1d(by_category, categorical[number]).size
        ):
            raise ClientError(f"tree {number} of the model splits by categories that it doesn't have")
        if int(gone[1:].sum()) != deleted[number]:
            raise ClientError(
                f"tree {number} of the model has another number of deleted nodes than it claims"
            )


def _categorical(tree: dict[str, Any], number: int, nodes: int) -> NDArray[Any]:
    """The nodes that split by categories."""
    if "categories_nodes" not in tree:
        return np.empty(0, np.int64)
    found = [_numbers(tree, f"categories{part}") for part in ("_nodes", "_segments", "_sizes", "")]
    where, segments, sizes, values = found
    if not len(where) == len(segments) == len(sizes):
        raise ClientError(f"tree {number} of the model has categories without a node")
    if len(where) and (
        where[0] < 0
        or where[-1] >= nodes
        or (np.diff(where) <= 0).any()
        or min(segments.min(), values.min(initial=0)) < 0
        or sizes.min() < 1
        or max(segments.max(), sizes.max()) > len(values)
        or (segments + sizes).max() > len(values)
        or values.max(initial=0) >= _MOST
    ):
        raise ClientError(f"tree {number} of the model has categories that are not there")
    return where


def _refuse(wrong: NDArray[Any], sizes: NDArray[Any]) -> None:
    if wrong.any():
        number = int(np.searchsorted(np.cumsum(sizes), int(np.argmax(wrong)), "right"))
        raise ClientError(f"tree {number} of the model is no tree")


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ClientError(f"the file has no {name} where a model has it")
    return value


def _count(parameters: dict[str, Any], name: str, most: int) -> int:
    """A number that the library writes as text; one that is not there is 0."""
    text = parameters.get(name, "0")
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,10}", text) or int(text) > most:
        raise ClientError(f"{name} of the model is no whole number from 0 to {most}")
    return int(text)


def _numbers(parent: dict[str, Any], name: str, kinds: str = "biu") -> NDArray[Any]:
    """An array of a model, whole numbers as 64-bit ones."""
    try:
        found = np.asarray(parent[name])
    except (KeyError, ValueError):
        raise ClientError(f"the model has no array {name}") from None
    if found.ndim != 1 or (len(found) and found.dtype.kind not in kinds):
        raise ClientError(f"{name} of the model is no array of numbers")
    return found if "f" in kinds else found.astype(np.int64)
