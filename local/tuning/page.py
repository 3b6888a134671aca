"""A tuning on one self-contained page: the best trial, the history, what mattered, every trial."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from local.tuning.describing import ranked
from local.tuning.importance import importances
from local.tuning.request import Tuning
from local.tuning.trials import FAILED, STOPPED, Trial

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 260, 64, 28
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #68717d; --line: #d5dae0;
        --mark: #0b66c3; --best: #c2570c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171b; --soft: #9aa4b0;
        --line: #363d46; --mark: #6cb2ff; --best: #ffa35c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.dot { fill: var(--mark); } .dot.stopped { fill: none; stroke: var(--mark); stroke-width: 1.5; }
.dot.best { fill: var(--best); }
.step { fill: none; stroke: var(--best); stroke-width: 1.5; } .axis { stroke: var(--line); }
.bar { fill: var(--mark); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
         white-space: nowrap; } th { color: var(--soft); font-weight: 600; }
"""


def page(tuning: Tuning, trials: Sequence[Trial], status: str, seconds: float) -> str:
    """The page as HTML."""
    objective = tuning.objective
    best = objective.best(trials)
    want = "as large" if objective.maximize else "as small"
    head = (
        f"<p>{tuning.strategy} search for {_text(objective.metric)} {want} as possible with "
        f"{_text(tuning.algorithm.title)}: {len(trials)} trials in {seconds:.0f} s, {_text(status)}.</p>"
    )
    told = f"<h2>Best trial</h2>{_best(best)}" if best else "<p>No trial has printed the objective.</p>"
    parts = [f"<h1>{_text(tuning.name)}</h1>", head, told]
    if best:
        parts.append("<h2>History</h2>" + _history(tuning, trials, best))
    shares = importances(tuning.ranges, trials)
    if shares:
        parts.append(
            "<h2>What mattered</h2><p>Share of the objective's variance that each explains alone.</p>"
            + _bars(shares)
        )
    parts.append("<h2>Trials</h2>" + _table(tuning, trials))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(tuning.name)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _text(text: object) -> str:
    return html.escape(str(text))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _best(trial: Trial) -> str:
    rows = [("objective", _number(trial.objective)), ("trial", trial.name), *trial.values.items()]
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f'<div class="wide"><table>{cells}</table></div>'


def _history(tuning: Tuning, trials: Sequence[Trial], best: Trial) -> str:
    """Each trial's objective, and the best so far as a line."""
    points = [
        (number, trial.objective, trial)
        for number, trial in enumerate(trials)
        if trial.objective is not None and math.isfinite(trial.objective) and trial.status != FAILED
    ]
    low, high = min(value for _, value, _ in points), max(value for _, value, _ in points)
    room = (high - low) or abs(high) or 1.0
    low, high = low - 0.05 * room, high + 0.05 * room

    def x(number: float) -> float:
        return _LEFT + (number + 0.5) / len(trials) * (_WIDTH - _LEFT - 10)

    def y(value: float) -> float:
        return 10 + (high - value) / (high - low) * (_HEIGHT - _BOTTOM - 10)

    parts = []
    for value in (low + (high - low) * share for share in (0.05, 0.5, 0.95)):
        parts.append(
            f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    parts.append(
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 6}" text-anchor="end">trial 1 to {len(trials)}</text>'
    )
    path, leading = "", None
    for number, value, _ in points:
        if leading is None:
            path, leading = f"M{x(number):.1f} {y(value):.1f}", value
        elif tuning.objective.better(value, leading):
            path += f"L{x(number):.1f} {y(leading):.1f}L{x(number):.1f} {y(value):.1f}"
            leading = value
    if leading is not None:
        path += f"L{_WIDTH - 10} {y(leading):.1f}"
    parts.append(f'<path class="step" d="{path}"/>')
    for number, value, trial in points:
        kind = "best" if trial is best else "stopped" if trial.status == STOPPED else ""
        parts.append(
            f'<circle class="dot {kind}" cx="{x(number):.1f}" cy="{y(value):.1f}" r="4">'
            f"<title>{_text(trial.name)}: {_number(value)}</title></circle>"
        )
    return _svg(_HEIGHT, "objective by trial", parts)


def _bars(shares: dict[str, float]) -> str:
    rows = []
    for row, (name, share) in enumerate(shares.items()):
        top = 6 + 26 * row
        rows.append(
            f'<text x="170" y="{top + 13}" text-anchor="end">{_text(name[:26])}</text>'
            f'<rect class="bar" x="180" y="{top}" width="{share * 400:.1f}" height="18" rx="2"/>'
            f'<text x="{188 + share * 400:.1f}" y="{top + 13}">{share:.0%}</text>'
        )
    return _svg(26 * len(shares) + 6, "importances", rows)


def _svg(height: int, label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _table(tuning: Tuning, trials: Sequence[Trial]) -> str:
    names = [one.name for one in tuning.ranges]
    head = "".join(
        f"<th>{_text(name)}</th>" for name in ["trial", tuning.objective.metric, *names, "status", "seconds"]
    )
    rows = []
    for trial in ranked(tuning.objective, trials):
        seconds = "" if trial.ended is None else f"{trial.ended - trial.created:.1f}"
        cells = [
            trial.name,
            _number(trial.objective),
            *(trial.values.get(name, "") for name in names),
            trial.status,
            seconds,
        ]
        rows.append("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
