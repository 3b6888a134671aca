"""Torch's layers without its initial weights: `network.initialize` draws others, or an artifact has them."""

from __future__ import annotations

from torch import nn


class Linear(nn.Linear):
    """A matrix and a bias."""

    def reset_parameters(self) -> None:
        """Leaves the weights as they are."""


class Embedding(nn.Embedding):
    """A vector for each id."""

    def reset_parameters(self) -> None:
        """Leaves the weights as they are."""


class Lstm(nn.LSTM):
    """A layer of LSTM cells."""

    def reset_parameters(self) -> None:
        """Leaves the weights as they are."""


class Gru(nn.GRU):
    """A layer of GRU cells."""

    def reset_parameters(self) -> None:
        """Leaves the weights as they are."""
