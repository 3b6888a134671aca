"""Learning and scoring on any number of devices and hosts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.batches import CSR
from common.cluster import Cluster
from common.optimizers import OPTIMIZERS, Settings
from common.replicas import Replicas, biases
from containers.ntm.model import Documents, Network


@dataclass
class Losses:
    """Sums of what `Network.losses` gives, over all hosts, and this host's batches and documents."""

    sums: NDArray[np.float64]
    batches: int = 0
    records: int = 0

    @property
    def documents(self) -> float:
        """How many, on all hosts."""
        return float(self.sums[3])

    @property
    def means(self) -> dict[str, float]:
        """The parts of the loss by AWS's names, means over documents."""
        total, kld, recons = (float(value) for value in self.sums[:3] / max(self.documents, 1.0))
        return {"total": total, "kld": kld, "recons": recons, "logppx": total}


class Engine:
    """A network under way on ``devices`` of each host of ``cluster``.

    All hosts make the same calls. ``seed`` decides the noise; networks of all hosts begin equal.
    """

    def __init__(
        self,
        network: Network,
        optimizer: str,
        settings: Settings,
        *,
        devices: tuple[str, ...],
        cluster: Cluster,
        seed: int,
        threads: int,
    ) -> None:
        self._replicas = Replicas(network, devices, cluster)
        self._cluster = cluster
        self._seed = seed
        self._noise = np.random.default_rng([seed, 1, cluster.rank])
        self._optimizer = OPTIMIZERS[optimizer](
            self._replicas.weights, self._replicas.gradient, settings, biases(network), threads
        )

    @property
    def network(self) -> Network:
        """The one that learns."""
        return self._replicas.module

    def learn(self, batches: Iterable[CSR]) -> Losses:
        """One step a batch, each as large as all hosts' together, until no host has any left."""
        self.network.train()
        losses, iterator = Losses(np.zeros(4)), iter(batches)
        while True:
            batch = next(iterator, None)
            if batch is None and self._cluster.size == 1:
                break
            sums = self._replicas.backward(Network.losses, self._parts(batch), 4)
            if not sums[3]:
                break
            self._optimizer.step()
            self._replicas.sync()
            losses.sums += sums
            losses.batches += batch is not None
            losses.records += 0 if batch is None else len(batch)
        if self.network.norms and self._cluster.size > 1:
            self._agree(losses.records)
        return losses

    def score(self, batches: Iterable[CSR]) -> Losses:
        """The losses with the network as it is; the noise is the same in every call."""
        self.network.eval()
        losses = Losses(np.zeros(4))
        noise = np.random.default_rng([self._seed, 2, self._cluster.rank])
        with torch.no_grad():
            for batch in batches:
                documents = self._sent(batch, noise, self._replicas.devices[0])
                losses.sums += self.network.losses(documents).cpu().double().numpy()
                losses.batches += 1
                losses.records += len(batch)
        losses.sums = self._cluster.all_reduce(losses.sums)
        return losses

    def state(self) -> list[Tensor]:
        """A copy of all that the network has learned."""
        return [tensor.clone() for tensor in self._tensors()]

    def restore(self, state: list[Tensor]) -> None:
        """Goes back to what `state` gave."""
        for mine, kept in zip(self._tensors(), state, strict=True):
            mine.copy_(kept)
        self._replicas.sync()

    def _tensors(self) -> list[Tensor]:
        return [self._replicas.weights, *self.network.buffers()]

    def _parts(self, batch: CSR | None) -> list[Documents]:
        if batch is None:
            return []
        devices = self._replicas.devices
        bounds = [len(batch) * part // len(devices) for part in range(len(devices) + 1)]
        parts = [batch[start:stop] for start, stop in itertools.pairwise(bounds) if start < stop]
        # Fewer documents than devices go to the first of these.
        return [self._sent(part, self._noise, device) for part, device in zip(parts, devices, strict=False)]

    def _sent(self, batch: CSR, noise: np.random.Generator, device: str) -> Documents:
        drawn = noise.standard_normal((len(batch), self.network.mean.out_features), np.float32)
        arrays = (batch.indices, batch.values, batch.indptr, drawn)
        return Documents(
            *(torch.from_numpy(np.require(array, None, ["C", "W"])).to(device) for array in arrays)
        )

    def _agree(self, records: int) -> None:
        """Batch normalisation's statistics of all hosts, each weighing as many documents as it had."""
        total = float(self._cluster.all_reduce(np.array([float(records)]))[0])
        for buffer in self.network.buffers():
            if buffer.is_floating_point():
                weighed = buffer.cpu().numpy() * np.float32(records / max(total, 1.0))
                buffer.copy_(torch.from_numpy(self._cluster.all_reduce(weighed)))
