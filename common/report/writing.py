"""Makes the report of a job that has ended; nothing of it can fail the job, or hold it up for long."""

from __future__ import annotations

import os
import platform
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from common import job
from common.metrics import log
from common.report import charts, curves, history, page
from common.report.history import History
from common.report.page import Section
from common.training import REPORT, Run

NAME = "report.html"
SECONDS = "ALGODOCK_REPORT_SECONDS"  # for what is an algorithm's own; what isn't there by then is left out
_SECONDS = 6.0
_LARGEST = 1 << 29  # bytes of a model that is opened a second time, beside what training still holds
_PACKAGES = ("numpy", "numba", "torch", "xgboost", "xgboost-cpu", "faiss-cpu", "ray")


def write(run: Run, lines: Sequence[str], seconds: float, failure: str | None = None) -> None:
    """Writes output/data/report.html of the leader's job, which took ``seconds`` and ended well or didn't.

    ``lines`` are the job's log lines. A report that can't be made is told in the log as a warning.
    """
    if not run.cluster.leader:
        return
    try:
        found = history.read(lines, run.manifest.metrics)
        own, missing = ([], None) if failure else _own(run)
        parts = [*_metrics(run, found), *own, *_about(run, found, seconds)]
        head = _head(run, found, seconds, failure, missing)
        with job.written(run.job.output / NAME) as path:
            path.write_text(page.document(f"{run.manifest.title}: training report", head, parts), "utf-8")
    except Exception as error:
        log.warning("The report can't be written: %s: %s", type(error).__name__, error)


def _own(run: Run) -> tuple[list[Section], str | None]:
    """The algorithm's own sections, made aside until their time is over; and why some are missing."""
    size = _measured(run.job.model)[1]
    if size > _LARGEST:
        return [], f"the model has {amount(size)}, too much to be opened a second time"
    sections: list[Section] = []
    trouble: list[str] = []

    def make() -> None:
        try:
            sections.extend(_sections(run))
        except Exception as error:
            log.debug("the report's sections", exc_info=error)
            trouble.append(f"{type(error).__name__}: {error}")

    seconds = _patience()
    thread = threading.Thread(target=make, name=REPORT, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return list(sections), f"the time for pictures, {seconds:g} seconds, was over"
    return sections, trouble[0] if trouble else None


def _patience() -> float:
    try:
        return max(0.0, float(os.environ.get(SECONDS, _SECONDS)))
    except ValueError:
        return _SECONDS


def _sections(run: Run) -> Iterator[Section]:
    if not any(run.job.model.iterdir()):
        return
    try:
        module = run.manifest.module("report")
    except ModuleNotFoundError as error:
        if error.name != f"containers.{run.manifest.folder}.report":
            raise
        return
    yield from module.sections(run)


def _head(run: Run, found: History, seconds: float, failure: str | None, missing: str | None) -> str:
    glance: dict[str, object] = {
        "status": "failed" if failure else "stopped" if run.stop.requested else "completed"
    }
    for metric in run.manifest.metrics:
        channel, _, measure = metric.name.partition(":")
        if metric.tuning_objective and (channel, measure) in found.finals and len(glance) < 4:
            glance[metric.name] = found.finals[channel, measure]
    glance["time"] = duration(seconds)
    if found.epochs:
        glance["rounds" if any(curve.unit == "round" for curve in found.curves) else "epochs"] = found.epochs
    trained = max((rows for meta, rows in found.rows.items() if "train" in meta), default=0)
    if trained:
        glance["rows an epoch"] = trained
    if found.throughput:
        glance["rows a second"] = _rate(max(found.throughput))
    told = [page.paragraph(f"{run.manifest.summary}", "soft"), page.facts(glance)]
    if failure:
        told.append(page.paragraph(failure, "failure"))
    if missing:
        told.append(page.paragraph(f"Not all pictures are here: {missing}.", "soft"))
    return "".join(told)


def _metrics(run: Run, found: History) -> Iterator[Section]:
    drawn = curves.drawn(found, run.manifest.metrics)
    if drawn:
        yield Section("Learning curves", [page.figures(*drawn)])
    rows = curves.finals(found, run.manifest.metrics)
    if rows:
        best = curves.best(found, run.manifest.metrics)
        middle = ["best value"] if best else []
        told = [(shown, value, *(best.get(shown) for _ in middle), meaning) for shown, value, meaning in rows]
        yield Section("Metrics", [page.table(["metric", "last value", *middle, "meaning"], told)])


def _about(run: Run, found: History, seconds: float) -> Iterator[Section]:
    """What every job has: data, hyperparameters, timings, host, warnings."""
    if run.channels:
        head = ["channel", "content type", "mode", "distribution", "files", "size"]
        yield Section("Data", [page.table(head, _channels(run))])
    values = run.hyperparameters
    rows = [
        (name, _plain(run.job.hyperparameters.get(name)), _plain(value))
        for name, value in sorted(
            {**values, **values.internal}.items(), key=lambda item: item[0] not in values.given
        )
    ]
    yield Section(
        "Hyperparameters",
        [page.table(["name", "given", "used"], rows)],
        "Those that were given come first; where nothing was, the default is used.",
    )
    yield from _timings(found)
    yield Section(
        "Host and device",
        [page.table(["what", ""], [(name, str(told)) for name, told in _host(run, seconds).items()])],
    )
    if found.warnings:
        yield Section(
            "Warnings", [page.table(["line"], [(line,) for line in dict.fromkeys(found.warnings[:50])])]
        )


def _timings(found: History) -> Iterator[Section]:
    parts = []
    if len(found.throughput) > 1:
        drawn = charts.lines(
            "rows a second",
            {"train": (range(len(found.throughput)), found.throughput)},
            "epoch",
            "rows a second",
            whole=True,
        )
        parts.append(page.figures((drawn, "Rows a second, by epoch")))
    if found.timers:
        longest = sorted(found.timers.items(), key=lambda item: -item[1])
        parts.append(page.table(["timer", "seconds"], [(name, float(round(s, 4))) for name, s in longest]))
    if parts:
        yield Section("Timings", parts)


def _channels(run: Run) -> Iterator[tuple[object, ...]]:
    for channel in run.channels.values():
        files, size = (None, None) if channel.piped else _measured(channel.folder)
        config = channel.config
        how = (channel.name, str(channel.media_type), config.input_mode, config.distribution)
        yield *how, files, None if size is None else amount(size)


def _measured(folder: Path) -> tuple[int, int]:
    """How many files a folder has, and their bytes."""
    sizes = []
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            with suppress(OSError):
                sizes.append(os.stat(os.path.join(place, name)).st_size)
        if len(sizes) > 100_000:
            break
    return len(sizes), sum(sizes)


def _host(run: Run, seconds: float) -> dict[str, object]:
    hosts = run.job.hosts
    told: dict[str, object] = {
        "host": f"{hosts.current} of {len(hosts.names)}",
        "instance type": hosts.instance_type or "not told",
        "device": ", ".join(run.devices),
        "threads": run.threads,
        "memory used at most": amount(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
        "time": duration(seconds),
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            told[package] = metadata.version(package)
    told["seed"] = run.seed
    return told


def _rate(value: float) -> float:
    return float(round(value)) if value >= 10 else float(f"{value:.2g}")


def duration(seconds: float) -> str:
    """``0.8 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def amount(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        written = ", ".join(map(str, value))
    else:
        written = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return charts.shortened(written, 200)
