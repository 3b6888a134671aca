"""How values are proposed: one class a strategy, all with ``propose(number)`` and ``learn(...)``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from local.tuning.ranges import Numbers, Range, Words

if TYPE_CHECKING:
    import optuna

Values = dict[str, str]
_DRAWN = 10  # trials before a Gaussian process has enough to go by


class Search(Protocol):
    """A strategy."""

    def propose(self, number: int) -> Values:
        """What trial ``number``, from 0, shall try."""
        ...

    def learn(self, number: int | None, values: Mapping[str, str], objective: float | None) -> None:
        """Takes in how a trial ended, None without an objective; ``number`` None: another tuning's trial."""
        ...


class Random:
    """Independent draws (Bergstra and Bengio, 2012). The same seed and number give the same values."""

    def __init__(self, ranges: Sequence[Range], seed: int) -> None:
        self._ranges, self._seed = ranges, seed

    def propose(self, number: int) -> Values:
        generator = np.random.default_rng((self._seed, number))
        return {
            one.name: one.values[int(generator.integers(len(one.values)))]
            if isinstance(one, Words)
            else one.text(float(generator.random()))
            for one in self._ranges
        }

    def learn(self, number: int | None, values: Mapping[str, str], objective: float | None) -> None:
        """Draws don't depend on what others found."""


class Grid:
    """Every combination of words, the last range fastest."""

    def __init__(self, ranges: Sequence[Words]) -> None:
        self._names = [one.name for one in ranges]
        self._rows = list(itertools.product(*(one.values for one in ranges)))

    def propose(self, number: int) -> Values:
        return dict(zip(self._names, self._rows[number], strict=True))

    def learn(self, number: int | None, values: Mapping[str, str], objective: float | None) -> None:
        """The grid is fixed."""


class Bayesian:
    """Gaussian processes (Snoek, Larochelle and Adams, 2012), as AWS's documents say of their own; Optuna's.

    It sees numbers by their share of the range's scale, so that every scaling is even to it. The first ten
    trials are drawn.
    """

    def __init__(self, ranges: Sequence[Range], seed: int, maximize: bool) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ranges = ranges
        self._create, self._states = optuna.trial.create_trial, optuna.trial.TrialState
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            one.name: optuna.distributions.CategoricalDistribution(one.values)
            if isinstance(one, Words)
            else optuna.distributions.FloatDistribution(0, 1)
            for one in ranges
        }
        self._study = optuna.create_study(
            sampler=optuna.samplers.GPSampler(seed=seed, n_startup_trials=_DRAWN),
            direction="maximize" if maximize else "minimize",
        )
        self._asked: dict[int, int] = {}

    def propose(self, number: int) -> Values:
        asked = self._study.ask(self._distributions)
        self._asked[number] = asked.number
        return {
            one.name: one.text(asked.params[one.name])
            if isinstance(one, Numbers)
            else str(asked.params[one.name])
            for one in self._ranges
        }

    def learn(self, number: int | None, values: Mapping[str, str], objective: float | None) -> None:
        usable = objective is not None and math.isfinite(objective)
        state = self._states.COMPLETE if usable else self._states.FAIL
        if number in self._asked:
            self._study.tell(self._asked.pop(number), objective if usable else None, state=state)
            return
        params = self._params(values)
        if usable and params is not None:
            found = self._create(
                state=state, params=params, distributions=self._distributions, value=objective
            )
            self._study.add_trial(found)

    def _params(self, values: Mapping[str, str]) -> dict[str, object] | None:
        """Optuna's view of values; None where another tuning has others than these ranges'."""
        params: dict[str, object] = {}
        for one in self._ranges:
            written = values.get(one.name)
            if written is None or (isinstance(one, Words) and written not in one.values):
                return None
            try:
                params[one.name] = written if isinstance(one, Words) else one.share(written)
            except ValueError:
                return None  # a word such as auto
        return params
