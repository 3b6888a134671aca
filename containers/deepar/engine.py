"""Learning on any number of devices and hosts, and from the network to the model that is kept."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.batches import Float32, Int64
from common.cluster import Cluster
from common.optimizers import Adam
from common.optimizers import Settings as Rate
from common.replicas import Replicas
from containers.deepar.artifact import Model, Settings
from containers.deepar.model import Network, Part
from containers.deepar.windows import Store

# Longest gradient of the mean loss that is followed in full.
LONGEST_GRADIENT = 10.0
# Fewer windows are not worth a processor of their own.
_FEWEST = 16
# The share of the mean of all states that remains after an update, in the long run.
_REMAINS = 0.99


@dataclass(frozen=True, slots=True)
class _Work:
    """Windows for one device; each device's thread gathers its own."""

    store: Store
    rows: Int64
    at: Int64
    seed: int
    device: str


class Engine:
    """A network that learns from the windows of a store.

    On the CPU each of ``threads`` threads takes a part of a batch, with a copy of the network of its own: the
    matrices of a step are too small to be divided. ``seed`` decides the first weights and zoneout. Every host
    begins with the same weights and makes the same calls.

    What is kept is the moving mean of the weights (Polyak and Juditsky, 1992): a forecast feeds on its own
    draws, so that what one update leaves in a step's mean by chance adds up over all steps.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        rate: float,
        devices: tuple[str, ...],
        threads: int,
        cluster: Cluster,
        seed: int,
    ) -> None:
        self.settings = settings
        self._store = store
        torch.manual_seed(seed)
        if devices == ("cpu",):
            torch.set_num_threads(1)
            devices = devices * threads
        self._replicas = Replicas(_network(settings), devices, cluster)
        self._least = _FEWEST if devices[0] == "cpu" else 1
        self._random = np.random.default_rng([seed, 1, cluster.rank])
        self._adam = Adam(self._replicas.weights, self._replicas.gradient, Rate(rate), threads=1)
        self._mean = self._replicas.weights.clone()
        self._updates = 0

    @property
    def rate(self) -> float:
        """The optimizer's step size, which may change."""
        return self._adam.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._adam.rate = rate

    def learn(self, rows: Int64, at: Int64) -> NDArray[np.float64]:
        """One update by windows of series ``rows`` with forecasts from points ``at``, and other hosts' ones.

        Returns (2,): the sum of the losses of all hosts' observed points before the update, and how many
        there are. Nothing is learned where that sum is no finite number.
        """
        sums = self._replicas.backward(_losses, self._parts(rows, at), 2)
        if sums[1] and np.isfinite(sums[0]):
            gradient = self._replicas.gradient.div_(float(sums[1]))
            length = float(torch.linalg.vector_norm(gradient))
            if length > LONGEST_GRADIENT:
                gradient.mul_(LONGEST_GRADIENT / length)
            self._adam.step()
            self._replicas.sync()
            self._updates += 1
            # The first weights are soon forgotten.
            remains = min(_REMAINS, self._updates / (self._updates + 9))
            self._mean.lerp_(self._replicas.weights, 1 - remains)
        return sums

    def state(self) -> Tensor:
        """A copy of all that the network has learned."""
        return self._mean.clone()

    def model(self, state: Tensor) -> Model:
        """The model of a state, after which nothing more is learned."""
        self._replicas.weights.copy_(state)
        return _model(self._replicas.module, self.settings)

    def _parts(self, rows: Int64, at: Int64) -> list[_Work]:
        # Kernels take contiguous arrays; another host's share may lie between.
        rows, at = np.ascontiguousarray(rows), np.ascontiguousarray(at)
        count = max(1, min(len(self._replicas.devices), len(rows) // self._least))
        bounds = [len(rows) * part // count for part in range(count + 1)]
        seeds = self._random.integers(0, 1 << 31, count)
        return [
            _Work(self._store, rows[start:stop], at[start:stop], int(seed), device)
            for (start, stop), seed, device in zip(
                itertools.pairwise(bounds), seeds, self._replicas.devices, strict=False
            )
            if start < stop
        ]


def _losses(network: Network, work: _Work) -> Tensor:
    windows = work.store.windows(work.rows, work.at)
    arrays = (windows.inputs, windows.targets, windows.weights, windows.scale, windows.cats)
    inputs, targets, weights, scale, cats = (torch.from_numpy(array).to(work.device) for array in arrays)
    return network.losses(Part(inputs, targets, weights, scale, cats, work.seed))


def _network(settings: Settings) -> Network:
    return Network(
        settings.span.width(settings.num_dynamic_feat),
        settings.cardinality,
        settings.embedding_dimension,
        settings.num_cells,
        settings.num_layers,
        settings.likelihood,
        settings.dropout_rate,
    )


def _model(network: Network, settings: Settings) -> Model:
    """The network's weights by their names in the artifact."""
    found = {f"embedding{feature}_weight": table for feature, table in enumerate(network.embeddings)}
    cells = settings.num_cells
    for layer, (weight, bias) in enumerate(zip(network.layers, network.biases, strict=True)):
        below = weight[:, :-cells]
        found[f"lstm{layer}_i2h_weight"] = below if layer else torch.cat([below, network.constant], 1)
        found[f"lstm{layer}_i2h_bias"] = bias
        found[f"lstm{layer}_h2h_weight"] = weight[:, -cells:]
    found["projection_weight"], found["projection_bias"] = network.head.weight, network.head.bias
    return Model(settings, {name: _array(tensor) for name, tensor in found.items()})


def _array(tensor: Tensor) -> Float32:
    array: Float32 = tensor.detach().cpu().contiguous().numpy().copy()
    return array
