"""Requests of pairs: CSV, JSON and JSON Lines as the developer guide shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from common.content_types import CSV, JSON, MediaType
from common.failures import ClientError
from common.formats.charsets import as_text
from common.formats.lines import shown
from containers.ipinsights import reading
from containers.ipinsights.pairs import Addresses, Hashes, Pairs, none

_FORM = '{"features": ["entity", "192.0.2.7"]} or {"data": {"features": {"values": ["entity", "192.0.2.7"]}}}'

Where = Callable[[int], str]
"""How messages name an instance."""


class PairsCodec:
    """Reads requests; answers are written as every other algorithm's."""

    def decode(self, body: bytes, content_type: MediaType) -> Pairs | None:
        """The pairs of a request, None if it is empty. Raises ClientError for what is no pair."""
        if content_type.name == CSV:
            return reading.decode_bytes(body, "the payload", content_type)
        text = as_text(body, content_type, "the payload")
        if not text or text.isspace():
            return None
        if content_type.name == JSON:
            return _pairs(_instances(text), "instances[{}]".format)
        numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line and not line.isspace()]
        return _pairs(_lines(numbered), lambda index: f"line {numbered[index][0]}")


def _constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


# An entity that is a number is the text that stands there, as in CSV.
_decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_constant)


def _load(text: str, what: str) -> Any:
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ClientError(f"{what} is not JSON: {error.msg} at {place}") from None
    except ValueError as error:
        raise ClientError(f"{what} is not accepted: {error}") from None
    except RecursionError:
        raise ClientError(f"{what} is nested too deeply") from None


def _instances(text: str) -> list[Any]:
    body = _load(text, "the payload")
    instances = body.get("instances") if isinstance(body, dict) else None
    if not isinstance(instances, list):
        raise ClientError(f'the payload is not accepted; accepted: {{"instances": [...]}} with {_FORM}')
    return instances


def _lines(numbered: Sequence[tuple[int, str]]) -> list[Any]:
    """The values of all lines, which one call reads many times faster than a call for each."""
    together = "[[" + "],[".join([line for _, line in numbered]) + "]]"
    try:
        found = _decoder.decode(together)
    except (ValueError, RecursionError):
        found = []
    # Lines that are JSON only together make other lists than one of one value for each.
    if len(found) == len(numbered) and all(len(values) == 1 for values in found):
        return [values[0] for values in found]
    return [_load(line, f"line {number}") for number, line in numbered]


def _pairs(instances: Sequence[Any], where: Where) -> Pairs:
    rows = [_values(instance) for instance in instances]
    for index, row in enumerate(rows):
        if row is None or len(row) != 2:
            found = "is not accepted" if row is None else f"has {len(row)} values"
            raise ClientError(f"{where(index)} {found}; accepted: {_FORM}")
    entities, addresses = [row[0] for row in rows if row], [row[1] for row in rows if row]
    for values, what in ((entities, "the entity"), (addresses, "the address")):
        if not set(map(type, values)) <= {str}:
            index = next(index for index, value in enumerate(values) if type(value) is not str)
            raise ClientError(
                f"{what} of {where(index)} is {json.dumps(values[index])[:40]}; accepted: a text"
            )
    if not rows:
        return none()
    return Pairs(_hashes(entities, where), _addresses(addresses, where))


def _values(instance: Any) -> list[Any] | None:
    """The list of an instance in either documented form; None for anything else."""
    if isinstance(instance, dict):
        features = instance.get("features")
        if features is None and isinstance(instance.get("data"), dict):
            features = instance["data"].get("features")
            features = features.get("values") if isinstance(features, dict) else None
        if isinstance(features, list):
            return features
    return None


def _hashes(entities: Sequence[str], where: Where) -> Hashes:
    from containers.ipinsights.text_kernels import hash_each

    texts = [reading.trimmed(entity) for entity in entities]
    if not all(texts):
        index = next(index for index, text in enumerate(texts) if not text)
        raise ClientError(f"the entity of {where(index)} is empty; any text but that is accepted")
    joined = "".join(texts)
    data = joined.encode("utf-8", "surrogatepass")
    sizes = map(len, texts if joined.isascii() else (text.encode("utf-8", "surrogatepass") for text in texts))
    hashes = np.empty(len(texts), np.uint64)
    hash_each(np.frombuffer(bytearray(data), np.uint8), np.cumsum(np.fromiter(sizes, np.int64)), hashes)
    return hashes


def _addresses(addresses: Sequence[str], where: Where) -> Addresses:
    texts = [reading.trimmed(address) for address in addresses]
    found = reading.addresses(texts)
    if found is None:
        index = next(index for index, text in enumerate(texts) if reading.addresses([text]) is None)
        text = texts[index]
        accepted = f"{reading.ADDRESS} is accepted{reading.hint(text)}"
        raise ClientError(f"the address of {where(index)} is {shown(text)}; {accepted}")
    return found
