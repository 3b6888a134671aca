"""How much of the objective's variance each tuned hyperparameter explains alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from local.tuning.ranges import Range, Words
from local.tuning.trials import Trial

_LEAST = 4  # trials that tell anything
_BINS = 5


def importances(ranges: Sequence[Range], trials: Sequence[Trial]) -> dict[str, float]:
    """The correlation ratio of each, 0 to 1, the largest first; nothing for fewer than four trials.

    Variance between groups over all variance (Fisher, 1925), numbers in up to five groups as large as one
    another, corrected for what groups explain by chance.
    """
    known = [trial for trial in trials if trial.objective is not None]
    values = np.array([trial.objective for trial in known], float)
    finite = np.isfinite(values)
    known = [trial for trial, good in zip(known, finite, strict=True) if good]
    values = values[finite]
    if len(known) < _LEAST or not values.var():
        return {}
    found = {one.name: _ratio(values, _groups(one, known)) for one in ranges}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _groups(one: Range, trials: Sequence[Trial]) -> np.ndarray:
    if isinstance(one, Words):
        return np.array([one.values.index(trial.values[one.name]) for trial in trials])
    shares = np.array([one.share(trial.values[one.name]) for trial in trials])
    bins = min(_BINS, len(trials) // 2)
    return np.searchsorted(np.quantile(shares, np.linspace(0, 1, bins + 1)[1:-1]), shares)


def _ratio(values: np.ndarray, groups: np.ndarray) -> float:
    kinds = np.unique(groups)
    within = sum(((values[groups == kind] - values[groups == kind].mean()) ** 2).sum() for kind in kinds)
    whole = ((values - values.mean()) ** 2).sum()
    spare = len(values) - len(kinds)
    if spare <= 0:
        return 0.0
    return float(max(0.0, 1 - (within / spare) / (whole / (len(values) - 1))))
