"""What the report shows of LDA: the topics' words, which are numbers here, and documents as mixtures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.formats import ndarray
from common.report import samples, topics
from common.report.page import Section
from common.training import Run
from containers.lda import predict


def sections(run: Run) -> Iterator[Section]:
    """Mixtures are of test documents, or else of training documents."""
    arrays = ndarray.load(run.job.model / predict.ARTIFACT)
    _, beta = arrays.values() if isinstance(arrays, dict) else arrays
    found = samples.rows(run, "test", "train")
    if found is None:
        return
    batch = found.batch[:500]
    mixtures = np.asarray(predict.load(run.job.model).predict(batch.features, {})["topic_mixture"])
    yield from topics.described(beta, None, mixtures, f"{len(batch)} documents of channel {found.channel}")
