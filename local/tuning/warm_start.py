"""What a tuning that begins warm takes over from earlier ones, its parents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.failures import ClientError
from local.tuning import trials
from local.tuning.request import Tuning, read
from local.tuning.trials import COMPLETED, RUNNING, STOPPED, Trial

_MOST_CHANGES = 10  # of values and of what is tuned, in AWS's documents


def trials_of(tuning: Tuning, request: Mapping[str, Any], folder: Path) -> list[Trial]:
    """The parents' trials that printed the objective. Raises ClientError for parents that don't suit.

    A parent is a folder, or the name of one beside ``folder``. Its own parents aren't asked.
    """
    found: list[Trial] = []
    for parent in tuning.parents:
        place = Path(parent) if (Path(parent) / trials.FILE).exists() else folder.parent / parent
        kept = trials.load(place)
        if kept is None:
            raise ClientError(f"parent {parent} is no tuning; accepted: the folder of an earlier one")
        earlier_request, earlier, _, status = kept
        if status == RUNNING:
            raise ClientError(
                f"parent {parent} is {RUNNING}; accepted: one that is Completed, Stopped or Failed"
            )
        before = read(earlier_request)
        _compare(tuning, before, parent)
        # What is tuned now and was static then had the same value in each trial.
        same = {one.name: before.static[one.name] for one in tuning.ranges if one.name in before.static}
        found += [
            replace(trial, values={**same, **trial.values})
            for trial in earlier
            if trial.status in (COMPLETED, STOPPED) and trial.objective is not None
        ]
    return found


def _compare(tuning: Tuning, parent: Tuning, name: str) -> None:
    if parent.objective.metric != tuning.objective.metric:
        raise ClientError(
            f"parent {name} has objective {parent.objective.metric}; accepted: {tuning.objective.metric}"
        )
    ours = {one.name for one in tuning.ranges} | set(tuning.static)
    theirs = {one.name for one in parent.ranges} | set(parent.static)
    if ours != theirs:
        other = ", ".join(sorted(ours ^ theirs))
        raise ClientError(f"parent {name} hasn't the same hyperparameters; only one side has {other}")
    swapped = {one.name for one in tuning.ranges} ^ {one.name for one in parent.ranges}
    changed = {n for n in tuning.static if n in parent.static and tuning.static[n] != parent.static[n]}
    if len(swapped) + 2 * len(changed) > _MOST_CHANGES:
        raise ClientError(
            f"parent {name} differs in {', '.join(sorted(swapped | changed))}; accepted: 10 changes, a "
            "static value's counting twice"
        )
    if tuning.warm_start != "IdenticalDataAndAlgorithm":
        return
    if parent.algorithm.name != tuning.algorithm.name:
        raise ClientError(
            f"parent {name} tuned {parent.algorithm.name}; accepted with IdenticalDataAndAlgorithm: "
            f"{tuning.algorithm.name}"
        )
    if [c.uri for c in parent.channels] != [c.uri for c in tuning.channels]:
        raise ClientError(
            f"parent {name} had other data; accepted with IdenticalDataAndAlgorithm: the same channels"
        )
