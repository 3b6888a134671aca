"""Augmented manifests as the platform streams them: a line's attributes in order, a RecordIO record each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.failures import ClientError
from common.formats import recordio
from local import storage

_REFERENCE = "-ref"


class AugmentedManifest:
    """The records of a manifest's lines; iterating reads the file anew.

    An attribute whose name ends in ``-ref`` holds an address (a path, relative to the manifest's folder, or
    s3://) and gives what lies there; any other gives its text, numbers and objects as JSON.
    """

    def __init__(self, path: Path, attributes: Sequence[str]) -> None:
        self._path = path
        self._attributes = attributes

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield b"".join(map(recordio.frame, self._values(line, number)))

    def _values(self, line: bytes, number: int) -> Iterator[bytes]:
        where = f"line {number} of {self._path.name}"
        try:
            found = json.loads(line)
        except ValueError as error:
            raise ClientError(f"{where} is not JSON: {error}") from None
        for name in self._attributes:
            if not isinstance(found, dict) or name not in found:
                raise ClientError(f"{where} has no attribute {name}, which the channel's attributes name")
            value = found[name]
            if name.endswith(_REFERENCE):
                yield storage.contents(str(value), self._path.parent)
            else:
                yield (value if isinstance(value, str) else json.dumps(value)).encode()
