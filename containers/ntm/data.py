"""A channel's documents in batches: checked, without empty ones, drawn and shuffled, kept while they fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from common import finite
from common.batches import CSR, Batch, Features, recut, stack, to_csr
from common.channels import Channel
from common.failures import ClientError
from common.metrics import log

# Bytes of documents that are kept from one epoch to the next where they come from files.
KEPT = 2 << 30


class Corpus:
    """Passes over a channel's documents of ``vocabulary`` words, in batches of ``batch_size``.

    Hosts divide FullyReplicated documents among themselves. Each pass draws a ``share`` of the documents by
    ``generator``. What takes at most ``keep`` bytes is decoded once; kept documents come in another order in
    each later pass. Documents without words say nothing and are left out.
    """

    def __init__(
        self,
        channel: Channel,
        vocabulary: int,
        batch_size: int,
        *,
        generator: np.random.Generator | None = None,
        share: float = 1.0,
        keep: int = KEPT,
    ) -> None:
        self.channel = channel
        self.vocabulary = vocabulary
        self.batch_size = batch_size
        self.share = share
        self._generator = generator
        self._keep = 0 if channel.piped else keep
        self._kept: CSR | None = None
        self._empty = 0

    def epoch(self) -> Iterator[CSR]:
        """One pass. Raises ClientError for a document that can't be learned from, naming channel and row."""
        if self._kept is None:
            yield from recut(self._drawn(), self.batch_size, _join)
            return
        order = np.arange(len(self._kept))
        if self._generator is not None:
            order = self._generator.permutation(order)
            order = order[self._chosen(len(order))]
        for start in range(0, len(order), self.batch_size):
            yield self._kept.take(order[start : start + self.batch_size])

    def _drawn(self) -> Iterator[CSR]:
        for documents in self._read():
            if self.share < 1:
                yield documents.take(np.flatnonzero(self._chosen(len(documents))))
            else:
                yield documents

    def _chosen(self, count: int) -> np.ndarray:
        if self.share == 1 or self._generator is None:
            return np.ones(count, bool)
        return self._generator.random(count) < self.share

    def _read(self) -> Iterator[CSR]:
        """Every document with words, in the decoder's blocks; they are kept if they all fit."""
        keeping: list[CSR] | None = [] if self._keep else None
        size = row = empty = 0
        for batch in self.channel.epoch(None, feature_dim=self.vocabulary, share=True):
            documents = self._checked(batch, row)
            row += len(batch)
            empty += len(batch) - len(documents)
            if keeping is not None:
                size += documents.values.nbytes + documents.indices.nbytes + documents.indptr.nbytes
                keeping.append(documents)
                keeping = keeping if size <= self._keep else None
            yield documents
        if empty and not self._empty:
            log.warning("%d documents of channel %s have no words: left out", empty, self.channel.name)
        self._empty = empty
        # An epoch that was told to stop was not read to its end, and none will follow.
        if keeping:
            self._kept = _join(keeping)

    def _checked(self, batch: Batch, before: int) -> CSR:
        finite.check(batch.features, self.channel.name, before)
        documents = counted(batch.features)
        if len(documents.values) and documents.values.min() < 0:
            at = int(np.argmax(documents.values < 0))
            row = int(np.searchsorted(documents.indptr, at, "right"))
            raise ClientError(
                f"channel {self.channel.name}: feature {documents.indices[at]} (counted from 0) of row "
                f"{before + row} is {documents.values[at]:g}; accepted: word counts of at least 0"
            )
        documents = replace(documents, shape=(len(documents), self.vocabulary))
        full = lengths(documents) > 0
        return documents if full.all() else documents.take(np.flatnonzero(full))


def counted(features: Features) -> CSR:
    """Documents as sparse rows."""
    return features if isinstance(features, CSR) else to_csr(features)


def lengths(documents: CSR) -> np.ndarray:
    """How many words each document has: (documents,) float64."""
    rows = np.repeat(np.arange(len(documents)), np.diff(documents.indptr))
    return np.bincount(rows, documents.values, len(documents))


def _join(parts: Sequence[CSR]) -> CSR:
    joined = stack(parts)
    assert isinstance(joined, CSR)
    return joined
