"""Processes that make batches, seen from the process that wants them."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from common.failures import AlgorithmError
from common.images.slots import COUNT, Shapes, Slots
from common.images.working import Made, Task, Work

_AHEAD = 2  # pieces of work that a process has: one it does, and one that waits there
_PIECE = 16  # images of a piece at most
_PATIENCE = 5.0  # seconds that a process which closed its socket may take to end
_ENVIRONMENT = {
    # Decoded images are of some megabytes; by default each would be taken from the system, and be given back.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    # Libraries of mathematics would start a thread for each core in each of the processes.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(slots=True)
class _Batch:
    """One that is being made: ``left`` rows are still to come."""

    slot: int
    count: int
    left: int
    failures: list[tuple[int, str]] = field(default_factory=list)
    error: BaseException | None = None


@dataclass(slots=True)
class _Run:
    """An epoch under way."""

    free: deque[int] = field(default_factory=lambda: deque(range(COUNT)))
    batches: deque[_Batch] = field(default_factory=deque)  # in order
    fed: bool = False  # whether no more will come
    over: bool = False  # whether nobody wants more
    error: BaseException | None = None  # of the source


class _Worker:
    """A process, and what it was given to do."""

    def __init__(self, slots: Slots) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            passed = theirs.fileno(), slots.descriptor
            # Not a fork, since the job has threads and maybe a GPU; a session of its own, so that signals of
            # a terminal don't reach it.
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    "from common.images.working import main; main()",
                    *map(str, passed),
                ],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(_places())},
            )
        self.end = connection.Connection(ours.detach())
        self.under_way: deque[tuple[_Batch, int]] = deque()

    def why(self) -> AlgorithmError:
        """Why the process ended."""
        try:
            code = self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return AlgorithmError("a process that decodes images doesn't answer")
        if code == -signal.SIGKILL:
            return AlgorithmError(
                "a process that decodes images was killed; the machine may have run out of memory"
            )
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return AlgorithmError(f"a process that decodes images ended with {how}")


class Workers:
    """``count`` processes that make batches of ``rows`` rows with ``task``, in the arrays of ``slots``."""

    def __init__(self, slots: Slots, task: Task, shapes: Shapes, rows: int, seed: int, count: int) -> None:
        self._slots = slots
        self._piece = max(1, min(_PIECE, -(-rows // (2 * count))))
        self._changed = threading.Condition()
        self._wrong: BaseException | None = None  # after which nothing can be made
        beginning = pickle.dumps((task, dict(shapes), rows, seed))
        self._workers = [_Worker(slots) for _ in range(count)]
        for worker in self._workers:
            with suppress(OSError):  # of a process that is gone already, which is told when work is wanted
                worker.end.send_bytes(beginning)
        self._collector = threading.Thread(target=self._collect, name="images-made", daemon=True)
        self._collector.start()

    def run(
        self, batches: Iterator[Sequence[Any]], epoch: int
    ) -> Generator[tuple[int, int, list[tuple[int, str]]], None, None]:
        """The batches of an epoch, made and in order: slot, rows, and those of them that failed, with why.

        A batch's arrays are left alone until the next but one is asked for. An error of a task or of
        ``batches``, which is read in a thread, is raised where its batch would be.
        """
        run = _Run()
        self._slots.epoch = number = self._slots.epoch + 1
        arguments = run, batches, number, epoch
        feeder = threading.Thread(target=self._feed, args=arguments, name="images", daemon=True)
        feeder.start()
        used: deque[int] = deque()
        try:
            while (batch := self._next(run)) is not None:
                yield batch.slot, batch.count, sorted(batch.failures)
                used.append(batch.slot)
                if len(used) > 1:  # the batch before may still be read from
                    self._free(run, used.popleft())
        finally:
            self._end(run)
            feeder.join()

    def close(self) -> None:
        """Ends the processes, which have nothing to lose."""
        with self._changed:
            self._wrong = self._wrong or RuntimeError("the processes that decode images were ended")
            self._changed.notify_all()
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
        self._collector.join()
        for worker in self._workers:
            worker.end.close()

    def _next(self, run: _Run) -> _Batch | None:
        """The oldest batch once it is made; None after the last."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._wrong or (run.batches[0].left == 0 if run.batches else run.fed)
            )
            if self._wrong:
                raise self._wrong
            if not run.batches:
                if run.error is not None:
                    raise run.error
                return None
            batch = run.batches.popleft()
        if batch.error is not None:
            raise batch.error
        return batch

    def _free(self, run: _Run, slot: int) -> None:
        with self._changed:
            run.free.append(slot)
            self._changed.notify_all()

    def _end(self, run: _Run) -> None:
        """Waits until no process writes for ``run`` any more; they leave off what they have not begun."""
        with self._changed:
            run.over = True
            self._slots.epoch += 1
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._wrong or (run.fed and not any(worker.under_way for worker in self._workers))
            )

    def _feed(self, run: _Run, batches: Iterator[Sequence[Any]], number: int, epoch: int) -> None:
        """Hands out work, in a thread."""
        position = 0
        try:
            for items in batches:
                with self._changed:
                    self._changed.wait_for(lambda: self._wrong or run.over or run.free)
                    if self._wrong or run.over:
                        return
                    batch = _Batch(run.free.popleft(), len(items), len(items))
                    run.batches.append(batch)
                for row in range(0, len(items), self._piece):
                    part = items[row : row + self._piece]
                    work = Work(number, epoch, batch.slot, row, position + row, part)
                    if not self._given(run, batch, work):
                        return
                position += len(items)
        except BaseException as error:
            run.error = error
        finally:
            with self._changed:
                run.fed = True
                self._changed.notify_all()

    def _given(self, run: _Run, batch: _Batch, work: Work) -> bool:
        """Whether a process got ``work``: that which has least to do, once one has little."""
        message = pickle.dumps(work, pickle.HIGHEST_PROTOCOL)
        with self._changed:
            self._changed.wait_for(lambda: self._wrong or run.over or self._idlest() is not None)
            worker = self._idlest()
            if self._wrong or run.over or worker is None:
                return False
            worker.under_way.append((batch, len(work.items)))
        try:
            worker.end.send_bytes(message)
        except OSError:  # the process is gone, which the other thread tells
            return False
        return True

    def _idlest(self) -> _Worker | None:
        worker = min(self._workers, key=lambda one: len(one.under_way))
        return worker if len(worker.under_way) < _AHEAD else None

    def _collect(self) -> None:
        """Takes what the processes answer, in a thread, until one of them is gone."""
        ends = {worker.end: worker for worker in self._workers}
        while True:
            for end in connection.wait(list(ends)):
                worker = ends[end]  # type: ignore[index]
                try:
                    made = worker.end.recv()
                except (EOFError, OSError):
                    reason = worker.why()
                    with self._changed:
                        self._wrong = self._wrong or reason
                        self._changed.notify_all()
                    return
                self._take(worker, made)

    def _take(self, worker: _Worker, made: Made) -> None:
        with self._changed:
            batch, rows = worker.under_way.popleft()
            batch.left -= rows
            batch.failures += made.failures
            batch.error = batch.error or made.error()
            self._changed.notify_all()


def _places() -> list[str]:
    """Where this process finds modules, for those that it starts."""
    return [place or os.getcwd() for place in sys.path]
