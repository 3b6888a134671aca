"""Standard output, kept: a job's own lines are what its report is made of."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

SWITCH = "ALGODOCK_REPORT"  # "0": no report
_LINES = 50_000  # the last that are kept


class Tape:
    """A text stream that hands on to ``stream`` what is written, and keeps its last lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._kept: deque[str] = deque(maxlen=_LINES)

    def write(self, text: str) -> int:
        """As a text stream's."""
        self._kept.append(text)
        return self._stream.write(text)

    def flush(self) -> None:
        """As a text stream's."""
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    @property
    def lines(self) -> list[str]:
        """The lines kept; print() writes a line's text and its end apart."""
        return "".join(self._kept).splitlines()


@contextmanager
def recording() -> Iterator[Tape | None]:
    """Keeps what the block writes to standard output; nothing, and None, where no report is wanted."""
    if os.environ.get(SWITCH, "1") == "0":
        yield None
        return
    stream = sys.stdout
    tape = Tape(stream)
    sys.stdout = cast(TextIO, tape)
    try:
        yield tape
    finally:
        sys.stdout = stream
