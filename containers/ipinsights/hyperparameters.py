"""IP Insights hyperparameters, from SageMaker's developer guide (ip-insights-hyperparameters)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, Values, integer, number

COLUMNS = 2


def _negatives(values: Values) -> str | None:
    names = "random_negative_sampling_rate", "shuffled_negative_sampling_rate"
    total = sum(values[name] for name in names)
    if 1 <= total <= 500:
        return None
    return f"{' + '.join(names)} is {total}; accepted: a sum from 1 to 500"


DECLARATION = Declaration(
    integer(
        "num_entity_vectors",
        "Rows of the entities' table, which entities are hashed to; twice the number of entities is advised.",
        required=True,
        min=1,
        max=250_000_000,
        tuning=Tuning((10_000, 1_000_000)),
    ),
    integer(
        "vector_dim",
        "Numbers in the vector of an entity or an address; 128 is advised.",
        required=True,
        min=4,
        max=4096,
        tuning=Tuning((8, 256)),
    ),
    integer(
        "batch_metrics_publish_interval",
        "Mini-batches from one line of speed and metrics to the next.",
        default=1000,
        min=1,
    ),
    integer("epochs", "Passes over the training data.", default=10, min=1, tuning=Tuning((1, 100))),
    number(
        "learning_rate", "Step size of Adam.", default=0.001, min=1e-6, max=10, tuning=Tuning((1e-4, 0.1))
    ),
    integer(
        "mini_batch_size",
        "Observed pairs per mini-batch; negatives come on top.",
        default=10_000,
        min=1,
        max=500_000,
        tuning=Tuning((100, 50_000)),
    ),
    integer(
        "num_ip_encoder_layers",
        "Fully connected layers between an address's prefixes and its vector.",
        default=1,
        min=0,
        max=100,
        tuning=Tuning((1, 10)),
    ),
    integer(
        "random_negative_sampling_rate",
        "Random addresses that each observed entity is also paired with, as negatives.",
        default=1,
        min=0,
        max=500,
        tuning=Tuning((0, 10)),
    ),
    integer(
        "shuffled_negative_sampling_rate",
        "Other pairs' addresses that each observed entity is also paired with, as negatives.",
        default=1,
        min=0,
        max=500,
        tuning=Tuning((0, 10)),
    ),
    number(
        "weight_decay",
        "Factor of the L2 penalty on all weights but biases.",
        default=0.00001,
        min=0,
        max=10,
        tuning=Tuning((0.0, 1.0)),
    ),
    integer(
        "feature_dim",
        "Columns of the data, which SageMaker's clients tell.",
        default=COLUMNS,
        min=COLUMNS,
        max=COLUMNS,
        accepts=str(COLUMNS),
        documented=False,
    ),
    rules=(_negatives,),
)
