"""Answers rows with a trained linear model; numpy alone, so that an endpoint starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features
from common.prediction import Columns
from containers.linear_learner import artifact
from containers.linear_learner.artifact import Model


class LinearPredictor:
    """A `common.prediction.Predictor` of a linear model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.feature_dim: int | None = model.weights.shape[1]
        self._weights = np.ascontiguousarray(model.weights.T)  # (features, outputs)

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """``score``, and for classifiers ``predicted_label``; a list of scores for several classes."""
        scores = self._product(features)
        scores += self.model.bias
        if self.model.predictor_type == "multiclass_classifier":
            return {
                "score": softmax(scores),
                "predicted_label": scores.argmax(1).astype(np.float32),
            }
        score = scores[:, 0]
        if self.model.predictor_type == "regressor":
            return {"score": score}
        if self.model.loss == "logistic":
            score = sigmoid(score)
        return {"score": score, "predicted_label": (score >= self.model.threshold).astype(np.float32)}

    def _product(self, features: Features) -> NDArray[np.float32]:
        if not isinstance(features, CSR):
            return features @ self._weights
        terms = features.values[:, None] * self._weights[features.indices]
        # A sum up to each row's end, less that to its start, serves rows without entries too.
        sums = np.zeros((len(terms) + 1, terms.shape[1]))
        np.cumsum(terms, 0, dtype=np.float64, out=sums[1:])
        return (sums[features.indptr[1:]] - sums[features.indptr[:-1]]).astype(np.float32)


def sigmoid(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """``1 / (1 + e^-x)`` that doesn't overflow."""
    small = np.exp(-np.abs(scores))
    return (np.where(scores >= 0, np.float32(1), small) / (1 + small)).astype(np.float32, copy=False)


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of (rows, classes) linear scores."""
    raised = np.exp(scores - scores.max(1, keepdims=True))
    raised /= raised.sum(1, keepdims=True)
    return raised


def load(folder: Path) -> LinearPredictor:
    """The model of an extracted model.tar.gz. Raises ClientError when it holds none."""
    return LinearPredictor(artifact.read(folder))
