"""Which files below a folder some process of this machine has open to write, as Linux tells."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_SECONDS = 1.0  # for which an answer is taken as still true


class Writers:
    """Looks through all processes, at most once a second."""

    def __init__(self, root: Path) -> None:
        self._start = f"{root}/"
        self._lock = threading.Lock()
        self._looked = -_SECONDS
        self._files: frozenset[str] = frozenset()

    def below(self, folder: Path) -> bool:
        """Whether something below ``folder`` is being written."""
        start = f"{folder}/"
        return any(file.startswith(start) for file in self._now())

    @staticmethod
    def would_know(folder: Path) -> bool:
        """Whether the writers of such a folder can be seen: there is /proc, and it is this user's."""
        try:
            return (_PROC / "self" / "fd").is_dir() and os.geteuid() in (0, folder.stat().st_uid)
        except OSError:
            return False

    def _now(self) -> frozenset[str]:
        with self._lock:
            if time.monotonic() - self._looked >= _SECONDS:
                self._files = frozenset(self._open())
                self._looked = time.monotonic()
            return self._files

    def _open(self) -> Iterator[str]:
        own = str(os.getpid())
        for process in os.listdir(_PROC) if _PROC.is_dir() else ():
            if not process.isdigit() or process == own:
                continue
            place = _PROC / process
            with suppress(OSError):  # it has ended, or is somebody else's
                for number in os.listdir(place / "fd"):
                    file = os.readlink(place / "fd" / number)
                    if file.startswith(self._start) and _writes(place / "fdinfo" / number):
                        yield file


def _writes(info: Path) -> bool:
    """Whether the file is open to write: who only reads along doesn't make a job run."""
    flags = next((line.split()[1] for line in info.read_text().splitlines() if line.startswith("flags")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
