"""Answers requests with the boosters of a model archive."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features
from common.failures import ClientError

# The library's threads don't survive the server's fork, and each worker has a core. Before the import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from containers.xgboost import artifact
from containers.xgboost.codec import SCORE, LibsvmRows, codec
from containers.xgboost.library import xgb
from containers.xgboost.selection import select

__all__ = ["codec", "load"]

_VOTES = ("multi:softmax", "binary:hinge")


def load(folder: Path) -> Ensemble:
    """The model or models in a folder. Raises ClientError when there is none that can be read."""
    together = os.environ.get("SAGEMAKER_INFERENCE_ENSEMBLE", "true").strip().lower() == "true"
    return Ensemble([_Member(booster) for booster in artifact.load_all(folder, first_only=not together)])


class Answers(Mapping[str, NDArray[Any]]):
    """Predictions as ``score``, and under any other name what `selection.select` makes of them."""

    def __init__(self, objective: str, classes: int, scores: NDArray[Any]) -> None:
        self._objective = objective
        self._classes = classes
        self._scores = scores

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name == SCORE:
            return self._scores
        return select(name, self._objective, self._classes, self._scores)

    def __iter__(self) -> Iterator[str]:
        return iter((SCORE,))

    def __len__(self) -> int:
        return 1


class Ensemble:
    """One booster, or several whose answers are averaged; where answers are classes, they vote."""

    def __init__(self, members: list[_Member]) -> None:
        self._members = members
        self.objective = members[0].objective
        self._classes = members[0].classes
        self.feature_dim: int | None = max(member.width for member in members)

    def predict(self, rows: Features | LibsvmRows, options: Mapping[str, Any]) -> Answers:
        """Answers (rows, feature_dim) features; see `common.prediction.Predictor`."""
        answers = [member.predict(rows) for member in self._members]
        return Answers(self.objective, self._classes, self._combined(answers))

    def _combined(self, answers: list[NDArray[Any]]) -> NDArray[Any]:
        if len(answers) == 1:
            return answers[0]
        if any(answer.shape != answers[0].shape for answer in answers):
            raise ClientError("the models of this ensemble answer in different shapes", 500)
        stacked = np.stack(answers)
        if self.objective not in _VOTES:
            return stacked.mean(axis=0, dtype=np.float64).astype(np.float32)
        classes = np.unique(stacked)
        counts = np.stack([(stacked == one).sum(axis=0) for one in classes])
        voted: NDArray[Any] = classes[counts.argmax(axis=0)]
        return voted


class _Member:
    """A booster with what is known of it."""

    def __init__(self, booster: xgb.Booster) -> None:
        booster.set_param({"nthread": 1})
        self._booster = booster
        learner = json.loads(booster.save_config())["learner"]
        self.objective: str = learner["objective"]["name"]
        self.classes = int(learner["learner_model_param"]["num_class"])
        self.width = booster.num_features()
        self._linear = learner["gradient_booster"]["name"] == "gblinear"
        best = booster.attr("best_iteration")
        # 0 to 0 is all.
        self._rounds = (0, int(best) + 1) if best is not None and not self._linear else (0, 0)
        if self._rounds[1] > booster.num_boosted_rounds():
            self._rounds = (0, 0)
        base = booster.attr(artifact.LIBSVM_BASE)
        self._libsvm_base = None if base is None else int(base)
        self._lock = threading.Lock()

    def predict(self, rows: Features | LibsvmRows) -> NDArray[Any]:
        """(rows,) predictions, or (rows, classes)."""
        features = self._aligned(rows)
        if self._linear:
            # Only trees are predicted in place; a matrix is the booster's to cache, one at a time.
            with self._lock:
                found = self._booster.predict(xgb.DMatrix(features, nthread=1), validate_features=False)
        else:
            found = self._booster.inplace_predict(
                features, iteration_range=self._rounds, missing=np.nan, validate_features=False
            )
        answer: NDArray[Any] = (
            found.reshape(len(found), -1)[:, 0] if found.ndim == 2 and not self.classes else found
        )
        return answer

    def _aligned(self, rows: Features | LibsvmRows) -> Any:
        if isinstance(rows, LibsvmRows):
            rows = rows.counted_from_0(self._libsvm_base, self.width)
        if not isinstance(rows, CSR):
            if rows.shape[1] != self.width:
                label = "; leave the label out" if rows.shape[1] == self.width + 1 else ""
                raise ClientError(f"rows have {rows.shape[1]} features; the model takes {self.width}{label}")
            return rows
        if rows.shape[1] > self.width:
            largest = int(rows.indices.max(initial=-1))
            if largest >= self.width:
                raise ClientError(
                    f"a row has the feature index {largest}; the model takes 0 to {self.width - 1}"
                )
        import scipy.sparse

        matrix = scipy.sparse.csr_matrix(
            (rows.values, rows.indices, rows.indptr), shape=(len(rows), self.width)
        )
        matrix.sum_duplicates()
        return matrix
