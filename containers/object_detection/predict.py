"""Answers a picture with the objects in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.content_types import JSON_LINES, MediaType
from common.failures import ClientError
from common.images import decoding, transforms
from common.networks import folding
from common.prediction import Columns
from containers.object_detection import artifact, detecting, warm
from containers.object_detection.artifact import Model
from containers.object_detection.network import folded


class Detector:
    """A model that answers, on ``device``."""

    feature_dim: int | None = None

    def __init__(self, model: Model, device: str) -> None:
        self._model = model
        self._network = folding.answering(folded(model.network), device)
        self._device = device

    def predict(self, body: bytes, options: Mapping[str, Any]) -> Columns:
        """``prediction``, (objects, 6) as `detecting.detect` has them, and ``size``, height and width.

        The encoded image is squashed to the network's square.
        """
        side = self._model.network.size
        size = decoding.size(body, "the image")
        pixels = transforms.resize(decoding.rgb(body, "the image", (side, side)), side, side)
        batch = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(self._device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            scores, offsets = self._network(batch.float())
            probabilities = scores.softmax(1).cpu().contiguous().numpy()
        if not np.isfinite(probabilities).all():
            raise ClientError("the model's answer leaves the range of 32-bit floats")
        found = detecting.detect(
            probabilities,
            offsets.cpu().numpy(),
            self._model.network.anchors,
            self._model.threshold,
            self._model.most,
        )
        return {"prediction": found[0], "size": np.array(size, np.float32)}


class ObjectsCodec:
    """Bodies of one image each."""

    def decode(self, body: bytes, content_type: MediaType) -> bytes | None:
        """The encoded image as it came; None when there is none."""
        return body or None

    def encode(self, columns: Columns, accept: MediaType) -> bytes:
        """``{"prediction": [[class, score, xmin, ymin, xmax, ymax], ...]}``, or pixels with annotation=1."""
        rows = columns["prediction"]
        if accept.parameters.get("annotation") == "1":
            height, width = (int(side) for side in columns["size"])
            answer: dict[str, Any] = {
                "image_size": [{"width": width, "height": height, "depth": 3}],
                "annotations": [_annotation(row, height, width) for row in rows],
            }
        else:
            answer = {"prediction": [[float(value) for value in row] for row in rows]}
        return json.dumps(answer).encode() + (b"\n" if accept.name == JSON_LINES else b"")


def _annotation(row: NDArray[np.float32], height: int, width: int) -> dict[str, Any]:
    left, right = (round(float(value) * width) for value in (row[2], row[4]))
    top, bottom = (round(float(value) * height) for value in (row[3], row[5]))
    return {
        "class_id": int(row[0]),
        "score": float(row[1]),
        "left": left,
        "top": top,
        "width": right - left,
        "height": bottom - top,
    }


def load(folder: Path) -> Detector:
    """The model of a folder that training wrote. Raises ClientError when there is none."""
    warm.compile_all()  # kernels are loaded here, and not while the first request waits
    return Detector(artifact.read(folder), "cuda" if torch.cuda.is_available() else "cpu")


def codec(environment: Mapping[str, str]) -> ObjectsCodec:
    """How answers are written."""
    return ObjectsCodec()
