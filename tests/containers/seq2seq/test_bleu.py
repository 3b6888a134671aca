"""BLEU of a corpus is sacrebleu's."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from containers.seq2seq.bleu import corpus_bleu


def theirs(hypotheses: list[list[int]], references: list[list[int]]) -> float:
    lines = [[" ".join(map(str, tokens)) for tokens in side] for side in (hypotheses, references)]
    metric = BLEU(tokenize="none", smooth_method="floor", smooth_value=0.01, force=True)
    return metric.corpus_score(lines[0], [lines[1]]).score / 100


@pytest.mark.parametrize("seed", range(8))
def test_random_corpora(seed):
    random = np.random.default_rng(seed)
    references = [random.integers(0, 30, random.integers(1, 25)).tolist() for _ in range(20)]
    hypotheses = []
    for reference in references:
        kept = [token for token in reference if random.random() < 0.85]
        hypotheses.append(kept + random.integers(0, 30, random.integers(0, 1 + seed)).tolist())
    assert corpus_bleu(hypotheses, references) == pytest.approx(theirs(hypotheses, references), rel=1e-9)


@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [
        ([[1, 2, 3, 4, 5]], [[1, 2, 3, 4, 5]]),
        ([[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]]),  # too short
        ([[1, 2, 9, 3, 4]], [[1, 2, 3, 4, 5]]),  # nothing of three or four
        ([[1, 1, 1, 1, 1, 1]], [[1, 1, 2, 3, 4]]),  # matches are clipped
        ([[7, 8, 9, 6]], [[1, 2, 3, 4]]),  # nothing
        ([[1, 2]], [[1, 2]]),  # no four in a row
        ([[]], [[1, 2, 3]]),
    ],
)
def test_extremes(hypotheses, references):
    assert corpus_bleu(hypotheses, references) == pytest.approx(theirs(hypotheses, references), rel=1e-9)
