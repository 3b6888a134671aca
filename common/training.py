"""The `train` program: job -> rules -> algorithm -> model; or a failure file and exit code 1."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import instances, job, manifest
from common.failures import EXIT_CODE, AlgorithmError, ClientError, describe
from common.hyperparameters import Values
from common.job import Job
from common.manifest import Manifest
from common.metrics import Metrics, log, set_up_logging
from common.report import tape
from common.stopping import Stop, ignore

if TYPE_CHECKING:
    from common.channels import Channel
    from common.cluster import Cluster
    from common.report.tape import Tape

# What needs numpy is imported once a request to stop can be heard: as process 1 nothing hears it before.

DEVICES = "ALGODOCK_DEVICES"  # torch's names with commas between them, in place of what is found

REPORT = "report"  # name of the thread that draws
_TELL_SECONDS = 10  # how long a host that can't begin waits for the others to come and hear why


@dataclass
class Run:
    """A job under way: all that an algorithm's ``train(run)`` needs."""

    job: Job
    manifest: Manifest
    hyperparameters: Values
    channels: dict[str, Channel]
    cluster: Cluster
    metrics: Metrics
    stop: Stop
    devices: tuple[str, ...]  # ("cpu",), ("cuda",) or, where all are used, ("cuda:0", "cuda:1", ...)
    threads: int
    seed: int
    kept: dict[str, Any] = field(default_factory=dict)  # what an algorithm leaves for its report
    _started: float = field(default_factory=time.perf_counter)

    def epochs(self, count: int) -> Iterator[int]:
        """Counts epochs from 0 until ``count``, or until any host is asked to stop."""
        for epoch in range(count):
            if self.cluster.any(self.stop.requested):
                log.info("Stopping on request after %d epochs", epoch)
                return
            yield epoch

    @property
    def device(self) -> str:
        """The first of ``devices``, or the only one."""
        return self.devices[0]

    @property
    def train(self) -> Channel:
        """The training channel."""
        return self.channels["train"]

    @contextmanager
    def artifact(self, name: str) -> Iterator[Path]:
        """Yields a temporary path; what is written there becomes ``name`` in model.tar.gz. Leader only."""
        with job.written(self.job.model / name) as path, self.metrics.timed("model.serialize.time"):
            yield path


def main() -> None:
    """Trains as /opt/ml says. Exit code 0 with a model, or 1 with the reason in output/failure."""
    code = train(job.root())
    ignore()
    if any(thread.name == REPORT for thread in threading.enumerate()):
        # Pictures that took too long are being drawn yet; libraries abort where a thread outlives Python.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def train(root: Path) -> int:
    """Trains the job in the folder ``root`` and returns the exit code."""
    with tape.recording() as lines:
        return _recorded(root, lines)


def _recorded(root: Path, lines: Tape | None) -> int:
    set_up_logging()
    stop = Stop()
    stop.listen()
    try:
        # Of an earlier run in the same folder, which people repeat until it works.
        for left in ("failure", "data/report.html"):
            with suppress(OSError):
                (root / "output" / left).unlink()
        _train(root, stop, lines)
    except ClientError as error:
        return _fail(root, error)
    except OSError as error:
        place = error.filename or "a file"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(root, AlgorithmError(f"the disk is full: {place} can't be written"))
        # Elsewhere than in the job's folder it isn't the user's doing.
        if error.errno in (errno.EACCES, errno.EROFS) and Path(place).is_relative_to(root):
            user = os.geteuid()
            return _fail(root, ClientError(f"user {user} can't read or write {place}: {error.strerror}"))
        log.exception("the algorithm failed")
        return _fail(root, error)
    except Exception as error:
        if not isinstance(error, AlgorithmError):
            log.exception("the algorithm failed")
        return _fail(root, error)
    return 0


def _train(root: Path, stop: Stop, lines: Tape | None) -> None:
    from common import cluster

    started = time.perf_counter()
    log.info("Docker entrypoint called with argument(s): train")
    log.info("Running default environment configuration script")
    described = job.read(root)
    try:
        run = _checked(described, stop)
    except Exception as error:
        _record(root, error)  # now: telling the others may take a while
        with suppress(ClientError, AlgorithmError):
            cluster.join(described.hosts, stop, _TELL_SECONDS).close(error)
        raise
    run.cluster = cluster.join(described.hosts, stop)
    run.metrics.add("setuptime", (time.perf_counter() - started) * 1000)
    try:
        run.manifest.module("train").train(run)
        # A host that is done early must not look lost to those that still work.
        run.cluster.any(False)
    except BaseException as error:
        run.cluster.close(error)
        if isinstance(error, Exception):
            _record(root, error)  # now: drawing takes a second
            _report(run, lines, started, error)
        raise
    run.cluster.close()
    if "test" not in run.channels and any(channel.name == "test" for channel in run.manifest.channels):
        log.info("Test data is not provided.")
    run.metrics.add("totaltime", (time.perf_counter() - started) * 1000)
    run.metrics.flush()
    _report(run, lines, started)


