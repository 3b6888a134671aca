"""What a channel of images holds, as items that worker processes read and decode themselves."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.channels import Channel, files
from common.failures import ClientError
from common.formats import recordio
from common.formats.layout import Stream
from common.images import records

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# Bytes from a record's start that are read at once while a file is indexed: frame, head and a few labels.
_HEAD = recordio.HEADER + records.HEADER + 64


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some bytes of a file; all of them with ``length`` -1."""

    path: str
    offset: int = 0
    length: int = -1

    def read(self) -> bytes:
        """The bytes. Raises ClientError when they can't be read, or aren't there any more."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                if self.length < 0:
                    return file.readall()
                found = os.pread(file.fileno(), self.length, self.offset)
        except OSError as error:
            raise ClientError(f"{self.path} can't be read: {error.strerror}") from None
        if len(found) < self.length:
            raise ClientError(f"{self.path} became shorter while the job read it; accepted: files that stay")
        return found


Encoded = bytes | FilePart


def content(encoded: Encoded) -> bytes:
    """An encoded image's bytes, wherever they lie."""
    return encoded if isinstance(encoded, bytes) else encoded.read()


@dataclass(frozen=True, slots=True)
class Item:
    """One image with what is known of it: a label, boxes, another image. ``name`` is for messages."""

    image: Encoded
    label: Any
    name: str


def rec_items(channel: Channel) -> list[Item]:
    """The records of the ``.rec`` files of a channel's folder, labels (n,) float32 each, images left on disk.

    Only heads are read. One file is what AWS's documents expect; several are read one after the other. Raises
    ClientError when there is none, or a record is damaged.
    """
    channel.check()
    found = [file for file in files.find(channel.folder, channel.name) if file.path.endswith(".rec")]
    if not found:
        raise ClientError(
            f"channel {channel.name}: there is no .rec file in {channel.folder}; accepted with content type "
            f"{channel.media_type}: one file of that ending"
        )
    return [item for file in found for item in indexed(file)]


def rec_stream(channel: Channel) -> Iterator[Item]:
    """The same of one epoch of a channel in Pipe mode, in constant memory."""

    def decode(stream: Stream, name: str) -> Iterator[list[Item]]:
        for number, payload in enumerate(recordio.payloads(stream, name), 1):
            where = f"record {number} of {name}"
            record = records.unpack(payload, where)
            yield [Item(payload[record.start :], record.labels, where)]

    for items in channel.read(decode, _joined, None, share=True):
        yield from items


def pairs(channel: Channel) -> Iterator[Item]:
    """Images and labels of an augmented manifest in Pipe mode: records in turn an image and its attribute.

    Labels are bytes as they came: text, or another image. Raises ClientError when one has no partner.
    """

    def decode(stream: Stream, name: str) -> Iterator[list[Item]]:
        payloads = recordio.payloads(stream, name)
        for number, image in enumerate(payloads, 1):
            label = next(payloads, None)
            if label is None:
                raise ClientError(
                    f"{name} ends after image {number}, whose label is missing; accepted: AttributeNames "
                    "of the image first and its label second"
                )
            yield [Item(image, label, f"line {number} of {name}")]

    for items in channel.read(decode, _joined, None, share=True, unwrap=False):
        yield from items


def images(channel: Channel) -> list[files.DataFile]:
    """The image files of a channel's folder, told by their endings, sorted. Raises ClientError if none is."""
    channel.check()
    found = [f for f in files.find(channel.folder, channel.name) if f.path.lower().endswith(ENDINGS)]
    if not found:
        raise ClientError(
            f"channel {channel.name}: there is no image in {channel.folder}; accepted: .jpg and .png files"
        )
    return found


def share(items: Sequence[Item], channel: Channel, rank: int, hosts: int) -> Sequence[Item]:
    """The items of one host: all where the platform divided them, else one of every ``hosts``."""
    if hosts == 1 or channel.config.distribution != "FullyReplicated":
        return items
    return items[rank::hosts]


def indexed(file: files.DataFile) -> Iterator[Item]:
    """The records of one ``.rec`` file, found by walking from head to head. Raises ClientError."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ClientError(f"{file.name} can't be read: {error.strerror}") from None
    try:
        if hasattr(os, "posix_fadvise"):  # or the images between the heads are read too
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        end, at = os.fstat(descriptor).st_size, 0
        for number in itertools.count(1):
            if at >= end:
                return
            where = f"record {number} of {file.name}"
            head = os.pread(descriptor, _HEAD, at)
            if len(head) < recordio.HEADER:
                raise recordio.truncated(file.name, number)
            magic, word = recordio.head(head)
            flag, length = word >> 29, word & recordio.LENGTH_MASK
            recordio.check_frame(magic, flag, False, file.name, number)
            if flag:
                payload, size = _joined_parts(descriptor, at, end, file.name, number)
                record = records.unpack(payload, where)
                yield Item(payload[record.start :], record.labels, where)
                at += size
                continue
            start = at + recordio.HEADER
            if start + length > end:
                raise recordio.truncated(file.name, number)
            beginning = head[recordio.HEADER :]
            if length >= records.HEADER and (need := records.labels_of(beginning)) > len(beginning):
                beginning = os.pread(descriptor, min(need, length), start)
            record = records.unpack(beginning, where, length)
            image = FilePart(file.path, start + record.start, length - record.start)
            yield Item(image, record.labels, where)
            at = start + length + -length % 4
    finally:
        os.close(descriptor)


def _joined_parts(descriptor: int, at: int, end: int, name: str, number: int) -> tuple[bytes, int]:
    """A payload that was written in parts, which happens to one in many millions."""
    size = 1 << 20
    while True:
        data = os.pread(descriptor, size, at)
        found = recordio.payload_at(memoryview(data), at + len(data) >= end, name, number)
        if found is not None:
            return found
        if at + len(data) >= end:
            raise recordio.truncated(name, number)
        size *= 2


def _joined(parts: Sequence[list[Item]]) -> list[Item]:
    return list(itertools.chain.from_iterable(parts))


def relative(path: str, folder: Path) -> str:
    """A file's path below its channel's folder, for messages and for finding its partner."""
    return os.path.relpath(path, folder)
