"""A job's log lines as curves and numbers."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from common.manifest import MetricSpec

# "[11/30/2026 10:00:00 INFO 1234] " before AWS's lines.
PREFIX = re.compile(r"^\[[^\]]* (?P<level>[A-Z]+) \d+\] (?P<text>.*)")
QUALITY = re.compile(
    r"#quality_metric: host=(?P<host>[^,\s]+),(?: epoch=(?P<epoch>\d+),)?(?: batch=(?P<batch>\d+))? "
    r"(?P<channel>\S+) (?P<measure>.+) <(?:loss|score)>=(?P<value>\S+)"
)
ROUND = re.compile(r"^\[(?P<round>\d+)\](?P<scores>(?:\s\S+:\S+)+)$")
_EPOCH = re.compile(r"[Ee]poch[\[= ]+(\d+)")
THROUGHPUT = re.compile(
    r"#throughput_metric: host=(?P<host>[^,\s]+),.*? throughput=(?P<value>\S+) records/second"
)
PROGRESS = re.compile(r"#progress_metric: host=\S+ completed (?P<value>\S+) %")


@dataclass
class Curve:
    """A measure of a channel over a job; ``unit`` is what ``xs`` count."""

    channel: str
    measure: str
    unit: str
    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)


@dataclass
class History:
    """What a job's lines tell.

    ``finals`` has the last value of each (channel, measure), ``timers`` seconds by name, ``rows`` the most
    records that each data iterator has counted, ``epochs`` how many were seen, ``throughput`` records a
    second of each epoch, ``progress`` percents.
    """

    curves: list[Curve] = field(default_factory=list)
    finals: dict[tuple[str, str], float] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    epochs: int = 0
    throughput: list[float] = field(default_factory=list)
    progress: float | None = None
    warnings: list[str] = field(default_factory=list)


def read(lines: Iterable[str], metrics: Sequence[MetricSpec]) -> History:
    """Reads log lines with the metrics of a manifest, as SageMaker finds them, and AWS's own forms."""
    return _Reader(metrics).read(lines)


class _Reader:
    def __init__(self, metrics: Sequence[MetricSpec]) -> None:
        self._history = History()
        self._curves: dict[tuple[str, str, str], Curve] = {}
        self._unnumbered: set[tuple[str, str]] = set()  # of batches, of which no epoch is told
        self._patterns = [
            (*_named(metric.name), re.compile(metric.regex))
            for metric in metrics
            # Those of AWS's own forms are read without their names.
            if not re.match(r"#(quality|progress|throughput)_metric", metric.regex)
        ]

    def read(self, lines: Iterable[str]) -> History:
        for line in lines:
            # A user's own program may print what only looks like a metric.
            with suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                self._line(line)
        history = self._history
        for curve in [*self._curves.values()]:
            if curve.unit == "batch":
                self._batches(curve)
            elif curve.unit == "round":
                _without_means(curve)
        for curve in self._curves.values():
            if curve.unit in ("epoch", "round"):
                # Some algorithms count from one.
                history.epochs = max(history.epochs, int(max(curve.xs)) + (min(curve.xs) != 1))
            if curve.unit == "epoch" and curve.xs == sorted(curve.xs):
                _spread(curve)
        history.curves = [curve for curve in self._curves.values() if len(set(curve.xs)) > 1]
        return history

    def _batches(self, curve: Curve) -> None:
        """Batches count where no epoch has a line of its own; one batch an epoch tells of the epoch."""
        if (curve.channel, curve.measure, "epoch") in self._curves:
            del self._curves[curve.channel, curve.measure, "batch"]
        elif (curve.channel, curve.measure) not in self._unnumbered and len(set(curve.xs)) == len(curve.xs):
            curve.unit = "epoch"
            self._history.finals[curve.channel, curve.measure] = curve.ys[-1]
        else:
            curve.xs = [float(place) for place in range(len(curve.xs))]

    def _line(self, line: str) -> None:
        if line.startswith("#metrics "):
            self._metrics(line)
            return
        match = PREFIX.match(line)
        text = match["text"] if match else line
        if match and match["level"] in ("WARNING", "ERROR"):
            self._history.warnings.append(text)
        elif found := QUALITY.search(text):
            self._quality(found)
        elif found := THROUGHPUT.search(text):
            self._history.throughput.append(float(found["value"]))
        elif found := PROGRESS.search(text):
            self._history.progress = float(found["value"])
        elif found := ROUND.match(text):
            for score in found["scores"].split():
                name, value = score.rsplit(":", 1)
                channel, _, measure = name.partition("-")
                self._add(channel, measure, value.partition("+")[0], "round", int(found["round"]))
        else:
            self._searched(text)

    def _quality(self, found: re.Match[str]) -> None:
        unit = "batch" if found["batch"] is not None else "epoch" if found["epoch"] is not None else ""
        x = int(found["epoch"]) if found["epoch"] is not None else None
        if x is None:
            self._unnumbered.add((found["channel"], found["measure"]))
        self._add(found["channel"], found["measure"], found["value"], unit, x)

    def _searched(self, text: str) -> None:
        for channel, measure, pattern in self._patterns:
            if found := pattern.search(text):
                epoch = _EPOCH.search(text)
                x = int(epoch[1]) if epoch else None
                self._add(channel, measure, found[1], "epoch" if epoch else "observation", x)

    def _add(self, channel: str, measure: str, written: str, unit: str, x: int | None) -> None:
        value = float(written.strip("(),;"))  # a mean of several classes comes in brackets
        if unit != "batch":
            self._history.finals[channel, measure] = value
        if not unit or not math.isfinite(value):
            return
        curve = self._curves.setdefault((channel, measure, unit), Curve(channel, measure, unit))
        if x is not None and unit == "epoch" and curve.xs and (curve.xs[-1], curve.ys[-1]) == (x, value):
            return  # told once more at the end
        curve.xs.append(len(curve.xs) if x is None else x)
        curve.ys.append(value)

    def _metrics(self, line: str) -> None:
        found: dict[str, Any] = json.loads(line.removeprefix("#metrics "))
        metrics, dimensions = found["Metrics"], found["Dimensions"]
        for name, summary in metrics.items():
            if name.endswith("time"):
                self._history.timers[name] = self._history.timers.get(name, 0.0) + summary["sum"] / 1000
            elif name == "epochs":
                self._history.epochs = max(self._history.epochs, int(summary["count"]))
            elif name == "Max Records Seen Between Resets":
                meta = str(dimensions.get("Meta", "data"))
                rows = max(self._history.rows.get(meta, 0), int(summary["max"]))
                if rows:
                    self._history.rows[meta] = rows


def _without_means(curve: Curve) -> None:
    """Leaves out the means that XGBoost tells after the folds of a cross-validation, a round further."""
    last = max(curve.xs)
    folds_before = curve.xs[: curve.xs.index(last)].count(0)
    if folds_before > 1:
        kept = [place for place, x in enumerate(curve.xs) if x != last]
        curve.xs, curve.ys = [curve.xs[place] for place in kept], [curve.ys[place] for place in kept]


def _spread(curve: Curve) -> None:
    """Several values of an epoch, as checkpoints have them, at even places of it."""
    many, seen = Counter(curve.xs), Counter[float]()
    for place, x in enumerate(curve.xs):
        curve.xs[place] = x + seen[x] / many[x]
        seen[x] += 1


def _named(metric: str) -> tuple[str, str]:
    channel, colon, measure = metric.partition(":")
    return (channel, measure) if colon else ("", metric)
