"""Keeps hosts' checkpoints and a prefix on S3 alike while a job runs, as the platform does.

What lies below the prefix is brought to each host's folder before the job begins. From then on S3 follows
the folders: what is new, changed or gone there is so on S3 a few seconds later, and at the end in any case.
What others add on S3 meanwhile isn't brought.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from common.failures import ClientError
from local import storage

_PERIOD = 3.0  # seconds from one look to the next
# Half a file, and what the platform puts beside a file while it copies it.
_NOT_KEPT = (".sagemaker-ignore", ".sagemaker-uploading", ".sagemaker-uploaded")

Stamp = tuple[int, int]  # when a file was written, and its size


class Checkpoints:
    """Folders, one a host, and the prefix that all share; in step while its block runs.

    A look that fails is told once and made up for by the next. Leaving the block raises the failure of the
    last one, unless something else went wrong.
    """

    def __init__(self, uri: str, folders: Sequence[Path], period: float = _PERIOD) -> None:
        self._uri = uri.rstrip("/") + "/"
        self._folders = folders
        self._period = period
        self._seen: dict[Path, dict[str, Stamp]] = {folder: {} for folder in folders}
        self._told = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> Checkpoints:
        for folder in self._folders:
            storage.bring(self._uri, folder)
            self._seen[folder] = _files(folder)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self.sync()
        except ClientError as failure:
            if error is None:
                raise
            _tell(failure)

    def sync(self) -> None:
        """Makes S3 as the folders are. Raises ClientError."""
        for folder in self._folders:
            self._sync(folder, self._seen[folder])

    def _sync(self, folder: Path, seen: dict[str, Stamp]) -> None:
        found = _files(folder)
        for name, stamp in found.items():
            if seen.get(name) != stamp:
                try:
                    storage.put(folder / name, self._uri + name)
                except FileNotFoundError:
                    continue  # gone meanwhile; the next look removes what is on S3
                seen[name] = stamp
        for name in seen.keys() - found.keys():
            storage.delete(self._uri + name)
            del seen[name]

    def _run(self) -> None:
        while not self._ended.wait(self._period):
            try:
                self.sync()
                self._told = False
            except (ClientError, OSError) as error:
                if not self._told:
                    self._told = True
                    _tell(error)


def _files(folder: Path) -> dict[str, Stamp]:
    found = {}
    for path in folder.rglob("*"):
        if not path.name.endswith(_NOT_KEPT) and path.is_file():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found[str(path.relative_to(folder))] = (status.st_mtime_ns, status.st_size)
    return found


def _tell(error: Exception) -> None:
    print(f"algodock: {error}", file=sys.stderr)
