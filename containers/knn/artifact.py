"""The model's three files: the index, the labels of its rows, and what else predictions need."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from common.batches import Float32
from common.failures import ClientError, one_of
from containers.knn import index_file
from containers.knn.model import KNN, Preparation
from containers.knn.projection import KINDS, LARGEST_MATRIX, Projection

INDEX = "model_algo-1"
LABELS = "model_algo-1.labels"
METADATA = "model_algo-1.json"
NAMES = (INDEX, LABELS, METADATA)
VERSION = "1.0"

_MOST_FEATURES = 1 << 26
_MOST_METADATA = 1 << 20
_PREDICTOR_TYPES = ("classifier", "regressor")


def write(knn: KNN, name: str, path: Path) -> None:
    """Writes the file ``name`` of the model to ``path``. Raises OSError."""
    if name == INDEX:
        _write_index(knn.index, path)
    elif name == LABELS:
        path.write_bytes(knn.labels.astype("<f4").tobytes())
    else:
        path.write_text(json.dumps(_described(knn)))


def _write_index(index: Any, path: Path) -> None:
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        # FAISS tells a full disk in words alone.
        if os.strerror(errno.ENOSPC) in str(error) or not os.statvfs(path.parent).f_bavail:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise


def _described(knn: KNN) -> dict[str, Any]:
    projection = knn.preparation.projection
    return {
        "k": knn.k,
        "predictor_type": knn.predictor_type,
        "dimension_reduction": {
            "type": projection.kind if projection else None,
            "seed": projection.seed if projection else None,
            "target_dim": projection.target_dim if projection else None,
            "input_dim": knn.preparation.input_dim,
        },
        "normalize": knn.preparation.normalize,
        "version": VERSION,
    }


def load(folder: Path, device: str) -> KNN:
    """Reads the three files into a model to ask, not to write.

    Raises ClientError when they aren't a model, or not one of each other's.
    """
    about = _metadata(folder / METADATA)
    index = index_file.read(folder / INDEX)
    labels = _labels(folder / LABELS, index.ntotal)
    k = _integer(about, "k", 1, index.ntotal)
    predictor_type = about.get("predictor_type")
    if predictor_type not in _PREDICTOR_TYPES:
        raise _fault("predictor_type", predictor_type, one_of(_PREDICTOR_TYPES))
    normalize = about.get("normalize", False)
    if not isinstance(normalize, bool):
        raise _fault("normalize", normalize, "true or false")
    if about.get("version", VERSION) != VERSION:
        raise _fault("version", about["version"], VERSION)
    projection, width = _reduction(about.get("dimension_reduction") or {}, index.d)
    preparation = Preparation(width, index.d, projection, normalize)
    knn = KNN(index, labels, k, predictor_type, preparation, device)
    knn.centre()
    return knn


def _metadata(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_METADATA:
            raise ClientError(f"{path.name} is larger than {_MOST_METADATA} bytes; accepted: a small object")
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ClientError(f"the model has no file {path.name}") from None
    except OSError as error:
        raise ClientError(f"{path.name} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ClientError(f"{path.name} is not JSON; accepted: a JSON object") from None
    if not isinstance(found, dict):
        raise ClientError(f"{path.name} holds {type(found).__name__}; accepted: a JSON object")
    return found


def _labels(path: Path, rows: int) -> Float32:
    try:
        size = path.stat().st_size
        if size != 4 * rows:
            raise ClientError(
                f"{path.name} has {size} bytes and the index {rows} rows; accepted: a 32-bit float a row"
            )
        labels = np.fromfile(path, "<f4").astype(np.float32, copy=False)
    except FileNotFoundError:
        raise ClientError(f"the model has no file {path.name}") from None
    except OSError as error:
        raise ClientError(f"{path.name} can't be read: {error.strerror}") from None
    if not np.isfinite(labels).all():
        raise ClientError(f"{path.name} has labels that are not finite; accepted: finite numbers")
    return labels


def _reduction(about: Any, dimension: int) -> tuple[Projection | None, int]:
    """The projection, and how many features rows have before it."""
    if not isinstance(about, Mapping):
        raise _fault("dimension_reduction", about, "an object")
    kind = about.get("type")
    if kind is None:
        width = about.get("input_dim")
        # An index may be wider than its rows, which zeros fill up; never narrower.
        return None, dimension if width is None else _integer(about, "input_dim", 1, dimension)
    if not isinstance(kind, str) or kind not in KINDS:
        raise _fault("dimension_reduction.type", kind, one_of([*KINDS, "null"]))
    width = _integer(about, "input_dim", 1, _MOST_FEATURES)
    target = _integer(about, "target_dim", 1, dimension)
    seed = _integer(about, "seed", 0, (1 << 64) - 1)
    if target != dimension:
        raise _fault("target_dim", target, f"{dimension}, the dimension of the index")
    if kind == "sign" and width * target > LARGEST_MATRIX:
        raise _fault("input_dim", width, f"up to {LARGEST_MATRIX // target}")
    return KINDS[kind](width, target, seed), width


def _integer(about: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = about.get(name)
    if type(value) is not int or not least <= value <= most:
        raise _fault(name, value, f"an integer from {least} to {most}")
    return value


def _fault(name: str, value: Any, accepted: str) -> ClientError:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ClientError(f"{METADATA}: {name} is {shown}; accepted: {accepted}")
