"""Word vectors for the coherence of topics: read from a file, or made of the training documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.batches import CSR, Float32
from common.failures import ClientError
from containers.ntm import kernels

_DIMENSIONS = 128


class Signatures:
    """Vectors of words that are alike where the words occur in the same documents.

    Random indexing (Kanerva, Kristoferson and Holst, 2000): each document has a random vector of signs, and a
    word's vector is the sum of those of its documents, weighted by ``log(1 + count)``. Cosines come near
    those of the words' columns in the matrix of documents, in constant memory.
    """

    def __init__(self, vocabulary: int, generator: np.random.Generator) -> None:
        self.vectors: Float32 = np.zeros((vocabulary, _DIMENSIONS), np.float32)
        self._generator = generator

    def add(self, documents: CSR) -> None:
        """Takes documents into account."""
        signs = self._generator.integers(0, 2, (len(documents), _DIMENSIONS), np.int8).astype(np.float32)
        signs *= 2
        signs -= 1
        kernels.scatter(
            np.require(documents.indices, None, ["C", "W"]),
            np.log1p(documents.values),
            np.require(documents.indptr, None, ["C", "W"]),
            signs,
            self.vectors,
        )


def read(path: Path, vocabulary: Sequence[str]) -> tuple[Float32, int]:
    """Vectors of the vocabulary's words, and how many words have none (their vectors are zeros).

    ``path`` is a text file as GloVe's and fastText's: a word and its numbers a line, blanks between them; a
    first line of two numbers is skipped. Raises ClientError for a line that is different.
    """
    wanted: dict[bytes, list[int]] = {}
    for number, text in enumerate(vocabulary):
        wanted.setdefault(text.encode(), []).append(number)
    vectors: Float32 | None = None
    seen = np.zeros(len(vocabulary), bool)
    with path.open("rb") as file:
        for line_number, line in enumerate(file, 1):
            word, _, rest = line.rstrip().partition(b" ")
            if word not in wanted or (line_number == 1 and b" " not in rest):
                continue
            values = _numbers(rest)
            if vectors is None and values is not None:
                vectors = np.zeros((len(vocabulary), len(values)), np.float32)
            if values is None or vectors is None or len(values) != vectors.shape[1]:
                raise ClientError(
                    f"channel auxiliary, file {path.name}, line {line_number}: not a word and its vector; "
                    "accepted: a word and as many finite numbers as in every line, blanks between them"
                )
            vectors[wanted[word]] = values
            seen[wanted[word]] = True
    if vectors is None:
        vectors = np.zeros((len(vocabulary), 1), np.float32)
    return vectors, int((~seen).sum())


def _numbers(text: bytes) -> Float32 | None:
    try:
        values = np.array(text.split(), np.float32)
    except ValueError:
        return None
    return values if len(values) and np.isfinite(values).all() else None
