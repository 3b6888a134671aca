"""Compiles BlazingText's kernels, so that no job and no request waits for that."""

from __future__ import annotations

import io

import numpy as np

from common.content_types import MediaType
from common.cores import Cores
from containers.blazingtext import tokens, warm_classifier
from containers.blazingtext.learning import HogwildLearner, Settings, Task, parts_of
from containers.blazingtext.text import Block
from containers.blazingtext.vocabulary import Counter

_TEXT = b"a b a b a b\n" * 4


def compile_all() -> None:
    """Calls each kernel with the types that training and answering give it."""
    _word_vectors()
    warm_classifier.compile_classifier()


def _word_vectors() -> None:
    counter = Counter(labelled=False)
    found = [counter.add(block) for block in tokens.read(io.BytesIO(_TEXT), "", MediaType("text/plain"))]
    vocabulary, entries = counter.vocabulary(1)
    parts = parts_of(vocabulary, (1, 2), 8)
    with Cores(1) as cores:
        for mode in ("skipgram", "cbow", "batch_skipgram"):
            learner = HogwildLearner(vocabulary, parts, Settings(mode, 4, 2, 2, 2, 0.5, 0), cores)
            for words in (entries[found[0]], tokens.split(_TEXT)):
                learner.learn([Task(Block(words, vocabulary), (0.1, 0.1), np.uint64(1))])
