"""A channel's rows as the models take them: checked, normalised, on the device, kept while they are few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from common import finite
from common.batches import CSR, Batch, Features, dense
from common.channels import Channel
from common.failures import ClientError
from containers.linear_learner.model import Dense, Normalisation, Rows, Sparse


@dataclass(frozen=True, slots=True)
class Checks:
    """What rows must be like."""

    predictor_type: str
    num_classes: int = 2
    feature_dim: int | None = None

    def apply(self, batches: Iterable[Batch], channel: str) -> Iterator[Batch]:
        """The same batches. Raises ClientError that names channel and row of what can't be learned from."""
        row = 0
        for batch in batches:
            yield self._checked(batch, channel, row)
            row += len(batch)

    def _checked(self, batch: Batch, channel: str, row: int) -> Batch:
        labels = batch.labels
        if labels is None or labels.ndim != 1:
            raise ClientError(f"channel {channel}: rows have no label or several; accepted: one label a row")
        wrong = self._wrong(labels)
        if wrong.any():
            at = int(wrong.argmax())
            raise ClientError(
                f"channel {channel}, row {row + at + 1}: label {labels[at]:g} is not accepted; "
                f"accepted: {self._accepted()}"
            )
        finite.check(batch.features, channel, row, float(np.finfo(np.float32).max))
        return self._widened(batch, channel)

    def _wrong(self, labels: NDArray[np.float32]) -> NDArray[np.bool_]:
        if self.predictor_type == "regressor":
            return ~np.isfinite(labels)
        return ~((labels >= 0) & (labels < self.num_classes) & (labels == np.floor(labels)))

    def _accepted(self) -> str:
        if self.predictor_type == "regressor":
            return "finite numbers"
        if self.predictor_type == "binary_classifier":
            return "0 and 1 for a binary_classifier"
        return f"whole numbers from 0 to {self.num_classes - 1} with num_classes {self.num_classes}"

    def _widened(self, batch: Batch, channel: str) -> Batch:
        if self.feature_dim is None or batch.width == self.feature_dim:
            return batch
        if isinstance(batch.features, CSR) and batch.width < self.feature_dim:
            wide = replace(batch.features, shape=(len(batch), self.feature_dim))
            return replace(batch, features=wide)
        raise ClientError(
            f"channel {channel}: rows have {batch.width} features; accepted: {self.feature_dim}, as "
            "feature_dim says or the first rows have"
        )


@dataclass(frozen=True, slots=True)
class Preparation:
    """From a checked batch to rows on the device."""

    normalisation: Normalisation
    classes: bool  # labels are class numbers
    device: str = "cpu"
    force_dense: str = "auto"  # or "true", "false"

    def rows(self, batch: Batch) -> Rows:
        """``batch`` normalised. Its arrays are left as they are."""
        assert batch.labels is not None
        return Rows(self._features(batch.features), self._labels(batch.labels))

    def _labels(self, labels: NDArray[np.float32]) -> torch.Tensor:
        if self.classes:
            return torch.from_numpy(labels.astype(np.int64)).to(self.device)
        scaled = (labels - np.float32(self.normalisation.label_mean)) / np.float32(
            self.normalisation.label_scale
        )
        return torch.from_numpy(scaled.astype(np.float32, copy=False)).view(-1, 1).to(self.device)

    def _features(self, features: Features) -> Dense | Sparse:
        mean, scale = self.normalisation.mean, self.normalisation.scale
        if isinstance(features, CSR) and self._stays_sparse(features):
            shift = (mean * scale).astype(np.float32) if mean.any() else None
            return Sparse(features, scale.astype(np.float32), shift).to(self.device)
        normal = np.subtract(dense(features), mean.astype(np.float32))
        normal *= scale.astype(np.float32)
        return Dense(torch.from_numpy(normal).to(self.device))

    def _stays_sparse(self, features: CSR) -> bool:
        if self.force_dense != "auto":
            return self.force_dense == "false"
        # Where sparse products get cheaper than dense ones, and take less memory, on every machine tried.
        rows, columns = features.shape
        return columns >= 256 and len(features.values) * 10 < rows * columns


