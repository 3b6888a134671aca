"""Models in the library's first binary format (versions 0.4 to 3.0), which today's library no longer reads.

The layout is that of dmlc/xgboost's ``learner.cc``, ``gbtree_model.h`` and ``tree_model.h`` of version 1.7:
fixed-size parameter blocks, then nodes of 20 bytes and their statistics of 16, all little-endian. The result
is the JSON model of today. Nothing is believed of a length before that many bytes are there, and what
children point at must be a tree, so that no prediction can go round in circles.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError

MAGIC = b"binf"
_DELETED = 0xFFFFFFFF
_NODE = np.dtype([("parent", "<i4"), ("left", "<i4"), ("right", "<i4"), ("split", "<u4"), ("value", "<f4")])
_STATISTICS = np.dtype([("gain", "<f4"), ("hessian", "<f4"), ("weight", "<f4"), ("leaves", "<i4")])
_KEPT = ("best_iteration", "best_score", "best_ntree_limit")
_MOST = 1 << 24  # no count of features, classes or outputs is larger

# What each objective's entry in a model must hold.
_LOSS = {"reg_loss_param": {"scale_pos_weight": "1"}}
_RANKING = {
    "lambdarank_param": {
        "lambdarank_bias_norm": "1",
        "lambdarank_num_pair_per_sample": "4294967295",
        "lambdarank_pair_method": "topk",
        "lambdarank_unbiased": "0",
        "ndcg_exp_gain": "1",
    }
}
_OBJECTIVES: dict[str, dict[str, Any]] = {
    "reg:squarederror": _LOSS,
    "reg:squaredlogerror": _LOSS,
    "reg:logistic": _LOSS,
    "reg:gamma": _LOSS,
    "reg:pseudohubererror": {"pseudo_huber_param": {"huber_slope": "1"}},
    "binary:logistic": _LOSS,
    "binary:logitraw": _LOSS,
    "binary:hinge": {},
    "count:poisson": {"poisson_regression_param": {"max_delta_step": "0.7"}},
    "reg:tweedie": {"tweedie_regression_param": {"tweedie_variance_power": "1.5"}},
    "survival:cox": {},
    "survival:aft": {
        "aft_loss_param": {"aft_loss_distribution": "normal", "aft_loss_distribution_scale": "1"}
    },
    "rank:pairwise": _RANKING,
    "rank:ndcg": _RANKING,
    "rank:map": _RANKING,
}


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._data) - self._at:
            raise ClientError(f"the model ends where {size} more bytes are due, after {self._at}")
        self._at += size
        return self._data[self._at - size : self._at]

    def block(self, layout: str, size: int) -> tuple[Any, ...]:
        """The leading fields of a parameter block of ``size`` bytes."""
        return struct.unpack_from(layout, self.take(size))

    def text(self) -> str:
        (size,) = struct.unpack("<Q", self.take(8))
        return self.take(size).decode("utf-8", "replace")

    def array(self, kind: np.dtype[Any] | str, count: int) -> NDArray[Any]:
        kind = np.dtype(kind)
        return np.frombuffer(self.take(count * kind.itemsize), kind)

    def vector(self, kind: str) -> NDArray[Any]:
        (count,) = struct.unpack("<Q", self.take(8))
        return self.array(kind, count)


def as_json(data: bytes, parallel_trees: int | None = None) -> bytes:
    """The JSON model that today's library loads. Raises ClientError for anything but a whole binary model.

    ``parallel_trees`` are the trees of a round, where another source than the model tells.
    """
    cursor = _Cursor(data.removeprefix(MAGIC))
    base, features, classes, extra, _, major, _ = cursor.block("<fIiiiII", 136)
    if features > _MOST or not 0 <= classes <= _MOST or not math.isfinite(base):
        raise ClientError("the model's header is not one of the library's binary format")
    objective, booster = cursor.text(), cursor.text()
    objective = {"reg:linear": "reg:squarederror"}.get(objective, objective)
    model, rounds = _booster(cursor, booster, features, max(classes, 1), parallel_trees)
    attributes = _attributes(cursor) if extra else {}
    learner = {
        "attributes": attributes,
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": model,
        "learner_model_param": {
            "base_score": repr(_base_score(base, objective, major)),
            "boost_from_average": "0",
            "num_class": str(classes),
            "num_feature": str(features),
            "num_target": "1",
        },
        "objective": _objective(objective, classes),
    }
    _settle(learner, rounds)
    return json.dumps({"learner": learner, "version": [1, 7, 0]}).encode()


def _objective(name: str, classes: int) -> dict[str, Any]:
    if name.startswith("multi:"):
        return {"name": name, "softmax_multiclass_param": {"num_class": str(classes)}}
    if name not in _OBJECTIVES:
        raise ClientError(f"the model's objective '{name[:40]}' is unknown")
    return {"name": name, **_OBJECTIVES[name]}


def _base_score(stored: float, objective: str, major: int) -> float:
    """The score in the label's terms. Before 1.0 it was stored as a margin."""
    if major >= 1 or objective.startswith("multi:"):
        return stored
    if objective in ("binary:logistic", "reg:logistic"):
        return 1 / (1 + math.exp(-stored))
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"):
        return math.exp(stored)
    return stored


