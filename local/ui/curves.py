"""What a job's log tells: the last lines, the metrics, and the learning curves as pictures."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from markupsafe import Markup

from common.manifest import MetricSpec
from common.report import curves, history, page
from common.report.history import History
from local.ui.folders import LOG
from local.ui.jobs import RUNNING, Job, algorithm_of

TAIL = 500  # lines
_LONGEST = 16 << 20  # bytes of a log that are read for its metrics: the last ones
_TAIL_BYTES = 512 << 10
_OBJECTIVE = "_tuning_objective_metric"
# A log that grows is looked at anew after so many times the time that the last look took: the machine is
# for the job.
_PATIENCE = 10
# Matplotlib's settings are the process's.
_drawing = threading.Lock()

Stamp = tuple[int, int]  # of a file: its size and when it was changed
_looks: dict[Path, tuple[Stamp, float]] = {}  # the last one's, and until when it will do


def drawn(paint: Callable[[], str]) -> Markup:
    """A chart of ours as HTML, one at a time; a sentence for numbers that have no chart."""
    with _drawing, np.errstate(all="ignore"):
        try:
            return Markup(paint())
        except (ValueError, ArithmeticError):  # Matplotlib's, for what is too large for an axis
            return Markup('<p class="soft">These numbers are too large for a chart.</p>')


def tail(job: Job) -> str:
    """The log's last lines."""
    log = job.file(LOG)
    return "" if log is None else "\n".join(_end(log, _TAIL_BYTES).splitlines()[-TAIL:])


def told(job: Job) -> History:
    """The metrics of the log so far."""
    log = job.file(LOG)
    return History() if log is None else _read(log, _stamp(job, log), job.algorithm)


def figures(job: Job) -> Markup:
    """The learning curves so far, side by side."""
    log = job.file(LOG)
    return Markup("") if log is None else _figures(log, _stamp(job, log), job.algorithm)


def objective(job: Job) -> tuple[str, float] | None:
    """The metric that counts most of those the job has printed, and its last value."""
    values = {name: value for name, value, _ in finals(job)}
    wanted = [job.hyperparameters.get(_OBJECTIVE, ""), *_objectives(job.algorithm)]
    name = next((one for one in wanted if one in values), next(iter(values), None))
    return None if name is None else (name, values[name])


def finals(job: Job) -> list[tuple[str, float, str]]:
    """Each metric's name, last value and meaning."""
    return curves.finals(told(job), _metrics(job.algorithm))


def _metrics(algorithm: str) -> tuple[MetricSpec, ...]:
    found = algorithm_of(algorithm)
    return found.metrics if found else ()


def _objectives(algorithm: str) -> list[str]:
    return [metric.name for metric in _metrics(algorithm) if metric.tuning_objective]


def _stamp(job: Job, log: Path) -> Stamp:
    """What changes when the log does, or for a running job some time after."""
    stamp, until = _looks.get(log, ((0, 0), 0.0))
    if job.status == RUNNING and time.monotonic() < until:
        return stamp
    status = log.stat()
    return status.st_size, status.st_mtime_ns


def _looked(log: Path, stamp: Stamp, began: float) -> None:
    now = time.monotonic()
    _looks[log] = stamp, now + _PATIENCE * (now - began)


def _end(path: Path, most: int) -> str:
    """A file's last bytes as text, from the beginning of a line."""
    with path.open("rb") as file:
        skipped = max(0, path.stat().st_size - most)
        file.seek(skipped)
        text = file.read(2 * most).decode(errors="replace")
    return text.partition("\n")[2] if skipped else text


@functools.lru_cache(512)
def _read(log: Path, stamp: Stamp, algorithm: str) -> History:
    began = time.monotonic()
    try:
        return history.read(_end(log, _LONGEST).splitlines(), _metrics(algorithm))
    finally:
        _looked(log, stamp, began)


@functools.lru_cache(64)
def _figures(log: Path, stamp: Stamp, algorithm: str) -> Markup:
    began = time.monotonic()
    shown = drawn(lambda: _shown(_read(log, stamp, algorithm), algorithm))
    _looked(log, stamp, began)
    return shown


def _shown(found: History, algorithm: str) -> str:
    charts = curves.drawn(found, _metrics(algorithm))
    return page.figures(*charts) if charts else ""
