"""Answers documents with their mixtures of topics; numpy alone, so that an endpoint starts at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.batches import CSR, Features, Float32
from common.failures import ClientError
from common.prediction import Columns
from containers.ntm import artifact
from containers.ntm.artifact import Model

# Floats of the largest matrix that sparse documents are multiplied through.
_BLOCK = 1 << 20


class TopicModel:
    """A `common.prediction.Predictor` of a neural topic model."""

    def __init__(self, model: Model) -> None:
        self.feature_dim: int | None = len(model.projection.bias)
        self._activate = _ACTIVATIONS[model.activation]
        first, *self._layers = [*model.encoder, model.mean]
        self._words: Float32 = np.ascontiguousarray(first.weight.T)  # a row a word
        self._bias = first.bias

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """``topic_weights``, (rows, topics) float32 that add up to 1: the softmax of the mean, no noise."""
        values = features.values if isinstance(features, CSR) else features
        if values.size and not values.min() >= 0:  # also NaN
            raise ClientError(
                "a row has a word count below 0, or that is no number; accepted: counts of at least 0"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            hidden = self._sums(features) + self._bias
            for layer in self._layers:
                hidden = self._activate(hidden) @ layer.weight.T + layer.bias
            hidden -= hidden.max(axis=1, keepdims=True)
            weights = np.exp(hidden)
            weights /= weights.sum(axis=1, keepdims=True)
        if not np.isfinite(weights).all():
            raise ClientError("a row's word counts are too large for its topics to be computed")
        return {"topic_weights": weights}

    def _sums(self, features: Features) -> Float32:
        """The first layer: the sums of the words' rows times their counts."""
        if not isinstance(features, CSR):
            return features @ self._words
        sums = np.zeros((len(features), self._words.shape[1]), np.float32)
        most = max(1, _BLOCK // self._words.shape[1])
        start = 0
        while start < len(features):
            # As many rows as stay below so many entries, and one at least.
            stop = int(np.searchsorted(features.indptr, features.indptr[start] + most, "right")) - 1
            stop = min(max(stop, start + 1), len(features))
            part = features[start:stop]
            full = np.flatnonzero(np.diff(part.indptr))
            if len(full):
                terms = part.values[:, None] * self._words[part.indices]
                sums[start + full] = np.add.reduceat(terms, part.indptr[full])
            start = stop
        return sums


def _sigmoid(values: Float32) -> Float32:
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, np.float32(1), small) / (1 + small)


def _relu(values: Float32) -> Float32:
    return np.maximum(values, 0)


_ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {"sigmoid": _sigmoid, "tanh": np.tanh, "relu": _relu}


def load(folder: Path) -> TopicModel:
    """The model of an extracted model.tar.gz. Raises ClientError when it holds none."""
    return TopicModel(artifact.read(folder))
