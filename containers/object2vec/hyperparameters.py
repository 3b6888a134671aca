"""Object2Vec hyperparameters, from SageMaker's developer guide (object2vec-hyperparameters)."""

from __future__ import annotations

import re

from common.hyperparameters import (
    Declaration,
    Parameter,
    Tuning,
    Values,
    boolean,
    choice,
    integer,
    listing,
    number,
    text,
)

NETWORKS = ("hcnn", "bilstm", "pooled_embedding")
COMPARATORS = ("hadamard", "concat", "abs_diff")
_SPARSE_OPTIMIZERS = ("adam", "adagrad", "sgd")


def _file_name(written: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._]*", written):
        raise ValueError
    return written


def _operators(written: str) -> list[str]:
    found = [part.strip() for part in written.strip("[]()").replace('"', "").replace("'", "").split(",")]
    if len(set(found)) != len(found) or not set(found) <= set(COMPARATORS):
        raise ValueError
    return found


def _encoder(number_: int) -> list[Parameter]:
    """The hyperparameters of encoder 0 or 1, which differ in what else they need to matter."""
    name = f"enc{number_}_"
    own = {} if number_ == 0 else {"enc1_network": NETWORKS}
    accepts = "a file name of letters, digits, dots and underscores"
    return [
        integer(
            f"{name}cnn_filter_width",
            f"Tokens that a filter of encoder {number_} looks at.",
            default=3,
            min=1,
            max=9,
            applies={f"{name}network": ("hcnn",)},
            tuning=Tuning((1, 5)),
        ),
        boolean(
            f"{name}freeze_pretrained_embedding",
            f"Keep pretrained token embeddings of encoder {number_} as they are.",
            default=True,
            applies=own,
        ),
        integer(
            f"{name}layers",
            f"Layers of encoder {number_}; auto: 4 for hcnn, 1 for bilstm.",
            default="auto",
            min=1,
            max=4,
            also=("auto",),
            applies={f"{name}network": ("hcnn", "bilstm")},
            tuning=Tuning((1, 4)),
        ),
        integer(
            f"{name}max_seq_len",
            f"Tokens of a sequence that encoder {number_} reads; the rest is cut off.",
            required=number_ == 0,
            min=1,
            max=5000,
            applies=own,
        ),
        text(
            f"{name}pretrained_embedding_file",
            f"File of the auxiliary channel with token embeddings for encoder {number_}.",
            default="",
            reader=_file_name,
            accepts=accepts,
            applies=own,
        ),
        integer(
            f"{name}token_embedding_dim",
            f"Numbers in a token embedding of encoder {number_}.",
            default=300,
            min=2,
            max=1000,
            applies=own,
            tuning=Tuning((5, 300)),
        ),
        text(
            f"{name}vocab_file",
            f"File of the auxiliary channel that maps the words of the embedding file to ids of encoder "
            f"{number_}.",
            default="",
            reader=_file_name,
            accepts=accepts,
            applies=own,
        ),
        integer(
            f"{name}vocab_size",
            f"Token ids that encoder {number_} knows: 0 to one less.",
            required=number_ == 0,
            min=2,
            max=3_000_000,
            applies=own,
        ),
    ]


def _second_encoder(values: Values) -> str | None:
    missing = [name for name in ("enc1_max_seq_len", "enc1_vocab_size") if values[name] is None]
    if values["enc1_network"] == "enc0" or not missing:
        return None
    return f"hyperparameter {' and '.join(missing)} is missing; it is required unless enc1_network is enc0"


def _one_table(values: Values) -> str | None:
    if not values["tied_token_embedding_weight"] or values["enc1_network"] == "enc0":
        return None
    names = ("vocab_size", "token_embedding_dim", "pretrained_embedding_file", "vocab_file")
    differing = [name for name in names if values[f"enc0_{name}"] != values[f"enc1_{name}"]]
    # Who frees or freezes the one table has to say so for both.
    if values["enc0_pretrained_embedding_file"] and not differing:
        name = "freeze_pretrained_embedding"
        differing = [name] if values[f"enc0_{name}"] != values[f"enc1_{name}"] else []
    if not differing:
        return None
    name = differing[0]
    return (
        f"enc0_{name} is '{values[f'enc0_{name}']}' and enc1_{name} is '{values[f'enc1_{name}']}'; accepted: "
        "the same for both where tied_token_embedding_weight is true"
    )


def _sparse(values: Values) -> str | None:
    optimizer = values["optimizer"]
    if values["token_embedding_storage_type"] == "dense" or optimizer in _SPARSE_OPTIMIZERS:
        return None
    return (
        f"hyperparameter optimizer is '{optimizer}'; accepted: adam, adagrad or sgd where "
        "token_embedding_storage_type is row_sparse"
    )


