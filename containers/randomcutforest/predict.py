"""Answers rows with their anomaly scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.batches import Features
from common.prediction import Columns
from containers.randomcutforest import artifact
from containers.randomcutforest.scoring import Scorer


class RandomCutForest:
    """A forest that answers."""

    def __init__(self, scorer: Scorer) -> None:
        self.feature_dim: int | None = scorer.feature_dim
        self._scorer = scorer

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """``score`` (rows,): the higher, the more anomalous."""
        return {"score": self._scorer.scores(features)}


def load(folder: Path) -> RandomCutForest:
    """The forest of a model folder. Raises ClientError when it holds none."""
    return RandomCutForest(artifact.load(folder))
