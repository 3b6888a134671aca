"""Answers documents with their mixtures of topics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Features
from common.failures import ClientError
from common.formats import ndarray
from common.prediction import Columns
from containers.lda.corpus import tidy
from containers.lda.kernels import Float64
from containers.lda.model import Mixer, Topics

ARTIFACT = "model_algo-1"


class LDA:
    """Topics that answer."""

    def __init__(self, topics: Topics) -> None:
        self.feature_dim: int | None = topics.beta.shape[1]
        self._mixer = Mixer(topics)

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """Each document's mixture of topics, (rows, k) float32, rows of sum 1."""
        values = features.values if isinstance(features, CSR) else features
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ClientError(
                "a document has counts that are negative or not finite; accepted: numbers from 0"
            )
        return {"topic_mixture": self._mixer.mixtures(tidy(features))}


def load(folder: Path) -> LDA:
    """The model of a folder: alpha and beta in model_algo-1, from training or edited by hand.

    Rows of beta are scaled to a sum of 1. Raises ClientError when there is no such file, or something else in
    it.
    """
    path = folder / ARTIFACT
    if not path.is_file():
        raise ClientError(f"the model has no file {ARTIFACT}; accepted: an MXNet NDArray file of that name")
    arrays = ndarray.load(path)
    if isinstance(arrays, dict):
        arrays = list(arrays.values())
    if len(arrays) != 2:
        raise ClientError(f"{ARTIFACT} has {len(arrays)} arrays; accepted: two, alpha and beta")
    alpha, beta = arrays
    if alpha.ndim != 1 or beta.ndim != 2 or len(alpha) != len(beta) or not beta.size:
        raise ClientError(
            f"the arrays of {ARTIFACT} have the shapes {alpha.shape} and {beta.shape}; "
            "accepted: (num_topics,) for alpha and (num_topics, feature_dim) for beta"
        )
    prior, rows = _checked(alpha, "alpha"), _checked(beta, "beta")
    rows /= rows.sum(axis=1, keepdims=True)
    return LDA(Topics(prior.astype(np.float32), rows.astype(np.float32)))


def _checked(array: NDArray[Any], name: str) -> Float64:
    wide = array.astype(np.float64)
    sums = wide.sum(axis=-1)
    if not (np.isfinite(sums).all() and (wide >= 0).all() and (sums > 0).all()):
        raise ClientError(
            f"{name} in {ARTIFACT} has negative or infinite numbers, or nothing but 0; "
            "accepted: finite numbers from 0, and in each row of beta one above 0"
        )
    return wide
