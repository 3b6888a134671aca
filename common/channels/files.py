"""File and FastFile mode: the files of a channel's folder, and each as a stream."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.channels.interrupts import Interrupt
from common.failures import ClientError


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file with data, and its name for messages."""

    path: str
    name: str


def find(root: Path, channel: str) -> list[DataFile]:
    """The files with data at or below ``root``, sorted by path; none when there is no ``root``.

    Left out: empty files, and names that begin with ``.`` or ``_``, which tools leave beside data
    (``_SUCCESS``, ``.amazon.manifest``, ``.ipynb_checkpoints``). Links are followed, and a folder that
    contains itself by a link is entered once. Raises ClientError for what can't be read.
    """
    try:
        status = os.stat(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(f"channel {channel}, folder {root}", error) from None
    if not stat.S_ISDIR(status.st_mode):
        # A single file mounted where the folder should be.
        return list(_file(str(root), f"channel {channel}, file {root.name}", status))
    return sorted(_walk(str(root), status, channel), key=lambda file: os.fsencode(file.path))


def _walk(root: str, status: os.stat_result, channel: str) -> Iterator[DataFile]:
    # Folders to enter, each with its path below the root and the identities of those above it.
    pending = [(root, "", frozenset([(status.st_dev, status.st_ino)]))]
    while pending:
        folder, prefix, above = pending.pop()
        try:
            names = os.listdir(folder)
        except OSError as error:
            raise _unreadable(f"channel {channel}, folder {_printable(prefix) or root}", error) from None
        for name in names:
            if name.startswith((".", "_")):
                continue
            path = os.path.join(folder, name)
            shown = f"channel {channel}, file {_printable(prefix + name)}"
            try:
                status = os.stat(path)
            except OSError as error:
                raise _unreadable(shown, error) from None
            if not stat.S_ISDIR(status.st_mode):
                yield from _file(path, shown, status)
            elif (identity := (status.st_dev, status.st_ino)) not in above:
                pending.append((path, f"{prefix}{name}/", above | {identity}))


def _file(path: str, name: str, status: os.stat_result) -> Iterator[DataFile]:
    # Opening a FIFO or a device could wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise ClientError(f"{name} is neither a file nor a folder; accepted in File mode: files and folders")
    if status.st_size:
        yield DataFile(path, name)


class FileStream:
    """A file's bytes."""

    def __init__(self, descriptor: int, name: str, interrupt: Interrupt) -> None:
        self._descriptor = descriptor
        self._name = name
        self._interrupt = interrupt

    def readinto(self, buffer: memoryview | bytearray, /) -> int:
        """Fills some of ``buffer``. Raises ClientError when the file can't be read."""
        self._interrupt.check()
        try:
            return os.readv(self._descriptor, [buffer])
        except OSError as error:
            raise _unreadable(self._name, error) from None


@contextmanager
def opened(file: DataFile, interrupt: Interrupt) -> Iterator[FileStream]:
    """Opens a file for one pass. Raises ClientError when that can't be done."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(file.name, error) from None
    try:
        yield FileStream(descriptor, file.name, interrupt)
    finally:
        os.close(descriptor)


def _unreadable(name: str, error: OSError) -> ClientError:
    return ClientError(f"{name} can't be read: {error.strerror}")


def _printable(name: str) -> str:
    """File names are bytes; messages are text."""
    return os.fsencode(name).decode("utf-8", "replace")
