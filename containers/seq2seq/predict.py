"""Answers sequences of tokens with sequences of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.failures import ClientError
from containers.seq2seq import artifact
from containers.seq2seq.artifact import Model
from containers.seq2seq.beam import translate
from containers.seq2seq.codec import Answer, Ids, Request, TextCodec
from containers.seq2seq.config import UNK


class Translator:
    """A model that answers; on a GPU where there is one."""

    feature_dim: int | None = None

    def __init__(self, model: Model) -> None:
        self._network = model.network.to("cuda" if torch.cuda.is_available() else "cpu")
        self._ids = model.source
        # What a vocabulary holds need not be text that can be written.
        words = sorted(model.target, key=model.target.__getitem__)
        self._words = [word.encode("utf-8", "replace").decode() for word in words]

    def predict(self, request: Request, options: Mapping[str, Any]) -> list[Answer]:
        """An answer to each source. Raises ClientError for ids that the source vocabulary hasn't."""
        sources = [self._source(source, number) for number, source in enumerate(request.sources, 1)]
        found = translate(self._network, sources, attention=any(request.attention))
        return [
            Answer([self._words[id] for id in answer.ids], answer.ids, answer.attention if wanted else None)
            for answer, wanted in zip(found, request.attention, strict=True)
        ]

    def _source(self, source: str | Ids, number: int) -> Ids:
        if isinstance(source, str):
            return np.array([self._ids.get(word, UNK) for word in source.split()], np.int64)
        wrong = np.flatnonzero((source < 0) | (source >= len(self._ids)))
        if len(wrong):
            raise ClientError(
                f"record {number} of the payload has the id {source[wrong[0]]}; accepted: ids of the source "
                f"vocabulary, 0 to {len(self._ids) - 1}"
            )
        return source


def load(folder: Path) -> Translator:
    """The model of a folder that training wrote. Raises ClientError when there is none."""
    return Translator(artifact.read(folder))


def codec(environment: Mapping[str, str]) -> TextCodec:
    """How requests and answers are written."""
    return TextCodec()
