"""DeepAR hyperparameters, from SageMaker's developer guide (deepar_hyperparameters, deepar-tuning)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, choice, integer, listing, number, text
from containers.deepar.frequencies import parse

AUTO, IGNORE, NONE = "auto", "ignore", ""
OFF = (IGNORE, NONE)
_LIST = listing("list", "")


def _frequency(written: str) -> str:
    parse(written)
    return written


def _cardinality(written: str) -> list[int]:
    """``[2, 3]``: a positive integer a category."""
    sizes = [int(str(size)) for size in _LIST.read(written)]
    if not sizes or min(sizes) < 1:
        raise ValueError
    return sizes


def _count(written: str) -> int:
    count = int(written)
    if count < 1:
        raise ValueError
    return count


def _quantiles(written: str) -> list[float]:
    """``[0.1, 0.5]``: numbers between 0 and 1."""
    levels = [float(level) for level in _LIST.read(written)]
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError
    return levels


DECLARATION = Declaration(
    integer(
        "context_length",
        "Past points that the network is unrolled over before the forecast; lags reach further back.",
        required=True,
        min=1,
        tuning=Tuning((1, 200)),
    ),
    integer("epochs", "Most passes over the training data.", required=True, min=1, tuning=Tuning((1, 1000))),
    integer("prediction_length", "How many points are forecast.", required=True, min=1),
    text(
        "time_freq",
        "Time between points: an optional integer, then M, W, D, H or min.",
        required=True,
        reader=_frequency,
        accepts="an integer (or none) and M, W, D, H or min, such as H, 1D or 5min",
    ),
    listing(
        "cardinality",
        "Categories of each cat feature; auto finds them, ignore or nothing leaves cat out.",
        default=AUTO,
        also=(AUTO, *OFF),
        reader=_cardinality,
        accepts="a list of positive integers, auto, ignore or nothing",
    ),
    number(
        "dropout_rate",
        "Zoneout: how often a cell keeps its state of the step before while training.",
        default=0.1,
        min=0,
        max=1,
        exclusive_max=True,
        tuning=Tuning((0.0, 0.2)),
    ),
    integer(
        "early_stopping_patience",
        "Epochs without a lower training loss that end training; nothing: no early stopping.",
        default=NONE,
        min=1,
        also=(NONE,),
        accepts="an integer of at least 1, or nothing",
    ),
    integer(
        "embedding_dimension",
        "Size of the vector that is learned for each category.",
        default=10,
        min=1,
        tuning=Tuning((1, 50)),
    ),
    number(
        "learning_rate",
        "Step size of the optimizer.",
        default=0.001,
        min=0,
        exclusive_min=True,
        tuning=Tuning((1e-5, 0.1)),
    ),
    choice(
        "likelihood",
        "Distribution of a point: gaussian for real values, beta for values from 0 to 1, negative-binomial "
        "for counts, student-T for real values with bursts, deterministic-L1 for a point forecast.",
        "gaussian",
        "beta",
        "negative-binomial",
        "student-T",
        "deterministic-L1",
        default="student-T",
    ),
    integer("mini_batch_size", "Training windows an update.", default=128, min=1, tuning=Tuning((32, 1028))),
    integer("num_cells", "Cells of each layer.", default=40, min=1, tuning=Tuning((30, 200))),
    text(
        "num_dynamic_feat",
        "How many dynamic_feat rows series have; auto finds it, ignore or nothing leaves them out.",
        default=AUTO,
        also=(AUTO, *OFF),
        reader=_count,
        accepts="a positive integer, auto, ignore or nothing",
    ),
    integer("num_eval_samples", "Sample paths a series when the test channel is scored.", default=100, min=1),
    integer("num_layers", "Recurrent layers.", default=2, min=1, tuning=Tuning((1, 8))),
    listing(
        "test_quantiles",
        "Quantile levels that are scored on the test channel.",
        default=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        reader=_quantiles,
        accepts="a list of numbers between 0 and 1",
    ),
)
