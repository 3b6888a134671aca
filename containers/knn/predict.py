"""Answers rows with the vote or the mean of their nearest neighbors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.batches import Features, dense
from common.content_types import MediaType
from common.failures import ClientError
from common.instances import gpus_present
from common.prediction import Columns
from containers.knn import artifact
from containers.knn.model import KNN, TooFar


class NearestNeighbors:
    """An index that answers."""

    def __init__(self, knn: KNN) -> None:
        self.feature_dim: int | None = knn.preparation.input_dim
        self._knn = knn

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """``predicted_label`` (rows,); ``verbose=true`` adds ``distances`` and ``labels``, (rows, k) each."""
        rows = dense(features)
        try:
            if not options or not MediaType("Accept", dict(options)).flag("verbose"):
                return {"predicted_label": self._knn.predict(rows)}
            answer = self._knn.answer(rows)
        except TooFar as error:
            raise ClientError(str(error)) from None
        return {
            "predicted_label": answer.predicted,
            "distances": answer.distances,
            "labels": answer.labels,
        }


def load(folder: Path) -> NearestNeighbors:
    """The model of a folder; ``k`` and ``predictor_type`` are what model_algo-1.json says now.

    Raises ClientError when a file is missing, or isn't what it should be.
    """
    return NearestNeighbors(artifact.load(folder, "cuda" if gpus_present() else "cpu"))