def _report(run: Run, lines: Tape | None, started: float, error: BaseException | None = None) -> None:
    if lines is None:
        return
    ignore()  # what the job was for is done
    try:
        from common.report import writing  # Matplotlib takes a second to import
    except ImportError as missing:
        log.warning("The report can't be made: %s", missing)
        return
    failure = None if error is None else describe(error)
    writing.write(run, lines.lines, time.perf_counter() - started, failure)


def another(root: Path, stop: Stop) -> Run:
    """The run as a process of another device of the same host has it; what is wrong was told already."""
    set_up_logging("error")
    try:
        return _checked(job.read(root), stop)
    finally:
        set_up_logging()


def _checked(described: Job, stop: Stop) -> Run:
    """All that can be known to be right before hosts meet and data are read. Raises ClientError."""
    from common.channels import open_channels
    from common.cluster import Cluster

    found = manifest.current()
    values = _resolve(found, described)
    if described.hosts.rank == 0:
        job.check_writable(described.model)
    instances.check(found.training, described.hosts.instance_type, len(described.hosts.names), found.name)
    return Run(
        job=described,
        manifest=found,
        hyperparameters=values,
        channels=open_channels(described, found, stop),
        cluster=Cluster(described.hosts),
        metrics=Metrics(found.metrics_name, described.hosts.current),
        stop=stop,
        devices=_devices(found, described),
        threads=instances.threads(),
        seed=_seed(),
    )


def _resolve(found: Manifest, described: Job) -> Values:
    declaration = found.declaration()
    folder = manifest.CONTAINERS / found.folder
    log.info(
        "Reading default configuration from %s: %s",
        folder / "hyperparameters.py",
        json.dumps(declaration.defaults()),
    )
    log.info(
        "Merging with provided configuration from %s: %s",
        described.root / "input" / "config" / "hyperparameters.json",
        json.dumps(described.hyperparameters),
    )
    values = declaration.resolve(described.hyperparameters)
    log.info("Final configuration: %s", json.dumps({**values, **values.internal}))
    set_up_logging(str(values.get("_log_level") or values.internal.get("_log_level", "info")))
    for sentence in declaration.without_effect(values):
        log.warning(sentence)
    return values


def _devices(found: Manifest, described: Job) -> tuple[str, ...]:
    """GPUs where they are present, and rules and instance type allow them; or those that a variable names."""
    named = tuple(name.strip() for name in os.environ.get(DEVICES, "").split(",") if name.strip())
    if named and found.training.gpus == "all":
        return named
    instance = described.hosts.instance_type
    kind = instances.parse(instance).device if instance and not instance.startswith("local") else None
    allowed = "gpu" in found.training.devices and kind != "cpu"
    present = instances.gpus_present() if allowed else 0
    used = present if found.training.gpus == "all" else min(present, 1)
    log.info("Number of GPUs being used: %d", used)
    if used:
        return ("cuda",) if used == 1 else tuple(f"cuda:{number}" for number in range(used))
    if found.training.devices == ("gpu",):
        log.warning("No GPU is present: %s trains on the CPU, slowly", found.name)
    return ("cpu",)


def _seed() -> int:
    written = os.environ.get("ALGODOCK_SEED", "0")
    if not written.isascii() or not written.isdigit() or int(written) >= 1 << 32:
        raise ClientError(f"ALGODOCK_SEED is '{written}'; accepted: an integer from 0 to 4294967295")
    return int(written)


def _fail(root: Path, error: BaseException) -> int:
    log.error(describe(error))
    _record(root, error)
    return EXIT_CODE


def _record(root: Path, error: BaseException) -> None:
    try:
        with job.written(root / "output" / "failure") as path:
            path.write_text(describe(error), "utf-8")
    except OSError as trouble:
        log.error("the failure file can't be written: %s", trouble)
