"""Answers rows with their projections on the components."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Features, Float32, dense
from common.failures import ClientError, one_of
from common.formats import ndarray
from common.prediction import Columns

ARTIFACT = "model_algo-1"

# Bytes of the densest block of rows that is projected at a time.
_BLOCK = 1 << 26


class PCA:
    """Components that answer: ``mean`` is (d,), ``v`` (d, num_components)."""

    def __init__(self, mean: NDArray[Any], v: NDArray[Any]) -> None:
        self.feature_dim: int | None = len(mean)
        self._mean: Float32 = mean.astype(np.float32)
        self._v: Float32 = np.ascontiguousarray(v, np.float32)

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """The projections ``(x - mean) v``, (rows, num_components) float32; the strongest comes last."""
        step = max(1, _BLOCK // (4 * len(self._mean)))
        parts = [self._block(features[start : start + step]) for start in range(0, len(features), step)]
        return {"projection": parts[0] if len(parts) == 1 else np.concatenate(parts)}

    def _block(self, rows: Features) -> Float32:
        with np.errstate(over="ignore", invalid="ignore"):
            found: Float32 = np.matmul(dense(rows) - self._mean, self._v, dtype=np.float32)
        if not np.isfinite(found).all():
            raise ClientError("a row has values too large for its projection to fit in 32 bits")
        return found


def load(folder: Path) -> PCA:
    """The model of a folder: mean, v and s in model_algo-1. A mean that is missing is 0; s isn't needed.

    Raises ClientError when there is no such file, or something else in it.
    """
    path = folder / ARTIFACT
    if not path.is_file():
        raise ClientError(f"the model has no file {ARTIFACT}; accepted: an MXNet NDArray file of that name")
    arrays = ndarray.load(path)
    if not isinstance(arrays, dict) or "v" not in arrays:
        names = one_of(arrays) if isinstance(arrays, dict) else f"{len(arrays)} without names"
        raise ClientError(f"{ARTIFACT} has the arrays {names}; accepted: mean, v and s")
    v = arrays["v"]
    if v.ndim != 2 or not v.size:
        raise ClientError(
            f"v of {ARTIFACT} has the shape {v.shape}; "
            "accepted: (feature_dim, num_components), both at least 1"
        )
    mean = arrays.get("mean", np.zeros(len(v)))
    if mean.shape not in ((1, len(v)), (len(v),)):
        raise ClientError(f"mean of {ARTIFACT} has the shape {mean.shape}; accepted: (1, {len(v)}), as v has")
    if not (np.isfinite(v).all() and np.isfinite(mean).all()):
        raise ClientError(f"mean and v of {ARTIFACT} are not all finite numbers; accepted: finite numbers")
    return PCA(mean.reshape(-1), v)
