"""Random cut forest hyperparameters, from SageMaker's developer guide (rcf_hyperparameters)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, boolean, integer, listing

MOST_FEATURES = 10_000
MOST_TREES = 1000
MOST_SAMPLES = 2048

DECLARATION = Declaration(
    integer("feature_dim", "Number of columns of a point.", required=True, min=1, max=MOST_FEATURES),
    integer(
        "num_trees",
        "Trees in the forest.",
        default=100,
        min=50,
        max=MOST_TREES,
        tuning=Tuning((50, MOST_TREES)),
    ),
    integer(
        "num_samples_per_tree",
        "Sample points each tree is grown on, fewer where the data have fewer than this times num_trees; its "
        "inverse should be about the share of anomalies.",
        default=256,
        min=1,
        max=MOST_SAMPLES,
        tuning=Tuning((1, MOST_SAMPLES)),
    ),
    listing(
        "eval_metrics",
        "Metrics of the test channel; precision_recall_fscore stands for precision, recall and F1 of the "
        "anomalous class.",
        "accuracy",
        "precision_recall_fscore",
        default=["accuracy", "precision_recall_fscore"],
    ),
    integer("mini_batch_size", "Rows read at a time.", default=1000, min=1, documented=False),
    integer(
        "epochs",
        "Most passes over the data. One shows the sampler every row, and training stops early after it.",
        default=1,
        min=1,
        documented=False,
    ),
    boolean(
        "force_dense",
        "true: sparse rows are expanded as they are read; false: only those that enter the sample are.",
        default=True,
        documented=False,
    ),
)
