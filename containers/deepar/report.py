"""What the report shows of DeepAR: forecasts of the ends of some series, with what came true."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.report import charts, page
from common.report.page import Section
from common.training import Run
from containers.deepar import artifact
from containers.deepar.forecaster import Forecaster
from containers.deepar.series import Series

_SERIES, _DRAWS = 6, 100
_BANDS = ((0.05, 0.95, "5 to 95 %"), (0.25, 0.75, "25 to 75 %"))


def sections(run: Run) -> Iterator[Section]:
    """The last points of test series, or else of training series, forecast from those before."""
    forecaster = Forecaster(artifact.read(run.job.model))
    horizon = forecaster.settings.prediction_length
    series = run.kept.get("series", ())
    long = [number for number, one in enumerate(series) if len(one) > horizon]
    chosen = long[:: max(1, -(-len(long) // _SERIES))]
    if not chosen:
        return
    past = [series[number].until(len(series[number]) - horizon) for number in chosen]
    paths = forecaster.paths(past, _DRAWS, np.random.default_rng(run.seed))
    drawn = [
        _drawn(f"series {number + 1}", series[number], path, horizon)
        for number, path in zip(chosen, paths, strict=True)
    ]
    note = "" if "test" in run.channels else " The model has learned from these series, their ends included."
    what = f"The last {horizon} points of {len(chosen)} series, forecast from those before them."
    yield Section("Forecasts", [page.figures(*drawn)], what + note)


def _drawn(name: str, one: Series, paths: np.ndarray, horizon: int) -> tuple[str, str]:
    start = len(one) - horizon
    before, after = np.arange(max(0, start - 3 * horizon), start), np.arange(start, len(one))
    bands = [(np.quantile(paths, low, 0), np.quantile(paths, high, 0), name) for low, high, name in _BANDS]
    chart = charts.bands(
        f"forecast of {name}",
        after,
        np.median(paths, 0),
        bands,
        (before, one.target[before]),
        (after, one.target[after]),
        "point",
    )
    category = f", category {', '.join(map(str, one.cat))}" if one.cat else ""
    return chart, f"{name.capitalize()}, from {str(one.start).replace('T', ' ')}{category}"
