"""Answers rows with a factorization machine; sparse rows stay sparse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.batches import Features
from common.failures import ClientError
from common.prediction import Columns
from containers.factorization_machines import artifact, model
from containers.factorization_machines.artifact import Model


class FactorizationMachine:
    """A `common.prediction.Predictor` of a machine."""

    def __init__(self, trained: Model) -> None:
        self.feature_dim: int | None = trained.machine.shape[0]
        self._machine = trained.machine
        self._classifies = trained.predictor_type == "binary_classifier"
        self._lengths = model.squares(trained.machine.factors)

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """``score``, and of a classifier ``predicted_label``, each (rows,) float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            scores = model.scores(self._machine, features, self._lengths)
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0]) + 1
            raise ClientError(f"the score of row {row} does not fit in 32 bits; accepted: smaller features")
        if not self._classifies:
            return {"score": scores}
        probabilities = model.sigmoid(scores)
        return {"score": probabilities, "predicted_label": (probabilities >= 0.5).astype(np.float32)}


def load(folder: Path) -> FactorizationMachine:
    """The model of an extracted model.tar.gz. Raises ClientError when it holds none."""
    return FactorizationMachine(artifact.read(folder))
