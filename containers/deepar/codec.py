"""Requests of series and answers of forecasts, as the developer guide shows them (deepar-in-formats)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.content_types import MediaType
from common.failures import ClientError, one_of
from common.formats import objects
from common.formats.lines import shown

CONFIGURATION = "DEEPAR_INFERENCE_CONFIG"
SEED = "ALGODOCK_SEED"
OUTPUTS = ("mean", "quantiles", "samples")
MOST_SAMPLES = 10_000
_FORM = '{"start": "2020-03-01 00:00:00", "target": [1.5, "NaN", 2.0]}'

Answer = dict[str, Any]
"""mean (steps,), quantiles {name: (steps,)}, samples (samples, steps): those that were asked for."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a request asks for; ``quantiles`` are names as they were written, and levels."""

    num_samples: int = 100
    output_types: tuple[str, ...] = ("mean", "quantiles")
    quantiles: tuple[tuple[str, float], ...] = tuple((f"0.{n}", n / 10) for n in range(1, 10))


@dataclass(frozen=True, slots=True)
class Query:
    """A request: instances as they were sent, their names for messages, and what draws begin from."""

    instances: Sequence[Any]
    where: Callable[[int], str]
    configuration: Configuration
    seed: int


class DeepARCodec:
    """Reads requests and writes answers.

    ``environment`` may hold DEEPAR_INFERENCE_CONFIG, the configuration of requests that have none, and
    ALGODOCK_SEED, with which equal requests get equal answers. Raises ClientError for what isn't accepted.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        written = environment.get(CONFIGURATION, "").strip()
        self._configuration = Configuration()
        if written:
            what = f"the environment variable {CONFIGURATION}"
            self._configuration = _configuration(objects.loads(written, what), what)
        seed = environment.get(SEED, "").strip()
        if seed and not (seed.isascii() and seed.isdigit()):
            raise ClientError(f"the environment variable {SEED} is '{seed}'; accepted: an integer from 0")
        self._seed = int(seed) if seed else None

    def decode(self, body: bytes, content_type: MediaType) -> Query | None:
        """A request's query, None if it is empty. Raises ClientError for what is no request."""
        request = objects.request(body, content_type, _FORM)
        if request is None:
            return None
        options = dict(request.options)
        configuration = self._configuration
        if options.get("configuration") is not None:
            configuration = _configuration(options["configuration"], "configuration")
        options.pop("configuration", None)
        if options:
            raise ClientError(
                f"the payload has the key {shown(next(iter(options)))}; accepted: instances and configuration"
            )
        seed = secrets.randbits(64) if self._seed is None else self._seed
        return Query(request.instances, request.where, configuration, seed)

    def encode(self, columns: Any, accept: MediaType) -> bytes:
        """The answers of a query, in its order."""
        return objects.answer(list(columns), accept, "predictions")


def _configuration(value: Any, what: str) -> Configuration:
    if not isinstance(value, dict):
        raise ClientError(f"{what} is {shown(str(value))}; accepted: an object")
    readers: dict[str, Callable[[Any, str], Any]] = {
        "num_samples": _num_samples,
        "output_types": _output_types,
        "quantiles": _quantiles,
    }
    found: dict[str, Any] = {}
    for name, item in value.items():
        if name not in readers:
            raise ClientError(f"{what} has the key {shown(name)}; accepted: {one_of(readers)}")
        found[name] = readers[name](item, f"{name} of {what}")
    return Configuration(**found)


def _num_samples(value: Any, what: str) -> int:
    if type(value) is not int or not 1 <= value <= MOST_SAMPLES:
        raise ClientError(f"{what} is {shown(str(value))}; accepted: an integer from 1 to {MOST_SAMPLES}")
    return value


def _output_types(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(item in OUTPUTS for item in value):
        raise ClientError(f"{what} is {shown(str(value))}; accepted: a list of {one_of(OUTPUTS)}")
    return tuple(value)


def _quantiles(value: Any, what: str) -> tuple[tuple[str, float], ...]:
    fault = ClientError(f'{what} is {shown(str(value))}; accepted: a list of numbers from 0 to 1, as "0.5"')
    if not isinstance(value, list):
        raise fault
    found = []
    for item in value:
        if type(item) not in (str, int, float):
            raise fault
        try:
            level = float(item)
        except (ValueError, OverflowError):
            raise fault from None
        if not 0 <= level <= 1:
            raise fault
        found.append((str(item), level))
    return tuple(found)
