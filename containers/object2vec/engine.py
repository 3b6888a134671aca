"""Learning and scoring mini-batches of pairs on any number of devices of one machine."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.cluster import Cluster
from common.optimizers import OPTIMIZERS, Settings
from common.replicas import Replicas, biases
from containers.object2vec import kernels, tables
from containers.object2vec.model import Examples, Network, dropout
from containers.object2vec.pairs import Pairs
from containers.object2vec.ragged import Sequences
from containers.object2vec.tables import Table

# Numbers between layers that are in memory at once, on each device.
_FLOATS = 1 << 27


@dataclass
class Losses:
    """Sums over pairs."""

    loss: float = 0.0
    right: float = 0.0
    pairs: int = 0
    batches: int = 0

    def add(self, sums: Sequence[float], pairs: int) -> None:
        """Takes a mini-batch's into account."""
        self.loss += float(sums[0])
        self.right += float(sums[1])
        self.pairs += pairs
        self.batches += 1

    @property
    def mean(self) -> float:
        """A pair's loss."""
        return self.loss / max(self.pairs, 1)

    @property
    def accuracy(self) -> float:
        """The share of pairs whose class is right."""
        return self.right / max(self.pairs, 1)


@dataclass
class Options:
    """How an engine learns."""

    optimizer: str
    settings: Settings
    dropout: float = 0.0
    sparse: bool = False  # row_sparse token embeddings
    frozen: tuple[bool, ...] = ()  # which tables stay as they are
    seed: int = 0
    threads: int = 1
    devices: tuple[str, ...] = ("cpu",)
    cluster: Cluster = field(kw_only=True)


