"""Pipe mode: the FIFOs ``<channel>_0``, ``<channel>_1``, ... that the platform feeds, one an epoch.

A FIFO serves once: opening it only to look would use up an epoch, so each is opened one time, when its epoch
is read. It is opened without waiting for a writer, so that a request to stop is seen while there is none.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.channels.interrupts import POLL, Interrupt
from common.failures import ClientError

log = logging.getLogger(__name__)

TIMEOUT_VARIABLE = "ALGODOCK_PIPE_TIMEOUT"
DEFAULT_TIMEOUT = 1200.0
_LONG = 5.0  # seconds of waiting that deserve a line in the log
_CAPACITY = 1 << 20  # what an unprivileged process may ask for


def timeout() -> float:
    """How many seconds a FIFO may keep a job waiting, by the environment. ClientError if it is no number."""
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text) if text else DEFAULT_TIMEOUT
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise ClientError(f"{TIMEOUT_VARIABLE} is '{text}'; accepted: seconds above 0")
    return seconds


def fifo(data: Path, channel: str, epoch: int) -> Path:
    """Where the FIFO of an epoch is, or will be."""
    return data / f"{channel}_{epoch}"


def is_fifo(path: Path) -> bool:
    """Whether a FIFO is there, without opening it."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


class FifoStream:
    """A FIFO's bytes, up to the writer's close."""

    def __init__(self, descriptor: int, name: str, interrupt: Interrupt, seconds: float) -> None:
        self._descriptor = descriptor
        self._name = name
        self._interrupt = interrupt
        self._seconds = seconds
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._attached = False
        self._ended = False

    def readinto(self, buffer: memoryview | bytearray, /) -> int:
        """Fills some of ``buffer``; 0 at the end. Raises ClientError when nothing arrives for too long."""
        while not self._ended:
            self._interrupt.check()
            if self._attached:
                try:
                    count = os.readv(self._descriptor, [buffer])
                except BlockingIOError:
                    pass
                except OSError as error:
                    raise ClientError(f"{self._name}: the FIFO can't be read: {error.strerror}") from None
                else:
                    self._ended = not count
                    return count
            self._wait()
        return 0

    def _wait(self) -> None:
        """Returns once there are bytes or the writer has gone.

        Before a writer attaches, a read would answer 0, which would look like the end; ``poll`` reports
        neither data nor a hang-up until there has been a writer.
        """
        wait = _Wait(self._name, "data to come through the FIFO", self._interrupt, self._seconds)
        while not self._poll.poll(POLL * 1000):
            wait.check()
        self._attached = True


class _Wait:
    """One wait: ended by a request to stop, told in the log when it is long, an error when too long."""

    def __init__(self, name: str, what: str, interrupt: Interrupt, seconds: float) -> None:
        self._name = name
        self._what = what
        self._interrupt = interrupt
        self._seconds = seconds
        self._began = time.monotonic()
        self._told = False

    def check(self) -> None:
        """Raises Interrupted or ClientError when the wait is over."""
        self._interrupt.check()
        waited = time.monotonic() - self._began
        if waited > self._seconds:
            raise ClientError(
                f"{self._name}: waited {self._seconds:g} s in vain for {self._what} "
                f"({TIMEOUT_VARIABLE} sets the limit)"
            )
        if waited > _LONG and not self._told:
            log.info("%s: waiting for %s", self._name, self._what)
            self._told = True


@contextmanager
def opened(path: Path, name: str, interrupt: Interrupt, seconds: float) -> Iterator[FifoStream]:
    """Waits for a FIFO to appear and opens it, once. Closing it early gives its writer EPIPE.

    Raises ClientError when it doesn't appear within ``seconds`` or isn't a FIFO.
    """
    wait = _Wait(name, f"{path} to appear", interrupt, seconds)
    pause = 0.005
    while not path.exists():
        wait.check()
        time.sleep(pause)
        pause = min(pause * 2, POLL)
    if not is_fifo(path):
        raise ClientError(f"{name}: {path} is not a FIFO, but the channel's input mode is Pipe")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ClientError(f"{name}: {path} can't be opened: {error.strerror}") from None
    try:
        # Fewer, larger reads. Where the system refuses, the default works as well.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _CAPACITY)
        yield FifoStream(descriptor, name, interrupt, seconds)
    finally:
        os.close(descriptor)
