"""Manifests: what a ManifestFile names, and an augmented one as the platform streams it.

A line's attributes come in order, each as a RecordIO record of its own where records are wrapped.
"""

from __future__ import annotations

import json
import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.failures import ClientError
from common.formats import recordio
from local import storage

_REFERENCE = "-ref"
_FORM = '[{"prefix": "s3://bucket/folder/"}, "name", ...]'


def listed(content: bytes, uri: str) -> list[tuple[str, str]]:
    """What a ManifestFile names: each entry's name and its whole address. Raises ClientError."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ClientError(f"{uri} is not JSON: {error}; accepted: {_FORM}") from None
    first = found[0] if isinstance(found, list) and found else None
    prefix = first.get("prefix") if isinstance(first, dict) else None
    if not isinstance(prefix, str):
        raise ClientError(f"{uri} is not a manifest that begins with a prefix; accepted: {_FORM}")
    for name in found[1:]:
        if not isinstance(name, str):
            raise ClientError(f"{uri} names {json.dumps(name)[:60]}; accepted: {_FORM}")
    return [(name, prefix + name) for name in found[1:]]


class AugmentedManifest:
    """The records of a manifest's lines; iterating gives them all, ``lines`` a source of each.

    An attribute whose name ends in ``-ref`` holds an address (a path, relative to the manifest's folder, or
    s3://) and gives what lies there; any other gives its text, numbers and objects as JSON. Each is a
    RecordIO record, or its bare bytes where they aren't ``wrapped``.
    """

    def __init__(self, path: Path, attributes: Sequence[str], wrapped: bool = True) -> None:
        self._path = path
        self._attributes = attributes
        self._frame = recordio.frame if wrapped else bytes
        self._fetches = any(name.endswith(_REFERENCE) for name in attributes)
        self._starts = array("Q")
        self._content: mmap.mmap | bytes = b""
        self._map()

    def __iter__(self) -> Iterator[bytes]:
        for source in self.lines():
            yield from source

    def lines(self) -> Sequence[Iterable[bytes]]:
        """A source of each line, so that lines can be shuffled and shared among hosts."""
        return [_Line(self, start) for start in self._starts]

    def check(self) -> None:
        """Raises ClientError when the first line isn't what the attributes say, or there is none."""
        if not self._starts:
            raise ClientError(f"{self._path.name} has no line; accepted: a JSON object on each")
        self._found(self._starts[0])

    def chunks(self, start: int) -> Iterator[bytes]:
        """The records of the line that starts there, fetched ahead where they lie elsewhere."""
        made = self._records(start)
        return storage.Ahead(made) if self._fetches else made

    def _map(self) -> None:
        with self._path.open("rb") as file:
            at = 0
            for line in file:
                if line.strip():
                    self._starts.append(at)
                at += len(line)
            if at:
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _records(self, start: int) -> Iterator[bytes]:
        found = self._found(start)
        yield b"".join(self._frame(self._value(name, found[name])) for name in self._attributes)

    def _value(self, name: str, value: object) -> bytes:
        if name.endswith(_REFERENCE):
            return storage.contents(str(value), self._path.parent)
        return (value if isinstance(value, str) else json.dumps(value)).encode()

    def _found(self, start: int) -> dict[str, object]:
        end = self._content.find(b"\n", start)
        try:
            found = json.loads(self._content[start : end if end >= 0 else None])
        except (ValueError, RecursionError) as error:
            raise ClientError(f"{self._where(start)} is not JSON: {error}") from None
        for name in self._attributes:
            if not isinstance(found, dict) or name not in found:
                raise ClientError(
                    f"{self._where(start)} has no attribute {name}, which the channel's attributes name"
                )
        return dict(found)

    def _where(self, start: int) -> str:
        number = self._content[:start].count(b"\n") + 1
        return f"line {number} of {self._path.name}"


@dataclass(frozen=True, slots=True)
class _Line:
    manifest: AugmentedManifest
    start: int

    def __iter__(self) -> Iterator[bytes]:
        return self.manifest.chunks(self.start)
