"""Series in flat arrays, and windows of them as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.batches import Float32, Int64
from containers.deepar import kernels
from containers.deepar.frequencies import Frequency
from containers.deepar.series import Series


@dataclass(frozen=True, slots=True)
class Span:
    """What part of a series a window shows the network, and at which times before each of its steps.

    Dynamic features are shown less ``centers`` and over ``spreads``, one number each; as they are where those
    are empty.
    """

    frequency: Frequency
    lags: Int64
    context: int
    horizon: int
    centers: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()

    def width(self, dynamic: int) -> int:
        """Numbers at a step: lags, calendar, age and ``dynamic`` features."""
        return len(self.lags) + self.frequency.width + 1 + dynamic


@dataclass(frozen=True, slots=True)
class Windows:
    """``inputs`` (steps, width, windows) at each of context + horizon steps, ``targets`` and ``weights``
    (steps, windows), ``scale`` (windows,) by which targets and lags are divided, and ``cats`` (windows,
    features).
    """

    inputs: Float32
    targets: Float32
    weights: Float32
    scale: Float32
    cats: Int64


class Store:
    """Series one behind the other.

    ``scale`` stands in where a window has nothing to take its scale from; with ``scaled`` False no window is
    divided by one.
    """

    def __init__(
        self, series: Sequence[Series], span: Span, *, scale: float = 1.0, scaled: bool = True
    ) -> None:
        self.span = span
        self.lengths = np.array([len(one) for one in series], np.int64)
        features = len(series[0].cat) if series else 0
        self.cats = np.array([one.cat for one in series], np.int64).reshape(len(series), features)
        targets = np.concatenate([one.target for one in series]) if series else np.empty(0, np.float32)
        self._observed = (~np.isnan(targets)).view(np.uint8)
        self._offsets = _offsets(self.lengths)
        self._values = _filled(targets, self._offsets)
        steps = np.array([one.dynamic.shape[1] for one in series], np.int64)
        self._dynamic = np.ascontiguousarray(
            np.concatenate([one.dynamic.T for one in series]) if series else np.empty((0, 0)), np.float32
        )
        if series and span.centers:
            self._dynamic -= np.array(span.centers, np.float32)
            self._dynamic /= np.array(span.spreads, np.float32)
        self._dynamic_at = _offsets(steps)
        self._calendar, self._calendar_at = self._calendars(series)
        self._scale, self._scaled = float(scale), scaled

    def __len__(self) -> int:
        return len(self.lengths)

    def windows(self, rows: Int64, at: Int64) -> Windows:
        """The windows of series ``rows`` (windows,) whose forecasts begin at points ``at`` (windows,)."""
        span, count = self.span, len(rows)
        steps = span.context + span.horizon
        scale = np.ones(count, np.float32)
        if self._scaled:
            kernels.scales(
                self._values, self._observed, self._offsets, rows, at, span.context, self._scale, scale
            )
        inputs = np.empty((steps, span.width(self._dynamic.shape[1]), count), np.float32)
        targets, weights = np.empty((2, steps, count), np.float32)
        kernels.gather(
            self._values,
            self._observed,
            self._offsets,
            self._calendar,
            self._calendar_at,
            self._dynamic,
            self._dynamic_at,
            span.lags,
            rows,
            at,
            span.context,
            scale,
            inputs,
            targets,
            weights,
        )
        return Windows(inputs, targets, weights, scale, self.cats[rows])

    def _calendars(self, series: Sequence[Series]) -> tuple[Float32, Int64]:
        """The calendar of all series, those with the same start sharing one, and where each one's begins."""
        span = self.span
        starts = np.array([one.start for one in series], "M8[s]")
        distinct, which = np.unique(starts, return_inverse=True)
        longest = np.zeros(len(distinct), np.int64)
        np.maximum.at(longest, which, self.lengths)
        counts = longest + span.context + span.horizon
        parts = [
            span.frequency.calendar(start, int(count), -span.context)
            for start, count in zip(distinct, counts, strict=True)
        ]
        calendar = np.concatenate(parts) if parts else np.empty((0, span.frequency.width), np.float32)
        return calendar, _offsets(counts)[which]


def _offsets(lengths: Int64) -> Int64:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _filled(values: Float32, offsets: Int64) -> Float32:
    """The same with the value before it in place of one that is missing; 0 where there is none before."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    places = np.arange(len(values))
    last = np.maximum.accumulate(np.where(missing, -1, places))
    first = np.repeat(offsets[:-1], np.diff(offsets))
    return np.where(last >= first, values[last], np.float32(0))


@dataclass(frozen=True, slots=True)
class Epoch:
    """How often an epoch goes through the series, and how likely each time it takes a window of each."""

    passes: int
    probability: float

    @classmethod
    def of(cls, series: int, batch: int) -> Epoch:
        """Ten batches where series are few, else a window of each series."""
        wanted = 10 * batch
        if series >= wanted:
            return cls(1, 1.0)
        passes = -(-wanted // series)
        return cls(passes, wanted / (passes * series))

    def draw(self, lengths: Int64, horizon: int, random: np.random.Generator) -> tuple[Int64, Int64]:
        """Series and points where their forecasts begin, (windows,) each, in random order.

        The whole forecast lies within the series; what is before it may begin before the series does.
        """
        rows = np.concatenate([random.permutation(len(lengths)) for _ in range(self.passes)])
        rows = rows[random.random(len(rows)) < self.probability]
        last = lengths[rows] - horizon
        first = np.minimum(last, 1)  # a point to go by, if there is one
        return rows, random.integers(first, last + 1)
