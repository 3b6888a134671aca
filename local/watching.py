"""What a person sees of a job: progress on a terminal, plain log lines otherwise."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Literal

from common.report.history import PREFIX, PROGRESS, QUALITY, ROUND, THROUGHPUT
from local.runtimes import Running
from local.screens import tell

# Of a host: its end, or what kept it from being followed; of the person who runs the job: the wish to stop.
Event = Literal["end", "interrupt"] | Exception


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
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    # Interrupts are events from before the first thread on, so that none breaks off what goes on in between.
    with _interrupts(lambda: events.put("interrupt")), log.open("w", buffering=1) as kept:

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
                events.put("end")
            except Exception as error:
                events.put(error)

        threads = [threading.Thread(target=follow_and_tell, args=(index,)) for index in range(len(running))]
        for thread in threads:
            thread.start()
        _wait(events, running, screen)
        for thread in threads:
            thread.join()
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


def _wait(events: queue.SimpleQueue[Event], running: Sequence[Running], screen: IO[str]) -> None:
    left, interrupts = len(running), 0
    failure: Exception | None = None
    while left:
        event = events.get()
        if event == "interrupt":
            interrupts += 1
            _ask(host.stop if interrupts == 1 else host.kill for host in running)
            # After that: whoever reads may have paused.
            tell(screen, "\nstopping; the model trained so far is kept (again to end at once)\n")
            continue
        left -= 1
        if isinstance(event, Exception):
            # Nobody reads what that host writes: it would wait for good.
            failure = failure or event
            _ask(host.kill for host in running)
    if failure:
        raise failure


@contextmanager
def _interrupts(heard: Callable[[], None]) -> Iterator[None]:
    """Tells of interrupts instead of raising them, where this thread is the one that they are raised in."""
    mine = threading.current_thread() is threading.main_thread()
    raising = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if mine and signal.getsignal(number) is signal.default_int_handler
    ]
    for number in raising:
        signal.signal(number, lambda *_: heard())
    try:
        yield
    finally:
        for number in raising:
            signal.signal(number, signal.default_int_handler)
