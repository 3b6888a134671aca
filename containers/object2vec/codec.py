"""Requests of pairs, or of one side of them, and answers, as the developer guide shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.content_types import MediaType
from common.failures import ClientError
from common.formats import objects
from common.prediction import Columns
from containers.object2vec.reading import KEYS, Where

_FORM = '{"in0": [5, 12], "in1": [3]}'
_LONGEST = 5000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's instances, which all have the ``sides``: (0, 1), (0,) or (1,)."""

    instances: list[dict[str, Any]]
    sides: tuple[int, ...]
    longest: tuple[int, int] | None  # infer_max_seqlens
    where: Where


class PairsCodec:
    """Reads requests and writes answers. ``root`` is the top-level key of a JSON answer."""

    def __init__(self, root: str) -> None:
        self._root = root

    def decode(self, body: bytes, content_type: MediaType) -> Asked | None:
        """What a request asks for, None if it is empty. Raises ClientError."""
        request = objects.request(body, content_type, _FORM)
        if request is None:
            return None
        longest = _lengths(content_type)
        sides: tuple[int, ...] | None = None
        for index, instance in enumerate(request.instances):
            found = _sides(instance)
            if not found:
                raise ClientError(
                    f"{request.where(index)} is not accepted; accepted: {_FORM}, or one of both"
                )
            if sides not in (None, found):
                raise ClientError(
                    f"{request.where(index)} has {_named(found)}, and those before have {_named(sides)}; "
                    "accepted: the same keys in all instances of a request"
                )
            sides = found
        return Asked(request.instances, sides or (), longest, request.where)

    def encode(self, columns: Columns, accept: MediaType) -> bytes:
        """``{"scores": [...]}`` or ``{"embeddings": [...]}`` for each instance."""
        items = [{name: row} for name, rows in columns.items() for row in rows]
        return objects.answer(items, accept, self._root)


def _sides(instance: Any) -> tuple[int, ...]:
    if not isinstance(instance, Mapping):
        return ()
    return tuple(side for side, key in enumerate(KEYS) if instance.get(key) is not None)


def _named(sides: tuple[int, ...] | None) -> str:
    return " and ".join(KEYS[side] for side in sides or ())


def _lengths(content_type: MediaType) -> tuple[int, int] | None:
    text = content_type.parameters.get("infer_max_seqlens")
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        first, second = map(int, parts)
        if min(first, second) >= 1 and max(first, second) <= _LONGEST:
            return first, second
    raise ClientError(
        f"infer_max_seqlens={text} is not accepted; accepted: two integers from 1 to {_LONGEST} with a comma "
        "between them, the most tokens of in0 and of in1"
    )
