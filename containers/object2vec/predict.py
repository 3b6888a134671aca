"""Answers pairs with the scores of their classes or their score, and single objects with their embeddings."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.failures import ClientError
from common.prediction import Columns
from containers.object2vec import artifact, reading, warm
from containers.object2vec.artifact import Model
from containers.object2vec.codec import Asked, PairsCodec
from containers.object2vec.pairs import Ragged
from containers.object2vec.ragged import Sequences

PREFERRED = "INFERENCE_PREFERRED_MODE"
# Tokens of the instances that go through the network together.
_TOKENS = 1 << 12


class Object2Vec:
    """A model that answers. ``device`` holds the encoders; the head too, unless embeddings are preferred."""

    feature_dim: int | None = None

    def __init__(self, model: Model, device: str = "cpu", preferred: str = "classification") -> None:
        self._network = model.network
        self._tables = [table.to(device) for table in model.tables]
        self._longest = model.longest
        self._device = device
        self._head = device if preferred == "classification" else "cpu"
        self._network.encoders.to(self._device)
        self._network.head.to(self._head)

    def predict(self, asked: Asked, options: Mapping[str, Any]) -> Columns:
        """``scores``, (instances, classes) or (instances, 1), or ``embeddings``, (instances, enc_dim)."""
        name = "scores" if len(asked.sides) == 2 else "embeddings"
        longest = asked.longest or self._longest
        parts = []
        with torch.inference_mode():
            sides = {side: self._packed(asked, side, longest[side]) for side in asked.sides}
            for start, stop in _cut(list(sides.values())):
                vectors = [
                    self._network.encode(side, self._sequences(side, one, start, stop))
                    for side, one in sides.items()
                ]
                found = vectors[0] if len(vectors) == 1 else self._scores(*vectors)
                parts.append(found.cpu().numpy())
        answer = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
        if not np.isfinite(answer).all():
            raise ClientError("the model's answer leaves the range of 32-bit floats")
        return {name: answer}

    def _packed(self, asked: Asked, side: int, longest: int) -> Ragged:
        vocabulary = len(self._tables[side % len(self._tables)])
        return reading.packed(asked.instances, side, vocabulary, longest, asked.where)

    def _sequences(self, side: int, ragged: Ragged, start: int, stop: int) -> Sequences:
        starts = ragged.starts[start : stop + 1]
        used, places = np.unique(ragged.tokens[starts[0] : starts[-1]], return_inverse=True)
        table = self._tables[side % len(self._tables)]
        rows = table.index_select(0, torch.from_numpy(used.astype(np.int64)).to(self._device))
        return Sequences(
            rows,
            torch.from_numpy(places.astype(np.int64)).to(self._device),
            torch.from_numpy(starts - starts[0]).to(self._device),
            np.diff(starts),
        )

    def _scores(self, first: Tensor, second: Tensor) -> Tensor:
        found = self._network.compare(first.to(self._head), second.to(self._head))
        return found if self._network.plan.classes is None else torch.softmax(found, 1)


def _cut(sides: list[Ragged]) -> list[tuple[int, int]]:
    """Instances in parts of about so many tokens, or of one instance."""
    if not sides:
        return []
    ends = np.sum([side.starts for side in sides], axis=0)
    bounds = [0]
    while bounds[-1] < len(ends) - 1:
        stop = int(np.searchsorted(ends, ends[bounds[-1]] + _TOKENS, "right")) - 1
        bounds.append(max(stop, bounds[-1] + 1))
    return list(itertools.pairwise(bounds))


def load(folder: Path) -> Object2Vec:
    """The model of a folder that training wrote. Raises ClientError when there is none."""
    preferred = os.environ.get(PREFERRED, "").strip() or "classification"
    if preferred not in ("classification", "embedding"):
        raise ClientError(f"{PREFERRED} is '{preferred}'; accepted: classification or embedding")
    warm.answering()  # kernels are loaded here, and not while the first request waits
    return Object2Vec(artifact.read(folder), "cuda" if torch.cuda.is_available() else "cpu", preferred)


def codec(environment: Mapping[str, str]) -> PairsCodec:
    """How requests and answers are written."""
    return PairsCodec("predictions")
