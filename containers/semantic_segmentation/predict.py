"""Answers a picture with what each of its pixels belongs to."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.failures import ClientError
from common.images import decoding
from common.networks import folding
from containers.semantic_segmentation import artifact
from containers.semantic_segmentation.codec import MaskCodec
from containers.semantic_segmentation.masks import Scores
from containers.semantic_segmentation.network import Network, folded, normalised

# Of one image: the network needs some 600 bytes for each, and so 10 GB for the largest.
MOST_PIXELS = 1 << 24


class Segmenter:
    """A model that answers, on ``device``."""

    feature_dim: int | None = None

    def __init__(self, network: Network, device: str) -> None:
        self._network = folded(network)
        folding.answering(self._network, device)
        self._device = device
        # One image after the other: each takes all cores, and two would take twice the memory.
        self._free = threading.Lock()

    def predict(self, body: bytes, options: Mapping[str, Any]) -> Scores:
        """Scores of an encoded image, which goes through the network whole and in its own size."""
        pixels = torch.from_numpy(decoding.rgb(body, "the image", most=MOST_PIXELS))
        height, width, _ = pixels.shape
        with self._free, torch.inference_mode():
            batch = pixels.to(self._device).permute(2, 0, 1)[None]
            try:
                scores = self._network.coarse(normalised(batch))[0]
            except torch.OutOfMemoryError:
                raise ClientError(
                    f"the image has {width}x{height} pixels, too many for the memory of this endpoint's GPU"
                ) from None
        if not bool(torch.isfinite(scores).all()):
            raise ClientError("the model's answer leaves the range of 32-bit floats")
        return Scores(scores, height, width)


def load(folder: Path) -> Segmenter:
    """The model of a folder that training wrote. Raises ClientError when there is none."""
    return Segmenter(artifact.read(folder), "cuda" if torch.cuda.is_available() else "cpu")


def codec(environment: Mapping[str, str]) -> MaskCodec:
    """How requests and answers are written."""
    return MaskCodec()
