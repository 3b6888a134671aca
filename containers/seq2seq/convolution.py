"""A convolution and its activation (Gehring et al. 2017, "Convolutional Sequence to Sequence Learning")."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "glu": lambda values: functional.glu(values, 1),
    "relu": torch.relu,
    "softrelu": functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


class Convolution(nn.Module):
    """A layer that sees ``width`` positions at a time."""

    def __init__(self, hidden: int, width: int, activation: str) -> None:
        super().__init__()
        outputs = 2 * hidden if activation == "glu" else hidden
        self.weight = nn.Parameter(torch.empty(outputs, hidden, width))
        self.bias = nn.Parameter(torch.empty(outputs))
        self._activation = _ACTIVATIONS[activation]

    def forward(self, inputs: Tensor) -> Tensor:
        """(rows, hidden, length) to (rows, hidden, length - width + 1)."""
        return self._activation(functional.conv1d(inputs, self.weight, self.bias))

    def step(self, window: Tensor) -> Tensor:
        """(rows, width, hidden) to (rows, hidden): what `forward` gives for a single position."""
        weight = self.weight.transpose(1, 2).flatten(1)
        return self._activation(functional.linear(window.flatten(1), weight, self.bias))
