"""Time steps: from ``5min`` to times, what of the calendar the network sees, and how far back it looks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64

Times = NDArray[np.datetime64]
LONGEST_LAG = 1200

_HOUR, _DAY, _WEEK = 60, 24 * 60, 7 * 24 * 60  # minutes
_MINUTES = {"min": 1, "H": _HOUR, "D": _DAY, "W": _WEEK}
# Seasons: their length in minutes, how many of them back, and how many steps around that point.
_SEASONS = (
    (_HOUR, range(1, 4), 2),
    (_DAY, range(1, 8), 1),
    (_WEEK, range(1, 5), 1),
    (30 * _DAY, range(1, 2), 1),
    (_WEEK, (4, 8, 12), 0),
    (52 * _WEEK, range(1, 4), 1),
)
# How many of a season's lengths are worth a look depends on the unit: those that are longer than it.
_FIRST_SEASON = {"min": 0, "H": 1, "D": 2, "W": 4}
_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Frequency:
    """``multiple`` times ``unit``: M, W, D, H or min."""

    multiple: int
    unit: str

    def times(self, start: np.datetime64, count: int, first: int = 0) -> Times:
        """(count,) datetime64[s], ``first`` steps after ``start`` and on; months are their first days."""
        steps = np.arange(first, first + count, dtype=np.int64) * self.multiple
        if self.unit == "M":
            return (start.astype("M8[M]") + steps).astype("M8[s]")
        return start.astype("M8[s]") + steps * (60 * _MINUTES[self.unit])

    @property
    def width(self) -> int:
        """How many calendar features a step has."""
        return {"min": 5, "H": 4, "D": 3, "W": 2, "M": 1}[self.unit]

    def calendar(self, start: np.datetime64, count: int, first: int = 0) -> Float32:
        """(count, width) calendar features of the same steps, each from -0.5 to 0.5.

        They are those of the developer guide's table: minute of the hour, hour of the day, day of the week,
        of the month and of the year, or day of the month and week of the year, or month of the year.
        """
        times = self.times(start, count, first)
        seconds = times.astype(np.int64)
        days = times.astype("M8[D]")
        weekday = (days.astype(np.int64) + 3) % 7  # 1970 began with a Thursday; Monday is 0
        of_month = _days(days - times.astype("M8[M]").astype("M8[D]")) / 30
        of_year = _days(days - times.astype("M8[Y]").astype("M8[D]")) / 365
        daily = [weekday / 6, of_month, of_year]
        hour = seconds // 3600 % 24 / 23
        features: dict[str, list[Any]] = {
            "min": [seconds // 60 % 60 / 59, hour, *daily],
            "H": [hour, *daily],
            "D": daily,
            "W": [of_month, _week(days, weekday) / 52],
            "M": [times.astype("M8[M]").astype(np.int64) % 12 / 11],
        }
        return np.stack(features[self.unit], axis=1).astype(np.float32) - np.float32(0.5)

    def lags(self) -> Int64:
        """How many steps back the network looks, rising: the last 7, and about the same point of seasons.

        A lag reaches `LONGEST_LAG` steps at most. AWS names only some: for days 1 to 4 weeks and a year, for
        hours 1 to 3 days, weeks and a month. The others are of the same kind.
        """
        found = set(range(1, 8))
        if self.unit == "M":
            middles = [(12 * years // self.multiple, 1) for years in range(1, 4)]
        else:
            step = self.multiple * _MINUTES[self.unit]
            middles = [
                (length * back // step, spread)
                for length, counts, spread in _SEASONS[_FIRST_SEASON[self.unit] :]
                for back in counts
            ]
        for middle, spread in middles:
            found.update(lag for lag in range(middle - spread, middle + spread + 1) if lag > 7)
        return np.array(sorted(lag for lag in found if lag <= LONGEST_LAG), np.int64)


def _days(difference: Any) -> Int64:
    days: Int64 = difference.astype(np.int64)
    return days


def _week(days: Times, weekday: Int64) -> Int64:
    """The week of the year from 0, by ISO 8601: a week belongs to the year of its Thursday."""
    thursday = days - weekday + 3
    return _days(thursday - thursday.astype("M8[Y]").astype("M8[D]")) // 7


def parse(text: str) -> Frequency:
    """Reads ``H``, ``2H``, ``1D``, ``5min``. Raises ValueError for anything else."""
    match = re.fullmatch(r"([0-9]{0,8})(M|W|D|H|min)", text)
    if not match:
        raise ValueError(text)
    multiple = int(match[1] or 1)
    if not 1 <= multiple <= _MOST:
        raise ValueError(text)
    return Frequency(multiple, match[2])
