"""What the report shows of the neural topic model: the topics' words, and documents as mixtures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.report import samples, topics
from common.report.page import Section
from common.training import Run
from containers.ntm import artifact, auxiliary, predict


def sections(run: Run) -> Iterator[Section]:
    """Mixtures are of test documents, or else of validation or training documents."""
    words = None
    if "auxiliary" in run.channels:
        words = auxiliary.read(run.channels["auxiliary"], run.hyperparameters["feature_dim"]).words
    weights = artifact.read(run.job.model).projection.weight.T
    found = samples.rows(run, "test", "validation", "train")
    if found is None:
        return
    batch = found.batch[:500]
    mixtures = np.asarray(predict.load(run.job.model).predict(batch.features, {})["topic_weights"])
    yield from topics.described(
        weights, words, mixtures, f"{len(batch)} documents of channel {found.channel}"
    )
