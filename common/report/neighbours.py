"""What is looked at of vectors of words: which lie near each other, and a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.report import charts, page
from common.report.page import Section
from common.report.planes import plane

_ASKED, _NEAREST, _MAPPED = 14, 6, 90


def described(
    names: Sequence[str], vectors: NDArray[Any], asked: Sequence[int], source: str
) -> Iterator[Section]:
    """Of (n, dim) vectors with a name each: the nearest by cosine to some of them, and the map of many."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.maximum(lengths, 1e-12)
    told = []
    for one in list(asked)[:_ASKED]:
        near = unit @ unit[one]
        near[one] = -np.inf
        best = np.argsort(-near, kind="stable")[:_NEAREST]
        told.append((names[one], ", ".join(f"{names[i]} {near[i]:.2f}" for i in best)))
    yield Section("Nearest neighbours", [page.table(["of", "nearest, with their cosines"], told)], source)
    step = max(1, len(asked) // _MAPPED)
    mapped = list(asked)[::step][:_MAPPED]
    if len(mapped) > 2:
        points, share = plane(unit[mapped])
        chart = charts.scatter("map of words", points, texts=[names[i] for i in mapped])
        caption = f"{len(mapped)} of them on two principal components, {share:.0%} of the variance"
        yield Section("Map", [page.figures((chart, caption))])
