"""Bodies: an encoded image in; a mask as PNG, or the probabilities of classes as a record, out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from common.content_types import MediaType
from common.failures import ClientError
from common.formats import record_pb2, recordio
from containers.semantic_segmentation.masks import Scores

PNG = "image/png"
# A record's frame has 29 bits for its length; some of it are names and shape.
MOST_BYTES = recordio.LENGTH_MASK - 1024


class MaskCodec:
    """Requests of one image each, and what each of its pixels belongs to."""

    def decode(self, body: bytes, content_type: MediaType) -> bytes | None:
        """The encoded image as it came; None when there is none."""
        return body or None

    def encode(self, scores: Scores, accept: MediaType) -> bytes:
        """A PNG of one channel whose values are classes, or one record. Raises ClientError."""
        return png(scores.classes()) if accept.name == PNG else record(scores)


def png(mask: NDArray[np.uint8]) -> bytes:
    """A mask as a greyscale PNG of 8 bits, so that every reader finds the classes as they are."""
    return bytes(cv2.imencode(".png", mask)[1].data)


def record(scores: Scores) -> bytes:
    """A record with the features ``target``, float32 probabilities, and ``shape``, int32 (1, classes, h, w).

    Raises ClientError when it would be longer than a record can be.
    """
    classes = len(scores.coarse)
    size = 4 * classes * scores.height * scores.width
    if size > MOST_BYTES:
        raise ClientError(
            f"the probabilities of {classes} classes for {scores.width}x{scores.height} pixels take {size} "
            f"bytes, and a record holds at most {MOST_BYTES}; accepted: a smaller image, or Accept {PNG}"
        )
    found = record_pb2.Record()
    # In protobuf's wire format packed numbers look like bytes, which spares a Python number for each.
    values = record_pb2.Bytes(value=[scores.probabilities().tobytes()]).SerializeToString()
    found.features["target"].float32_tensor.MergeFromString(values)
    shape = (1, classes, scores.height, scores.width)
    found.features["shape"].int32_tensor.values.extend(shape)
    return recordio.frame(found.SerializeToString(deterministic=True))
