"""Answers rows with their nearest center and the distance to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Features, Float32, dense
from common.failures import ClientError
from common.formats import ndarray
from common.prediction import Columns
from containers.kmeans.distances import Prepared

ARTIFACT = "model_algo-1"


class KMeans:
    """Centers that answer. ``centers`` is (k, feature_dim) of any float type."""

    # AWS's CSV has the cluster first, its JSON the distance.
    json_keys = ("distance_to_cluster", "closest_cluster")

    def __init__(self, centers: NDArray[Any]) -> None:
        self.feature_dim: int | None = centers.shape[1]
        self._centers = centers.astype(np.float64)
        self._prepared = Prepared(self._centers)

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """The closest center's number and the Euclidean distance to it, each (rows,) float32."""
        rows = self._prepared.block_rows
        parts = [
            self._block(dense(features[start : start + rows])) for start in range(0, len(features), rows)
        ]
        labels, distances = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return {"closest_cluster": labels, "distance_to_cluster": distances}

    def _block(self, rows: Float32) -> tuple[Float32, Float32]:
        prepared = self._prepared
        with np.errstate(over="ignore", invalid="ignore"):
            relative = prepared.relative(rows)
            labels = prepared.labels(relative)
            squared: NDArray[Any] = prepared.squared(relative, labels)
            if not np.isfinite(squared).all():
                labels, squared = self._far(rows)
            distances = np.sqrt(squared).astype(np.float32)
        if not np.isfinite(distances).all():
            raise ClientError("a row is too far from all centers for its distance to fit in 32 bits")
        return labels.astype(np.float32), distances

    def _far(self, rows: Float32) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The same in 64 bits, for rows so far away that squares don't fit in 32."""
        squared = np.stack([((row - self._centers) ** 2).sum(axis=1) for row in rows.astype(np.float64)])
        labels = squared.argmin(axis=1)
        return labels, squared[np.arange(len(rows)), labels]


def load(folder: Path) -> KMeans:
    """The model of a folder: one matrix of centers in model_algo-1, from training or made by hand.

    Raises ClientError when there is no such file, or something else in it.
    """
    path = folder / ARTIFACT
    if not path.is_file():
        raise ClientError(f"the model has no file {ARTIFACT}; accepted: an MXNet NDArray file of that name")
    arrays = ndarray.load(path)
    if isinstance(arrays, dict):
        arrays = list(arrays.values())
    if len(arrays) != 1:
        raise ClientError(f"{ARTIFACT} has {len(arrays)} arrays; accepted: one, of shape (k, feature_dim)")
    centers = arrays[0]
    if centers.ndim != 2 or not centers.size:
        raise ClientError(
            f"the array of {ARTIFACT} has the shape {centers.shape}; "
            "accepted: (k, feature_dim), both at least 1"
        )
    if not np.isfinite(centers).all():
        raise ClientError(f"the centers in {ARTIFACT} are not all finite numbers; accepted: finite numbers")
    return KMeans(centers)
