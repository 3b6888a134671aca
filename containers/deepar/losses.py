"""Negative log-likelihoods of what `sampling` draws from, by section 3 of the paper (Salinas et al., 2017).

Each takes the numbers that describe points, targets over their scale, and scales that match them, and gives
the loss of each point in the units of the target, so that it doesn't depend on how the scale was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from containers.deepar.sampling import LEAST

# The beta distribution's density has no bound at 0 and 1; values are looked at this far from them.
_EDGE = 1e-4


def _positive(values: Tensor) -> Tensor:
    return softplus(values) + float(LEAST)


def _gaussian(parameters: Sequence[Tensor], target: Tensor, scale: Tensor) -> Tensor:
    mean, deviation = parameters[0], _positive(parameters[1])
    return 0.5 * ((target - mean) / deviation) ** 2 + (deviation * scale).log() + 0.5 * math.log(2 * math.pi)


def _student(parameters: Sequence[Tensor], target: Tensor, scale: Tensor) -> Tensor:
    mean, deviation = parameters[0], _positive(parameters[1])
    freedom = 2 + _positive(parameters[2])
    half = 0.5 * (freedom + 1)
    constant = torch.lgamma(0.5 * freedom) - torch.lgamma(half) + 0.5 * (freedom * math.pi).log()
    return (
        constant
        + (deviation * scale).log()
        + half * torch.log1p(((target - mean) / deviation) ** 2 / freedom)
    )


def _beta(parameters: Sequence[Tensor], target: Tensor, scale: Tensor) -> Tensor:
    alpha, beta = _positive(parameters[0]), _positive(parameters[1])
    inside = target.clamp(_EDGE, 1 - _EDGE)
    constant = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
    return constant - (alpha - 1) * inside.log() - (beta - 1) * torch.log1p(-inside)


def _negative_binomial(parameters: Sequence[Tensor], target: Tensor, scale: Tensor) -> Tensor:
    # In 64 bits: the logarithms of gamma functions of large counts nearly cancel.
    scale = scale.double()
    count = target.double() * scale
    mean = _positive(parameters[0].double()) * scale
    shape = _positive(parameters[1].double()) / scale.sqrt()
    inverse, product = 1 / shape, shape * mean
    constant = torch.lgamma(count + 1) + torch.lgamma(inverse) - torch.lgamma(count + inverse)
    return (
        constant + inverse * torch.log1p(product) - count * (product.log() - torch.log1p(product))
    ).float()


def _absolute(parameters: Sequence[Tensor], target: Tensor, scale: Tensor) -> Tensor:
    return (parameters[0] - target).abs()


LOSSES: dict[str, Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]] = {
    "gaussian": _gaussian,
    "beta": _beta,
    "negative-binomial": _negative_binomial,
    "student-T": _student,
    "deterministic-L1": _absolute,
}
