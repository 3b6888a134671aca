"""What a person sees of a job: progress on a terminal, plain log lines otherwise."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from common.report.history import PREFIX, PROGRESS, QUALITY, ROUND, THROUGHPUT
from local.runtimes import Running
from local.screens import tell

# The bell's sign that a host is followed no more; an interrupt's is the number of its signal.
_DONE = b"\0"
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Turns log lines into one line that moves, and lets through what stays worth reading."""

    def __init__(self, screen: IO[str]) -> None:
        self._screen = screen
        self._state: dict[str, str] = {}

    def show(self, line: str) -> None:
        """Takes one log line; one that only looks like a metric is passed over."""
        with suppress(ValueError):
            self._show(line)

    def _show(self, line: str) -> None:
        match = PREFIX.match(line)
        text = match["text"] if match else line.rstrip("\n")
        if match and match["level"] in ("WARNING", "ERROR"):
            self._print(text)
        elif found := QUALITY.match(text):
            epoch, name, value = found["epoch"], f"{found['channel']} {found['measure']}", found["value"]
            if epoch is None:
                self._print(f"{name}: {_short(value)}")
            else:
                self._update(epoch=epoch, **{name: _short(value)})
        elif found := PROGRESS.match(text):
            self._update(done=f"{float(found['value']):.0f} %")
        elif found := THROUGHPUT.match(text):
            self._update(speed=f"{float(found['value']):,.0f} rows/s")
        elif found := ROUND.match(text):
            scores = dict(part.rsplit(":", 1) for part in found["scores"].split())
            self._update(round=found["round"], **scores)

    def close(self) -> None:
        """Leaves the cursor on a line of its own."""
        if self._state:
            tell(self._screen, "\n")

    def _update(self, **state: str) -> None:
        self._state.update(state)
        shown = "  ".join(f"{name} {value}" for name, value in self._state.items())
        tell(self._screen, f"\r\x1b[K{shown[:150]}")

    def _print(self, text: str) -> None:
        tell(self._screen, f"\r\x1b[K{text}\n")


def _short(value: str) -> str:
    try:
        return f"{float(value):.5g}"
    except ValueError:
        return value


def watch(running: Sequence[Running], log: Path, screen: IO[str]) -> int:
    """Follows all hosts to their end, keeping every line in ``log``; returns the first bad exit code, or 0.

    When one host fails the others are asked to stop. An interrupt asks all to stop, a second one ends them.
    Raises OSError where the log can't be kept; hosts may run on then (`end`).
    """
    terminal = Terminal(screen) if screen.isatty() else None
    show = terminal.show if terminal else partial(tell, screen)
    lock = threading.Lock()
    codes: dict[int, int] = {}
    failures: dict[int, Exception] = {}
    # Interrupts are heard from before the first thread on, so that none breaks off what goes on in between.
    with _bell() as (bell, ring), log.open("w", buffering=1) as kept:

        def follow(index: int) -> None:
            for line in running[index].lines():
                with lock:
                    kept.write(line)
                    show(line)
            codes[index] = running[index].wait()
            if codes[index]:
                _ask(host.stop for other, host in enumerate(running) if other not in codes)

        def follow_and_tell(index: int) -> None:
            try:
                follow(index)
            except Exception as error:
                failures[index] = error
                # Nobody reads what that host writes: it would wait for good.
                _ask(host.kill for host in running)
            finally:
                os.write(ring, _DONE)

        threads = [threading.Thread(target=follow_and_tell, args=(index,)) for index in range(len(running))]
        for thread in threads:
            thread.start()
        _wait(bell, running, screen)
        for thread in threads:
            thread.join()
    if failures:
        raise next(iter(failures.values()))
    if terminal:
        terminal.close()
    return next((code for code in codes.values() if code), 0)


def end(running: Sequence[Running]) -> None:
    """Ends hosts that nobody follows any more, and waits until they have."""
    _ask(host.kill for host in running)
    _ask(host.wait for host in running)


def _ask(acts: Iterable[Callable[[], object]]) -> None:
    for act in acts:
        with suppress(OSError):  # of a host that has ended
            act()


def _wait(bell: int, running: Sequence[Running], screen: IO[str]) -> None:
    left, interrupts, heard = len(running), 0, set(_STOPPING)
    while left:
        sign = os.read(bell, 1)
        left -= sign == _DONE
        if sign[0] not in heard:
            continue
        heard.discard(signal.SIGHUP)  # of a terminal that is closed bash tells, and the system too
        interrupts += 1
        _ask(host.stop if interrupts == 1 else host.kill for host in running)
        # After that: whoever reads may have paused.
        tell(screen, "\nstopping; the model trained so far is kept (again to end at once)\n")


@contextmanager
def _bell() -> Iterator[tuple[int, int]]:
    """A pipe (to read, to write) that interrupts are told in, not raised, where this thread is to raise them.

    The number of the signal is in it at once. A handler in Python runs only when the main thread does, which
    sleeps on when the signal comes just before it falls asleep.
    """
    mine = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in _STOPPING if mine}
    raising = {number: handler for number, handler in handlers.items() if callable(handler)}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # as the interpreter wants it
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False) if raising else -1
    for number in raising:
        signal.signal(number, lambda *_: None)
    try:
        yield reading, writing
    finally:
        if raising:
            signal.set_wakeup_fd(before)
        for number, handler in raising.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
