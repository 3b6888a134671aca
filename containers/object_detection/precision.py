"""Mean average precision: how well boxes are found, over all degrees of certainty.

The area under precision by recall, with precision made falling, as in Pascal VOC since 2010 (Everingham and
others, *The Pascal Visual Object Classes Challenge: A Retrospective*, 2015).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


class Precision:
    """Gathers detections and objects of many images; ``overlap`` makes a detection a hit."""

    def __init__(self, overlap: float) -> None:
        self._overlap = overlap
        self._found: dict[int, list[tuple[float, bool]]] = defaultdict(list)
        self._objects: dict[int, int] = defaultdict(int)

    def add(self, detections: Rows, objects: Rows) -> None:
        """One image: (n, 6) class, score and box, and (m, 5 or 6) class, box and whether it is difficult.

        Difficult objects don't count, found or not.
        """
        difficult = objects[:, 5] > 0 if objects.shape[1] > 5 else np.zeros(len(objects), bool)
        for kind in np.unique(np.append(detections[:, 0], objects[:, 0])).astype(int):
            mine = detections[detections[:, 0] == kind]
            mine = mine[np.argsort(-mine[:, 1], kind="stable")]
            there = objects[:, 0] == kind
            self._objects[kind] += int((there & ~difficult).sum())
            overlaps = overlap(mine[:, 2:6], objects[there, 1:5])
            easy, taken = ~difficult[there], np.zeros(there.sum(), bool)
            for row, score in zip(overlaps, mine[:, 1], strict=True):
                best = int(row.argmax()) if len(row) else -1
                if best < 0 or row[best] <= self._overlap:
                    self._found[kind].append((float(score), False))
                elif easy[best]:
                    self._found[kind].append((float(score), not taken[best]))
                    taken[best] = True

    def state(self) -> NDArray[np.float64]:
        """All that was gathered as (rows, 3): class, score and hit, or class, number of objects and -1."""
        found = [(kind, score, hit) for kind, rows in self._found.items() for score, hit in rows]
        counts = [(kind, count, -1) for kind, count in self._objects.items()]
        return np.array([*found, *counts], np.float64).reshape(-1, 3)

    def merge(self, states: Sequence[NDArray[np.float64]]) -> None:
        """Takes what others gathered in place of what was gathered here."""
        self._found.clear()
        self._objects.clear()
        for kind, value, hit in np.concatenate(states):
            if hit < 0:
                self._objects[int(kind)] += int(value)
            else:
                self._found[int(kind)].append((value, bool(hit)))

    def mean(self) -> float:
        """The mean over classes that have objects; 0 without any."""
        values = [self._average(kind) for kind, count in self._objects.items() if count]
        return float(np.mean(values)) if values else 0.0

    def _average(self, kind: int) -> float:
        rows = sorted(self._found[kind], key=lambda row: -row[0])
        hits = np.cumsum([hit for _, hit in rows], dtype=np.float64)
        if not len(hits):
            return 0.0
        recall = np.concatenate([[0.0], hits / self._objects[kind]])
        precision = hits / np.arange(1, len(hits) + 1)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(recall) * falling).sum())


def overlap(first: Rows, second: Rows) -> NDArray[np.float32]:
    """Intersection over union of each of (n, 4) boxes with each of (m, 4): (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-12)
