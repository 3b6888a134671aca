"""JSON objects: a channel's JSON Lines, the instances of a request, and answers made of objects.

For algorithms whose rows are no vectors of numbers (series, pairs of sequences, sentences).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from common.content_types import JSON, JSON_LINES, MediaType
from common.failures import ClientError
from common.formats.charsets import as_text, as_utf8
from common.formats.layout import Stream
from common.formats.lines import shown
from common.formats.reading import LONGEST_LINE, LongLineError, whole_lines


def loads(text: bytes | str, what: str) -> Any:
    """The JSON value of a text, with NaN and Infinity as Python's own writer has them.

    Raises ClientError that begins with ``what``.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass  # the standard library takes NaN and long integers, and says where the fault is
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise ClientError(f"{what} is not JSON: {error.msg} at {place}") from None
    except UnicodeDecodeError as error:
        raise ClientError(f"{what} is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ClientError(f"{what} is nested too deeply") from None
    except ValueError:  # an integer of thousands of digits
        raise ClientError(f"{what} holds a number that is too long") from None


def lines(stream: Stream, name: str, media_type: MediaType) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a stream of JSON Lines with their line numbers from 1; blank lines are passed over.

    Raises ClientError that names ``name`` and the line for what isn't a JSON object.
    """
    number = 0
    try:
        for piece, size in whole_lines(as_utf8(stream, media_type, name, letters=True)):
            for line in piece[:size].tobytes().splitlines():
                number += 1
                if line and not line.isspace():
                    yield number, _object(line, f"line {number} of {name}")
    except LongLineError:
        raise ClientError(
            f"line {number + 1} of {name} is longer than {LONGEST_LINE} bytes; shorter ones are read"
        ) from None


def _object(text: bytes, what: str) -> dict[str, Any]:
    value = loads(text, what)
    if not isinstance(value, dict):
        raise ClientError(f"{what} is {shown(text.decode('utf-8', 'replace'))}; accepted: a JSON object")
    return value


@dataclass(frozen=True, slots=True)
class Request:
    """The instances of a request, and what else its JSON body holds."""

    instances: list[dict[str, Any] | Any]
    options: dict[str, Any]  # the body's other keys; none in JSON Lines
    where: Callable[[int], str]  # how messages name an instance by its index
    content_type: MediaType


def request(body: bytes, content_type: MediaType, form: str) -> Request | None:
    """The instances of ``{"instances": [...]}``, or a JSON Lines body's values, one a line.

    ``form`` is an instance as messages show it. None when the body holds nothing. Raises ClientError for
    what is no such body.
    """
    text = as_text(body, content_type, "the payload")
    if not text or text.isspace():
        return None
    if content_type.name == JSON_LINES:
        numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line and not line.isspace()]
        return Request(
            [loads(line, f"line {number}") for number, line in numbered],
            {},
            lambda index: f"line {numbered[index][0]}",
            content_type,
        )
    value = loads(text, "the payload")
    if not isinstance(value, dict) or not isinstance(value.get("instances"), list):
        raise ClientError(f'the payload is not accepted; accepted: {{"instances": [{form}, ...]}}')
    options = {key: option for key, option in value.items() if key != "instances"}
    return Request(value["instances"], options, "instances[{}]".format, content_type)


def answer(items: Sequence[Any], accept: MediaType, root: str | None) -> bytes:
    """Answers as JSON Lines, one a line, or as JSON: ``{root: [...]}``, or a bare list without ``root``.

    Items may hold numpy arrays and scalars. Numbers are written as short as reads back the same.
    """
    if accept.name == JSON:
        return orjson.dumps(list(items) if root is None else {root: list(items)}, option=_OPTION)
    return b"".join([orjson.dumps(item, option=_OPTION | orjson.OPT_APPEND_NEWLINE) for item in items])


_OPTION = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
