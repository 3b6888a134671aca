"""What a job's sample and forest take of this machine's memory, told and checked before rows are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.failures import ClientError
from common.instances import available_memory
from common.metrics import log

# Bytes a point takes in the arrays of its trees beside its values: while they grow and are put together,
# and what scoring adds.
_NODE = 32
_SCORED_NODE = 64


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes, if the data have as many rows as the sample has room for."""

    sample: int
    forest: int


def estimate(values: Mapping[str, Any], hosts: int, tested: bool) -> Estimate:
    """For these hyperparameters; ``tested`` is whether there is a test channel to be scored."""
    points = values["num_trees"] * values["num_samples_per_tree"]
    sample = points * values["feature_dim"] * 4
    # A growing sample is copied to a place twice as large; samples of several hosts are put together.
    sampling = 3 * sample if hosts > 1 else sample * 3 // 2
    forest = sample + points * _NODE
    if tested:
        # Every point has a box, which has two faces in each dimension.
        forest += 2 * sample + points * _SCORED_NODE
    return Estimate(sample, max(sampling, forest))


def check(values: Mapping[str, Any], hosts: int, tested: bool) -> None:
    """Prints AWS's lines. Raises ClientError when the forest has no room."""
    log.info("Validating memory limits...")
    needed, available = estimate(values, hosts, tested), available_memory()
    log.info("Available memory in bytes: %d", available)
    log.info("Estimated sample size in bytes: %d", needed.sample)
    log.info("Estimated memory needed to build the forest in bytes: %d", needed.forest)
    if available and needed.forest > available:
        raise ClientError(
            f"a forest of num_trees={values['num_trees']} times num_samples_per_tree="
            f"{values['num_samples_per_tree']} points of feature_dim={values['feature_dim']} needs "
            f"{needed.forest} bytes of memory and {available} are available; accepted: smaller ones of these "
            "three, or an instance type with more memory"
        )
    log.info("Memory limits validated.")
