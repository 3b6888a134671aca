"""Compiles the classifier's kernels, the file's and the endpoint's; part of warm."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from containers.blazingtext import example_kernels, fasttext_file, predict
from containers.blazingtext.classifier import HogwildClassifier
from containers.blazingtext.corpus import rows_of
from containers.blazingtext.examples import Grammar
from containers.blazingtext.fasttext_file import Arguments, Kind, Loss
from containers.blazingtext.tokens import split
from containers.blazingtext.vocabulary import Counter

_BUCKETS = 8
_ARGUMENTS = Arguments(4, 5, 5, 1, 5, 2, Loss.SOFTMAX, Kind.SUPERVISED, _BUCKETS, 1, 2, 100, 1e-4)


def compile_classifier() -> None:
    """Learns from a few sentences, writes the model and answers with it, as a job and an endpoint do."""
    counter, seen = Counter(labelled=True), np.zeros(_BUCKETS, np.uint8)
    (examples,) = Grammar(2, _BUCKETS).examples([split(b"__label__a b c\n__label__d e f\n")], counter.add)
    example_kernels.mark(examples.features, seen)
    vocabulary, entries = counter.vocabulary(1)
    rows = rows_of(vocabulary, entries, seen)
    classifier = HogwildClassifier(rows.count, vocabulary.labels, _ARGUMENTS.dim, 0)
    settled = rows.settled(examples, rows.counted)
    classifier.learn(settled, 0.1, 0.1, 1)
    classifier.hits(settled)
    numbers = np.concatenate([np.arange(vocabulary.words), vocabulary.words + rows.buckets])
    inputs, outputs = classifier.weights()
    table = fasttext_file.Rows(vocabulary.words + _BUCKETS, numbers, inputs)
    words = outputs[np.zeros(vocabulary.words, np.int64)]
    for kind, rows_out in ((Kind.SUPERVISED, outputs), (Kind.SKIPGRAM, words)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.bin"
            fasttext_file.write(path, replace(_ARGUMENTS, kind=kind), vocabulary, table, rows_out)
            predict.load(Path(folder))
