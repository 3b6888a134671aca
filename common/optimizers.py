"""The optimizers as MXNet 1.x computes them (python/mxnet/optimizer), on all parameters in one vector.

The gradient is first multiplied by ``rescale`` and cut to ``[-clip, clip]`` component by component; ``decay``
is the weight decay. On the CPU one pass of machine code does a step; elsewhere torch does the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from common import optimizer_kernels as kernels

# Parameters that are worth a thread of their own.
_FEWEST = 1 << 18


@dataclass(frozen=True, slots=True)
class Settings:
    """What all optimizers have in common."""

    rate: float = 0.001
    rescale: float = 1.0
    clip: float = math.inf
    decay: float = 0.0
    momentum: float = 0.0


class Optimizer:
    """Updates ``weights`` by ``gradient``, float32 vectors of equal length on one device, in place.

    ``undecayed`` are the parts of the vector that weight decay leaves alone: slices in rising order.
    ``native`` is whether machine code does the steps: None where vectors are the CPU's. ``rate`` may change
    between steps.
    """

    states = 0  # vectors that are kept beside the weights
    kernel: ClassVar[Callable[..., None]]

    def __init__(
        self,
        weights: Tensor,
        gradient: Tensor,
        settings: Settings,
        undecayed: Sequence[slice] = (),
        threads: int = 1,
        *,
        native: bool | None = None,
    ) -> None:
        self.settings = settings
        self.rate = settings.rate
        self._steps = 0
        native = weights.device.type == "cpu" if native is None else native
        self._native = native
        self._update: Callable[..., None] = self._natively if native else self._by_torch
        whole = [weights, gradient, *(torch.zeros_like(weights) for _ in range(self.states))]
        parts = _parts(len(weights), undecayed) if settings.decay else [(slice(0, len(weights)), 0.0)]
        self._work = [
            ([vector[piece].numpy() if native else vector[piece] for vector in whole], settings.decay * share)
            for part, share in parts
            for piece in _pieces(part, threads if native else 1)
        ]
        self._pool = ThreadPoolExecutor(threads, "optimizer") if native and len(self._work) > 1 else None

    def step(self) -> None:
        """One update."""
        self._steps += 1
        rate = self.rate * self._correction()
        run = map if self._pool is None else self._pool.map
        for _ in run(lambda work: self._update(*work[0], decay=work[1], rate=rate), self._work):
            pass

    def apply(self, *vectors: Tensor) -> None:
        """The update of the last `step` on other vectors: weights, their gradient and as many states.

        For rows of a table of which few are touched.
        """
        given = [vector.numpy() for vector in vectors] if self._native else vectors
        self._update(*given, decay=self.settings.decay, rate=self.rate * self._correction())

    def _natively(self, *vectors: np.ndarray, decay: float, rate: float) -> None:
        settings = self.settings
        numbers = np.array([settings.rescale, settings.clip, decay, rate, settings.momentum], np.float32)
        type(self).kernel(*vectors, numbers)

    def _correction(self) -> float:
        return 1.0

    def _slope(self, weights: Tensor, gradient: Tensor, decay: float = 0.0) -> Tensor:
        """The gradient as it is used."""
        slope = gradient * self.settings.rescale
        if decay:
            slope.add_(weights, alpha=decay)
        return slope.clamp_(-self.settings.clip, self.settings.clip)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """``w = (1 - rate decay) w - rate g``."""

    kernel = staticmethod(kernels.sgd)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        weights.mul_(1 - rate * decay).sub_(self._slope(weights, gradient), alpha=rate)


class Momentum(Optimizer):
    """Polyak (1964): ``m = momentum m - rate (g + decay w)``, ``w += m``."""

    states = 1
    kernel = staticmethod(kernels.momentum)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        (moved,) = state
        step = self._slope(weights, gradient).add_(weights, alpha=decay)
        moved.mul_(self.settings.momentum).sub_(step, alpha=rate)
        weights.add_(moved)


class Adam(Optimizer):
    """Kingma and Ba (2014); decay is added to the gradient before it is cut."""

    states = 2
    kernel = staticmethod(kernels.adam)

    def _correction(self) -> float:
        return math.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        mean, square = state
        slope = self._slope(weights, gradient, decay)
        mean.mul_(0.9).add_(slope, alpha=0.1)
        square.mul_(0.999).addcmul_(slope, slope, value=0.001)
        weights.addcdiv_(mean, square.sqrt().add_(1e-8), value=-rate)


class AdaGrad(Optimizer):
    """Duchi and others (2011): ``w -= rate (g / sqrt(sum of g^2) + decay w)``."""

    states = 1
    kernel = staticmethod(kernels.adagrad)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        slope = self._slope(weights, gradient)
        state[0].addcmul_(slope, slope)
        step = slope.div_((state[0] + 1e-7).sqrt_()).add_(weights, alpha=decay)
        weights.sub_(step, alpha=rate)


class AdaDelta(Optimizer):
    """Zeiler (2012), which has no learning rate: ``w -= step + decay w``."""

    states = 2
    kernel = staticmethod(kernels.adadelta)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        square, moved = state
        slope = self._slope(weights, gradient)
        square.mul_(0.9).addcmul_(slope, slope, value=0.1)
        step = (moved + 1e-5).sqrt_().div_((square + 1e-5).sqrt_()).mul_(slope)
        moved.mul_(0.9).addcmul_(step, step, value=0.1)
        weights.sub_(step.add_(weights, alpha=decay))


class RMSProp(Optimizer):
    """Tieleman and Hinton (2012); decay is added to the gradient before it is cut."""

    states = 1
    kernel = staticmethod(kernels.rmsprop)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        slope = self._slope(weights, gradient, decay)
        state[0].mul_(0.9).addcmul_(slope, slope, value=0.1)
        weights.addcdiv_(slope, (state[0] + 1e-8).sqrt_(), value=-rate)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "adam": Adam,
    "adagrad": AdaGrad,
    "adadelta": AdaDelta,
    "rmsprop": RMSProp,
}


def _parts(length: int, undecayed: Sequence[slice]) -> list[tuple[slice, float]]:
    """The whole vector in parts, each with the share of weight decay it gets: 0 or 1."""
    parts, at = [], 0
    for kept in undecayed:
        parts += [(slice(at, kept.start), 1.0), (kept, 0.0)]
        at = kept.stop
    parts.append((slice(at, length), 1.0))
    return [(part, share) for part, share in parts if part.start < part.stop]


def _pieces(part: slice, threads: int) -> list[slice]:
    size = part.stop - part.start
    count = max(1, min(threads, size // _FEWEST))
    bounds = [part.start + size * piece // count for piece in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
