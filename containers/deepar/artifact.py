"""model_algo-1-0000.params, -symbol.json and -config.json: an MXNet checkpoint, and how it is to be used."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from common.batches import Float32
from common.failures import ClientError
from common.formats import ndarray
from containers.deepar.frequencies import Frequency, parse
from containers.deepar.sampling import LIKELIHOODS
from containers.deepar.windows import Span

PREFIX = "model_algo-1"
PARAMETERS, SYMBOL, CONFIG = f"{PREFIX}-0000.params", f"{PREFIX}-symbol.json", f"{PREFIX}-config.json"
_LONGEST = 1_000_000  # steps that a model's numbers may ask for


@dataclass(frozen=True, slots=True)
class Settings:
    """What beside its weights a model is: the content of the configuration file.

    ``scale`` stands in for a series' own where that has none: the mean absolute target of the training data.
    ``dynamic_centers`` and ``dynamic_spreads`` are how dynamic features are told (`windows.Span`).
    """

    time_freq: str
    context_length: int
    prediction_length: int
    lags: list[int]
    likelihood: str
    num_cells: int
    num_layers: int
    dropout_rate: float
    cardinality: list[int]
    embedding_dimension: int
    num_dynamic_feat: int
    scale: float
    dynamic_centers: list[float] = field(default_factory=list)
    dynamic_spreads: list[float] = field(default_factory=list)

    @property
    def frequency(self) -> Frequency:
        """The time between points."""
        return parse(self.time_freq)

    @property
    def span(self) -> Span:
        """The windows that the network takes."""
        lags = np.array(self.lags, np.int64)
        return Span(
            self.frequency,
            lags,
            self.context_length,
            self.prediction_length,
            tuple(self.dynamic_centers),
            tuple(self.dynamic_spreads),
        )

    @property
    def constant(self) -> int:
        """How many numbers are the same at all steps of a window: vectors of categories, log of the scale."""
        return len(self.cardinality) * self.embedding_dimension + 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the weights, as MXNet names them."""
        cells, width = self.num_cells, self.span.width(self.num_dynamic_feat) + self.constant
        found: dict[str, tuple[int, ...]] = {}
        for feature, size in enumerate(self.cardinality):
            found[f"embedding{feature}_weight"] = (size, self.embedding_dimension)
        for layer in range(self.num_layers):
            found[f"lstm{layer}_i2h_weight"] = (4 * cells, cells if layer else width)
            found[f"lstm{layer}_i2h_bias"] = (4 * cells,)
            found[f"lstm{layer}_h2h_weight"] = (4 * cells, cells)
        parameters = LIKELIHOODS[self.likelihood].parameters
        return {**found, "projection_weight": (parameters, cells), "projection_bias": (parameters,)}


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model: ``weights`` by the names of `Settings.shapes`, gates in the order input, forget, new,
    output, and the first layer's input in the order lags, calendar, age, dynamic features, categories, scale.
    """

    settings: Settings
    weights: dict[str, Float32]


def read(folder: Path) -> Model:
    """The model in a folder. Raises ClientError when it holds none, or one that can't be understood."""
    settings = _settings(_content(folder / CONFIG))
    arrays = ndarray.load(_content(folder / PARAMETERS))
    if not isinstance(arrays, dict):
        raise ClientError(f"{PARAMETERS} holds arrays without names")
    weights = {}
    for name, shape in settings.shapes().items():
        array = arrays.get(f"arg:{name}")
        if array is None or array.shape != shape or array.dtype != np.float32:
            raise ClientError(f"{PARAMETERS} has no arg:{name} of {shape} 32-bit floats, as {CONFIG} says")
        if not np.isfinite(array).all():
            raise ClientError(f"{PARAMETERS}: arg:{name} holds values that are not finite numbers")
        weights[name] = array
    return Model(settings, weights)


def parameters(model: Model) -> list[bytes | memoryview]:
    """The parameter file's bytes, in pieces."""
    return ndarray.pieces({f"arg:{name}": array for name, array in model.weights.items()})


def config(settings: Settings) -> bytes:
    """The configuration file's bytes."""
    return json.dumps({"algorithm": "forecasting-deepar", **asdict(settings)}, indent=1).encode()


def _content(path: Path) -> bytearray:
    try:
        return bytearray(path.read_bytes())
    except FileNotFoundError:
        raise ClientError(f"there is no {path.name} in the model folder") from None
    except OSError as error:
        raise ClientError(f"{path.name} can't be read: {error.strerror}") from None


def _settings(content: bytearray) -> Settings:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ClientError(f"{CONFIG} is not a JSON object")
    found = {**_UNTOLD, **found}
    for name in _CHECKS:
        if not _CHECKS[name](found.get(name)):
            shown = str(found.get(name))[:60]
            raise ClientError(f"{CONFIG} has the {name} {shown}, which is none that a model has")
    settings = Settings(**{one.name: found[one.name] for one in fields(Settings)})
    lengths = {len(settings.dynamic_centers), len(settings.dynamic_spreads)}
    if lengths not in ({0}, {settings.num_dynamic_feat}):
        raise ClientError(f"{CONFIG} tells of some dynamic features how they are measured, and not of all")
    return settings


def _count(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value <= _LONGEST


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(_count(item) for item in value)


def _frequency(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(parse(value))
    except ValueError:
        return False


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) in (int, float) and abs(v) < float("inf") for v in value)


_UNTOLD: dict[str, Any] = {"dynamic_centers": [], "dynamic_spreads": []}  # in models of before

_CHECKS = {
    "time_freq": _frequency,
    "context_length": _count,
    "prediction_length": _count,
    "lags": lambda value: _counts(value) and value == sorted(set(value)),
    "likelihood": lambda value: isinstance(value, str) and value in LIKELIHOODS,
    "num_cells": _count,
    "num_layers": lambda value: _count(value) and value < 1000,
    "dropout_rate": lambda value: _number(value) and value < 1,
    "cardinality": lambda value: isinstance(value, list) and all(type(v) is int and v > 0 for v in value),
    "embedding_dimension": _count,
    "num_dynamic_feat": lambda value: _count(value, 0),
    "scale": lambda value: _number(value) and value > 0,
    "dynamic_centers": _numbers,
    "dynamic_spreads": lambda value: _numbers(value) and min(value, default=1) > 0,
}
