"""Batches of images made by worker processes, in memory that they share with the process that trains.

A worker reads, decodes and changes an image and writes it where the batch has its row: nothing is copied
after that. Results don't depend on how many workers there are.
"""

from __future__ import annotations

import itertools
import logging
import mmap
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing import connection, reduction
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from common.failures import AlgorithmError, ClientError
from common.images.decoding import Undecodable

log = logging.getLogger("algodock")

Rows = Mapping[str, NDArray[Any]]
Task = Callable[[Any, np.random.Generator, Rows], None]
"""``task(item, random, rows)`` writes one item into ``rows[name]``, which are one row of each array."""
Shapes = Mapping[str, tuple[tuple[int, ...], DTypeLike]]

_BATCHES = 3  # in memory at once: one is used, one is ready, one is made
_ALIGNMENT = 64
_FEW_PIXELS = 64 * 64
_WARNINGS = 20  # images named one by one; more are only counted


@dataclass(frozen=True, slots=True)
class Loaded:
    """A batch: each array is (count, *shape of a row), a view that is valid until the next batch but one."""

    arrays: dict[str, NDArray[Any]]
    count: int


@dataclass(frozen=True, slots=True)
class _Sent:
    slot: int
    count: int


class _Slots:
    """The arrays of a few batches in one piece of memory that processes can share."""

    def __init__(self, shapes: Shapes, rows: int, descriptor: int | None = None) -> None:
        sizes = {
            name: int(np.prod(shape)) * np.dtype(kind).itemsize for name, (shape, kind) in shapes.items()
        }
        offsets: dict[str, list[int]] = {}
        at = 0
        for _, name in itertools.product(range(_BATCHES), shapes):
            offsets.setdefault(name, []).append(at)
            at += -(-sizes[name] * rows // _ALIGNMENT) * _ALIGNMENT
        if descriptor is None:
            descriptor = _memory(at)
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, max(at, 1))
        self.arrays = [
            {
                name: np.frombuffer(self._map, kind, rows * int(np.prod(shape)), offsets[name][slot]).reshape(
                    rows, *shape
                )
                for name, (shape, kind) in shapes.items()
            }
            for slot in range(_BATCHES)
        ]


