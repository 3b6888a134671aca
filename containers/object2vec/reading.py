"""Pairs from JSON Lines: ``{"label": 1, "in0": [3, 7], "in1": [5]}``."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.channels import Channel
from common.channels.streams import Stream
from common.content_types import MediaType
from common.failures import ClientError
from common.finite import LARGEST
from common.formats import objects
from containers.object2vec import pairs
from containers.object2vec.pairs import Pairs, Ragged

KEYS = ("in0", "in1")
# Lines that are checked and packed together.
_BLOCK = 1 << 13

Where = Callable[[int], str]
"""How messages name a row by its index."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What pairs may hold. ``classes`` is None for scores; ``positive``: labels are 1 or absent."""

    vocabularies: tuple[int, int]
    longest: tuple[int, int]
    classes: int | None
    positive: bool = False


def read(channel: Channel, rules: Rules) -> Pairs | None:
    """All pairs of a channel; None when it was asked to stop before the end.

    Raises ClientError for what can't be learned from, and when there are none.
    """

    def decoder(stream: Stream, name: str) -> Iterator[Pairs]:
        return _decoded(stream, name, channel.media_type, rules)

    found = list(channel.read(decoder, pairs.join, None))
    return pairs.join(found) if found else None


def _decoded(stream: Stream, name: str, media_type: MediaType, rules: Rules) -> Iterator[Pairs]:
    rows = objects.lines(stream, name, media_type)
    while block := list(itertools.islice(rows, _BLOCK)):
        numbers = [number for number, _ in block]
        values = [value for _, value in block]

        def where(index: int, numbers: list[int] = numbers) -> str:
            return f"line {numbers[index]} of {name}"

        first, second = (packed(values, side, rules.vocabularies[side], rules.longest[side], where)
                         for side in (0, 1))  # fmt: skip
        yield Pairs((first, second), _labels(values, rules, where))


def packed(values: Sequence[Any], side: int, vocabulary: int, longest: int, where: Where) -> Ragged:
    """The sequences of a side of some JSON objects, cut to ``longest`` tokens.

    Raises ClientError for what is no list of token ids below ``vocabulary``.
    """
    key = KEYS[side]
    lists = [value.get(key) for value in values]
    if set(map(type, lists)) <= {list}:
        lists = [one if len(one) <= longest else one[:longest] for one in lists]
        tokens = list(itertools.chain.from_iterable(lists))
        # bool is a kind of int, but no token.
        integers = all(lists) and set(map(type, tokens)) <= {int}
        if integers and min(tokens, default=0) >= 0 and max(tokens, default=0) < vocabulary:
            starts = np.zeros(len(lists) + 1, np.int64)
            np.cumsum(np.fromiter(map(len, lists), np.int64, len(lists)), out=starts[1:])
            return Ragged(np.array(tokens, np.int32), starts)
    for index, one in enumerate(lists):
        _check(one, f"{key} of {where(index)}", vocabulary)
    raise AssertionError("a fault was seen and not found")


def _check(tokens: Any, what: str, vocabulary: int) -> None:
    accepted = f"a list of one token id or more, integers from 0 to {vocabulary - 1}"
    if not isinstance(tokens, list):
        found = "is missing" if tokens is None else f"is {_shown(tokens)}"
        raise ClientError(f"{what} {found}; accepted: {accepted}")
    if not tokens:
        raise ClientError(f"{what} is empty; accepted: {accepted}")
    for token in tokens:
        if type(token) is not int or not 0 <= token < vocabulary:
            raise ClientError(f"{what} has the token {_shown(token)}; accepted: {accepted}")


def _labels(values: Sequence[dict[str, Any]], rules: Rules, where: Where) -> np.ndarray:
    default = 1 if rules.positive else None
    labels = [value.get("label", default) for value in values]
    found = None
    if set(map(type, labels)) <= {int, float}:
        try:
            found = np.array(labels, np.float64)
        except OverflowError:  # an integer beyond all floats
            found = None
    if found is not None and _fit(found, rules).all():
        return found.astype(np.float32)
    for index, label in enumerate(labels):
        number = isinstance(label, int | float) and type(label) is not bool and abs(label) <= LARGEST
        if not number or not _fit(np.array([label], np.float64), rules).all():
            shown = "missing" if label is None else _shown(label)
            raise ClientError(f"label of {where(index)} is {shown}; accepted: {_accepted(rules)}")
    raise AssertionError("a fault was seen and not found")


def _fit(labels: np.ndarray, rules: Rules) -> np.ndarray:
    if rules.positive:
        return labels == 1
    if rules.classes is None:
        return np.abs(labels) <= LARGEST
    return (labels >= 0) & (labels < rules.classes) & (labels == np.floor(labels))


def _accepted(rules: Rules) -> str:
    if rules.positive:
        return "1 or none where negative_sampling_rate is above 0, as pairs of label 0 are made"
    if rules.classes is None:
        return f"a number from {-LARGEST:g} to {LARGEST:g}"
    return f"an integer from 0 to {rules.classes - 1}, as num_classes is {rules.classes}"


def _shown(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "…"
