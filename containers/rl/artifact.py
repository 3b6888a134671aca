"""The files of a learned table: ``q_table.params`` (MXNet's NDArray format) and ``policy.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from common.failures import ClientError
from common.formats import ndarray
from containers.rl.model import Float64
from containers.rl.numbering import Numbering

TABLE, POLICY = "q_table.params", "policy.json"
Q_LEARNING = "q_learning"
_NAME = "q_table"


def describe(environment: str, states: Numbering, actions: Numbering) -> str:
    """What policy.json says."""
    told = {
        "algorithm": Q_LEARNING,
        "environment": environment,
        "observations": {"sizes": states.sizes, "offsets": states.offsets},
        "actions": {"sizes": actions.sizes, "offsets": actions.offsets},
    }
    return json.dumps(told, indent=1)


def method(folder: Path) -> str:
    """What learned the policy: q_learning, or an algorithm of RLlib. Raises ClientError."""
    return str(_described(folder).get("algorithm"))


def _described(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / POLICY).read_text("utf-8"))
    except FileNotFoundError:
        raise ClientError(f"the model has no file {POLICY}; accepted: a model of algorithm rl") from None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise ClientError(f"{POLICY} of the model is damaged; accepted: what training wrote")
    return told


def dump(table: Float64, path: Path) -> None:
    """Writes (states, actions) values."""
    ndarray.save(path, {_NAME: table})


def read(folder: Path) -> tuple[Float64, Numbering, Numbering, str]:
    """Values, observations, actions and the environment's name. Raises ClientError for what is no model."""
    told = _described(folder)
    try:
        states, actions = (
            Numbering(tuple(map(int, told[key]["sizes"])), tuple(map(int, told[key]["offsets"])))
            for key in ("observations", "actions")
        )
        name = str(told["environment"])
    except (ValueError, KeyError, TypeError):
        raise ClientError(f"{POLICY} of the model is damaged; accepted: what training wrote") from None
    if not (folder / TABLE).is_file():
        raise ClientError(f"the model has no file {TABLE}; accepted: a model of algorithm rl")
    arrays = ndarray.load(folder / TABLE)
    table = arrays.get(_NAME) if isinstance(arrays, dict) else None
    if table is None or table.shape != (states.count, actions.count) or not np.isfinite(table).all():
        raise ClientError(
            f"{TABLE} of the model is damaged; accepted: {states.count} x {actions.count} finite numbers"
        )
    return table.astype(np.float64), states, actions, name
