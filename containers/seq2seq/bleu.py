"""BLEU of a corpus (Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine ...").

On tokens as they are, up to four in a row, one reference each. Where no row of some length is matched, one
hundredth of a match is supposed, as Sockeye 1 does and sacrebleu's floor smoothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

_LONGEST = 4
_FLOOR = 0.01


def corpus_bleu(hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Hashable]]) -> float:
    """From 0 to 1, for as many hypotheses as references; 0 without a common token or a row of four."""
    matches, totals = [0] * _LONGEST, [0] * _LONGEST
    said = sum(map(len, hypotheses))
    wanted = sum(map(len, references))
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        for size in range(1, _LONGEST + 1):
            grams = _grams(hypothesis, size)
            totals[size - 1] += grams.total()
            matches[size - 1] += (grams & _grams(reference, size)).total()
    if not matches[0] or not totals[-1]:
        return 0.0
    logs = [math.log((match or _FLOOR) / total) for match, total in zip(matches, totals, strict=True)]
    return min(1.0, math.exp(1 - wanted / said)) * math.exp(sum(logs) / _LONGEST)


def _grams(tokens: Sequence[Hashable], size: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(size)), strict=False))
