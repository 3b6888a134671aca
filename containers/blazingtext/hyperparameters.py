"""BlazingText hyperparameters, from SageMaker's developer guide (blazingtext_hyperparameters)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, Values, boolean, choice, integer, number

BATCH_SKIPGRAM, SKIPGRAM, CBOW, SUPERVISED = "batch_skipgram", "skipgram", "cbow", "supervised"
WORDS = (BATCH_SKIPGRAM, SKIPGRAM, CBOW)
"""The modes that learn word vectors."""

_WORDS = {"mode": WORDS}
_SUBWORDS = {"mode": (SKIPGRAM, CBOW), "subwords": (True,)}
_STOPPING = {"mode": (SUPERVISED,), "early_stopping": (True,)}


def _lengths(values: Values) -> str | None:
    if not uses_subwords(values) or values["min_char"] <= values["max_char"]:
        return None
    return f"min_char is {values['min_char']}; accepted: at most max_char, which is {values['max_char']}"


def uses_subwords(values: Values) -> bool:
    """Whether word vectors are made of those of character n-grams too."""
    return bool(values["subwords"]) and values["mode"] in (SKIPGRAM, CBOW)


DECLARATION = Declaration(
    choice(
        "mode",
        "How word vectors are learnt, or supervised: a text classifier.",
        BATCH_SKIPGRAM,
        SKIPGRAM,
        CBOW,
        SUPERVISED,
        required=True,
        tuning=Tuning(WORDS, "Categorical"),
    ),
    integer(
        "batch_size",
        "Words of a context that share their negatives, at most; 2 * window_size + 1 is advised.",
        default=11,
        min=1,
        max=32,
        applies={"mode": (BATCH_SKIPGRAM,)},
        tuning=Tuning((8, 32)),
    ),
    integer(
        "buckets",
        "Rows that n-grams are hashed to: of characters with subwords, of words in supervised mode.",
        default=2_000_000,
        min=1,
        max=(1 << 31) - 1,
        tuning=Tuning((1_000_000, 10_000_000)),
    ),
    integer("epochs", "Passes over the training data.", default=5, min=1, tuning=Tuning((5, 15))),
    boolean(
        "evaluation",
        "Whether the vectors are scored on the three sets of WordSim-353.",
        default=True,
        applies=_WORDS,
    ),
    number(
        "learning_rate",
        "Step size at the beginning; it falls to zero in a straight line.",
        default=0.05,
        min=0,
        exclusive_min=True,
        tuning=Tuning((0.005, 0.01)),
    ),
    integer("min_char", "Characters of the shortest subwords.", default=3, min=1, applies=_SUBWORDS),
    integer(
        "min_count", "Words that come up less often are left out.", default=5, min=0, tuning=Tuning((0, 100))
    ),
    integer("max_char", "Characters of the longest subwords.", default=6, min=1, applies=_SUBWORDS),
    integer(
        "negative_samples",
        "Negatives of each pair of words, or in batch_skipgram of each batch.",
        default=5,
        min=1,
        applies=_WORDS,
        tuning=Tuning((5, 25)),
    ),
    number(
        "sampling_threshold",
        "Share of the text from which on a word's occurrences are left out at random.",
        default=0.0001,
        min=0,
        max=1,
        exclusive_min=True,
        exclusive_max=True,
        applies=_WORDS,
        tuning=Tuning((0.0001, 0.001)),
    ),
    boolean(
        "subwords",
        "Whether character n-grams have vectors, of which unseen words get theirs.",
        default=False,
        applies={"mode": (SKIPGRAM, CBOW)},
    ),
    integer("vector_dim", "Numbers in a vector.", default=100, min=1, max=2048, tuning=Tuning((32, 300))),
    integer(
        "window_size",
        "Words of context on each side, at most; how many is drawn for each word.",
        default=5,
        min=1,
        applies=_WORDS,
        tuning=Tuning((1, 10)),
    ),
    boolean(
        "early_stopping",
        "Whether training ends once accuracy on the validation channel no longer grows.",
        default=False,
        applies={"mode": (SUPERVISED,)},
    ),
    integer("min_epochs", "Epochs before early stopping may act.", default=5, min=1, applies=_STOPPING),
    integer(
        "patience",
        "Epochs without better accuracy before training ends.",
        default=4,
        min=1,
        applies=_STOPPING,
    ),
    integer(
        "word_ngrams",
        "Words of the longest n-grams that are features.",
        default=2,
        min=1,
        applies={"mode": (SUPERVISED,)},
        tuning=Tuning((1, 3)),
    ),
    rules=(_lengths,),
)
