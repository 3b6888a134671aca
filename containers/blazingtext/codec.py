"""Requests and answers of the endpoint: texts in, objects out, without a key round them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.content_types import JSON_LINES, MediaType
from common.failures import ClientError
from common.formats import objects
from common.formats.lines import shown


@dataclass(frozen=True, slots=True)
class Request:
    """Texts to answer, words or sentences, and how many labels each is to get."""

    texts: list[str]
    counts: list[int]


_MOST = 1 << 31  # labels: more than a model can have

Answers = Sequence[dict[str, Any]]


class TextCodec:
    """``{"instances": [text, ...], "configuration": {"k": 2}}``, or lines ``{"source": text, "k": 2}``."""

    def decode(self, body: bytes, content_type: MediaType) -> Request | None:
        """The texts of a request; None when it holds nothing. Raises ClientError."""
        found = objects.request(body, content_type, "text")
        if found is None:
            return None
        if content_type.name == JSON_LINES:
            lines = found.instances
            texts = [_source(line, found.where(index)) for index, line in enumerate(lines)]
            counts = [_count(line, "k", found.where(index)) for index, line in enumerate(lines)]
            return Request(texts, counts)
        texts = [_text(value, found.where(index)) for index, value in enumerate(found.instances)]
        configuration = found.options.get("configuration", {})
        if not isinstance(configuration, dict):
            raise ClientError(f'"configuration" is {shown(str(configuration))}; accepted: {{"k": count}}')
        count = _count(configuration, "k", '"configuration"')
        return Request(texts, [count] * len(texts))

    def encode(self, answers: Answers, accept: MediaType) -> bytes:
        """A bare list, or an object a line, whose keys AWS has the other way round."""
        if accept.name == JSON_LINES:
            answers = [dict(reversed(answer.items())) for answer in answers]
        return objects.answer(answers, accept, None)


def _source(line: Any, where: str) -> str:
    if not isinstance(line, dict) or "source" not in line:
        raise ClientError(f'{where} is not accepted; accepted: {{"source": text}}')
    return _text(line["source"], f'"source" of {where}')


def _count(found: dict[str, Any], key: str, where: str) -> int:
    count = found.get(key, 1)
    # A number too long for 64 bits comes as a float.
    if type(count) not in (int, float) or not count >= 1 or count != count // 1:
        raise ClientError(f'"{key}" of {where} is {shown(str(count))}; accepted: a whole number from 1')
    return int(min(count, _MOST))


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ClientError(f"{where} is {shown(str(value))}; accepted: a text")
    return value
