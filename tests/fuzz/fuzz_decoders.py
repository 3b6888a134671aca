"""Coverage-guided fuzzing of the decoders: nothing but rows or ClientError may come out of any bytes.

atheris is no dependency of the project; ``pip install atheris`` puts it beside the others, for the Python
versions that it supports. Everything after the format goes to libFuzzer, which stops by itself only if told::

    python tests/fuzz/fuzz_decoders.py [FORMAT] -runs=100000 -max_total_time=60 -max_len=4096 [CORPUS]

Formats are recordio, csv, libsvm, parquet and ndarray; without one, the first byte picks it. Compiled kernels
give no coverage, so they run as Python here (NUMBA_DISABLE_JIT), where a read past the end of an array is an
IndexError too.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

os.environ["NUMBA_DISABLE_JIT"] = "1"
os.environ["ALGODOCK_NUM_THREADS"] = "1"

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["common"]):
    from common.content_types import CSV, LIBSVM, PARQUET, RECORDIO_PROTOBUF, MediaType
    from common.failures import ClientError
    from common.formats import Layout, decode, decode_bytes, ndarray
    from common.formats import record_kernels as _record_kernels  # noqa: F401, to be instrumented
    from common.formats import text_kernels as _text_kernels  # noqa: F401

CONTENT_TYPES = {"recordio": RECORDIO_PROTOBUF, "csv": CSV, "libsvm": LIBSVM, "parquet": PARQUET}
LAYOUTS = [
    Layout(),
    Layout(label_size=1),
    Layout(label_size=1, feature_dim=3, sniff_delimiter=True, missing=True),
    Layout(label_size=1, weights=True),
]


def read_rows(content_type: str) -> Callable[[bytes], None]:
    """A target that decodes all bytes but the first, which picks the layout, as a stream and as a body."""
    media_type = MediaType(content_type)

    def target(data: bytes) -> None:
        layout = LAYOUTS[data[0] % len(LAYOUTS)] if data else LAYOUTS[0]
        body = data[1:]
        if not body:
            return  # a body without bytes is a request without rows, a Parquet file without bytes is broken
        told = []
        try:
            rows = sum(map(len, decode(io.BytesIO(body), "fuzz", media_type, layout)))
        except ClientError as error:
            told.append(str(error))
        try:
            batch = decode_bytes(body, "fuzz", media_type, layout)
        except ClientError as error:
            told.append(str(error))
        if told:
            assert told == told[:1] * 2, told
        else:
            assert rows == (0 if batch is None else len(batch))

    return target


def read_arrays(data: bytes) -> None:
    """A target that loads an NDArray file."""
    with suppress(ClientError):
        ndarray.load(data)


def main() -> None:
    """Takes the format from the command line, if it is there, and gives the rest to libFuzzer."""
    targets = {name: read_rows(content_type) for name, content_type in CONTENT_TYPES.items()}
    targets["ndarray"] = read_arrays

    def read_any(data: bytes) -> None:
        number = data[0] % len(targets) if data else 0
        list(targets.values())[number](data[1:])

    target = targets[sys.argv.pop(1)] if sys.argv[1:2] and sys.argv[1] in targets else read_any
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
