"""Answers pairs with the dot product of their vectors, and with the vectors where these are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.content_types import MediaType
from common.failures import ClientError
from common.prediction import Columns
from containers.ipinsights import artifact, warm
from containers.ipinsights.codec import PairsCodec
from containers.ipinsights.model import Model
from containers.ipinsights.pairs import Pairs


class IPInsights:
    """A model that answers."""

    feature_dim: int | None = None

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, pairs: Pairs, options: Mapping[str, Any]) -> Columns:
        """``dot_product`` (rows,); ``verbose=True`` adds the two embeddings, (rows, vector_dim) each."""
        with np.errstate(over="ignore", invalid="ignore"):
            if not MediaType("Accept", dict(options)).flag("verbose"):
                answer: Columns = {"dot_product": self._model.scores(pairs)}
            else:
                entities, addresses = self._model.vectors(pairs)
                answer = {
                    "dot_product": self._model.scores(pairs),
                    "entity_embedding": entities,
                    "ip_embedding": addresses,
                }
        if not all(np.isfinite(column).all() for column in answer.values()):
            raise ClientError("the model's answer leaves the range of 32-bit floats")
        return answer


def load(folder: Path) -> IPInsights:
    """The model of a folder that training wrote. Raises ClientError when there is none."""
    model = artifact.read(folder)
    warm.answering(model)  # kernels are loaded here, and not while the first request waits
    return IPInsights(model)


def codec(environment: Mapping[str, str]) -> PairsCodec:
    """How requests and answers are written."""
    return PairsCodec()