class Dataset:
    """Passes over a channel, as `Rows` of ``batch_size``.

    What takes no more than ``keep`` bytes is decoded once. Rows that are kept are shuffled with ``seed``
    once, and their batches anew for each epoch, unless ``seed`` is None. ``share`` and ``stoppable`` are
    those of `Channel.epoch`.
    """

    def __init__(
        self,
        channel: Channel,
        checks: Checks,
        batch_size: int,
        *,
        share: bool = False,
        keep: int = 0,
        seed: int | None = None,
        stoppable: bool = True,
    ) -> None:
        self.channel = channel
        self.checks = checks
        self.batch_size = batch_size
        self.records = 0  # of this host in the last epoch
        self._share = share
        self._stoppable = stoppable
        self._keep = keep
        self._generator = None if seed is None else np.random.Generator(np.random.Philox(seed))
        self._preparation: Preparation | None = None
        self._head: list[Batch] = []
        self._rest: Iterator[Batch] | None = None
        self._kept: list[Rows] | None = None

    @property
    def name(self) -> str:
        """The channel's."""
        return self.channel.name

    def head(self, rows: int) -> list[Batch]:
        """The first batches, with ``rows`` rows or more where there are so many; part of the first epoch."""
        self._rest = self._batches()
        count = 0
        while count < rows and (batch := next(self._rest, None)) is not None:
            self._head.append(batch)
            count += len(batch)
        return self._head

    def prepare(self, preparation: Preparation, feature_dim: int) -> None:
        """Says how epochs' rows are normalised, and how wide they must be."""
        self._preparation = preparation
        self.checks = replace(self.checks, feature_dim=feature_dim)

    @property
    def kept(self) -> list[Rows] | None:
        """All rows, when they are few enough to be kept and an epoch has been read to its end."""
        return self._kept

    def epoch(self) -> Iterator[Rows]:
        """One pass. Raises ClientError for rows that can't be learned from."""
        assert self._preparation is not None
        if self._kept is not None:
            order = np.arange(len(self._kept))
            if self._generator is not None:
                self._generator.shuffle(order)
            yield from (self._kept[i] for i in order)
            return
        self.records = 0
        keeping: list[Rows] | None = [] if self._keep else None
        size = 0
        for batch in self._opened():
            rows = self._preparation.rows(batch)
            self.records += len(rows)
            if keeping is not None:
                size += rows.nbytes
                keeping = [*keeping, rows] if size <= self._keep else None
            yield rows
        if keeping:
            self._kept = keeping if self._generator is None else self._shuffled(keeping)

    def _opened(self) -> Iterator[Batch]:
        if self._rest is None:
            return self._batches()
        # Batches read ahead of knowing the width are looked at again; those to come know it.
        first, rest = self._head, self._rest
        self._head, self._rest = [], None
        return self.checks.apply(chain(first, rest), self.name)

    def _batches(self) -> Iterator[Batch]:
        read = self.channel.epoch(
            self.batch_size,
            feature_dim=self.checks.feature_dim,
            share=self._share,
            stoppable=self._stoppable,
        )
        return self.checks.apply(read, self.name)

    def _shuffled(self, kept: list[Rows]) -> list[Rows]:
        """The rows in another order, so that data sorted by label do no harm; sparse ones stay in theirs."""
        parts = [rows.features.rows for rows in kept if isinstance(rows.features, Dense)]
        if len(parts) < len(kept) or self._generator is None:
            return kept
        labels = [rows.labels for rows in kept]
        order = torch.from_numpy(self._generator.permutation(sum(len(part) for part in parts)))
        features = torch.cat(parts)[order.to(parts[0].device)]
        shuffled = torch.cat(labels)[order.to(parts[0].device)]
        return [
            Rows(Dense(part), label)
            for part, label in zip(
                features.split(self.batch_size), shuffled.split(self.batch_size), strict=True
            )
        ]
