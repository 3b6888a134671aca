"""Learning from dense rows with torch: on one GPU, or on several at the same time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from common.batches import Batch, dense
from common.cluster import Cluster
from common.replicas import Replicas
from containers.factorization_machines import measures
from containers.factorization_machines.adam import BETA1, BETA2, Descent
from containers.factorization_machines.model import Machine

Float64 = NDArray[np.float64]
_Part = tuple[Tensor, Tensor]


class _Module(nn.Module):
    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.bias, self.linear, self.factors = (
            nn.Parameter(torch.from_numpy(part.copy()))
            for part in (machine.bias, machine.linear, machine.factors)
        )

    def forward(self, rows: Tensor) -> Tensor:
        pairs = (rows @ self.factors).square().sum(1) - rows.square() @ self.factors.square().sum(1)
        scores: Tensor = self.bias + (rows @ self.linear)[:, 0] + 0.5 * pairs
        return scores


class TorchEngine:
    """An `engines.Engine` for dense rows on torch's devices; sparse rows among them become dense.

    The mini-batch is divided among the devices.
    """

    def __init__(
        self,
        machine: Machine,
        predictor_type: str,
        descent: Descent,
        devices: Sequence[str],
        cluster: Cluster,
    ) -> None:
        self._predictor_type = predictor_type
        self._descent = descent
        self._replicas = Replicas(_Module(machine), devices, cluster)
        self._moments = [
            (torch.zeros_like(part), torch.zeros_like(part)) for part in self._replicas.module.parameters()
        ]
        self._steps = 0

    def machine(self) -> Machine:
        """See `engines.Engine`."""
        return Machine(*(part.detach().cpu().numpy() for part in self._replicas.module.parameters()))

    def step(self, batch: Batch | None) -> Float64:
        """See `engines.Engine`."""
        parts = [] if batch is None else self._parts(batch)
        _, *sums = self._replicas.backward(self._loss, parts, 1 + measures.count(self._predictor_type))
        if sums[0]:
            self._steps += 1
            self._move(sums[0])
            self._replicas.sync()
        return np.array(sums)

    def _parts(self, batch: Batch) -> list[_Part]:
        assert batch.labels is not None
        devices = self._replicas.devices
        rows, labels = dense(batch.features), batch.labels
        pieces = zip(
            np.array_split(rows, len(devices)), np.array_split(labels, len(devices)), devices, strict=True
        )
        return [(_sent(some, device), _sent(few, device)) for some, few, device in pieces if len(some)]

    def _loss(self, module: _Module, part: _Part) -> Tensor:
        rows, labels = part
        scores = module(rows)
        count = scores.new_tensor(len(rows))
        if self._predictor_type == "regressor":
            errors = scores - labels
            squared = errors.square().sum()
            return torch.stack([0.5 * squared, count, squared, errors.abs().sum()])
        loss = binary_cross_entropy_with_logits(scores, labels, reduction="sum")
        called, positive = torch.sigmoid(scores) >= 0.5, labels > 0
        counts = [(called == positive).sum(), (called & positive).sum(), called.sum(), positive.sum()]
        return torch.stack([loss, count, loss, *(number.float() for number in counts)])

    @torch.no_grad()
    def _move(self, rows: float) -> None:
        """One step of `adam.Adam`."""
        settings = self._descent.settings(self._steps, rows)
        parameters = self._replicas.module.parameters()
        for weights, (means, squares), setting in zip(parameters, self._moments, settings, strict=True):
            rescale, decay, clip, rate, epsilon = setting.tolist()
            slopes = (weights.grad * rescale + decay * weights).clamp_(-clip, clip)
            means.lerp_(slopes, 1 - BETA1)
            squares.mul_(BETA2).addcmul_(slopes, slopes, value=1 - BETA2)
            weights.addcdiv_(means, squares.sqrt() + epsilon, value=-rate)


def _sent(array: NDArray[np.float32], device: str) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
