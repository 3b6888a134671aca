"""Labelled sentences as JSON: lines of ``{"source": ..., "label": ...}``, or an augmented manifest's records.

Either is turned into lines of fastText's form, so that the rest reads one form only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from common.channels.streams import Stream
from common.content_types import MediaType
from common.failures import ClientError
from common.formats import objects, recordio
from common.formats.lines import shown
from containers.blazingtext.tokens import Tokens, split
from containers.blazingtext.vocabulary import LABEL_PREFIX

_PIECE = 1 << 17  # bytes of text that are split at once
_BLANK = re.compile(rb"[ \t\n\v\f\r\0]")
_ACCEPTED = "an integer, a text without blanks, or an array of these"


def read_objects(stream: Stream, name: str, media_type: MediaType) -> Iterator[Tokens]:
    """The tokens of JSON Lines' objects. Raises ClientError with the line's number."""
    return _in_pieces(_of_objects(stream, name, media_type))


def read_records(stream: Stream, name: str) -> Iterator[Tokens]:
    """The tokens of RecordIO records, two a sample: its text, then its label or labels as JSON.

    Raises ClientError with the sample's number.
    """
    return _in_pieces(_of_records(stream, name))


def _in_pieces(lines: Iterator[bytes]) -> Iterator[Tokens]:
    kept, size = [], 0
    for line in lines:
        kept.append(line)
        size += len(line)
        if size >= _PIECE:
            yield split(b"".join(kept))
            kept, size = [], 0
    if kept:
        yield split(b"".join(kept))


def _of_objects(stream: Stream, name: str, media_type: MediaType) -> Iterator[bytes]:
    for number, found in objects.lines(stream, name, media_type):
        where = f"line {number} of {name}"
        if "source" not in found or "label" not in found:
            raise ClientError(
                f'{where} lacks "source" or "label"; accepted: {{"source": text, "label": label}}'
            )
        source = found["source"]
        if not isinstance(source, str):
            raise ClientError(f'"source" of {where} is {shown(str(source))}; accepted: a text')
        yield _line(source.encode("utf-8", "replace"), found["label"], where)


def _of_records(stream: Stream, name: str) -> Iterator[bytes]:
    records = recordio.payloads(stream, name)
    for number, text in enumerate(records, 1):
        label = next(records, None)
        where = f"sample {number} of {name}"
        if label is None:
            raise ClientError(f"{where} has a text and no label; accepted: two attributes, text and label")
        yield _line(text, _value(label, where), where)


def _value(label: bytes, where: str) -> Any:
    """A label's JSON, or the text that it is if it is none."""
    try:
        return objects.loads(label, where)
    except ClientError:
        return label.decode("utf-8", "replace")


def _line(text: bytes, value: Any, where: str) -> bytes:
    """A line of fastText's form. Labels stand first, or what ends a sentence in a text would cut them off."""
    labels = value if isinstance(value, list) else [value]
    tokens = [_token(label, where) for label in labels]
    return b" ".join([*tokens, text.replace(b"\n", b" ")]) + b"\n"


def _token(label: Any, where: str) -> bytes:
    token = str(label).encode("utf-8", "replace")
    if isinstance(label, bool) or not isinstance(label, int | str) or not token or _BLANK.search(token):
        raise ClientError(f"the label of {where} is {shown(str(label))}; accepted: {_ACCEPTED}")
    return token if token.startswith(LABEL_PREFIX) else LABEL_PREFIX + token
