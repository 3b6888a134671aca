"""Log lines that AWS's image prints about its sample and its forest."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from common.metrics import log
from common.training import Run
from containers.randomcutforest.model import Forest


def sampled(run: Run, rows: int, batches: int, seconds: float) -> None:
    """The one pass has ended."""
    metrics, epochs = run.metrics, run.hyperparameters["epochs"]
    metrics.add("epochs", 1)
    metrics.flush()
    if epochs > 1:
        log.warning("epochs is %d, but the sample is complete after one pass: no more are made", epochs)
    log.info("Early stop condition met. Stopping training.")
    log.info("#progress_metric: host=%s, completed 100 %% epochs", metrics.host)
    metrics.counted("training_data_iter", rows, batches, epoch=0)
    metrics.throughput(rows, seconds)


def forest_info(forest: Forest, depths: list[int]) -> str:
    """The forest in numbers. A tree's nodes are its leaves and its cuts, its depth the cuts above a leaf."""
    samples = int(forest.counts.sum())
    nodes = (2 * forest.leaves - 1).tolist()
    described = {
        "num_trees": len(forest.leaves),
        "num_samples_in_forest": samples,
        "num_samples_per_tree": samples // len(forest.leaves),
        "sample_dim": forest.feature_dim,
        "shingle_size": 1,
        "trees_num_nodes": _listed(nodes),
        "trees_depth": _listed(depths),
        "max_num_nodes": max(nodes),
        "min_num_nodes": min(nodes),
        "avg_num_nodes": int(np.mean(nodes)),
        "max_tree_depth": max(depths),
        "min_tree_depth": min(depths),
        "avg_tree_depth": int(np.mean(depths)),
        "mem_size": forest.nbytes,
    }
    return f"ForestInfo{{{', '.join(f'{name}: {value}' for name, value in described.items())}}}"


def _listed(numbers: Iterable[int]) -> str:
    # AWS's list ends so.
    return f"[{''.join(f'{number}, ' for number in numbers)}]"
