"""From hyperparameters to how a machine starts and descends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from containers.factorization_machines.adam import EPSILON, Descent, Rate
from containers.factorization_machines.hyperparameters import GROUPS
from containers.factorization_machines.model import NOTHING, Start


def starts(values: Mapping[str, Any]) -> tuple[Start, Start, Start]:
    """Of bias, linear weights and factors."""
    bias, linear, factors = (
        Start(
            values[f"{group}_init_method"],
            values[f"{group}_init_scale"] or 0.0,
            values[f"{group}_init_sigma"],
            values[f"{group}_init_value"] or 0.0,
        )
        if _used(values, group)
        else NOTHING
        for group in GROUPS
    )
    return bias, linear, factors


def descent(values: Mapping[str, Any]) -> Descent:
    """How weights move; those that aren't used stay at 0."""
    bias, linear, factors = (
        Rate(values[f"{group}_lr"] if _used(values, group) else 0.0, values[f"{group}_wd"])
        for group in GROUPS
    )
    return Descent(
        bias,
        linear,
        factors,
        rescale=values["rescale_grad"],
        clip=values["clip_gradient"] or 0.0,
        epsilon=EPSILON if values["eps"] is None else values["eps"],
    )


def _used(values: Mapping[str, Any], group: str) -> bool:
    return bool(values.get(f"use_{group}", True))
