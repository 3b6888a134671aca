"""Many objects at once, to this machine or from it, and how far that is."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, CancelledError, wait
from pathlib import Path
from typing import IO, TypeVar

from common.failures import ClientError
from local.background import begin
from local.screens import tell
from local.storage.s3 import THREADS, S3Object, chunks, put

One = TypeVar("One")

PART = 64 << 20  # bytes of a large object that one thread reads
LARGE = 4 * PART
_LONGEST_NAME = 255  # bytes
_PERIOD = 0.2  # seconds between two looks of the line that moves


def download(wanted: Mapping[str, S3Object], folder: Path, what: str, screen: IO[str] | None = None) -> None:
    """Brings each object below ``folder`` by its name there; ``what`` is told beside the progress.

    A file is there whole or not at all. Raises ClientError.
    """
    _check(wanted)
    large = {name: item for name, item in wanted.items() if (item.size or 0) > LARGE}
    sizes = [item.size for item in wanted.values()]
    size = None if None in sizes else sum(size or 0 for size in sizes)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        Progress(what, len(wanted), size, screen) as progress,
        # Beside the folder: whoever looks into that, or has objects of any name, sees whole files alone.
        tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent, ignore_cleanup_errors=True) as parts,
    ):
        halves = {name: Path(parts, str(number)) for number, name in enumerate(wanted)}

        def fetch(name: str) -> None:
            act = _fetch_in_parts if name in large else _fetch
            act(wanted[name], halves[name], progress)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            halves[name].replace(folder / name)
            progress.ended()

        together(fetch, [name for name in wanted if name not in large], progress.stop)
        for name in large:
            fetch(name)


def upload(wanted: Mapping[str, Path], what: str, screen: IO[str] | None = None) -> None:
    """Copies each file to its address. Raises ClientError."""
    sizes = {uri: path.stat().st_size for uri, path in wanted.items()}
    with Progress(what, len(wanted), sum(sizes.values()), screen, plain=False) as progress:

        def send(uri: str) -> None:
            put(wanted[uri], uri, progress.more)
            progress.ended()

        together(send, wanted, progress.stop)


def together(act: Callable[[One], None], items: Iterable[One], stop: Callable[[], None]) -> None:
    """Acts on all items in several threads.

    The first failure is raised, after ``stop`` for those under way and their end; the rest doesn't begin. An
    interrupt doesn't wait for that end.
    """
    left = deque(items)

    def work() -> None:
        while True:
            try:
                item = left.popleft()
            except IndexError:
                return
            act(item)

    futures = [begin(work) for _ in range(min(THREADS, len(left)))]
    try:
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
    except BaseException as error:
        left.clear()
        stop()
        if isinstance(error, Exception):
            wait(futures)
        raise


class Progress:
    """How much has come: a line that moves on a terminal; elsewhere one at the end, unless not ``plain``."""

    def __init__(
        self, what: str, objects: int, size: int | None, screen: IO[str] | None = None, plain: bool = True
    ) -> None:
        self._what = what
        self._objects = objects
        self._size = size
        self._screen = screen or sys.stderr
        self._plain = plain
        self._stopped = False
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._shown = 0.0
        self._done = self._bytes = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._screen.isatty():
            tell(self._screen, f"\r\x1b[K{self._line()}\n")
        elif self._plain and kind is None:
            tell(self._screen, f"{self._line()}\n")

    def stop(self) -> None:
        """Ends what tells of more."""
        self._stopped = True

    def more(self, count: int) -> None:
        """Tells of bytes that have come, or less where they come again; CancelledError after a stop."""
        if self._stopped:
            raise CancelledError
        with self._lock:
            self._bytes += count
            now = time.monotonic()
            if self._screen.isatty() and now - self._shown >= _PERIOD:
                self._shown = now
                tell(self._screen, f"\r\x1b[K{self._line()[:150]}")

    def ended(self) -> None:
        """Tells of an object that is there."""
        with self._lock:
            self._done += 1

    def _line(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-3)
        objects = "1 object" if self._done == 1 else f"{self._done} objects"
        size = f"{self._bytes / 1e6:.1f} MB"
        if self._done < self._objects:
            objects = f"{self._done} of {self._objects} objects"
            size = size if self._size is None else f"{self._bytes / 1e6:.1f} of {self._size / 1e6:.1f} MB"
        return f"{self._what}: {objects}, {size}, {self._bytes / 1e6 / seconds:.1f} MB/s"


def _check(wanted: Mapping[str, S3Object]) -> None:
    """Raises ClientError for names that files can't have: too long, or also another object's folder."""
    for name, item in wanted.items():
        if max(len(os.fsencode(part)) for part in name.split("/")) > _LONGEST_NAME:
            raise ClientError(
                f"{item.uri} has a name that is too long for a file; accepted: at most {_LONGEST_NAME} bytes "
                "between slashes"
            )
    folders = {str(parent) for name in wanted for parent in Path(name).parents}
    for name in folders & wanted.keys():
        raise ClientError(
            f"{wanted[name].uri} has the name of a folder of other objects; accepted: names that files "
            "can have"
        )


def _fetch(item: S3Object, path: Path, progress: Progress) -> None:
    with path.open("wb") as file:
        _write(chunks(item), file, progress)


def _fetch_in_parts(item: S3Object, path: Path, progress: Progress) -> None:
    size = item.size or 0
    path.touch()

    def part(start: int) -> None:
        with path.open("r+b") as file:
            file.seek(start)
            _write(chunks(item, start, min(start + PART, size)), file, progress)

    together(part, range(0, size, PART), progress.stop)


def _write(pieces: Iterable[bytes], file: IO[bytes], progress: Progress) -> None:
    for piece in pieces:
        file.write(piece)
        progress.more(len(piece))
