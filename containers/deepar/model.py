"""The network of DeepAR (Salinas, Flunkert, Gasthaus, 2017, arXiv:1704.04110), as it trains.

At each step LSTM layers take lagged targets over their window's scale, the calendar, the series' age, its
dynamic features, a vector for each of its categories and the logarithm of the scale, and give the numbers
that describe the distribution of the target there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from containers.deepar import kernels
from containers.deepar.losses import LOSSES
from containers.deepar.recurrence import unrolled
from containers.deepar.sampling import LIKELIHOODS


@dataclass(frozen=True, slots=True)
class Part:
    """Windows on one device; see `windows.Windows`. ``seed`` decides which values zoneout holds."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    scale: Tensor
    cats: Tensor
    seed: int


class Network(nn.Module):
    """``width`` numbers a step, categories of the numbers ``cardinality``, ``layers`` layers of ``cells``."""

    def __init__(
        self,
        width: int,
        cardinality: Sequence[int],
        embedding: int,
        cells: int,
        layers: int,
        likelihood: str,
        zoneout: float,
    ) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.zoneout = zoneout
        self.embeddings = nn.ParameterList([torch.randn(size, embedding) for size in cardinality])
        constant = embedding * len(cardinality) + 1
        widths = [width] + [cells] * (layers - 1)
        self.inputs = nn.ParameterList([_drawn(cells, 4 * cells, wide) for wide in widths])
        self.recurrent = nn.ParameterList([_drawn(cells, 4 * cells, cells) for _ in widths])
        self.biases = nn.ParameterList([_forgetting(cells) for _ in widths])
        # What is the same at all steps of a window is multiplied once.
        self.constant = nn.Parameter(_drawn(cells, 4 * cells, constant))
        self.head = nn.Linear(cells, LIKELIHOODS[likelihood].parameters)

    def forward(self, part: Part) -> Tensor:
        """(steps, windows, parameters): what describes each target."""
        steps, windows, _ = part.inputs.shape
        vectors = [table[part.cats[:, feature]] for feature, table in enumerate(self.embeddings)]
        constant = torch.cat([*vectors, part.scale.log().unsqueeze(1)], 1)
        flat = part.inputs.view(steps * windows, -1)
        sums = functional.linear(flat, self.inputs[0]).view(steps, windows, -1)
        sums.add_(functional.linear(constant, self.constant, self.biases[0]))
        hidden = unrolled(sums, self.recurrent[0], self._held(part, 0))
        for layer in range(1, len(self.inputs)):
            sums = functional.linear(hidden, self.inputs[layer], self.biases[layer])
            hidden = unrolled(sums, self.recurrent[layer], self._held(part, layer))
        found: Tensor = self.head(hidden)
        return found

    def losses(self, part: Part) -> Tensor:
        """(2,): the sum of the losses of all observed targets, context's too, and how many they are."""
        losses = LOSSES[self.likelihood](self(part), part.targets, part.scale)
        return torch.stack([(losses * part.weights).sum(), part.weights.sum()])

    def _held(self, part: Part, layer: int) -> Tensor:
        steps, windows, _ = part.inputs.shape
        shape = (steps, windows, self.recurrent[0].shape[1])
        device = part.inputs.device
        held = torch.empty(shape, dtype=torch.uint8, device=device)
        if device.type == "cpu":
            kernels.choose(part.seed + layer, self.zoneout, held.view(-1).numpy())
            return held
        random = torch.Generator(device).manual_seed(part.seed + layer)
        drawn = torch.rand(2, *shape, generator=random, device=device) < self.zoneout
        return drawn[0] * kernels.HELD_OUTPUT + drawn[1].byte() * kernels.HELD_CELL


def _drawn(cells: int, *shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-1 / math.sqrt(cells), 1 / math.sqrt(cells))


def _forgetting(cells: int) -> Tensor:
    """Biases of zero, but for the forget gates': a cell keeps its state until it learns not to."""
    bias = torch.zeros(4 * cells)
    bias[cells : 2 * cells] = 1
    return bias
