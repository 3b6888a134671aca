"""Bodies that every algorithm shares: requests to rows, columns of predictions to responses."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features, Float32, stack, to_csr
from common.content_types import CSV, JSON, JSON_LINES, RECORDIO_PROTOBUF, MediaType
from common.failures import ClientError
from common.formats import Layout, decode_bytes, encode_records
from common.formats.charsets import as_text
from common.prediction import Columns, Predictor

_LARGEST = float(np.finfo(np.float32).max)
# The most columns that a sparse row may claim where the model doesn't say how many it takes.
_WIDEST = 2**31 - 1

_T = TypeVar("_T")


class StandardCodec:
    """JSON, JSON Lines, CSV and RecordIO-protobuf both ways, as SageMaker's tabular algorithms have them.

    ``root`` is the top-level key of a JSON answer. ``predictor`` says how wide rows must be. Its attribute
    ``json_keys``, if it has one, is the order of keys in JSON where that is not the order of CSV columns.
    """

    def __init__(self, root: str, predictor: Predictor) -> None:
        self._root = root
        self._width = predictor.feature_dim
        # Labels of records are passed over; leading columns of CSV are labels where label_size says so.
        self._layout = Layout(feature_dim=predictor.feature_dim)
        self._keys: tuple[str, ...] | None = getattr(predictor, "json_keys", None)

    def decode(self, body: bytes, content_type: MediaType) -> Features | None:
        """The rows of a request. Raises ClientError; None when it is empty."""
        if content_type.name == JSON:
            features = _json(as_text(body, content_type, "the payload"), self._width)
        elif content_type.name == JSON_LINES:
            features = _json_lines(as_text(body, content_type, "the payload"), self._width)
        else:
            batch = decode_bytes(body, "the payload", content_type, self._layout)
            features = None if batch is None else batch.features
        if features is not None and len(features):
            _check(features, self._width)
        return features

    def encode(self, columns: Columns, accept: MediaType) -> bytes:
        """An answer, row by row in the order of the request."""
        if accept.name == RECORDIO_PROTOBUF:
            return encode_records(columns)
        if accept.name == CSV:
            rows = map(",".join, zip(*map(_csv_cells, columns.values()), strict=True))
            return "".join([f"{row}\n" for row in rows]).encode()
        names = tuple(columns) if self._keys is None else tuple(key for key in self._keys if key in columns)
        cells = zip(*[_json_cells(columns[name]) for name in names], strict=True)
        items = map(_item(names).__mod__, cells)
        if accept.name == JSON_LINES:
            return "".join([f"{item}\n" for item in items]).encode()
        return f'{{"{self._root}": [{", ".join(items)}]}}'.encode()


@functools.lru_cache(64)
def _item(names: tuple[str, ...]) -> str:
    """The JSON object of one row, with %s for each value."""
    pairs = [json.dumps(name).replace("%", "%%") + ": %s" for name in names]
    return f"{{{', '.join(pairs)}}}"


# A column is written as JSON by one call and cut where its values meet: they are numbers, after all.


def _json_cells(column: NDArray[Any]) -> list[str]:
    """The values of each row as JSON: a number, or a list of them."""
    text = json.dumps(column.tolist())
    return text[1:-1].split(", ") if column.ndim == 1 else [f"[{cell}]" for cell in text[2:-2].split("], [")]


def _csv_cells(column: NDArray[Any]) -> list[str]:
    """The values of each row as CSV: a number, or as many cells as the list has."""
    text = json.dumps(column.tolist(), separators=(",", ":"))
    return text[1:-1].split(",") if column.ndim == 1 else text[2:-2].split("],[")


def _check(features: Features, width: int | None) -> None:
    if width is not None and features.shape[1] != width:
        raise ClientError(f"row 1 has {features.shape[1]} features; the model takes {width}")
    values = features.values if isinstance(features, CSR) else features
    finite = np.isfinite(values)
    if finite.all():
        return
    first = int(np.flatnonzero(~finite.reshape(-1))[0])
    if isinstance(features, CSR):
        row = int(np.searchsorted(features.indptr, first, "right"))
        column = int(features.indices[first])
    else:
        row, column = first // features.shape[1] + 1, first % features.shape[1]
    raise ClientError(
        f"feature {column} (counted from 0) of row {row} is not a finite number that fits in 32 bits"
    )


# --- JSON ---


def _constant(token: str) -> NoReturn:
    raise ClientError(f"{token} is not a number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ClientError(f"the key {_short(key)} appears twice in one object")
            seen.add(key)
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _load(text: str, where: str, line: int = 0) -> Any:
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno}, column {error.colno}"
        raise ClientError(f"{where} is not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise ClientError(f"{where} is nested too deeply") from None
    except ClientError as error:
        raise ClientError(f"{where} is not accepted: {error}") from None
    except ValueError:  # an integer of thousands of digits
        raise ClientError(f"{where} holds a number that is too long") from None


def _json(text: str, width: int | None) -> Features | None:
    if not text.strip():
        return None
    body = _load(text, "the payload")
    if not isinstance(body, dict):
        raise ClientError(f'the payload is {_kind(body)}; accepted: an object with the key "instances"')
    if "instances" not in body:
        raise ClientError(f'the key "instances" is missing from the payload, which has {_keys(body)}')
    instances = body["instances"]
    if not isinstance(instances, list):
        raise ClientError(f'"instances" is {_kind(instances)}; accepted: a list of objects')
    return _rows(instances, lambda index: f"instances[{index}]", width)


def _json_lines(text: str, width: int | None) -> Features | None:
    numbers, instances = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.isspace():
            numbers.append(number)
            instances.append(_load(line, f"line {number}", number))
    if not instances:
        return None
    return _rows(instances, lambda index: f"line {numbers[index]}", width)


def _rows(instances: Sequence[Any], where: Callable[[int], str], width: int | None) -> Features:
    """Instances in either documented form, dense and sparse ones mixed as they come."""
    if not instances:
        return np.zeros((0, width or 0), np.float32)
    rows: list[Any] = []
    sparse = False
    for index, instance in enumerate(instances):
        # The plain dense form is nearly every request's, and costs one look-up here.
        if type(instance) is dict and len(instance) == 1 and type(instance.get("features")) is list:
            rows.append(instance["features"])
        else:
            row = _instance(instance, where(index))
            sparse = sparse or isinstance(row, tuple)
            rows.append(row)
    if not sparse:
        return _dense(rows, where, 0, width)
    # Runs of dense rows are made one matrix each; runs of sparse rows likewise.
    parts: list[Features] = []
    start = 0
    for is_sparse, run in itertools.groupby(rows, lambda row: isinstance(row, tuple)):
        chosen = list(run)
        if is_sparse:
            part: Features = _sparse(chosen, where, start, width)
        else:
            part = to_csr(_dense(chosen, where, start, width))
        if parts and part.shape[1] != parts[0].shape[1]:
            raise ClientError(
                f"{where(start)} has {part.shape[1]} features; the rows before it have {parts[0].shape[1]}"
            )
        parts.append(part)
        start += len(chosen)
    return stack(parts)


def _instance(instance: Any, where: str) -> list[Any] | tuple[list[Any], list[Any], int]:
    """One row: its values, or (keys, values, width) of a sparse one."""
    if not isinstance(instance, dict):
        raise ClientError(f'{where} is {_kind(instance)}; accepted: an object with "features" or "data"')
    if "features" in instance and "data" in instance:
        raise ClientError(f'{where} has both "features" and "data"; accepted: one of them')
    if "features" in instance:
        values = instance["features"]
        if not isinstance(values, list):
            raise ClientError(f'"features" of {where} is {_kind(values)}; accepted: a list of numbers')
        return values
    if "data" not in instance:
        raise ClientError(f'{where} has neither "features" nor "data"; it has {_keys(instance)}')
    data = _member(instance, "data", dict, where)
    features = _member(data, "features", dict, f"data of {where}")
    values = _member(features, "values", list, f"data.features of {where}")
    if "keys" not in features:
        if "shape" in features:
            claimed = _shape(features, where)
            # An empty list with a shape is a sparse row without entries, as in protobuf records.
            if not values:
                return [], [], claimed
            if claimed != len(values):
                raise ClientError(
                    f'"shape" of {where} says {claimed} features and "values" has {len(values)}'
                )
        return values
    keys = _member(features, "keys", list, f"data.features of {where}")
    if len(keys) != len(values):
        raise ClientError(
            f'{where} has {len(keys)} "keys" and {len(values)} "values"; accepted: equally many'
        )
    if "shape" not in features:
        raise ClientError(f'"shape" is missing from data.features of {where}, which has "keys"')
    return keys, values, _shape(features, where)


def _member(found: dict[str, Any], key: str, kind: type[_T], where: str) -> _T:
    if key not in found:
        raise ClientError(f'"{key}" is missing from {where}, which has {_keys(found)}')
    value = found[key]
    if not isinstance(value, kind):
        raise ClientError(f'"{key}" in {where} is {_kind(value)}; accepted: {_KINDS[kind]}')
    return value


def _shape(features: dict[str, Any], where: str) -> int:
    shape = _member(features, "shape", list, f"data.features of {where}")
    if not shape or len(shape) > 32 or any(type(size) is not int or size < 0 for size in shape):
        raise ClientError(f'"shape" of {where} is not a list of one or more whole numbers')
    width = math.prod(shape)
    if width > _WIDEST:
        raise ClientError(f'"shape" of {where} says {width} features; accepted: up to {_WIDEST}')
    return width


def _dense(rows: list[list[Any]], where: Callable[[int], str], start: int, width: int | None) -> Float32:
    wanted = len(rows[0]) if width is None else width
    if any(len(row) != wanted for row in rows):
        index = next(index for index, row in enumerate(rows) if len(row) != wanted)
        reason = "the model takes" if width is not None else f"{where(start)} has"
        raise ClientError(f"{where(start + index)} has {len(rows[index])} features; {reason} {wanted}")
    if not wanted:
        raise ClientError(f"{where(start)} has no features")
    if not _numbers(itertools.chain.from_iterable(rows)):
        for index, row in enumerate(rows):
            _refuse(row, f"features of {where(start + index)}")
    try:
        matrix = np.array(rows, np.float64)
    except OverflowError:
        matrix = np.full((len(rows), wanted), np.inf)
    if np.abs(matrix).max() > _LARGEST:
        for index, row in enumerate(rows):
            _refuse(row, f"features of {where(start + index)}")
    return matrix.astype(np.float32)


def _sparse(
    rows: list[tuple[list[Any], list[Any], int]],
    where: Callable[[int], str],
    start: int,
    width: int | None,
) -> CSR:
    wanted = rows[0][2] if width is None else width
    for index, (keys, values, claimed) in enumerate(rows, start):
        if claimed != wanted:
            reason = "the model takes" if width is not None else f"{where(start)} says"
            raise ClientError(f'"shape" of {where(index)} says {claimed} features; {reason} {wanted}')
        if not _numbers(values) or max(map(abs, values), default=0) > _LARGEST:
            _refuse(values, f"values of {where(index)}")
        if keys and not (set(map(type, keys)) == {int} and min(keys) >= 0 and max(keys) < claimed):
            _refuse_keys(keys, claimed, where(index))
        if len(set(keys)) != len(keys):
            ordered = sorted(keys)
            twice = next(key for key, following in itertools.pairwise(ordered) if key == following)
            raise ClientError(f"key {twice} appears twice in the keys of {where(index)}")
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(keys) for keys, _, _ in rows], out=indptr[1:])
    return CSR(
        np.array(list(itertools.chain.from_iterable(row[1] for row in rows)), np.float32),
        np.array(list(itertools.chain.from_iterable(row[0] for row in rows)), np.int64),
        indptr,
        (len(rows), wanted),
    )


def _numbers(values: Iterable[Any]) -> bool:
    # bool is a subclass of int, and true is no number of JSON: types are compared, not instances.
    return set(map(type, values)) <= {float, int}


def _refuse(values: Sequence[Any], what: str) -> None:
    """Raises ClientError for the first of ``values`` that isn't a number of 32 bits, if there is one."""
    for place, value in enumerate(values):
        if type(value) not in (float, int):
            raise ClientError(f"value {place} in {what} is {_value(value)}; accepted: a number")
        if abs(value) > _LARGEST:
            raise ClientError(f"value {place} in {what} is too large for a 32-bit float")


def _refuse_keys(keys: Sequence[Any], width: int, where: str) -> None:
    """Raises ClientError for the first of ``keys`` that isn't a column of a row of ``width``, if any."""
    for place, key in enumerate(keys):
        if type(key) is not int or not 0 <= key < width:
            raise ClientError(
                f"keys[{place}] of {where} is {_value(key)}; accepted: a whole number from 0 to {width - 1}"
            )


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _kind(value: Any) -> str:
    return _KINDS[type(value)]


def _value(value: Any) -> str:
    """A value as it stood in the payload when it is short, else what kind it is."""
    if isinstance(value, dict | list):
        return _kind(value)
    text = json.dumps(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a longer number"
    return text if len(text) <= 40 else f"{_kind(value)} of {len(text)} characters"


def _keys(found: dict[str, Any]) -> str:
    names = ", ".join(_short(key) for key in list(found)[:8])
    return f"{names or 'no key'}{', ...' if len(found) > 8 else ''}"


def _short(text: str) -> str:
    """A string in quotes, on one line and no longer than a sentence bears."""
    return json.dumps(text if len(text) <= 40 else text[:37] + "...")
