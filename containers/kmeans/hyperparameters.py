"""K-means hyperparameters, from SageMaker's developer guide (k-means-api-config)."""

from __future__ import annotations

from common.hyperparameters import Declaration, Tuning, boolean, choice, integer, listing, number

DECLARATION = Declaration(
    integer("k", "Number of clusters in the final model.", required=True, min=1),
    integer("feature_dim", "Number of input features.", required=True, min=1),
    integer("epochs", "Passes over the training data.", default=1, min=1, tuning=Tuning((1, 10))),
    listing("eval_metrics", "Metrics scored on the test channel.", "msd", "ssd", default=["msd"]),
    integer(
        "extra_center_factor",
        "K = k times this many centers are kept until the final reduction; auto: 10, or fewer when the first "
        "batch has too few rows.",
        default="auto",
        min=1,
        also=("auto",),
        tuning=Tuning((4, 10)),
    ),
    integer(
        "half_life_time_size",
        "Points after which an observation weighs half; 0 means no decay.",
        default=0,
        min=0,
    ),
    choice(
        "init_method",
        "How the K starting centers are picked.",
        "random",
        "kmeans++",
        default="random",
        tuning=Tuning(("kmeans++", "random"), "Categorical"),
    ),
    choice(
        "local_lloyd_init_method",
        "Start of the final Lloyd reduction from K to k.",
        "random",
        "kmeans++",
        default="kmeans++",
    ),
    integer("local_lloyd_max_iter", "Iteration cap of the final Lloyd reduction.", default=300, min=1),
    integer(
        "local_lloyd_num_trials",
        "Restarts of the final Lloyd reduction, the best of which wins; auto: 10.",
        default="auto",
        min=1,
        also=("auto",),
    ),
    number(
        "local_lloyd_tol",
        "Relative change of the loss that ends the final Lloyd reduction.",
        default=0.0001,
        min=0,
        max=1,
    ),
    integer(
        "mini_batch_size", "Observations per mini-batch.", default=5000, min=1, tuning=Tuning((3000, 15000))
    ),
    boolean(
        "force_dense",
        "true: sparse records become dense rows, a block at a time, where that is faster; false: never.",
        default=True,
        documented=False,
    ),
)
