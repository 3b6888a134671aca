"""A tuning on one self-contained page: the best trial, the history, what mattered, every trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from common.report import charts
from common.report import page as pages
from common.report.page import Section
from common.report.writing import duration
from local.tuning.describing import ranked
from local.tuning.importance import importances
from local.tuning.ranges import LOGARITHMIC, Numbers, Range
from local.tuning.request import Tuning
from local.tuning.trials import FAILED, Trial

_CURVES = 9  # hyperparameters that have a chart of their own


def page(tuning: Tuning, trials: Sequence[Trial], status: str, seconds: float) -> str:
    """The page as HTML."""
    objective = tuning.objective
    best = objective.best(trials)
    want = "as large" if objective.maximize else "as small"
    head = pages.paragraph(
        f"{tuning.strategy} search for {objective.metric} {want} as possible with "
        f"{tuning.algorithm.title}: {len(trials)} trials in {duration(seconds)}, {status}."
    )
    if best is None:
        return pages.document(tuning.name, head + pages.paragraph("No trial has printed the objective."), [])
    head += pages.facts(
        {
            objective.metric: best.objective,
            "trial": best.name,
            **{name: _number(value) for name, value in best.values.items()},
        }
    )
    return pages.document(tuning.name, head, [*_charts(tuning, trials), _table(tuning, trials)])


def _charts(tuning: Tuning, trials: Sequence[Trial]) -> Iterator[Section]:
    points = [
        (number, trial.objective, trial)
        for number, trial in enumerate(trials, 1)
        if trial.objective is not None and math.isfinite(trial.objective) and trial.status != FAILED
    ]
    if not points:
        return
    numbers = [number for number, *_ in points]
    values = [value for _, value, _ in points]
    better = np.maximum if tuning.objective.maximize else np.minimum
    found = charts.lines(
        "objective by trial",
        {"trial": (numbers, values), "best so far": (numbers, better.accumulate(values))},
        "trial",
        tuning.objective.metric,
        whole=True,
    )
    yield Section("History", [pages.figures((found, "Each trial's objective, and the best so far"))])
    shares = importances(tuning.ranges, trials)
    if shares:
        chart = charts.bars("importances", list(shares), list(shares.values()), "share of the variance")
        caption = "Share of the objective's variance that each explains alone"
        yield Section("What mattered", [pages.figures((chart, caption))])
    chosen = sorted(tuning.ranges, key=lambda one: -shares.get(one.name, 0))[:_CURVES]
    drawn = [_curve(tuning, one, [trial for *_, trial in points]) for one in chosen]
    yield Section("The objective by each hyperparameter", [pages.figures(*drawn)])


def _curve(tuning: Tuning, one: Range, trials: Sequence[Trial]) -> tuple[str, str]:
    """Trials by the value of a hyperparameter, and the best of each: of k-means' k, the elbow."""
    told = [(trial.values[one.name], trial.objective) for trial in trials if one.name in trial.values]
    names = [] if isinstance(one, Numbers) else list(one.values)
    at = {name: place for place, name in enumerate(names)}
    places = [float(value) if isinstance(one, Numbers) else float(at[value]) for value, _ in told]
    chart = charts.cloud(
        f"objective by {one.name}",
        np.array([places, [value for _, value in told]], float).T,
        one.name,
        tuning.objective.metric,
        logarithmic=isinstance(one, Numbers) and one.scaling == LOGARITHMIC,
        names=names,
        largest=tuning.objective.maximize,
    )
    return chart, f"{tuning.objective.metric} by {one.name}; the line joins the best of each value"


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _table(tuning: Tuning, trials: Sequence[Trial]) -> Section:
    names = [one.name for one in tuning.ranges]
    rows = [
        (
            trial.name,
            trial.objective,
            *(_number(trial.values.get(name, "")) for name in names),
            trial.status,
            None if trial.ended is None else float(round(trial.ended - trial.created, 1)),
        )
        for trial in ranked(tuning.objective, trials)
    ]
    head = ["trial", tuning.objective.metric, *names, "status", "seconds"]
    return Section("Trials", [pages.table(head, rows)])