def _booster(
    cursor: _Cursor, name: str, features: int, classes: int, parallel_trees: int | None
) -> tuple[dict[str, Any], int]:
    """The model of a booster, and how many trees one round has (0 for a linear one)."""
    if name == "gblinear":
        cursor.take(136)
        weights = cursor.vector("<f4")
        if len(weights) != (features + 1) * classes:
            raise ClientError(
                f"the linear model has {len(weights)} weights where {(features + 1) * classes} are due"
            )
        return {"name": name, "model": {"boosted_rounds": 0, "weights": weights.tolist()}}, 0
    if name not in ("gbtree", "dart"):
        raise ClientError(f"the model's booster '{name[:40]}' is unknown; accepted: gbtree, gblinear or dart")
    trees, parallel = cursor.block("<ii", 160)
    if not 0 <= trees <= _MOST:
        raise ClientError(f"the model claims {trees} trees")
    grown = [_tree(cursor, number, features) for number in range(trees)]
    groups = cursor.array("<i4", trees)
    if len(groups) and (groups.min() < 0 or groups.max() >= classes):
        raise ClientError("the model has a tree of a class that it doesn't have")
    per_round = (parallel_trees or max(parallel, 1)) * classes
    if trees % per_round:
        per_round = classes if trees % classes == 0 else 1
    model = {
        "gbtree_model_param": {
            "num_parallel_tree": str(max(1, per_round // classes)),
            "num_trees": str(trees),
        },
        "iteration_indptr": list(range(0, trees + 1, per_round)),
        "tree_info": groups.tolist(),
        "trees": grown,
        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
    }
    if name == "gbtree":
        return {"name": name, "model": model}, per_round
    dropped = cursor.vector("<f4").tolist() if trees else []
    if len(dropped) != trees:
        raise ClientError(f"the model has {trees} trees and weights of {len(dropped)}")
    return {"name": name, "gbtree": {"name": "gbtree", "model": model}, "weight_drop": dropped}, per_round


def _tree(cursor: _Cursor, number: int, features: int) -> dict[str, Any]:
    _, nodes, _, _, _, leaf_vector = cursor.block("<iiiiii", 148)
    if nodes < 1 or leaf_vector > 1:
        raise ClientError(f"tree {number} of the model has {nodes} nodes and leaves of {leaf_vector} values")
    node, statistics = cursor.array(_NODE, nodes), cursor.array(_STATISTICS, nodes)
    if leaf_vector:
        cursor.vector("<f4")
    deleted = node["split"] == _DELETED
    inner = (node["left"] != -1) & ~deleted
    split = node["split"] & 0x7FFFFFFF
    children = np.concatenate([node["left"][inner], node["right"][inner]])
    if len(children) and not (
        children.min() > 0
        and children.max() < nodes
        and len(np.unique(children)) == len(children)
        and split[inner].max() < max(features, 1)
        and not deleted[children].any()
    ):
        raise ClientError(f"tree {number} of the model is no tree")
    none: list[int] = []
    return {
        "base_weights": statistics["weight"].tolist(),
        "categories": none,
        "categories_nodes": none,
        "categories_segments": none,
        "categories_sizes": none,
        "default_left": (node["split"] >> 31).tolist(),
        "id": number,
        "left_children": node["left"].tolist(),
        "loss_changes": statistics["gain"].tolist(),
        "parents": np.where(node["parent"] == -1, 0x7FFFFFFF, node["parent"] & 0x7FFFFFFF).tolist(),
        "right_children": node["right"].tolist(),
        "split_conditions": node["value"].tolist(),
        "split_indices": split.tolist(),
        "split_type": [0] * nodes,
        "sum_hessian": statistics["hessian"].tolist(),
        "tree_param": {
            "num_deleted": str(int(deleted[1:].sum())),
            "num_feature": str(features),
            "num_nodes": str(nodes),
            "size_leaf_vector": "1",
        },
    }


def _attributes(cursor: _Cursor) -> dict[str, str]:
    (count,) = struct.unpack("<Q", cursor.take(8))
    found = {}
    for _ in range(min(count, 1 << 16)):
        name, value = cursor.text(), cursor.text()
        if name in _KEPT:
            found[name] = value
    return found


def _settle(learner: dict[str, Any], per_round: int) -> None:
    """Regroups trees into rounds where the early stopping's attributes tell how many a round has."""
    attributes = learner["attributes"]
    limit, best = attributes.pop("best_ntree_limit", ""), attributes.get("best_iteration", "")
    if not (per_round and limit.isdigit() and best.isdigit()) or int(limit) % (int(best) + 1):
        return
    parallel = int(limit) // (int(best) + 1)
    booster = learner["gradient_booster"]
    model = booster["gbtree"]["model"] if "gbtree" in booster else booster["model"]
    trees = len(model["trees"])
    per_round = parallel * max(int(learner["learner_model_param"]["num_class"]), 1)
    if per_round and trees % per_round == 0:
        model["gbtree_model_param"]["num_parallel_tree"] = str(parallel)
        model["iteration_indptr"] = list(range(0, trees + 1, per_round))
