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

from containers.deepar import kernels
from containers.deepar.losses import LOSSES
from containers.deepar.recurrence import Memory, by_torch, native
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
    """``width`` numbers a step, categories of the numbers ``cardinality``, ``layers`` layers of ``cells``.

    On the CPU its layers are machine code, unless ``native`` is False.
    """

    def __init__(
        self,
        width: int,
        cardinality: Sequence[int],
        embedding: int,
        cells: int,
        layers: int,
        likelihood: str,
        zoneout: float,
        *,
        native: bool = True,
    ) -> None:
        super().__init__()
        self.native = native
        self.likelihood = likelihood
        self.zoneout = zoneout
        self.embeddings = nn.ParameterList([torch.randn(size, embedding) for size in cardinality])
        constant = embedding * len(cardinality) + 1
        widths = [width] + [cells] * (layers - 1)
        # What a layer multiplies its input and its own output with, and of the first what is the same at all
        # steps of a window, which is multiplied once.
        self.layers = nn.ParameterList([_drawn(cells, 4 * cells, wide + cells) for wide in widths])
        self.biases = nn.ParameterList([_drawn(cells, 4 * cells) for _ in widths])
        self.constant = nn.Parameter(_drawn(cells, 4 * cells, constant))
        self.head = nn.Linear(cells, LIKELIHOODS[likelihood].parameters)
        self._memory: Memory | None = None

    def forward(self, part: Part) -> Tensor:
        """(steps, parameters, windows): what describes each target."""
        windows = part.inputs.shape[2]
        vectors = [table[part.cats[:, feature]].t() for feature, table in enumerate(self.embeddings)]
        constant = torch.cat([*vectors, part.scale.log().unsqueeze(0)])
        bases = [bias.unsqueeze(1).expand(-1, windows) for bias in self.biases]
        bases[0] = self.constant @ constant + bases[0]
        hidden = self._unrolled(part, bases)
        found: Tensor = self.head.weight @ hidden + self.head.bias.unsqueeze(1)
        return found

    def losses(self, part: Part) -> Tensor:
        """(2,): the sum of the losses of all observed targets, context's too, and how many they are."""
        losses = LOSSES[self.likelihood](self(part).unbind(1), part.targets, part.scale)
        return torch.stack([(losses * part.weights).sum(), part.weights.sum()])

    def _unrolled(self, part: Part, bases: list[Tensor]) -> Tensor:
        shape, cells = tuple(part.inputs.shape), len(self.biases[0]) // 4
        if self.native and part.inputs.device.type == "cpu":
            memory = self._memory
            if memory is None or memory.shape != shape:
                memory = self._memory = Memory(shape, cells, len(self.layers))
            for layer, held in enumerate(memory.held):
                kernels.choose(part.seed + layer, self.zoneout, held.view(-1).numpy())
            return native(part.inputs, bases, list(self.layers), memory)
        random = torch.Generator(part.inputs.device).manual_seed(part.seed)
        size = (len(self.layers), 2, shape[0], cells, shape[2])
        drawn = torch.rand(size, generator=random, device=part.inputs.device) < self.zoneout
        held = drawn[:, 0] * kernels.HELD_OUTPUT + drawn[:, 1].byte() * kernels.HELD_CELL
        return by_torch(part.inputs, bases, list(self.layers), list(held))


def _drawn(cells: int, *shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-1 / math.sqrt(cells), 1 / math.sqrt(cells))
