"""A local training job from start to end: lay out, feed, run, watch, pack."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from common import content_types
from common.failures import ClientError
from common.formats import Layout, decode
from local import inputs, storage
from local.checkpoints import Checkpoints
from local.jobs import ChannelSource, Ending, Host, JobSpec, lay_out, pack, told_by_ending
from local.runtimes import Running, Runtime
from local.watching import end, watch


def train(
    spec: JobSpec, runtime: Runtime, screen: IO[str], stopped: Callable[[], bool] = lambda: False
) -> int:
    """Runs the job and returns its exit code; results and the log lie in ``spec.output``.

    ``stopped`` tells whether whoever runs the job has asked its hosts to stop; an interrupt does so anyway.
    """
    spec = with_feature_dim(spec)
    with alone(spec.output):
        try:
            hosts = lay_out(spec, runtime.host_names(spec.host_count))
            # Around all the rest: results are packed also when the checkpoints can't be kept.
            with _checkpoints(spec, hosts):
                return _ended(spec, runtime, hosts, screen, stopped)
        finally:
            shutil.rmtree(storage.downloads(spec.output), ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes the folder of a job or a tuning and holds it. Raises ClientError while another run does."""
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that has no locks
            _lock(held, folder)
        yield
    finally:
        os.close(held)


def _lock(held: int, folder: Path) -> None:
    try:
        # The system's, which ends with the process however that ends, and leaves no file.
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ClientError(
            f"another run writes to {folder}; accepted: another --output, or this one once that has ended"
        ) from None


def _ended(
    spec: JobSpec, runtime: Runtime, hosts: Sequence[Host], screen: IO[str], stopped: Callable[[], bool]
) -> int:
    """The exit code, once the results are packed: also where the data broke off."""
    ending = Ending(None)
    try:
        ending = _run(spec, runtime, hosts, screen)
    except KeyboardInterrupt:
        ending = Ending(None, stopped=True)
        raise
    finally:
        for host in hosts:
            # Links to the user's files: what is left in the job's folder is the job's alone.
            shutil.rmtree(host.root / "input" / "data", ignore_errors=True)
        pack(spec, hosts, replace(ending, stopped=ending.stopped or stopped()))
    return ending.code or 0


def _checkpoints(spec: JobSpec, hosts: Sequence[Host]) -> AbstractContextManager[object]:
    if not isinstance(spec.checkpoints, str):
        return nullcontext()
    return Checkpoints(spec.checkpoints, [host.root / "checkpoints" for host in hosts])


def _run(spec: JobSpec, runtime: Runtime, hosts: Sequence[Host], screen: IO[str]) -> Ending:
    running: list[Running] = []
    failures: list[Exception] = []

    def give_up(error: Exception) -> None:
        # The job would wait for data that don't come; leaving the feeder's block tells why.
        failures.append(error)
        for host in running:
            host.stop()

    with ExitStack() as stack:
        stack.callback(runtime.close)
        for host in hosts:
            for channel, stream in host.streams.items():
                stack.enter_context(stream.feeder(host.root / "input" / "data", channel, give_up))
        running += runtime.start(spec.manifest, hosts, spec.environment)
        if failures:  # while hosts were being started
            give_up(failures[0])
        heard = _Heard()
        try:
            code = watch([_Watched(host, heard) for host in running], spec.output / "train.log", screen)
        except BaseException:
            end(running)
            raise
    return Ending(code, heard.first == "stop")


class _Heard:
    """What came first: a request to stop, or a host that failed, whereupon the others are asked to stop."""

    first = ""

    def of(self, what: str) -> None:
        self.first = self.first or what


class _Watched:
    """A host, and what is heard of it."""

    def __init__(self, host: Running, heard: _Heard) -> None:
        self._host, self._heard = host, heard

    def lines(self) -> Iterator[str]:
        return self._host.lines()

    def stop(self) -> None:
        self._heard.of("stop")
        self._host.stop()

    def kill(self) -> None:
        self._heard.of("stop")
        self._host.kill()

    def wait(self) -> int:
        code = self._host.wait()
        if code:
            self._heard.of("failure")
        return code


def failure(spec: JobSpec) -> str:
    """Why the job failed, from the hosts' failure files; the first host that tells."""
    for path in sorted((spec.output / "ml").glob("*/output/failure")):
        return path.read_text("utf-8")
    return f"it left no reason; see {spec.output / 'train.log'}"


def with_feature_dim(spec: JobSpec) -> JobSpec:
    """Fills in feature_dim from the training data's first rows, as the SageMaker SDK's estimators do.

    Raises ClientError, and OSError, for data that can't be read, which a missing feature_dim would hide.
    """
    names = {parameter.name: parameter for parameter in spec.manifest.declaration().parameters}
    needed = "feature_dim" in names and names["feature_dim"].required
    if not needed or "feature_dim" in spec.hyperparameters:
        return spec
    train = next((channel for channel in spec.channels if channel.name == "train"), None)
    width = _width(spec, train) if train else None
    if width is None:
        return spec  # `train` says what is missing
    return replace(spec, hyperparameters={**spec.hyperparameters, "feature_dim": str(width)})


def _width(spec: JobSpec, channel: ChannelSource) -> int | None:
    if channel.augmented:
        return None
    item = inputs.first(channel.select())
    if item is None:
        return None
    described = spec.manifest.channel(channel.name)
    told = channel.content_type or told_by_ending(spec, channel, [item])
    written = told or described.content_types[0]
    media_type = content_types.parse(written)
    csv = media_type.name == content_types.CSV
    layout = Layout(label_size=media_type.integer("label_size", described.label_size) if csv else 0)
    with inputs.opened(item) as stream:
        first = next(decode(stream, item.name, media_type, layout), None)
    if first is None:
        raise ClientError(
            f"channel {channel.name}: {item.name} holds no rows, which would tell feature_dim; accepted: "
            "rows, or -p feature_dim=N"
        )
    return first.width
