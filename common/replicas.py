"""One torch module on several devices and hosts: each computes a part of a batch, gradients are added."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common import flat
from common.cluster import Cluster

Module = TypeVar("Module", bound=nn.Module)
Part = TypeVar("Part")


class Replicas(Generic[Module]):
    """``module`` on the first of ``devices``, and a copy of it on each other.

    After `backward` the gradients of ``module`` are the sums over all devices and hosts, equal on all hosts.
    An optimizer then updates ``module``, and `sync` brings the copies up to date. All hosts make the same
    calls, also one that has no rows left, and begin with equal parameters. Buffers (batch normalisation's
    running statistics) are each copy's own; those of ``module`` are the ones to keep.
    """

    def __init__(self, module: Module, devices: Sequence[str], cluster: Cluster) -> None:
        self.module = module.to(devices[0])
        self.devices = tuple(devices)
        self._cluster = cluster
        self._copies = [self.module, *(copy.deepcopy(self.module).to(device) for device in devices[1:])]
        # All parameters of a copy lie in one vector and all gradients in another, so that devices and hosts
        # add and copy them with one call, and optimizers update them with one.
        self._weights = [flat.gathered(list(module.parameters())) for module in self._copies]
        self._gradients = [flat.gradient(list(module.parameters())) for module in self._copies]
        self._pool = ThreadPoolExecutor(len(devices), "replicas") if len(devices) > 1 else None

    @property
    def weights(self) -> Tensor:
        """All parameters of ``module``, which are views of this vector, in the order of ``parameters()``."""
        return self._weights[0]

    @property
    def gradient(self) -> Tensor:
        """What `backward` found for ``weights``."""
        return self._gradients[0]

    def backward(
        self, loss: Callable[[Module, Part], Tensor], parts: Sequence[Part], numbers: int
    ) -> NDArray[np.float64]:
        """Adds up gradients and numbers over parts, devices and hosts.

        ``parts`` are at most as many as devices, each already on its device. ``loss(module, part)`` gives a
        vector of ``numbers`` numbers, the first of which is differentiated; the (numbers,) sums of these
        vectors are returned.
        """

        def run(index: int) -> Tensor:
            values = loss(self._copies[index], parts[index])
            values[0].backward()
            return values.detach()

        for gradient in self._gradients:
            gradient.zero_()
        indices = range(len(parts))
        found = [run(i) for i in indices] if self._pool is None else list(self._pool.map(run, indices))
        total = self._gradients[0]
        for gradient in self._gradients[1 : len(parts)]:
            total += gradient.to(total.device)
        sums = sum((values.cpu().double().numpy() for values in found), np.zeros(numbers))
        if self._cluster.size > 1:
            total.copy_(torch.from_numpy(self._cluster.all_reduce(total.cpu().numpy())))
            sums = self._cluster.all_reduce(sums)
        return sums

    def sync(self) -> None:
        """Gives every copy the parameters of ``module``."""
        for other in self._weights[1:]:
            other.copy_(self.weights)


def biases(module: nn.Module) -> list[slice]:
    """Where the module's biases lie in the vector of all its parameters, for what treats them apart.

    MXNet's weight decay leaves them alone.
    """
    found, at = [], 0
    for name, parameter in module.named_parameters():
        if "bias" in name:
            found.append(slice(at, at + parameter.numel()))
        at += parameter.numel()
    return found