def _vocabulary(side: int, values: Values) -> str | None:
    embeddings, vocabulary = (values[f"enc{side}_{n}"] for n in ("pretrained_embedding_file", "vocab_file"))
    if bool(embeddings) == bool(vocabulary) or (side == 1 and values["enc1_network"] == "enc0"):
        return None
    given, missing = ("pretrained_embedding_file", "vocab_file")[:: 1 if embeddings else -1]
    return (
        f"hyperparameter enc{side}_{given} is given without enc{side}_{missing}; "
        "accepted: both, or none of them"
    )


DECLARATION = Declaration(
    choice(
        "enc0_network",
        "Encoder 0: layers of convolutions, a bidirectional LSTM, or the mean of token embeddings.",
        *NETWORKS,
        default="hcnn",
    ),
    *_encoder(0),
    choice(
        "enc1_network",
        "Encoder 1; enc0: all settings are those of encoder 0, but not its weights.",
        "enc0",
        *NETWORKS,
        default="enc0",
    ),
    *_encoder(1),
    integer(
        "bucket_width",
        "Pairs of a mini-batch have sequences whose lengths differ by less than this; 0: any lengths.",
        default=0,
        min=0,
        max=100,
        applies={"token_embedding_storage_type": ("dense",)},
    ),
    listing(
        "comparator_list",
        "How the two embeddings are compared, in this order.",
        *COMPARATORS,
        default=list(COMPARATORS),
        reader=_operators,
        accepts="hadamard, concat and abs_diff, each at most once, with commas between them",
    ),
    number(
        "dropout",
        "Share of the numbers between layers that are set to 0 while training.",
        default=0.0,
        min=0,
        max=1,
        tuning=Tuning((0.0, 1.0)),
    ),
    integer(
        "early_stopping_patience",
        "Epochs in a row without enough improvement that end training.",
        default=3,
        min=1,
        max=5,
        tuning=Tuning((1, 5)),
    ),
    number(
        "early_stopping_tolerance",
        "By how much an epoch must lower the loss to count as an improvement.",
        default=0.01,
        min=1e-6,
        max=0.1,
        tuning=Tuning((0.001, 0.1)),
    ),
    integer(
        "enc_dim",
        "Numbers in an embedding that an encoder makes.",
        default=4096,
        min=4,
        max=10_000,
        tuning=Tuning((4, 4096)),
    ),
    integer(
        "epochs", "Most passes over the training data.", default=30, min=1, max=100, tuning=Tuning((4, 20))
    ),
    number(
        "learning_rate",
        "Step size of the optimizer; adadelta finds its own.",
        default=0.0004,
        min=1e-6,
        max=1,
        applies={"optimizer": ("adagrad", "adam", "sgd", "rmsprop")},
        tuning=Tuning((1e-6, 1.0)),
    ),
    integer(
        "mini_batch_size",
        "Pairs per update, negatives among them.",
        default=32,
        min=1,
        max=10_000,
        tuning=Tuning((1, 8192)),
    ),
    choice(
        "mlp_activation",
        "Activation of the layers after the comparison.",
        "tanh",
        "relu",
        "linear",
        default="linear",
        tuning=Tuning(("tanh", "relu", "linear"), "Categorical"),
    ),
    integer(
        "mlp_dim",
        "Width of each layer after the comparison.",
        default=512,
        min=2,
        max=10_000,
        tuning=Tuning((16, 1024)),
    ),
    integer("mlp_layers", "Layers after the comparison.", default=2, min=0, max=10, tuning=Tuning((1, 4))),
    integer(
        "negative_sampling_rate",
        "Pairs that were not observed, made per pair of the training data; 0: the data have labels.",
        default=0,
        min=0,
        max=100,
    ),
    integer(
        "num_classes",
        "Classes that are told apart.",
        default=2,
        min=2,
        max=30,
        applies={"output_layer": ("softmax",)},
    ),
    choice(
        "optimizer",
        "Optimizer.",
        "adadelta",
        "adagrad",
        "adam",
        "sgd",
        "rmsprop",
        default="adam",
        tuning=Tuning(("adagrad", "adam", "rmsprop", "sgd", "adadelta"), "Categorical"),
    ),
    choice(
        "output_layer",
        "softmax with cross-entropy for classes, mean_squared_error for scores.",
        "softmax",
        "mean_squared_error",
        default="softmax",
    ),
    boolean(
        "tied_token_embedding_weight",
        "Whether both encoders have one table of token embeddings.",
        default=False,
    ),
    choice(
        "token_embedding_storage_type",
        "Which token embeddings an update moves: all (dense), or those of the mini-batch (row_sparse).",
        "dense",
        "row_sparse",
        default="dense",
    ),
    number(
        "weight_decay",
        "L2 penalty of the weights; biases have none.",
        default=0.0,
        min=0,
        max=10_000,
        tuning=Tuning((0.0, 1.0)),
    ),
    rules=(
        _second_encoder,
        _one_table,
        _sparse,
        lambda values: _vocabulary(0, values),
        lambda values: _vocabulary(1, values),
    ),
)
