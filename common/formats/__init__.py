"""What bytes mean: decoders from a byte stream to batches, and encoders for what we write ourselves.

Importing this imports neither numba nor pyarrow nor protobuf; each is imported by the decoder that
needs it when it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from common import content_types
from common.batches import Batch
from common.content_types import MediaType
from common.failures import ClientError, one_of
from common.formats.delimited import DECODER as _DELIMITED
from common.formats.layout import Decoder, Layout, Stream
from common.formats.libsvm import DECODER as _LIBSVM
from common.formats.parquet import DECODER as _PARQUET
from common.formats.records import DECODER as _RECORDS
from common.formats.records import encode_batch, encode_records

__all__ = [
    "DECODERS",
    "Decoder",
    "Layout",
    "Stream",
    "decode",
    "decode_bytes",
    "encode_batch",
    "encode_records",
]

DECODERS: Mapping[str, Decoder] = {
    content_types.RECORDIO_PROTOBUF: _RECORDS,
    content_types.CSV: _DELIMITED,
    content_types.LIBSVM: _LIBSVM,
    content_types.PARQUET: _PARQUET,
}


def _decoder(name: str, media_type: MediaType) -> Decoder:
    decoder = DECODERS.get(media_type.name)
    if decoder is None:
        raise ClientError(
            f"the content type '{media_type.name}' of {name} is not accepted; {one_of(DECODERS)} is", 415
        )
    return decoder


def decode(stream: Stream, name: str, media_type: MediaType, layout: Layout) -> Iterator[Batch]:
    """The rows of one file, or of one epoch of a FIFO, in batches of about 1 to 4 MB of input.

    Memory stays constant however long the stream is. Arrays of a batch are its own: nothing overwrites
    them later. Raises ClientError, naming ``name`` and the line or record, for whatever is wrong with the
    bytes and for a content type that has no decoder.
    """
    return _decoder(name, media_type).decode(stream, name, media_type, layout)


def decode_bytes(body: bytes, name: str, media_type: MediaType, layout: Layout) -> Batch | None:
    """The rows of a whole request body as one batch, or None when it holds none. Raises as ``decode``."""
    return _decoder(name, media_type).decode_bytes(body, name, media_type, layout)
