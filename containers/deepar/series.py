"""A time series, as channels and requests have it: JSON objects, checked and turned into arrays."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.batches import Float32
from common.failures import ClientError
from common.formats.lines import shown

_START = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?")
_FORM = "YYYY-MM-DD HH:MM:SS without a time zone"
LARGEST = 1e17  # squares of targets below this, and their sums, fit in a 32-bit float
_MOST_CATEGORIES = 10_000_000


@dataclass(frozen=True, slots=True)
class Series:
    """``target`` is (n,) float32, NaN where a value is missing; ``dynamic`` (features, steps) float32."""

    start: np.datetime64  # in seconds
    target: Float32
    cat: tuple[int, ...]
    dynamic: Float32

    def __len__(self) -> int:
        return len(self.target)

    def until(self, length: int) -> Series:
        """The same without what comes after the first ``length`` points; features stay."""
        return replace(self, target=self.target[:length])


@dataclass(frozen=True, slots=True)
class Schema:
    """What beside its target a series has: how many cat values and dynamic_feat rows, None where any number.

    Where 0, such features are left out. ``cardinality`` bounds the values of cat, where it is known.
    """

    cats: int | None
    dynamic: int | None
    cardinality: tuple[int, ...] = ()


def parse(record: Mapping[str, Any], what: str, schema: Schema) -> Series:
    """The series of an object with start, target, and where the schema has them cat and dynamic_feat.

    ``what`` names it in messages. Other keys are passed over. Raises ClientError for what isn't accepted.
    """
    target = _target(record.get("target"), f"the target of {what}")
    cat: tuple[int, ...] = ()
    if schema.cats != 0:
        cat = _cat(record.get("cat"), f"the cat of {what}")
    dynamic: Float32 = np.zeros((0, len(target)), np.float32)
    if schema.dynamic != 0 and record.get("dynamic_feat"):
        dynamic = _dynamic(record["dynamic_feat"], f"the dynamic_feat of {what}")
    return Series(_start(record.get("start"), f"the start of {what}"), target, cat, dynamic)


def agree(series: Series, what: str, schema: Schema) -> Schema:
    """The schema, with numbers that it left open taken from ``series``.

    Raises ClientError when the series has other features than the schema.
    """
    cats, rows = len(series.cat), len(series.dynamic)
    if schema.cats not in (None, cats):
        raise ClientError(f"the cat of {what} has {cats} values; accepted: {schema.cats}, as all others have")
    if schema.dynamic not in (None, rows):
        raise ClientError(
            f"the dynamic_feat of {what} has {rows} rows; accepted: {schema.dynamic}, as all others have"
        )
    for value, size in zip(series.cat, schema.cardinality, strict=False):
        if value >= size:
            raise ClientError(
                f"the cat of {what} is {list(series.cat)}; accepted: values below {list(schema.cardinality)}"
            )
    return replace(schema, cats=cats, dynamic=rows)


def _start(value: Any, what: str) -> np.datetime64:
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        return np.datetime64(value, "s")
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return np.datetime64(value, "s")
    if isinstance(value, str) and _START.fullmatch(value.strip()):
        try:
            return np.datetime64(value.strip(), "s")
        except ValueError:
            pass  # there is no such day
    told = "missing" if value is None else shown(str(value))
    raise ClientError(f"{what} is {told}; accepted: {_FORM}")


def _target(value: Any, what: str) -> Float32:
    if isinstance(value, np.ndarray):
        target = value.astype(np.float32)
    elif isinstance(value, list):
        target = _numbers(value, what, missing=True)
    else:
        told = "missing" if value is None else f"{shown(str(value))}"
        raise ClientError(f"{what} is {told}; accepted: a list of numbers")
    wrong = np.flatnonzero(~(np.abs(target) <= LARGEST) & ~np.isnan(target))
    if len(wrong):
        at = int(wrong[0])
        raise ClientError(
            f"{what} has {value[at]} at {at} (counted from 0); "
            f"accepted: numbers from {-LARGEST:g} to {LARGEST:g}, and NaN or null for a missing value"
        )
    return target


def _numbers(values: list[Any], what: str, *, missing: bool) -> Float32:
    """The numbers of a list, NaN for null and the text NaN where values may be missing."""
    allowed = {int, float, type(None)} if missing else {int, float}
    kinds = set(map(type, values))
    if missing and str in kinds:
        values = [None if isinstance(value, str) and value.lower() == "nan" else value for value in values]
        kinds = set(map(type, values))
    if not kinds <= allowed:
        at = next(index for index, value in enumerate(values) if type(value) not in allowed)
        raise _no_number(values[at], at, what, missing)
    try:
        with np.errstate(over="ignore"):
            return np.array(values, np.float64).astype(np.float32)
    except OverflowError:
        at = next(i for i, value in enumerate(values) if isinstance(value, int) and abs(value) > LARGEST)
        raise _no_number("an integer of many digits", at, what, missing) from None


def _no_number(value: Any, at: int, what: str, missing: bool) -> ClientError:
    accepted = "numbers, and null or NaN for a missing value" if missing else "numbers, none of them missing"
    return ClientError(f"{what} has {shown(str(value))} at {at} (counted from 0); accepted: {accepted}")


def _cat(value: Any, what: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        type(item) is int and 0 <= item < _MOST_CATEGORIES for item in value
    ):
        raise ClientError(
            f"{what} is {shown(str(value))}; accepted: a list of integers from 0 to {_MOST_CATEGORIES - 1}"
        )
    return tuple(value)


def _dynamic(value: Any, what: str) -> Float32:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise ClientError(f"{what} is {shown(str(value))}; accepted: a list of lists of numbers")
    rows = [_numbers(row, f"{what}, row {number},", missing=False) for number, row in enumerate(value)]
    if len({len(row) for row in rows}) > 1:
        raise ClientError(
            f"{what} has rows of {[len(row) for row in rows][:9]} numbers; accepted: equal lengths"
        )
    found = np.array(rows, np.float32)
    if not (np.abs(found) <= LARGEST).all():
        raise ClientError(f"{what} has a value that is missing or too large; accepted: finite numbers")
    return found
