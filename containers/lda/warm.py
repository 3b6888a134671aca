"""Compiles LDA's kernels, so that no job waits for that."""

from __future__ import annotations

import numpy as np

from common.cores import Cores
from containers.lda import model
from containers.lda.corpus import Corpus, tidy


def compile_all() -> None:
    """Learns from a few documents and scores them, which calls each kernel with training's types."""
    documents = tidy(np.array([[3, 1], [1, 3], [2, 2]], np.float32))
    with Cores(1) as cores:
        corpus = Corpus(documents, 2)
        found = model.spectrum(corpus, 1, 1.0, np.random.default_rng(0), cores, max_restarts=1)
        topics, _ = model.refine(corpus, found.alpha[:1], found.beta[:1], 1.0, cores)
        model.Mixer(topics, cores).likelihood(documents)