class Engine:
    """A network and its tables of token embeddings under way.

    ``weights`` are the tables, (tokens, dimension) each: one that both encoders share, or one for each. They
    are kept on the first device; what a mini-batch needs of them goes to the others.
    """

    def __init__(self, network: Network, weights: Sequence[Tensor], options: Options) -> None:
        # In one vector with all others, an LSTM's weights are not as cuDNN would have them: it copies them.
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        self._replicas = Replicas(network, options.devices, options.cluster)
        self._options = options
        first = self._replicas.weights
        self._optimizer = OPTIMIZERS[options.optimizer](
            first, self._replicas.gradient, options.settings, biases(network), options.threads
        )
        frozen = options.frozen or (False,) * len(weights)
        self.tables: list[Table] = [
            tables.Frozen(one.to(first.device))
            if still
            else tables.table(
                one.to(first.device),
                options.optimizer,
                self._optimizer,
                options.threads,
                sparse=options.sparse,
            )
            for one, still in zip(weights, frozen, strict=True)
        ]
        self._slots = [np.full(len(one), -1, np.int32) for one in weights]
        self._generators = [
            torch.Generator(device).manual_seed(options.seed * 1009 + number)
            for number, device in enumerate(options.devices)
        ]
        self._floats = _floats_per_token(network), _floats_per_pair(network)

    @property
    def network(self) -> Network:
        """The one that learns."""
        return self._replicas.module

    def learn(self, batch: Pairs) -> NDArray[np.float64]:
        """A step; the sums over the batch of losses, and of how many were right, before it: (2,)."""
        self.network.train()
        used, places = self._numbered(batch)
        rows = [table.rows(numbers) for table, numbers in zip(self.tables, used, strict=True)]
        leaves, parts = self._divided(batch, places, rows)
        sums = self._replicas.backward(_backward, parts, 3)
        self._optimizer.step()
        for number, table in enumerate(self.tables):
            if table.learns:
                slopes = [gradient for leaf in leaves if (gradient := leaf[number].grad) is not None]
                total = slopes[0]
                for other in slopes[1:]:
                    total += other.to(total.device)
                table.learn(used[number], rows[number], total)
        self._replicas.sync()
        return sums[1:]

    def _divided(
        self, batch: Pairs, places: Sequence[Tensor], rows: Sequence[Tensor]
    ) -> tuple[list[list[Tensor]], list[list[Examples]]]:
        """For each device its copy of the tables' rows, which gets their gradient, and its part in pieces."""
        devices = self._replicas.devices
        bounds = [len(batch) * part // len(devices) for part in range(len(devices) + 1)]
        spans = [span for span in itertools.pairwise(bounds) if span[0] < span[1]]
        leaves, parts = [], []
        # Fewer pairs than devices go to the first of these.
        for number, (device, span) in enumerate(zip(devices, spans, strict=False)):
            leaf = [
                one.to(device).detach().requires_grad_(table.learns)
                for one, table in zip(rows, self.tables, strict=True)
            ]
            pieces = self._pieces(batch, *span)
            parts.append([self._examples(batch, places, leaf, piece, len(batch), number) for piece in pieces])
            leaves.append(leaf)
        return leaves, parts

    def score(self, batches: Iterable[Pairs]) -> Losses:
        """The losses with everything as it is."""
        losses = Losses()
        for batch in batches:
            sums = [self.network.losses(examples).cpu().double().numpy() for examples in self._asked(batch)]
            losses.add(np.sum(sums, 0)[1:].tolist(), len(batch))
        return losses

    def answers(self, batch: Pairs) -> NDArray[np.float32]:
        """What the head says of pairs: (pairs, classes) before the softmax, or (pairs, 1) scores."""
        found = []
        for examples in self._asked(batch):
            first, second = (self.network.encode(side, one) for side, one in enumerate(examples.sides))
            found.append(self.network.compare(first, second).cpu().numpy())
        return np.concatenate(found)

    def _asked(self, batch: Pairs) -> Iterator[Examples]:
        """The pairs of a batch in pieces, none of which is learned from."""
        self.network.eval()
        used, places = self._numbered(batch)
        with torch.no_grad():
            rows = [table.rows(numbers) for table, numbers in zip(self.tables, used, strict=True)]
            for span in self._pieces(batch, 0, len(batch)):
                yield self._examples(batch, places, rows, span, len(batch), None)

    def state(self) -> list[Tensor]:
        """A copy of all that learns."""
        return [tensor.clone() for tensor in self._tensors()]

    def restore(self, state: list[Tensor]) -> None:
        """Goes back to what `state` gave."""
        for mine, kept in zip(self._tensors(), state, strict=True):
            mine.copy_(kept)
        self._replicas.sync()

    def _tensors(self) -> list[Tensor]:
        for table in self.tables:
            table.settle()
        return [self._replicas.weights, *(table.weights for table in self.tables if table.learns)]

    def _numbered(self, batch: Pairs) -> tuple[list[Tensor], list[Tensor]]:
        """The tokens that a batch has of each table, and by their places there the tokens of each side."""
        known, places = [0] * len(self.tables), []
        sizes = [len(side.tokens) for side in batch.sides]
        rows = [np.empty(sum(sizes), np.int64) for _ in self.tables]
        for number, side in enumerate(batch.sides):
            table = number % len(self.tables)
            found = np.empty(len(side.tokens), np.int64)
            known[table] = kernels.numbered(side.tokens, self._slots[table], known[table], found, rows[table])
            places.append(torch.from_numpy(found))
        used = []
        for slots, count, numbers in zip(self._slots, known, rows, strict=True):
            slots[numbers[:count]] = -1
            used.append(torch.from_numpy(numbers[:count].copy()).to(self._replicas.devices[0]))
        return used, places

    def _pieces(self, batch: Pairs, start: int, stop: int) -> list[tuple[int, int]]:
        """Pairs ``start`` to ``stop`` in pieces of which each fits into memory."""
        tokens, pairs = self._floats
        needed = sum(
            side.lengths[start:stop] * most for side, most in zip(batch.sides, tokens, strict=True)
        ) + np.int64(pairs)
        ends = np.cumsum(needed)
        count = int(ends[-1] // _FLOATS) + 1
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
        bounds = sorted({start, *(start + cuts).tolist(), stop})
        return list(itertools.pairwise(bounds))

    def _examples(
        self,
        batch: Pairs,
        places: Sequence[Tensor],
        rows: Sequence[Tensor],
        span: tuple[int, int],
        size: int,
        generator: int | None,
    ) -> Examples:
        """Pairs of the batch on the device of ``rows``. ``generator`` makes dropout; None: there is none."""
        device = rows[0].device
        start, stop = span
        sides = []
        for number, (side, tokens) in enumerate(zip(batch.sides, places, strict=True)):
            starts = side.starts[start : stop + 1]
            sides.append(
                Sequences(
                    rows[number % len(rows)],
                    tokens[starts[0] : starts[-1]].to(device),
                    torch.from_numpy(starts - starts[0]).to(device),
                    np.diff(starts),
                )
            )
        drop: Callable[[Tensor], Tensor] = _kept
        if generator is not None:
            drop = dropout(self._options.dropout, self._generators[generator])
        labels = torch.from_numpy(batch.labels[start:stop].copy()).to(device)
        return Examples((sides[0], sides[1]), labels, 1 / size, drop)


def _kept(values: Tensor) -> Tensor:
    return values


def _backward(network: Network, pieces: Sequence[Examples]) -> Tensor:
    """The losses of all pieces, of which only the last one's are left to differentiate."""
    before: Tensor | None = None
    for piece in pieces[:-1]:
        losses = network.losses(piece)
        losses[0].backward()
        before = losses.detach() if before is None else before + losses.detach()
    last = network.losses(pieces[-1])
    return last if before is None else last + before


def _floats_per_token(network: Network) -> tuple[int, ...]:
    """What an encoder keeps of each token for the way back, about."""
    plan = network.plan
    found = []
    for encoder in plan.encoders:
        if encoder.network == "hcnn":
            found.append((encoder.width + 2) * (encoder.token_dim + plan.enc_dim))
        elif encoder.network == "bilstm":
            found.append(encoder.token_dim + 8 * plan.enc_dim * encoder.layers)
        else:
            found.append(encoder.token_dim)
    return tuple(found)


def _floats_per_pair(network: Network) -> int:
    plan = network.plan
    return 4 * plan.enc_dim + 3 * plan.compared + 3 * plan.mlp_layers * plan.mlp_dim
