"""Boosting round by round: matrices in, a booster out, with metrics, early stopping and resumption.

The trees are the xgboost library's (Chen and Guestrin, 2016, "XGBoost: A Scalable Tree Boosting System").
The loop is ours, so that a job can stop, save and measure between any two rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from containers.xgboost import tasks
from containers.xgboost.library import xgb
from containers.xgboost.metrics import OwnMetrics

BEST_ROUND, BEST_SCORE = "best_iteration", "best_score"  # the library's own names of these attributes


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one matrix after a round."""

    data: str
    metric: str
    value: float

    def __str__(self) -> str:
        """``train-rmse:0.12345``."""
        return f"{self.data}-{self.metric}:{self.value:.5f}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to boost and what to look at.

    ``parameters`` are the library's. ``metrics`` are to be measured, in this order; none means the
    objective's own. ``library`` maps those that the library names differently to its names.
    ``patience`` rounds without a better ``watched`` metric on the last matrix end the boosting; a ``watched``
    of None is the last one measured.
    """

    parameters: dict[str, Any]
    metrics: Sequence[str] = ()
    own: OwnMetrics = field(default_factory=lambda: OwnMetrics(()))
    library: dict[str, str] = field(default_factory=dict)
    patience: int | None = None
    watched: str | None = None


class Boosting:
    """A booster that grows. ``evaluated`` are (matrix, name) to measure; the first is what it learns from."""

    def __init__(
        self,
        plan: Plan,
        evaluated: Sequence[tuple[xgb.DMatrix, str]],
        start: bytes | None = None,
    ) -> None:
        self.plan = plan
        self._evaluated = list(evaluated)
        self._labels = [matrix.get_label() for matrix, _ in evaluated] if plan.own.names else []
        self.booster = xgb.Booster(_with_metrics(plan), [matrix for matrix, _ in evaluated])
        if start is not None:
            self.booster.load_model(bytearray(start))
            self.booster.set_param(_listed(_with_metrics(plan)))
        self.rounds = self.booster.num_boosted_rounds() if start is not None else 0
        self._best: bytes | None = None

    def run(self, rounds: Iterable[int], each: Callable[[int, list[Score]], None]) -> None:
        """Boosts once for each of ``rounds``, calling ``each`` with the round's number and scores.

        Ends early when patience does. Raises the library's errors as they are.
        """
        if self.out_of_patience():
            return
        for number in rounds:
            self.booster.update(self._evaluated[0][0], number)
            self.rounds = number + 1
            scores = self.measure(number)
            self._watch(number, scores)
            each(number, scores)
            if self.out_of_patience():
                return

    def measure(self, number: int) -> list[Score]:
        """Every metric of every matrix as the booster stands."""
        plan = self.plan
        names = [name for name in plan.metrics if name not in plan.own.names]
        found: dict[tuple[str, str], float] = {}
        order: list[str] = list(plan.metrics)
        if names or not plan.metrics:
            text = self.booster.eval_set(self._evaluated, number)
            pairs = [part.rsplit(":", 1) for part in text.split("\t")[1:]]
            per_matrix = len(pairs) // len(self._evaluated)
            for place, (name, text) in enumerate(pairs):
                data = self._evaluated[place // per_matrix][1]
                metric = names[place % per_matrix] if names else name.removeprefix(f"{data}-")
                found[data, metric] = float(text)
            order = order or [metric for _, metric in list(found)[:per_matrix]]
        if plan.own.names:
            for (matrix, data), labels in zip(self._evaluated, self._labels, strict=True):
                for metric, value in self._measure_own(matrix, labels).items():
                    found[data, metric] = value
        return [Score(data, metric, found[data, metric]) for _, data in self._evaluated for metric in order]

    def best(self) -> xgb.Booster:
        """The booster to keep: cut at its best round where early stopping watches, else as it stands."""
        best = self.booster.attr(BEST_ROUND)
        if self.plan.patience is None or best is None:
            return self.booster
        attributes = {BEST_ROUND: best, BEST_SCORE: self.booster.attr(BEST_SCORE)}
        if self.plan.parameters.get("booster") == "gblinear":
            kept = xgb.Booster()
            if self._best is None:
                return self.booster
            kept.load_model(bytearray(self._best))
        elif int(best) + 1 < self.booster.num_boosted_rounds():
            kept = self.booster[: int(best) + 1]
        else:
            kept = self.booster
        kept.set_attr(**attributes)
        return kept

    def _measure_own(self, matrix: xgb.DMatrix, labels: Any) -> dict[str, float]:
        own = self.plan.own
        margins = self.booster.predict(matrix, output_margin=True) if own.by_class else None
        values = self.booster.predict(matrix) if own.by_value else None
        return own.measure(labels, margins, values)

    def _watch(self, number: int, scores: list[Score]) -> None:
        if self.plan.patience is None or len(self._evaluated) < 2:
            return
        last = self._evaluated[-1][1]
        watched = [s for s in scores if s.data == last and self.plan.watched in (None, s.metric)][-1]
        best = self.booster.attr(BEST_SCORE)
        better = np.greater if tasks.maximized(watched.metric) else np.less
        if best is None or better(watched.value, float(best)):
            self.booster.set_attr(**{BEST_ROUND: str(number), BEST_SCORE: repr(watched.value)})
            if self.plan.parameters.get("booster") == "gblinear":
                # A linear model has no rounds to cut off.
                self._best = bytes(self.booster.save_raw("ubj"))

    def out_of_patience(self) -> bool:
        """Whether early stopping has seen enough."""
        best = self.booster.attr(BEST_ROUND)
        if self.plan.patience is None or best is None:
            return False
        return self.rounds - 1 - int(best) >= self.plan.patience


def _with_metrics(plan: Plan) -> dict[str, Any]:
    names = [plan.library.get(name, name) for name in plan.metrics if name not in plan.own.names]
    if names:
        return {**plan.parameters, "eval_metric": names}
    if plan.metrics:
        return {**plan.parameters, "disable_default_eval_metric": 1}
    return plan.parameters


def _listed(parameters: dict[str, Any]) -> list[tuple[str, Any]]:
    # Of a dictionary the library would take several metrics for one name.
    metrics = [("eval_metric", name) for name in parameters.get("eval_metric", [])]
    return [(key, value) for key, value in parameters.items() if key != "eval_metric"] + metrics


def line(number: int, scores: Iterable[Score]) -> str:
    """``[0]<TAB>train-rmse:0.12345<TAB>validation-rmse:0.23456``, as AWS's metric regexes want it."""
    return "\t".join([f"[{number}]", *map(str, scores)])
