"""Runs every kernel once, so that the build of an image leaves its machine code in numba's cache."""

from __future__ import annotations

import io

import numpy as np

from common.batches import CSR, Batch
from common.content_types import CSV, LIBSVM, RECORDIO_PROTOBUF, MediaType
from common.formats import Layout, decode, encode_batch


def compile_all() -> None:
    """Compiles every kernel of the decoders, or loads it from the cache."""
    from common.formats import record_kernels

    sparse = CSR(np.ones(1, np.float32), np.zeros(1, np.int64), np.array([0, 1]), (1, 2))
    bodies = {
        RECORDIO_PROTOBUF: encode_batch(Batch(sparse, np.zeros(1, np.float32))),
        CSV: b"1,2\n",
        LIBSVM: b"1 0:1\n",
    }
    for content_type, body in bodies.items():
        for _ in decode(io.BytesIO(body), content_type, MediaType(content_type), Layout(label_size=1)):
            pass
    # What only large blocks on several threads come to.
    record_kernels.cut(np.zeros(16, np.uint8), 0, np.empty(1, np.int64))


if __name__ == "__main__":
    compile_all()
