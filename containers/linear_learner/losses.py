"""Losses with gradients written by hand, for many models at once.

A loss takes linear scores ``z`` (rows, models), or (rows, models, classes) for softmax, and labels ``y``
(rows, 1), or (rows,) int64 classes for softmax, and gives the loss of each row and model and its derivative
by ``z``. Nothing is averaged or weighted here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Scores and labels to losses (rows, models) and gradients in the scores' shape."""


def logistic(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of a sigmoid and labels 0 or 1."""
    # log(1 + e^z) - y z, from the log of the sigmoid, which neither over- nor underflows.
    losses = torch.addcmul(z, y, z, value=-1).sub_(functional.logsigmoid(z))
    return losses, torch.sigmoid(z).sub_(y)


@dataclass(frozen=True, slots=True)
class Hinge:
    """``y max(0, (m+1)/2 - z) + (1-y) max(0, (m-1)/2 + z)`` for labels 0 or 1 and margin ``m``."""

    margin: float = 1.0

    def __call__(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        sign = 1 - 2 * y
        losses = torch.addcmul((self.margin - sign) / 2, sign, z).clamp_(min=0)
        return losses, (losses > 0) * sign


def softmax(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of a softmax over the last dimension and classes ``y`` (rows,) int64."""
    chosen = y.view(-1, 1, 1).expand(-1, z.shape[1], 1)
    logarithms = functional.log_softmax(z, 2)
    losses = logarithms.gather(2, chosen).squeeze(2).neg_()
    gradients = logarithms.exp_()
    gradients.scatter_add_(2, chosen, torch.full_like(losses, -1).unsqueeze(2))
    return losses, gradients


def squared(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``(z - y)^2``."""
    error = z - y
    return error.square(), error.mul_(2)


def absolute(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``|z - y|``."""
    error = z - y
    return error.abs(), error.sign_()


@dataclass(frozen=True, slots=True)
class EpsilonSquared:
    """``max(0, e^2 - eps^2)``: squared outside of an insensitive tube."""

    epsilon: float

    def __call__(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        error = z - y
        losses = error.square().sub_(self.epsilon**2).clamp_(min=0)
        return losses, error.mul_(2).mul_(losses > 0)


@dataclass(frozen=True, slots=True)
class EpsilonAbsolute:
    """``max(0, |e| - eps)``: absolute outside of an insensitive tube."""

    epsilon: float

    def __call__(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        error = z - y
        losses = error.abs().sub_(self.epsilon).clamp_(min=0)
        return losses, error.sign_().mul_(losses > 0)


@dataclass(frozen=True, slots=True)
class Quantile:
    """``q max(0, y - z) + (1 - q) max(0, z - y)``, least at the ``q`` quantile (Koenker and Bassett 1978)."""

    quantile: float = 0.5

    def __call__(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        error = z - y
        gradients = (error > 0).to(z.dtype).sub_(self.quantile).mul_(error != 0)
        return error.mul_(gradients), gradients


@dataclass(frozen=True, slots=True)
class Huber:
    """``e^2 / 2`` within ``delta``, ``delta |e| - delta^2 / 2`` outside (Huber 1964)."""

    delta: float = 1.0

    def __call__(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        error = z - y
        clipped = error.clamp(-self.delta, self.delta)
        # c (e - c / 2) is both branches in one: c is e inside and +-delta outside.
        return torch.sub(error, clipped, alpha=0.5).mul_(clipped), clipped


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss with what reports need: its name, and how it grows with the label's unit."""

    loss: Loss
    token: str  # AWS prints ``train <token>_objective``
    degree: int = 0  # a label scaled by s scales the loss by s ** degree
    probability: bool = False  # whether scores are answered as probabilities


def objective(
    name: str,
    *,
    label_scale: float = 1.0,
    margin: float = 1.0,
    quantile: float = 0.5,
    delta: float = 1.0,
    epsilon: float = 0.01,
) -> Objective:
    """The loss of that name. ``delta`` and ``epsilon`` are in the label's units, of which the labels in
    training are ``1 / label_scale``: so normalising labels doesn't change what is minimised.
    """
    delta, epsilon = delta / label_scale, epsilon / label_scale
    return {
        "logistic": lambda: Objective(logistic, "binary_classification_cross_entropy", probability=True),
        "hinge_loss": lambda: Objective(Hinge(margin), "hinge_loss"),
        "softmax_loss": lambda: Objective(softmax, "multiclass_cross_entropy", probability=True),
        "squared_loss": lambda: Objective(squared, "mse", 2),
        "absolute_loss": lambda: Objective(absolute, "absolute_loss", 1),
        "eps_insensitive_squared_loss": lambda: Objective(
            EpsilonSquared(epsilon), "eps_insensitive_squared_loss", 2
        ),
        "eps_insensitive_absolute_loss": lambda: Objective(
            EpsilonAbsolute(epsilon), "eps_insensitive_absolute_loss", 1
        ),
        "quantile_loss": lambda: Objective(Quantile(quantile), "quantile_loss", 1),
        "huber_loss": lambda: Objective(Huber(delta), "huber_loss", 2),
    }[name]()
