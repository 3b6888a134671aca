"""From hyperparameters and what the data turned out to be, to what is built."""

from __future__ import annotations

import math

from common.failures import ClientError
from common.hyperparameters import Values
from containers.knn.hyperparameters import PQ_CODES, PQ_M, target_fault
from containers.knn.model import IndexSettings, Preparation
from containers.knn.projection import KINDS, LARGEST_MATRIX, Projection


def preparation(values: Values, width: int, seed: int) -> Preparation:
    """How rows of ``width`` features become what the index holds. Raises ClientError."""
    kind = values["dimension_reduction_type"]
    if kind and (fault := target_fault(values["dimension_reduction_target"], width)):
        raise ClientError(fault)
    parts = sub_vectors(values, width)
    dimension = -(-_wanted(values, width) // parts) * parts
    if kind == "sign" and width * dimension > LARGEST_MATRIX:
        raise ClientError(
            f"sign projection from {width} to {dimension} features needs a matrix of {width * dimension} "
            f"values; accepted: up to {LARGEST_MATRIX}, or dimension_reduction_type fjlt"
        )
    projection: Projection | None = KINDS[kind](width, dimension, seed) if kind else None
    return Preparation(width, dimension, projection, values["index_metric"] == "COSINE")


def sub_vectors(values: Values, width: int) -> int:
    """How many parts the product quantizer cuts rows of ``width`` features into; 1 for every other index."""
    if values["index_type"] != "faiss.IVFPQ":
        return 1
    written = values["faiss_index_pq_m"]
    return int(written) if written else max(m for m in PQ_M if m <= max(1, _wanted(values, width) // 4))


def _wanted(values: Values, width: int) -> int:
    """How wide rows are when they are reduced, and not yet padded."""
    return int(values["dimension_reduction_target"]) if values["dimension_reduction_type"] else width


def index_settings(values: Values, rows: int, width: int, seed: int) -> IndexSettings:
    """The index for a sample of ``rows`` rows of ``width`` features. Raises ClientError for too few."""
    kind, lists = values["index_type"], values["faiss_index_ivf_nlists"]
    if kind == "faiss.IVFPQ" and rows < PQ_CODES:
        raise ClientError(
            f"index_type faiss.IVFPQ needs {PQ_CODES} rows to train on, and channel train has {rows}; "
            "accepted: more rows, or another index_type"
        )
    if lists == "auto":
        lists = math.isqrt(min(rows, values["sample_size"]))
    elif kind != "faiss.Flat" and lists > rows:
        raise ClientError(
            f"hyperparameter faiss_index_ivf_nlists is {lists}, and the sample has {rows} rows; "
            "accepted: at most one list a row, or auto"
        )
    return IndexSettings(
        kind,
        values["index_metric"],
        lists,
        values["_faiss_index_nprobe"],
        sub_vectors(values, width),
        seed,
    )
