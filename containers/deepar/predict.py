"""Answers series with forecasts of what follows them, without torch: an endpoint starts at once and forks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.failures import ClientError
from containers.deepar import artifact, warm
from containers.deepar.codec import Answer, DeepARCodec, Query
from containers.deepar.forecaster import Forecaster, seeded
from containers.deepar.scoring import quantiles
from containers.deepar.series import Schema, Series, agree, parse


class DeepAR:
    """A model that answers."""

    feature_dim: int | None = None

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster
        settings = forecaster.settings
        self._horizon = settings.prediction_length
        self._schema = Schema(
            len(settings.cardinality), settings.num_dynamic_feat, tuple(settings.cardinality)
        )

    def predict(self, query: Query, options: Mapping[str, Any]) -> list[Answer]:
        """An answer a series. Raises ClientError for what isn't a series of the model's features."""
        series = [
            self._series(instance, query.where(index)) for index, instance in enumerate(query.instances)
        ]
        configuration, forecaster = query.configuration, self._forecaster
        samples = configuration.num_samples
        answers: list[Answer] = []
        parts = zip(
            forecaster.parts(series, samples), seeded(np.random.SeedSequence(query.seed)), strict=False
        )
        for part, random in parts:
            paths = forecaster.paths(series[part], samples, random)
            if not np.isfinite(paths).all():
                raise ClientError("a forecast leaves the range of 32-bit floats; accepted: smaller targets")
            found: dict[str, Any] = {}
            if "mean" in configuration.output_types:
                found["mean"] = paths.mean(axis=1, dtype=np.float64).astype(np.float32)
            if "quantiles" in configuration.output_types:
                values = quantiles(paths, [level for _, level in configuration.quantiles])
                names = [name for name, _ in configuration.quantiles]
                found["quantiles"] = [dict(zip(names, levels, strict=True)) for levels in values]
            if "samples" in configuration.output_types:
                found["samples"] = paths
            answers += [dict(zip(found, items, strict=True)) for items in zip(*found.values(), strict=True)]
        return answers

    def _series(self, instance: Any, what: str) -> Series:
        if not isinstance(instance, dict):
            raise ClientError(f'{what} is not an object; accepted: {{"start": "...", "target": [...]}}')
        _features(instance, what, self._schema)
        series = parse(instance, what, self._schema)
        agree(series, what, self._schema)
        steps, needed = series.dynamic.shape[1], len(series) + self._horizon
        if len(series.dynamic) and steps != needed:
            raise ClientError(
                f"the dynamic_feat of {what} has rows of {steps} numbers; accepted: {needed}, for the "
                f"{len(series)} points of the target and the {self._horizon} that are forecast"
            )
        return series


def _features(instance: Mapping[str, Any], what: str, schema: Schema) -> None:
    """Raises ClientError when features are there that training had not, or the other way round."""
    for name, wanted in (("cat", schema.cats), ("dynamic_feat", schema.dynamic)):
        if wanted and not instance.get(name):
            raise ClientError(f"{what} has no {name}; accepted: one, for the model was trained with it")
        if not wanted and instance.get(name):
            raise ClientError(f"{what} has a {name}; accepted: none, for the model was trained without it")


def load(folder: Path) -> DeepAR:
    """The model of a folder that training wrote. Raises ClientError when there is none."""
    forecaster = Forecaster(artifact.read(folder))
    warm.forecasting(forecaster)  # kernels are loaded here, and not while the first request waits
    return DeepAR(forecaster)


def codec(environment: Mapping[str, str]) -> DeepARCodec:
    """How requests and answers are written."""
    return DeepARCodec(environment)
