"""Keeps hosts' checkpoints and a prefix on S3 alike while a job runs, as the platform does.

What lies below the prefix is brought to each host's folder before the job begins. From then on S3 follows
the folders: what is new, changed or gone there is so on S3 a few seconds later, and at the end in any case.
What others add on S3 meanwhile isn't brought.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from common.failures import ClientError
from local import storage

_PERIOD = 3.0  # seconds from one look to the next
_LONGEST = 60.0  # seconds to the next after several that failed
_FAILURES = 16  # of one look, after which it is given up
# Half a file, and what the platform puts beside a file while it copies it.
_NOT_KEPT = (".sagemaker-ignore", ".sagemaker-uploading", ".sagemaker-uploaded")

Stamp = tuple[int, int, int]  # which file it is, when it was written, and its size
Files = dict[str, Stamp]  # of one folder, by name
One = TypeVar("One")


class Checkpoints:
    """Folders, one a host, and the prefix that all share; in step while its block runs.

    A look that fails is told once and made up for by a later one. Leaving the block raises the failure of
    the last one, unless something else went wrong.
    """

    def __init__(self, uri: str, folders: Sequence[Path], period: float = _PERIOD) -> None:
        self._uri = uri.rstrip("/") + "/"
        self._folders = folders
        self._period = period
        self._brought: dict[Path, Files] = {}
        self._seen: dict[Path, Files] = {}  # as they are on S3
        self._told = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> Checkpoints:
        for folder in self._folders:
            storage.bring(self._uri, folder)
            self._brought[folder] = _files(folder)
            self._seen[folder] = dict(self._brought[folder])
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self.sync()
        except (ClientError, OSError) as failure:
            if error is None:
                raise
            _tell(failure)

    def sync(self) -> None:
        """Makes S3 as the folders are. Raises ClientError, and OSError for files that can't be read.

        Nothing is removed there before all that is new is there, so that no moment is without a checkpoint.
        """
        # A folder that is gone was removed with the whole job; its checkpoints may still be wanted.
        found = {folder: _files(folder) for folder in self._folders if folder.is_dir()}
        owned = self._owned(found)
        _all(
            self._put,
            [
                (folder, name, found[folder][name])
                for name, folder in owned.items()
                if self._seen[folder].get(name) != found[folder][name]
            ],
        )
        for folder, files in found.items():
            gone = self._seen[folder].keys() - files.keys()
            _all(storage.delete, [self._uri + name for name in sorted(gone - owned.keys())])
            for name in gone:
                del self._seen[folder][name]

    def _owned(self, found: dict[Path, Files]) -> dict[str, Path]:
        """Whose the files are that hosts have written: of the same name the first host's, as in archives."""
        owned: dict[str, Path] = {}
        for folder, files in found.items():
            for name, stamp in files.items():
                if self._brought[folder].get(name) != stamp:
                    owned.setdefault(name, folder)
        return owned

    def _put(self, one: tuple[Path, str, Stamp]) -> None:
        folder, name, stamp = one
        try:
            storage.put(folder / name, self._uri + name)
        except FileNotFoundError:
            return  # gone meanwhile; the next look removes what is on S3
        self._seen[folder][name] = stamp

    def _run(self) -> None:
        pause = self._period
        while not self._ended.wait(pause):
            try:
                self.sync()
                self._told, pause = False, self._period
            except (ClientError, OSError) as error:
                pause = min(2 * pause, max(_LONGEST, self._period))
                if not self._told:
                    self._told = True
                    _tell(error)


def _all(act: Callable[[One], None], items: Iterable[One]) -> None:
    """Acts on each, also where some fail, unless many do; then raises the first failure."""
    failures: list[ClientError | OSError] = []

    def attempt(item: One) -> None:
        if len(failures) < _FAILURES:
            try:
                act(item)
            except (ClientError, OSError) as error:
                failures.append(error)

    storage.together(attempt, items, lambda: None)
    if failures:
        raise failures[0]


def _files(folder: Path) -> Files:
    found = {}
    for parent, _, names in os.walk(folder, onerror=_unless_gone):
        for name in names:
            path = Path(parent, name)
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and not name.endswith(_NOT_KEPT):
                found[str(path.relative_to(folder))] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def _unless_gone(error: OSError) -> None:
    """A folder that can't be read mustn't look as if it were empty."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _tell(error: Exception) -> None:
    print(f"algodock: {error}", file=sys.stderr)
