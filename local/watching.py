"""What a person sees of a job: progress on a terminal, plain log lines otherwise."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from common.report.history import PREFIX, PROGRESS, QUALITY, ROUND, THROUGHPUT
from local.runtimes import Running


class Terminal:
    """Turns log lines into one line that moves, and lets through what stays worth reading."""

    def __init__(self, screen: IO[str]) -> None:
        self._screen = screen
        self._state: dict[str, str] = {}

    def show(self, line: str) -> None:
        """Takes one log line."""
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
            self._screen.write("\n")
            self._screen.flush()

    def _update(self, **state: str) -> None:
        self._state.update(state)
        shown = "  ".join(f"{name} {value}" for name, value in self._state.items())
        self._screen.write(f"\r\x1b[K{shown[:150]}")
        self._screen.flush()

    def _print(self, text: str) -> None:
        self._screen.write(f"\r\x1b[K{text}\n")
        self._screen.flush()


def _short(value: str) -> str:
    try:
        return f"{float(value):.5g}"
    except ValueError:
        return value


def watch(running: Sequence[Running], log: Path, screen: IO[str]) -> int:
    """Follows all hosts to their end, keeping every line in ``log``; returns the first bad exit code, or 0.

    When one host fails the others are asked to stop. An interrupt asks all to stop, a second one ends them.
    """
    terminal = Terminal(screen) if screen.isatty() else None
    lock = threading.Lock()
    codes: dict[int, int] = {}
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    with log.open("w", buffering=1) as kept:  # whoever looks meanwhile sees whole lines

        def follow(index: int) -> None:
            for line in running[index].lines():
                with lock:
                    kept.write(line)
                    if terminal:
                        terminal.show(line)
                    else:
                        screen.write(line)
                        screen.flush()
            codes[index] = running[index].wait()
            ended.put(index)
            if codes[index]:
                for other, host in enumerate(running):
                    if other not in codes:
                        host.stop()

        threads = [threading.Thread(target=follow, args=(index,)) for index in range(len(running))]
        for thread in threads:
            thread.start()
        _wait(ended, running, screen)
        for thread in threads:
            thread.join()
    if terminal:
        terminal.close()
    return next((code for code in codes.values() if code), 0)


def _wait(ended: queue.SimpleQueue[int], running: Sequence[Running], screen: IO[str]) -> None:
    # Not Thread.join: before Python 3.13 an interrupted join takes a living thread for a dead one.
    left, interrupts = len(running), 0
    while left:
        try:
            ended.get()
            left -= 1
        except KeyboardInterrupt:
            interrupts += 1
            screen.write("\nstopping; the model trained so far is kept (again to end at once)\n")
            for host in running:
                if interrupts == 1:
                    host.stop()
                else:
                    host.kill()
