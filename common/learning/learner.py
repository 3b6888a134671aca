"""One network in training on one device, alone or as one of several that learn together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common import flat
from common.learning.distributed import Group
from common.metrics import log
from common.optimizers import OPTIMIZERS, Settings

Network = TypeVar("Network", bound=nn.Module)

# Half precision: what losses are multiplied by so that small gradients don't vanish, and after how many
# steps without overflow it doubles.
_FIRST_SCALE, _STEPS_TO_DOUBLE = 2.0**15, 2000
_BUFFER = "buffer:"


class Learner(Generic[Network]):
    """Trains ``network`` with an optimizer of `common.optimizers`.

    ``frozen`` are names of parameters, as torch has them, that keep their values; ``undecayed`` says of a
    name whether weight decay leaves it alone, ``speed`` by what its rate is multiplied. ``half`` computes in
    float16 with float32 weights where the device is a GPU. All processes of ``group`` begin with the values
    of the first, and make the same steps: gradients are averaged over them, so that ``settings.rescale`` is
    1 / rows of one process.
    """

    def __init__(
        self,
        network: Network,
        group: Group,
        optimizer: str,
        settings: Settings,
        threads: int = 1,
        *,
        frozen: Collection[str] = (),
        undecayed: Callable[[str], bool] = lambda name: False,
        speed: Callable[[str], float] = lambda name: 1.0,
        half: bool = False,
    ) -> None:
        self.group = group
        self.network = network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in network.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self.weights = flat.gathered([p for _, p in trained])
        self.gradient = flat.gradient([p for _, p in trained])
        places = _places([(name, p.numel()) for name, p in trained])
        self.optimizer = OPTIMIZERS[optimizer](
            self.weights,
            self.gradient,
            settings,
            [place for name, place in places if undecayed(name)],
            threads,
            speeds=[(place, speed(name)) for name, place in places if speed(name) != 1],
        )
        self._settings = settings
        self._half = half and torch.device(group.device).type == "cuda"
        if half and not self._half:
            log.warning("precision_dtype float16 needs a GPU: this job computes in float32")
        self._scale = _FIRST_SCALE if self._half else 1.0
        self._finite = 0
        self._together = group.together(network)

    def pixels(self, array: NDArray[np.uint8]) -> Tensor:
        """(n, height, width, channels) uint8 as (n, channels, height, width) float32 on the device."""
        tensor = torch.from_numpy(array).to(self.group.device, non_blocking=True)
        return tensor.permute(0, 3, 1, 2).float()

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(array).to(self.group.device, non_blocking=True)

    def step(self, rate: float, loss: Callable[[nn.Module], Tensor]) -> Tensor:
        """One update. ``loss(network)`` gives a vector whose first number is differentiated; the vector.

        In half precision a step whose gradients overflow changes nothing.
        """
        self.network.train()
        self.gradient.zero_()
        with torch.autocast("cuda", torch.float16, enabled=self._half):
            values = loss(self._together)
        (values[0] * self._scale).backward()
        if not self._half:
            self.optimizer.rate = rate
            self.optimizer.step()
        elif math.isfinite(float(self.gradient.abs().max())):
            self.optimizer.rate = rate
            rescale = self._settings.rescale / self._scale
            self.optimizer.settings = replace(self._settings, rescale=rescale)
            self.optimizer.step()
            self._finite += 1
            if self._finite % _STEPS_TO_DOUBLE == 0:
                self._scale *= 2
        else:
            self._scale = max(self._scale / 2, 1.0)
        return values.detach()

    def evaluate(self, function: Callable[[Network], Any]) -> Any:
        """``function(network)`` without gradients, with running statistics."""
        self.network.eval()
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self._half):
            return function(self.network)

    @property
    def healthy(self) -> bool:
        """Whether all weights and statistics are finite."""
        return all(bool(torch.isfinite(t).all()) for t in (self.weights, *self._buffers().values()))

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What a checkpoint keeps: arrays, and numbers."""
        arrays = {"weights": self.weights.cpu().numpy()}
        arrays |= {f"memory{n}": one.cpu().numpy() for n, one in enumerate(self.optimizer.memory)}
        arrays |= {_BUFFER + name: one.cpu().numpy() for name, one in self._buffers().items()}
        return arrays, {"steps": self.optimizer.steps, "scale": self._scale}

    def restore(self, arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
        """Takes up what `state` gave, in a learner of the same settings."""
        self.weights.copy_(torch.from_numpy(arrays["weights"]))
        for number, one in enumerate(self.optimizer.memory):
            one.copy_(torch.from_numpy(arrays[f"memory{number}"]))
        for name, one in self._buffers().items():
            one.copy_(torch.from_numpy(arrays[_BUFFER + name]))
        self.optimizer.steps, self._scale = int(facts["steps"]), float(facts["scale"])

    def _buffers(self) -> dict[str, Tensor]:
        """Running statistics."""
        return {name: one for name, one in self.network.named_buffers() if one.dtype == torch.float32}


def _places(sizes: list[tuple[str, int]]) -> list[tuple[str, slice]]:
    """Where each parameter lies in the vector of all."""
    found, at = [], 0
    for name, size in sizes:
        found.append((name, slice(at, at + size)))
        at += size
    return found
