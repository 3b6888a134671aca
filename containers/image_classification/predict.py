"""Answers a picture with the probability of each class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.content_types import JSON_LINES, MediaType
from common.failures import ClientError
from common.images import decoding, transforms
from common.networks import folding
from common.prediction import Columns
from containers.image_classification import artifact
from containers.image_classification.network import Classifier, folded


class ImageClassifier:
    """A model that answers, on ``device``."""

    feature_dim: int | None = None

    def __init__(self, network: Classifier, device: str) -> None:
        self._network = network
        self._answering = folding.answering(folded(network), device)
        self._device = device

    def predict(self, body: bytes, options: Mapping[str, Any]) -> Columns:
        """``prediction``, (1, classes), of an encoded image, which is squashed to the network's size."""
        channels, height, width = self._network.shape
        # From its full size, though a smaller scale is decoded faster: public loaders of AWS's models do so.
        pixels = transforms.resize(decoding.rgb(body, "the image"), height, width)
        if channels == 1:
            pixels = transforms.grey(pixels)
        batch = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(self._device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            found = self._network.probabilities(self._answering(batch.float()))
        answer = found.cpu().numpy()
        if not np.isfinite(answer).all():
            raise ClientError("the model's answer leaves the range of 32-bit floats")
        return {"prediction": answer}


class ImageCodec:
    """Bodies of one image each. ``named``: JSON is an object with the answer, and not the answer itself."""

    def __init__(self, named: bool) -> None:
        self._named = named

    def decode(self, body: bytes, content_type: MediaType) -> bytes | None:
        """The encoded image as it came; None when there is none."""
        return body or None

    def encode(self, columns: Columns, accept: MediaType) -> bytes:
        """``[0.7, 0.3]``, or ``{"prediction": [0.7, 0.3]}``."""
        values = [float(value) for value in columns["prediction"][0]]
        if accept.name == JSON_LINES:
            return json.dumps({"prediction": values}).encode() + b"\n"
        return json.dumps({"prediction": values} if self._named else values).encode()


def load(folder: Path) -> ImageClassifier:
    """The model of a folder that training wrote. Raises ClientError when there is none."""
    return ImageClassifier(artifact.read(folder), "cuda" if torch.cuda.is_available() else "cpu")


def codec(environment: Mapping[str, str]) -> ImageCodec:
    """How answers are written: batch transform has objects, as AWS's does."""
    return ImageCodec(environment.get("SAGEMAKER_BATCH", "").strip().lower() not in ("", "0", "false"))
