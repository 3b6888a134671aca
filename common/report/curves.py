"""A job's metrics as pages show them: learning curves by measure, and what each came to."""

from __future__ import annotations

from collections.abc import Sequence

from common.manifest import MetricSpec
from common.report import charts, page
from common.report.history import Curve, History

_CHARTS = 12


def name(channel: str, measure: str) -> str:
    """A metric's name as manifests have it."""
    return f"{channel}:{measure}" if channel else measure


def drawn(found: History, metrics: Sequence[MetricSpec]) -> list[tuple[str, str]]:
    """A chart and its caption for each measure, a line a channel; what can be tuned for comes first."""
    objectives = {metric.name for metric in metrics if metric.tuning_objective}
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in found.curves:
        groups.setdefault((curve.measure, curve.unit), []).append(curve)

    def last(group: tuple[tuple[str, str], list[Curve]]) -> bool:
        return not any(name(curve.channel, curve.measure) in objectives for curve in group[1])

    return [_drawn(*group, curves) for group, curves in sorted(groups.items(), key=last)[:_CHARTS]]


def finals(found: History, metrics: Sequence[MetricSpec]) -> list[tuple[str, float, str]]:
    """Each metric's name, last value and meaning."""
    meanings = {metric.name: metric.meaning for metric in metrics}
    rows = [(name(*place), value) for place, value in found.finals.items()]
    return [(shown, value, meanings.get(shown, "")) for shown, value in rows]


def best(found: History, metrics: Sequence[MetricSpec]) -> dict[str, str]:
    """The best value of each metric that has one curve and a direction, and where it was."""
    ends = {"Minimize": min, "Maximize": max}
    directions = {metric.name: ends[metric.direction] for metric in metrics if metric.direction in ends}
    told = {}
    for curve in found.curves:
        shown = name(curve.channel, curve.measure)
        if shown in directions and curve.xs == sorted(curve.xs):
            value = directions[shown](curve.ys)
            place = f"{curve.unit} {int(curve.xs[curve.ys.index(value)])}"
            told[shown] = f"{page.number(value)} ({place})".replace(" ", "\N{NO-BREAK SPACE}")
    return told


def _drawn(measure: str, unit: str, curves: Sequence[Curve]) -> tuple[str, str]:
    title = f"{measure} by {unit}"
    series = {curve.channel or measure: (curve.xs, curve.ys) for curve in curves}
    only = curves[0].channel if len(curves) == 1 else ""
    chart = charts.lines(title, series, unit, measure, whole=True)
    return chart, f"{title}, {only}" if only else title
