"""KNN hyperparameters, from SageMaker's developer guide (kNN_hyperparameters)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, Values, choice, integer

PQ_CODES = 256
"""How many centroids a sub-vector's byte names: fewer rows can't train them."""
PQ_M = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)
_IVF = ("faiss.IVFFlat", "faiss.IVFPQ")


def _neighbors_in_sample(values: Values) -> str | None:
    if values["k"] <= values["sample_size"]:
        return None
    return (
        f"hyperparameter k is {values['k']} and sample_size is {values['sample_size']}; "
        "accepted: a k of at most sample_size"
    )


def _target_given(values: Values) -> str | None:
    if not values["dimension_reduction_type"] or values["dimension_reduction_target"]:
        return None
    return (
        "hyperparameter dimension_reduction_target is missing; dimension_reduction_type "
        f"{values['dimension_reduction_type']} needs an integer of at least 1 and below feature_dim"
    )


def _target_reduces(values: Values) -> str | None:
    if not values["dimension_reduction_type"]:
        return None
    return target_fault(values["dimension_reduction_target"], values["feature_dim"])


def target_fault(target: int | None, width: int | str) -> str | None:
    """What is wrong with reducing rows of ``width`` features to ``target``; None when nothing is."""
    if target is None or width == "auto" or target < int(width):
        return None
    return (
        f"hyperparameter dimension_reduction_target is {target} and rows have {width} features; "
        "accepted: a target below feature_dim"
    )


def _metric_of_codes(values: Values) -> str | None:
    if values["index_type"] != "faiss.IVFPQ" or values["index_metric"] == "L2":
        return None
    return (
        f"hyperparameter index_metric is {values['index_metric']} and index_type is faiss.IVFPQ; "
        "accepted: L2 with faiss.IVFPQ, or another index_type"
    )


def _rows_for_codes(values: Values) -> str | None:
    if values["index_type"] != "faiss.IVFPQ" or values["sample_size"] >= PQ_CODES:
        return None
    return (
        f"hyperparameter sample_size is {values['sample_size']} and index_type is faiss.IVFPQ, whose "
        f"training needs {PQ_CODES} rows; accepted: a sample_size of at least {PQ_CODES}"
    )


def _lists_in_sample(values: Values) -> str | None:
    lists = values["faiss_index_ivf_nlists"]
    if values["index_type"] not in _IVF or lists == "auto" or lists <= values["sample_size"]:
        return None
    return (
        f"hyperparameter faiss_index_ivf_nlists is {lists} and sample_size is {values['sample_size']}; "
        "accepted: at most sample_size lists, or auto"
    )


DECLARATION = Declaration(
    integer(
        "feature_dim",
        "Number of input features; auto: as many as the first row has.",
        required=True,
        min=1,
        also=("auto",),
    ),
    integer("k", "Neighbors used per prediction.", required=True, min=1, tuning=Tuning((1, 1024))),
    choice(
        "predictor_type",
        "Vote (classifier) or average (regressor) over neighbor labels.",
        "classifier",
        "regressor",
        required=True,
    ),
    integer(
        "sample_size",
        "Training rows kept in the index, over all hosts; all rows are kept when there are fewer.",
        required=True,
        min=1,
        tuning=Tuning((256, 20000000)),
    ),
    integer(
        "dimension_reduction_target",
        "Dimension after reduction, below feature_dim.",
        min=1,
        applies={"dimension_reduction_type": ("sign", "fjlt")},
    ),
    choice(
        "dimension_reduction_type",
        "Random sign projection or fast Johnson-Lindenstrauss transform; no reduction when left out.",
        "sign",
        "fjlt",
    ),
    integer(
        "faiss_index_ivf_nlists",
        "Inverted lists in the index; auto: the square root of sample_size.",
        default="auto",
        min=1,
        also=("auto",),
        applies={"index_type": _IVF},
    ),
    choice(
        "faiss_index_pq_m",
        "Sub-vectors of the product quantizer, one byte each; rows grow to the next multiple of it. Left "
        "out: the largest choice that is at most a quarter of the dimension.",
        *map(str, PQ_M),
        applies={"index_type": ("faiss.IVFPQ",)},
    ),
    choice(
        "index_metric",
        "Similarity used in the search; faiss.IVFPQ knows L2 alone.",
        "L2",
        "INNER_PRODUCT",
        "COSINE",
        default="L2",
    ),
    choice(
        "index_type",
        "Index kind: exhaustive, inverted lists, or inverted lists of compressed rows.",
        "faiss.Flat",
        "faiss.IVFFlat",
        "faiss.IVFPQ",
        default="faiss.Flat",
    ),
    integer("mini_batch_size", "Rows per mini-batch.", default=5000, min=1),
    integer(
        "epochs",
        "Passes over the data. One pass shows the sampler every row; more would keep rows twice.",
        default=1,
        min=1,
        max=1,
        documented=False,
    ),
    integer(
        "_faiss_index_nprobe",
        "Inverted lists visited per query.",
        default=5,
        min=1,
        applies={"index_type": _IVF},
        documented=False,
    ),
    rules=(
        _neighbors_in_sample,
        _target_given,
        _target_reduces,
        _metric_of_codes,
        _rows_for_codes,
        _lists_in_sample,
    ),
)