def _memory(size: int) -> int:
    """A descriptor of memory without a name, which nothing leaves behind; containers have little /dev/shm."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("images")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, max(size, 1))
    return descriptor


def processes(gpu: bool, threads: int, pixels: int) -> int:
    """How many workers suit a job: all cores beside a GPU, half of them beside a network on the same cores.

    Images of few ``pixels`` are decoded sooner than they are sent.
    """
    if gpu:
        return max(2, threads)
    return 0 if pixels <= _FEW_PIXELS else max(1, threads // 2)


class Loader:
    """Makes batches of at most ``batch_size`` rows with ``workers`` processes; with 0 in this one.

    ``task`` must be picklable. ``shapes`` says what a row of each array is. ``full`` fills the last batch of
    an epoch with its first items, as MXNet's ``round_batch``. An item whose task raises Undecodable is left
    out, named in a warning, and its batch is shorter; any other ClientError ends the epoch with that error.
    Use it as a context manager, or `close` it.
    """

    def __init__(
        self, task: Task, shapes: Shapes, batch_size: int, workers: int, seed: int, *, full: bool = False
    ) -> None:
        self._batch_size = batch_size
        self._full = full
        self._task = task
        self._seed = seed
        self._slots = _Slots(shapes, batch_size)
        self._workers = _Workers(self._slots, task, shapes, batch_size, seed, workers) if workers else None
        self.skipped = 0

    def epoch(self, items: Iterable[Any], epoch: int) -> Generator[Loaded, None, None]:
        """The batches of ``items``, in order. ``epoch`` is a part of what seeds their randomness.

        Raises ClientError when none of the items could be decoded.
        """
        self.skipped = 0
        seen = 0
        batches = self._cut(items)
        made = self._inline(batches, epoch) if self._workers is None else self._workers.run(batches, epoch)
        with closing(made):
            for sent, failures in made:
                if isinstance(failures, BaseException):
                    raise failures
                seen += sent.count - len(failures)
                self._tell(failures)
                if sent.count > len(failures):
                    yield _compacted(self._slots.arrays[sent.slot], sent.count, failures)
        if self.skipped > _WARNINGS:
            log.warning("%d images in all were skipped, since they can't be decoded", self.skipped)
        if self.skipped and not seen:
            raise ClientError("none of the images can be decoded; accepted: JPEG and PNG files")

    def close(self) -> None:
        """Ends the processes."""
        if self._workers is not None:
            self._workers.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _cut(self, items: Iterable[Any]) -> Iterator[list[tuple[int, Any]]]:
        """Batches of items with their positions in the epoch."""
        source = iter(items)
        first: list[Any] = []
        at = 0
        while part := list(itertools.islice(source, self._batch_size)):
            if self._full and not first:
                first = part
            if self._full and len(part) < self._batch_size:
                part += itertools.islice(itertools.cycle(first), self._batch_size - len(part))
            yield list(enumerate(part, at))
            at += len(part)

    def _inline(
        self, batches: Iterator[list[tuple[int, Any]]], epoch: int
    ) -> Generator[tuple[_Sent, Any], None, None]:
        for slot, batch in zip(itertools.cycle(range(_BATCHES)), batches, strict=False):
            rows = range(len(batch))
            failures = _made(self._task, self._slots.arrays[slot], rows, batch, self._seed, epoch)
            yield _Sent(slot, len(batch)), _raised(failures) or failures

    def _tell(self, failures: Sequence[tuple[int, str]]) -> None:
        for _, text in failures:
            self.skipped += 1
            if self.skipped <= _WARNINGS:
                log.warning("Skipping an image: %s", text)


class _Workers:
    """The processes and the thread that hands them work."""

    def __init__(
        self, slots: _Slots, task: Task, shapes: Shapes, batch_size: int, seed: int, count: int
    ) -> None:
        # The job's process has threads, and may have a GPU: a fork of it could hang.
        context = multiprocessing.get_context("spawn")
        self._ends: list[connection.Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work,
                args=(theirs, _Descriptor(slots.descriptor), task, dict(shapes), batch_size, seed),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._ends.append(ours)
            self._processes.append(process)

    def run(
        self, batches: Iterator[list[tuple[int, Any]]], epoch: int
    ) -> Generator[tuple[_Sent, Any], None, None]:
        """Hands out batches from a thread, and collects them in order."""
        free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        sent: queue.SimpleQueue[_Sent | BaseException | None] = queue.SimpleQueue()
        for slot in range(_BATCHES):
            free.put(slot)

        def feed() -> None:
            try:
                for batch in batches:
                    slot = free.get()
                    if slot is None:
                        return
                    for end, rows in zip(self._ends, self._divided(len(batch)), strict=True):
                        end.send((slot, epoch, rows, [batch[row] for row in rows]))
                    sent.put(_Sent(slot, len(batch)))
                sent.put(None)
            except BaseException as error:
                sent.put(error)

        feeder = threading.Thread(target=feed, name="images", daemon=True)
        feeder.start()
        used: list[int] = []
        try:
            while (one := sent.get()) is not None:
                if isinstance(one, BaseException):
                    raise self._explained(one)
                yield one, self._collected()
                used.append(one.slot)
                if len(used) > 1:  # the batch before may still be read from
                    free.put(used.pop(0))
        finally:
            free.put(None)
            self._drain(feeder, sent)

    def close(self) -> None:
        """Processes end when nobody is at the other end."""
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    def _divided(self, count: int) -> list[range]:
        bounds = [count * part // len(self._ends) for part in range(len(self._ends) + 1)]
        return [range(start, stop) for start, stop in itertools.pairwise(bounds)]

    def _collected(self) -> list[tuple[int, str]] | BaseException:
        """What the workers say of the oldest batch: the rows that failed, or an error."""
        failures: list[tuple[int, str]] = []
        wrong: BaseException | None = None
        for end in self._ends:
            try:
                found = end.recv()
            except (EOFError, OSError) as error:
                return self._explained(error)
            wrong = wrong or _raised(found)
            failures += found if isinstance(found, list) else []
        return wrong or failures

    def _drain(self, feeder: threading.Thread, sent: queue.SimpleQueue[Any]) -> None:
        """Takes what is still under way when an epoch is left early, so that the next finds nothing of it."""
        while feeder.is_alive() or not sent.empty():
            with suppress(queue.Empty):
                if isinstance(sent.get(timeout=0.05), _Sent):
                    self._collected()
        feeder.join()

    def _explained(self, error: BaseException) -> BaseException:
        """A broken pipe means a process that is gone."""
        if not isinstance(error, EOFError | OSError):
            return error
        for process in self._processes:
            process.join(1)
            if process.exitcode is not None:
                how = f"signal {-process.exitcode}" if process.exitcode < 0 else f"code {process.exitcode}"
                return AlgorithmError(
                    f"a process that decodes images ended with {how}; the machine may have run out of memory"
                )
        return error


class _Descriptor:
    """A file descriptor as an argument of a process that is being started."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.number),)


def _received(sent: Any) -> int:
    number: int = sent.detach()
    return number


def _work(
    end: connection.Connection, descriptor: int, task: Task, shapes: Shapes, batch_size: int, seed: int
) -> None:
    """A worker process: until nobody is at the other end."""
    # The job decides when to stop; a terminal's and a platform's signals reach the whole group.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    slots = _Slots(shapes, batch_size, descriptor)
    with suppress(EOFError, OSError):
        while True:
            slot, epoch, rows, batch = end.recv()
            end.send(_made(task, slots.arrays[slot], rows, batch, seed, epoch))


def _made(
    task: Task, arrays: Rows, rows: range, batch: Sequence[tuple[int, Any]], seed: int, epoch: int
) -> list[tuple[int, str]] | tuple[str, str]:
    """Makes some rows of a batch. The rows that can't be, with the reason; or an error's kind and text."""
    failures = []
    for row, (position, item) in zip(rows, batch, strict=True):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, position))))
        try:
            task(item, random, {name: array[row, ...] for name, array in arrays.items()})
        except Undecodable as error:
            failures.append((row, str(error)))
        except ClientError as error:
            return "client", str(error)
        except Exception:
            return "fault", traceback.format_exc()
    return failures


def _raised(found: list[tuple[int, str]] | tuple[str, str]) -> BaseException | None:
    if isinstance(found, list):
        return None
    kind, text = found
    return ClientError(text) if kind == "client" else AlgorithmError(f"an image can't be prepared: {text}")


def _compacted(arrays: Rows, count: int, failures: Sequence[tuple[int, str]]) -> Loaded:
    """The rows that were made, without gaps."""
    if failures:
        kept = np.setdiff1d(np.arange(count), [row for row, _ in failures])
        for array in arrays.values():
            array[: len(kept)] = array[kept]
        count = len(kept)
    return Loaded({name: array[:count] for name, array in arrays.items()}, count)
