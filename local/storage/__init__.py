"""Where data comes from and results go: paths of this machine, and s3:// through boto3."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from pathlib import Path

from common.failures import ClientError
from local.storage import transfers
from local.storage.s3 import S3Object, chunks, delete, is_s3, listed, objects, parse, put
from local.storage.streams import Ahead, Reader, S3Stream
from local.storage.transfers import together

__all__ = [
    "Ahead",
    "Reader",
    "S3Object",
    "S3Stream",
    "bring",
    "chunks",
    "contents",
    "delete",
    "download",
    "downloads",
    "exactly",
    "folder_of",
    "inside",
    "is_s3",
    "local_copy",
    "local_path",
    "named",
    "objects",
    "parse",
    "put",
    "together",
    "upload",
]

download = transfers.download


def local_copy(uri: str, scratch: Path) -> Path:
    """A path with the content of ``uri``: itself when it is local, else a download below ``scratch``.

    Raises ClientError when nothing is there.
    """
    if not is_s3(uri):
        return local_path(uri)
    found = named(objects(uri), uri)
    folder = folder_of(uri, scratch)
    download(found, folder, uri)
    ((name, item), *others) = found.items()
    return folder if others or item.uri != uri else folder / name


def exactly(uri: str, scratch: Path) -> Path:
    """The same of one object, also where its address is the beginning of others' too."""
    if not is_s3(uri):
        return local_path(uri)
    item = parse(uri)
    name = inside(posixpath.basename(item.key), uri)
    download({name: item}, folder_of(uri, scratch), uri)
    return folder_of(uri, scratch) / name


def local_path(uri: str) -> Path:
    """The path of a local address; a file keeps its name, also where it is a link to one of another.

    Raises ClientError when nothing is there.
    """
    path = Path(uri.removeprefix("file://")).expanduser()
    if not path.exists():
        raise ClientError(f"{uri} does not exist; accepted: a file, a folder or s3://bucket/prefix")
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def bring(uri: str, folder: Path) -> None:
    """Downloads what lies below a prefix, if anything does. Raises ClientError."""
    if found := named(listed(uri), uri):
        download(found, folder, uri)


def downloads(scratch: Path) -> Path:
    """Where below ``scratch`` whatever is downloaded lies."""
    return scratch / ".s3"


def folder_of(uri: str, scratch: Path) -> Path:
    """Where the objects of one address are brought."""
    return downloads(scratch) / hashlib.sha256(uri.encode()).hexdigest()[:16]


def contents(uri: str, base: Path) -> bytes:
    """The bytes of one object or file, whose path may be relative to ``base``.

    Raises ClientError when it can't be read.
    """
    if is_s3(uri):
        return b"".join(chunks(parse(uri)))
    path = base / Path(uri.removeprefix("file://")).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClientError(f"{uri} can't be read: {error.strerror}") from None


def upload(folder: Path, names: Sequence[Path], uri: str) -> None:
    """Copies the files ``names`` of ``folder`` below the s3:// address ``uri``."""
    parse(uri)
    base = uri.rstrip("/")
    transfers.upload({f"{base}/{name.relative_to(folder)}": name for name in names}, uri)


def named(found: Sequence[S3Object], uri: str) -> dict[str, S3Object]:
    """The objects below a prefix by the names that their files have.

    The folders below it are kept: ``s3://b/data`` gives ``1`` for ``data/1``, and ``data-2/1`` for that.
    """
    prefix = parse(uri).key
    parent = prefix[: prefix.rfind("/") + 1]
    named: dict[str, S3Object] = {}
    for item in found:
        below = item.key.removeprefix(prefix)
        name = below if prefix.endswith("/") or below.startswith("/") else item.key.removeprefix(parent)
        tidy = inside(name.lstrip("/"), item.uri)
        if tidy in named:
            raise ClientError(
                f"{named[tidy].uri} and {item.uri} would be one file, {tidy}; accepted: names that differ"
            )
        named[tidy] = item
    return named


def inside(name: str, uri: str) -> str:
    """The name of a file below a folder, tidied. Raises ClientError for one that leads out of it."""
    tidy = posixpath.normpath(name)
    if tidy.startswith(("../", "/")) or tidy in ("..", "."):
        raise ClientError(f"{uri} has a name that leaves its folder; accepted: names without ..")
    return tidy
