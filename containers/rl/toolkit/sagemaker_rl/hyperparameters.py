"""Hyperparameters ``rl.training.config.lr`` and the like, laid over experiments."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from sagemaker_rl.faults import Fault

PREFIX = "rl."


def apply(experiments: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the experiments with every ``rl.*`` in its place, and each of them told. Raises Fault."""
    found = copy.deepcopy(dict(experiments))
    for name, value in hyperparameters.items():
        if name.startswith(PREFIX):
            value = typed(value)
            print(f"Applying RL hyperparameter {name}={value}", flush=True)
            _put(found, name, value)
    return found


def typed(value: Any) -> Any:
    """A text as the JSON, number or truth value that it is."""
    if not isinstance(value, str):
        return value
    if value in ("True", "False"):
        return value == "True"
    try:
        return json.loads(value)
    except ValueError:
        return value


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.removeprefix(PREFIX).split(".")
    place: Any = found
    for part in path:
        if not isinstance(place, dict):
            break
        place = place.setdefault(part, {})
    if not isinstance(place, dict):
        raise Fault(
            f"hyperparameter {name} leads into a value that is no dictionary; accepted: names of ones"
        )
    place[last] = value
