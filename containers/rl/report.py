"""What the report shows of reinforcement learning: the policy, beside the rewards that every report has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isqrt

import numpy as np

from common.report import charts, page
from common.report.page import Section
from common.training import Run
from containers.rl import artifact
from containers.rl.model import Float64, probabilities

_STATES, _LARGEST_GRID, _TRIED = 48, 400, 300


def sections(run: Run) -> Iterator[Section]:
    """Of the policy in the model's folder, where the job has left one."""
    if not (run.job.model / artifact.POLICY).is_file():
        return
    if artifact.method(run.job.model) == artifact.Q_LEARNING:
        table, _, _, environment = artifact.read(run.job.model)
        yield from _table(table, environment)
    else:
        yield from _network(run)


def _table(table: Float64, environment: str) -> Iterator[Section]:
    states, actions = table.shape
    visited = np.flatnonzero(np.ptp(table, axis=1) > 0)
    drawn = [
        (
            charts.bars(
                "best actions",
                range(actions),
                np.bincount(table[visited].argmax(1), minlength=actions),
                "action",
                "states",
            ),
            f"How often an action is the best, of the {len(visited):,} states that were told apart",
        )
    ]
    side = isqrt(states)
    if side * side == states <= _LARGEST_GRID:
        best = table.max(1).reshape(side, side)
        chart = charts.matrix("value of each state", best - min(best.min(), 0.0), range(side), range(side))
        drawn.append((chart, f"The value of each of the {states} states, row by row, as a square"))
    shown = (
        visited[:: max(1, len(visited) // _STATES)][:_STATES]
        if len(visited)
        else np.arange(min(states, _STATES))
    )
    chart = charts.matrix(
        "policy", probabilities(table[shown]), shown.tolist(), range(actions), "action", "state"
    )
    drawn.append((chart, "What the policy does in some states"))
    yield Section(
        "Policy",
        [page.figures(*drawn)],
        f"A table of {states:,} states and {actions} actions of {environment}.",
    )


def _network(run: Run) -> Iterator[Section]:
    from gymnasium import spaces

    from containers.rl import network_policy
    from containers.rl.codec import Query

    policies = network_policy.load(run.job.model)
    told = json.loads((run.job.model / artifact.POLICY).read_text("utf-8"))["policies"]
    for name, one in told.items():
        observations = network_policy.space_of(one["observations"])
        actions = network_policy.space_of(one["actions"])
        if not isinstance(observations, spaces.Box) or not isinstance(actions, spaces.Discrete):
            continue
        observations.seed(run.seed)
        tried = [observations.sample().clip(-3, 3) for _ in range(_TRIED)]
        answers = policies.predict(
            Query([item.tolist() for item in tried], "instances", name if len(told) > 1 else None), {}
        )
        chances = np.array([answer.probabilities for answer in answers.answers])
        chart = charts.bars("actions", range(chances.shape[1]), chances.mean(0), "action", "mean probability")
        title = f"Policy {name}" if len(told) > 1 else "Policy"
        yield Section(
            title, [page.figures((chart, f"What it does for {_TRIED} observations drawn at random"))]
        )
