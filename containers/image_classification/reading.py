"""What channels of images and labels hold: .rec files, image files with lists, augmented manifests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.channels import Channel, files
from common.failures import ClientError
from common.images import sources
from common.images.sources import FilePart, Item

RECORDIO = "application/x-recordio"
MULTI_HOT, CLASS_ID = "multi-hot", "class-id"
_LARGEST_LIST = 1 << 30


@dataclass(frozen=True, slots=True)
class Labels:
    """What labels may be: a class below ``classes``, or with ``multi`` that many of 0 and 1."""

    classes: int
    multi: bool

    @property
    def width(self) -> int:
        """Numbers that a row of labels has."""
        return self.classes if self.multi else 1

    def checked(self, values: NDArray[np.float32], where: str) -> NDArray[np.float32]:
        """The same labels. Raises ClientError for those that can't be."""
        if len(values) != self.width:
            if not self.multi:
                raise ClientError(
                    f"{where} has {len(values)} labels; accepted: one class, or multi_label=1 with one "
                    "number for each label"
                )
            raise ClientError(
                f"Mismatch between number of labels in the multi-label data ({len(values)}) and the "
                f"num_classes parameter ({self.classes}): {where}"
            )
        if self.multi:
            if not np.isin(values, (0, 1)).all():
                raise ClientError(
                    f"{where} has a label that is neither 0 nor 1; accepted: 0 or 1 for each label"
                )
        elif not (0 <= values[0] < self.classes and values[0] == int(values[0])):
            raise ClientError(
                f"{where} has the label {values[0]:g}; accepted: a class from 0 to {self.classes - 1}"
            )
        return values


def items(channel: Channel, listed: Channel | None, labels: Labels) -> list[Item]:
    """All images of a channel in File mode with their labels, (labels.width,) float32. Raises ClientError."""
    if channel.media_type.name == RECORDIO:
        found = sources.rec_items(channel)
        return [replace(item, label=labels.checked(item.label, item.name)) for item in found]
    assert listed is not None  # the job was checked
    return _of_list(channel, listed, labels)


def stream(channel: Channel, labels: Labels) -> Iterator[Item]:
    """The same of one epoch in Pipe mode: a .rec stream, or an augmented manifest's images and labels."""
    if channel.config.record_wrapper != "RecordIO":
        for item in sources.rec_stream(channel):
            yield replace(item, label=labels.checked(item.label, item.name))
        return
    form = channel.media_type.parameters.get("label-format", MULTI_HOT)
    for item in sources.pairs(channel):
        yield replace(item, label=of_text(item.label, item.name, labels, form))


def of_text(text: bytes, where: str, labels: Labels, form: str) -> NDArray[np.float32]:
    """Labels as an augmented manifest has them: a number, or a list, maybe in a string."""
    try:
        value = json.loads(text)
        value = json.loads(value) if isinstance(value, str) else value
        # Python's integers have no bounds.
        value = (
            [float(one) if type(one) is int else one for one in value] if isinstance(value, list) else value
        )
        value = float(value) if type(value) is int else value
    except (ValueError, RecursionError, OverflowError):
        value = None
    if not labels.multi:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, float):
            raise ClientError(f"{where}: the label is {_shown(text)}; accepted: the number of a class")
        return labels.checked(np.array([value], np.float32), where)
    if not isinstance(value, list) or not all(isinstance(one, float) for one in value):
        raise ClientError(
            f"{where}: the label is {_shown(text)}; accepted: a list of numbers, such as [1, 0, 1]"
        )
    numbers = np.array(value, np.float32)
    if form == MULTI_HOT:
        return labels.checked(numbers, where)
    if not np.isin(numbers, np.arange(labels.classes)).all():
        raise ClientError(
            f"{where}: the label is {_shown(text)}; "
            f"accepted: a list of classes from 0 to {labels.classes - 1}"
        )
    hot = np.zeros(labels.classes, np.float32)
    hot[numbers.astype(np.int64)] = 1
    return hot


def _of_list(channel: Channel, listed: Channel, labels: Labels) -> list[Item]:
    channel.check()
    listed.check()
    lists = files.find(listed.folder, listed.name)
    if len(lists) != 1:
        raise ClientError(f"channel {listed.name} holds {len(lists)} files; accepted: one .lst file")
    found: list[Item] = []
    numbers: set[int] = set()
    # Of images that are divided a host has some, but the whole list.
    elsewhere = channel.config.distribution == "ShardedByS3Key"
    for line_number, line in enumerate(_lines(lists[0], channel.name), 1):
        if not line.strip():
            continue
        where = f"line {line_number} of {lists[0].name}"
        try:
            number, label, path = row(line)
        except ValueError:
            raise _invalid(
                channel.name,
                f"{where} is not an index, labels and a path with tabs between them: {_shown(line)}",
            ) from None
        if number in numbers:
            raise _invalid(channel.name, f"{where} has the index {number}, which a line before has too")
        numbers.add(number)
        if os.path.normpath(path).startswith(".."):
            raise _invalid(channel.name, f"{where} names {path}, which is outside of channel {channel.name}")
        full = os.path.join(channel.folder, path)
        if not os.path.isfile(full):
            if elsewhere:
                continue
            raise _invalid(channel.name, f"{where} names {path}, which is not in channel {channel.name}")
        name = f"channel {channel.name}, file {path}"
        found.append(Item(FilePart(full), labels.checked(label, where), name))
    if not found:
        raise _invalid(channel.name, f"{lists[0].name} names no image")
    return found


def _lines(file: files.DataFile, channel: str) -> list[str]:
    try:
        if os.path.getsize(file.path) > _LARGEST_LIST:
            raise _invalid(channel, f"{file.name} is larger than {_LARGEST_LIST} bytes")
        with open(file.path, encoding="utf-8-sig") as lines:
            return lines.read().splitlines()
    except UnicodeDecodeError:
        raise _invalid(channel, f"{file.name} is not UTF-8") from None
    except OSError as error:
        raise ClientError(f"{file.name} can't be read: {error.strerror}") from None


def row(line: str) -> tuple[int, NDArray[np.float32], str]:
    """The index, labels and path of a list's line. Raises ValueError for anything else."""
    cells = line.rstrip("\r\n").split("\t")
    if len(cells) < 3:
        raise ValueError
    labels = np.array([float(cell) for cell in cells[1:-1]], np.float32)
    number = float(cells[0])
    if not np.isfinite(number) or number != int(number) or not np.isfinite(labels).all():
        raise ValueError
    return int(number), labels, cells[-1].strip().removeprefix("/")


def _invalid(channel: str, problem: str) -> ClientError:
    return ClientError(f"Invalid lst file in the {channel} channel. {problem}")


def _shown(text: bytes | str) -> str:
    shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return repr(shown if len(shown) <= 60 else shown[:57] + "...")
