"""All parameters of a network in one vector, so that an optimizer's step is one pass over it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gathered(parameters: Sequence[Tensor]) -> Tensor:
    """A vector of which all parameters are views, with the values and the order in memory that they had."""
    vector = torch.cat([p.detach().as_strided((p.numel(),), (1,)) for p in parameters])
    for parameter, view in zip(parameters, _views(parameters, vector), strict=True):
        parameter.data = view
    return vector


def gradient(parameters: Sequence[Tensor]) -> Tensor:
    """A vector of zeros of which the gradients of all parameters are views."""
    vector = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    for parameter, view in zip(parameters, _views(parameters, vector), strict=True):
        parameter.grad = view
    return vector


def _views(parameters: Sequence[Tensor], vector: Tensor) -> list[Tensor]:
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [part.as_strided(p.size(), p.stride()) for part, p in zip(parts, parameters, strict=True)]
