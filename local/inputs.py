"""What a channel's address selects: files of this machine, or objects on S3, by the names they have in it."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.channels.streams import GZIP
from common.failures import ClientError
from local import storage
from local.feeder import Source
from local.manifests import listed
from local.storage import Reader, S3Object, S3Stream

S3_PREFIX, MANIFEST, AUGMENTED = DATA_TYPES = ("S3Prefix", "ManifestFile", "AugmentedManifestFile")


@dataclass(frozen=True)
class Item:
    """A file or an object, and its name below the channel's folder."""

    name: str
    place: Path | S3Object

    @property
    def source(self) -> Source:
        """What a feeder streams."""
        return self.place if isinstance(self.place, Path) else S3Stream(self.place)


def select(uri: str, data_type: str) -> list[Item]:
    """What an address stands for, in order; nothing is fetched but a manifest that lists others.

    Raises ClientError when there is nothing.
    """
    if data_type == MANIFEST:
        return _listed(uri)
    if storage.is_s3(uri):
        return [Item(name, item) for name, item in storage.named(storage.objects(uri), uri).items()]
    path = storage.local_path(uri)
    if path.is_file():
        return [Item(path.name, path)]
    if not path.is_dir():
        return []  # a pipe: of `<(...)` a shell makes one
    return [Item(str(file.relative_to(path)), file) for file in _files(path, frozenset([path]))]


def _files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """The files below a folder in order. Links are followed, but to none of the folders ``above``.

    What may not be looked into is passed over: each disk has a ``lost+found`` that is root's alone.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path.is_dir() and os.access(path, os.R_OK | os.X_OK) and (real := path.resolve()) not in above:
            yield from _files(path, above | {real})


def data(items: Sequence[Item]) -> list[Item]:
    """Those that are data: among several, all but what tools leave beside it.

    That begins with a dot or an underscore, or lies below a folder that does: ``_SUCCESS``,
    ``.ipynb_checkpoints``.
    """
    return [item for item in items if len(items) == 1 or not _left_by_tools(item.name)]


def _left_by_tools(name: str) -> bool:
    return any(part[0] in "._" for part in Path(name).parts)


def first(items: Sequence[Item]) -> Item | None:
    """The first that is data."""
    return next(iter(data(items)), None)


@contextmanager
def opened(item: Item) -> Iterator[io.BufferedIOBase]:
    """Yields what a reader of its bytes reads, gzip taken off; of an object no more comes than is read.

    Raises ClientError for damaged gzip.
    """
    if isinstance(item.place, Path):
        buffered = item.place.open("rb")
    else:
        buffered = io.BufferedReader(Reader(iter(S3Stream(item.place))))
    with closing(buffered):
        if buffered.peek(2)[:2] != GZIP:
            yield buffered
            return
        try:
            with gzip.GzipFile(fileobj=buffered) as inflated:
                yield inflated
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ClientError(f"{item.name}: the gzip data are damaged or end early: {error}") from None


def on_disk(items: Sequence[Item], uri: str, scratch: Path) -> dict[str, Path]:
    """The files of the items by name, those on S3 downloaded below ``scratch``. Raises ClientError."""
    folder = storage.folder_of(uri, scratch)
    distant = {item.name: item.place for item in items if isinstance(item.place, S3Object)}
    if distant:
        storage.download(distant, folder, uri)
    return {item.name: item.place if isinstance(item.place, Path) else folder / item.name for item in items}


def _listed(uri: str) -> list[Item]:
    base = Path() if storage.is_s3(uri) else storage.local_path(uri).parent
    found = []
    for written, address in listed(storage.contents(uri, Path()), uri):
        name = storage.inside(written.lstrip("/"), address)
        if storage.is_s3(address):
            found.append(Item(name, storage.parse(address)))
            continue
        place = base / address.removeprefix("file://")
        if storage.is_s3(uri) or not place.is_file():
            raise ClientError(f"{uri} names {address}, which does not exist; accepted: an object or a file")
        found.append(Item(name, place.resolve()))
    return found
