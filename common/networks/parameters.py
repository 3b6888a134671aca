"""A torch network's parameters under the names that MXNet's files have for them.

A module's name within its network is its MXNet name, so that no table is needed: the torch parameter
``stage1_unit1_bn1.weight`` is the argument ``stage1_unit1_bn1_gamma`` of a symbol, and
``layer1.0.bn1.weight`` the parameter ``layer1.0.bn1.gamma`` of a Gluon block.

- `SYMBOL`: what ``mx.model.save_checkpoint`` writes; ``arg:`` and ``aux:`` before each name.
- `GLUON`: what ``Block.save_parameters`` writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.failures import ClientError

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


@dataclass(frozen=True, slots=True)
class Naming:
    """How a kind of file writes names."""

    separator: str
    argument: str  # before what is learned
    auxiliary: str  # before running statistics
    mean: str
    variance: str


SYMBOL = Naming("_", "arg:", "aux:", "moving_mean", "moving_var")
GLUON = Naming(".", "", "", "running_mean", "running_var")


def named(network: nn.Module, naming: Naming) -> dict[str, Tensor]:
    """Every parameter and running statistic of ``network`` by its name in files, in the network's order."""
    found: dict[str, Tensor] = {}
    for path, module in network.named_modules():
        prefix = f"{path.replace('.', naming.separator)}{naming.separator}" if path else ""
        norm = isinstance(module, _NORMS)
        for name, parameter in module.named_parameters(recurse=False):
            written = {"weight": "gamma", "bias": "beta"}[name] if norm else name
            found[f"{naming.argument}{prefix}{written}"] = parameter
        if norm:
            found[f"{naming.auxiliary}{prefix}{naming.mean}"] = _present(module.running_mean)
            found[f"{naming.auxiliary}{prefix}{naming.variance}"] = _present(module.running_var)
    return found


def dump(network: nn.Module, naming: Naming) -> dict[str, NDArray[np.float32]]:
    """Every parameter as an array of its own, for `common.formats.ndarray.save`."""
    return {
        name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
        for name, tensor in named(network, naming).items()
    }


def fill(
    network: nn.Module,
    arrays: Mapping[str, NDArray],
    naming: Naming,
    where: str,
    *,
    but: Collection[str] = (),
) -> None:
    """Gives ``network`` the values of a file; what the network has not is passed over.

    ``but`` are names, as `named` has them, that keep the values they have. Raises ClientError, naming
    ``where``, when an array is absent, of another shape, or not finite; nothing has changed then.
    """
    wanted = {name: tensor for name, tensor in named(network, naming).items() if name not in but}
    values = {name: _checked(arrays, name, tensor, where) for name, tensor in wanted.items()}
    with torch.no_grad():
        for name, value in values.items():
            wanted[name].copy_(value)


def _checked(arrays: Mapping[str, NDArray], name: str, tensor: Tensor, where: str) -> Tensor:
    array = arrays.get(name)
    if array is None:
        raise ClientError(f"{where} holds no {name}")
    if array.shape != tuple(tensor.shape):
        raise ClientError(
            f"{where}: {name} has the shape {_times(array.shape)}, where {_times(tensor.shape)} is needed"
        )
    value = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    if not bool(torch.isfinite(value).all()):
        raise ClientError(f"{where}: {name} holds values that are not finite numbers")
    return value


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _present(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise TypeError("the network normalises without running statistics")
    return tensor
