"""Networks that only answer: batch norms as a part of the convolutions before them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(module: nn.Module, *pairs: tuple[str, str]) -> None:
    """In ``module``, makes each (convolution, batch norm) that follow each other directly one convolution.

    The module must be in eval mode; it computes the same afterwards, but for rounding.
    """
    for convolution, norm in pairs:
        before, after = module.get_submodule(convolution), module.get_submodule(norm)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(before, after)
        module.set_submodule(convolution, fused)
        module.set_submodule(norm, nn.Identity())


def answering(network: nn.Module, device: str) -> nn.Module:
    """``network`` on ``device`` to answer with, in the order of memory that convolutions are fastest in."""
    network = network.eval().requires_grad_(False).to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
