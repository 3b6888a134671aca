"""NTM hyperparameters, from SageMaker's developer guide (ntm_hyperparameters)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, boolean, choice, integer, listing, number

_LAYERS = listing("encoder_layers", "")


def _layers(written: str) -> list[int]:
    """``100,50``, ``[100, 50]``: sizes of at least 1."""
    sizes = [int(str(size)) for size in _LAYERS.read(written)]
    if not sizes or min(sizes) < 1:
        raise ValueError
    return sizes


DECLARATION = Declaration(
    integer("feature_dim", "Vocabulary size of the data.", required=True, min=1, max=1_000_000),
    integer("num_topics", "Number of topics.", required=True, min=2, max=1000),
    boolean("batch_norm", "Normalise the encoder's layers over each batch while training.", default=False),
    number(
        "clip_gradient",
        "Largest magnitude of each component of the gradient.",
        default="inf",
        min=1e-3,
        also=("inf", "infinity"),
    ),
    listing(
        "encoder_layers",
        "Sizes of the encoder's layers; auto: 3 x num_topics, then 2 x num_topics.",
        default="auto",
        also=("auto",),
        reader=_layers,
        accepts="a list of integers of at least 1, or auto",
    ),
    choice(
        "encoder_layers_activation",
        "Activation of the encoder's layers.",
        "sigmoid",
        "tanh",
        "relu",
        default="sigmoid",
        tuning=Tuning(("sigmoid", "tanh", "relu"), "Categorical"),
    ),
    integer("epochs", "Most passes over the training data.", default=50, min=1),
    number(
        "learning_rate",
        "Step size of the optimizer; adadelta finds its own.",
        default=0.001,
        min=1e-6,
        max=1,
        applies={"optimizer": ("sgd", "adam", "adagrad", "rmsprop")},
        tuning=Tuning((1e-4, 0.1)),
    ),
    integer(
        "mini_batch_size",
        "Documents a batch on each host.",
        default=256,
        min=1,
        max=10_000,
        tuning=Tuning((16, 2048)),
    ),
    integer(
        "num_patience_epochs",
        "Over how many epochs a gain is looked for; more than epochs: no early stopping.",
        default=3,
        min=1,
    ),
    choice(
        "optimizer",
        "Optimizer.",
        "sgd",
        "adam",
        "adagrad",
        "adadelta",
        "rmsprop",
        default="adadelta",
        tuning=Tuning(("sgd", "adam", "adadelta"), "Categorical"),
    ),
    number(
        "rescale_gradient",
        "Factor of the gradient, which is the sum over the documents of a batch.",
        default=1.0,
        min=1e-3,
        max=1,
        tuning=Tuning((0.1, 1.0)),
    ),
    number(
        "sub_sample",
        "Share of the training documents that each epoch draws anew; 0 would leave none.",
        default=1.0,
        min=0,
        exclusive_min=True,
        max=1,
    ),
    number(
        "tolerance",
        "Gain of the loss below which an epoch is no improvement.",
        default=0.001,
        min=1e-6,
        max=0.1,
    ),
    number(
        "weight_decay",
        "L2 penalty of the weights; biases have none.",
        default=0.0,
        min=0,
        max=1,
        tuning=Tuning((0.0, 1.0)),
    ),
)
