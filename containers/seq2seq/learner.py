"""Learning and scoring on any number of devices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.cluster import Cluster
from common.optimizers import OPTIMIZERS, Settings
from common.replicas import Replicas, biases
from containers.seq2seq.bucketing import Batch
from containers.seq2seq.model import output_loss, predicted
from containers.seq2seq.network import Network
from containers.seq2seq.schedules import Schedule


@dataclass
class Sums:
    """Over target tokens, the symbol of the end among them and padding not."""

    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    pairs: int = 0
    batches: int = 0

    def add(self, values: NDArray[np.float64], pairs: int) -> None:
        """Takes a batch into account: its loss, tokens said rightly and tokens."""
        self.values += values
        self.pairs += pairs
        self.batches += 1

    @property
    def tokens(self) -> int:
        """How many tokens there were."""
        return int(self.values[2])

    @property
    def perplexity(self) -> float:
        """The exponential of the mean cross-entropy."""
        loss = self.values[0] / max(self.tokens, 1)
        return math.exp(loss) if loss < 700 else math.inf

    @property
    def accuracy(self) -> float:
        """The share of tokens that were thought the likeliest."""
        return float(self.values[1]) / max(self.tokens, 1)


class Learner:
    """A network under way on ``devices``. ``accuracy`` tells whether it is counted in training too."""

    def __init__(
        self,
        network: Network,
        optimizer: str,
        settings: Settings,
        schedule: Schedule,
        *,
        devices: Sequence[str],
        cluster: Cluster,
        threads: int = 1,
        accuracy: bool = False,
    ) -> None:
        self._replicas = Replicas(network, devices, cluster)
        self._optimizer = OPTIMIZERS[optimizer](
            self._replicas.weights, self._replicas.gradient, settings, biases(network), threads
        )
        self.schedule = schedule
        self.updates = 0
        self._accuracy = accuracy

    @property
    def network(self) -> Network:
        """The one that learns."""
        return self._replicas.module

    def learn(self, batch: Batch) -> NDArray[np.float64]:
        """One update. The sums of loss, tokens said rightly (where counted) and tokens."""
        self.network.train()
        devices = self._replicas.devices
        parts = [
            _Part(part.to(device), 1 / batch.tokens)
            for part, device in zip(batch.split(len(devices)), devices, strict=False)
        ]
        sums = self._replicas.backward(self._losses, parts, 4)
        self._optimizer.rate = self.schedule.rate(self.updates)
        self._optimizer.step()
        self._replicas.sync()
        self.updates += 1
        return sums[1:]

    def score(self, batches: Iterable[Batch]) -> Sums:
        """The sums over batches with the network as it is."""
        self.network.eval()
        sums = Sums()
        with torch.no_grad():
            for batch in batches:
                rows, labels = predicted(self.network, batch.to(self._replicas.devices[0]))
                loss, right = output_loss(rows, self.network.output, labels, 1.0, accuracy=True)
                sums.add(np.array([float(loss), float(right), len(labels)]), len(batch))
        return sums

    def state(self) -> Tensor:
        """A copy of all weights."""
        return self._replicas.weights.clone()

    def restore(self, state: Tensor) -> None:
        """Goes back to what `state` gave."""
        self._replicas.weights.copy_(state)
        self._replicas.sync()

    def _losses(self, network: Network, part: _Part) -> Tensor:
        """The mean loss of a token as a part of the batch's, then the numbers that `learn` sums up."""
        rows, labels = predicted(network, part.batch)
        loss, right = output_loss(rows, network.output, labels, part.share, accuracy=self._accuracy)
        tokens = torch.full_like(loss, len(labels))
        return torch.stack([loss, loss.detach() / part.share, right, tokens])


@dataclass(frozen=True, slots=True)
class _Part:
    """A device's pairs, and what a token's loss weighs in the batch's."""

    batch: Batch
    share: float
