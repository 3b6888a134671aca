"""How well word vectors tell similar words: rank correlation with what people said, on WordSim-353."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32

SETS = ("EN-WS-353-ALL.txt", "EN-WS-353-REL.txt", "EN-WS-353-SIM.txt")
_FOLDER = Path(__file__).parent / "similarity_sets"
Pair = tuple[str, str, float]


def pairs(name: str) -> list[Pair]:
    """The word pairs of one of SETS with their scores from 0 to 10."""
    rows = [line.split("\t") for line in (_FOLDER / name).read_text("utf-8").splitlines() if line[:1] != "#"]
    return [(first, second, float(score)) for first, second, score in rows]


def evaluate(rows: dict[str, int], vectors: Float32) -> dict[str, Any]:
    """What eval.json holds. ``rows`` tells the row of ``vectors`` that is a word's.

    A pair counts where both words have a vector. A word that has none as it is written is looked up in small
    letters. The correlation is 0 where less than two pairs count.
    """
    found: dict[str, Any] = {name: _evaluate(pairs(name), rows, vectors) for name in SETS}
    found["mean_rho"] = float(np.mean([found[name]["spearmans_rho"] for name in SETS]))
    return found


def _evaluate(listed: Sequence[Pair], rows: dict[str, int], vectors: Float32) -> dict[str, Any]:
    places = [(_row(first, rows), _row(second, rows), score) for first, second, score in listed]
    known = [place for place in places if min(place[:2]) >= 0]
    firsts, seconds = (vectors[np.array([place[side] for place in known], int)] for side in (0, 1))
    lengths = np.linalg.norm(firsts, axis=1) * np.linalg.norm(seconds, axis=1)
    cosines = (firsts * seconds).sum(1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return {
        "not_found": len(listed) - len(known),
        "spearmans_rho": spearman(cosines, np.array([score for _, _, score in known])),
        "total_pairs": len(listed),
    }


def _row(word: str, rows: dict[str, int]) -> int:
    return rows.get(word, rows.get(word.lower(), -1))


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """The correlation of the ranks of two (n,) arrays, of equal values their mean; 0 where there is none."""
    if len(first) < 2:
        return 0.0
    ranks = [_ranks(values) for values in (first, second)]
    centred = [values - values.mean() for values in ranks]
    scale = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / scale if scale else 0.0


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")) / 2
