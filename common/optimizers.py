"""The optimizers as MXNet 1.x computes them (python/mxnet/optimizer), on all parameters in one vector.

The gradient is first multiplied by ``rescale`` and cut to ``[-clip, clip]`` component by component; ``decay``
is the weight decay. On the CPU one pass of machine code does a step; elsewhere torch does the same.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common import optimizer_kernels as kernels

# Parameters that are worth a thread of their own.
_FEWEST = 1 << 18


@dataclass(frozen=True, slots=True)
class Settings:
    """What optimizers are set to; each reads what it has.

    ``keep`` is the share of a running mean that stays, ``keep_square`` that of Adam's squares or the inertia
    of `CentredRMSProp`, ``epsilon`` what keeps denominators from zero; None means MXNet's own.
    """

    rate: float = 0.001
    rescale: float = 1.0
    clip: float = math.inf
    decay: float = 0.0
    momentum: float = 0.0
    keep: float | None = None
    keep_square: float | None = None
    epsilon: float | None = None


class Optimizer:
    """Updates ``weights`` by ``gradient``, float32 vectors of equal length on one device, in place.

    ``undecayed`` are the parts of the vector that weight decay leaves alone, ``speeds`` those whose rate is
    multiplied, as MXNet's ``lr_mult`` does: slices, each kind in rising order.
    ``native`` is whether machine code does the steps: None where vectors are the CPU's. ``rate`` may change
    between steps.
    """

    states = 0  # vectors that are kept beside the weights
    kernel: ClassVar[Callable[..., None]]
    # What MXNet takes for ``keep``, ``keep_square`` and ``epsilon``.
    own: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.0)
    heavy: ClassVar[bool] = False  # what it keeps is the momentum

    def __init__(
        self,
        weights: Tensor,
        gradient: Tensor,
        settings: Settings,
        undecayed: Sequence[slice] = (),
        threads: int = 1,
        *,
        speeds: Sequence[tuple[slice, float]] = (),
        native: bool | None = None,
    ) -> None:
        self.settings = settings
        self.rate = settings.rate
        given = (settings.keep, settings.keep_square, settings.epsilon)
        self.keep, self.keep_square, self.epsilon = (
            own if one is None else one for one, own in zip(given, self.own, strict=True)
        )
        self.steps = 0
        native = weights.device.type == "cpu" if native is None else native
        self._native = native
        self._update: Callable[..., None] = self._natively if native else self._by_torch
        self.memory = [torch.zeros_like(weights) for _ in range(self.states)]
        whole = [weights, gradient, *self.memory]
        self._work = [
            (
                [vector[piece].numpy() if native else vector[piece] for vector in whole],
                0.0 if apart else settings.decay,
                speed,
            )
            for part, apart, speed in _parts(len(weights), undecayed if settings.decay else (), speeds)
            for piece in _pieces(part, threads if native else 1)
        ]
        self._pool = ThreadPoolExecutor(threads, "optimizer") if native and len(self._work) > 1 else None

    def step(self) -> None:
        """One update."""
        self.steps += 1
        rate = self.rate * self._correction()
        run = map if self._pool is None else self._pool.map
        for _ in run(lambda work: self._update(*work[0], decay=work[1], rate=rate * work[2]), self._work):
            pass

    def apply(self, *vectors: Tensor) -> None:
        """The update of the last `step` on other vectors: weights, their gradient and as many states.

        For rows of a table of which few are touched.
        """
        given = [vector.numpy() for vector in vectors] if self._native else vectors
        self._update(*given, decay=self.settings.decay, rate=self.rate * self._correction())

    def _natively(self, *vectors: np.ndarray, decay: float, rate: float) -> None:
        type(self).kernel(*vectors, self.numbers(decay, rate))

    def numbers(self, decay: float, rate: float) -> NDArray[np.float32]:
        """What a kernel is told: rescale, clip, decay, rate, keep, second share to keep, epsilon."""
        settings = self.settings
        keep = settings.momentum if self.heavy else self.keep
        found = (settings.rescale, settings.clip, decay, rate, keep, self.keep_square, self.epsilon)
        return np.array(found, np.float32)

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
    heavy = True

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        (moved,) = state
        step = self._slope(weights, gradient).add_(weights, alpha=decay)
        moved.mul_(self.settings.momentum).sub_(step, alpha=rate)
        weights.add_(moved)


class Nesterov(Optimizer):
    """Nesterov (1983): `Momentum`, whose step looks ahead by its momentum.

    MXNet's ``NAG`` does the same, but that it takes the decay in the momentum from the weight after the step.
    """

    states = 1
    kernel = staticmethod(kernels.nesterov)
    heavy = True

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        (moved,) = state
        step = self._slope(weights, gradient).add_(weights, alpha=decay)
        moved.mul_(self.settings.momentum).sub_(step, alpha=rate)
        weights.add_(moved, alpha=self.settings.momentum).sub_(step, alpha=rate)


class Adam(Optimizer):
    """Kingma and Ba (2014); decay is added to the gradient before it is cut."""

    states = 2
    kernel = staticmethod(kernels.adam)
    own = (0.9, 0.999, 1e-8)

    def _correction(self) -> float:
        return math.sqrt(1 - self.keep_square**self.steps) / (1 - self.keep**self.steps)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        mean, square = state
        slope = self._slope(weights, gradient, decay)
        mean.mul_(self.keep).add_(slope, alpha=1 - self.keep)
        square.mul_(self.keep_square).addcmul_(slope, slope, value=1 - self.keep_square)
        weights.addcdiv_(mean, square.sqrt().add_(self.epsilon), value=-rate)


class AdaGrad(Optimizer):
    """Duchi and others (2011): ``w -= rate (g / sqrt(sum of g^2) + decay w)``."""

    states = 1
    kernel = staticmethod(kernels.adagrad)
    own = (0.0, 0.0, 1e-7)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        slope = self._slope(weights, gradient)
        state[0].addcmul_(slope, slope)
        step = slope.div_((state[0] + self.epsilon).sqrt_()).add_(weights, alpha=decay)
        weights.sub_(step, alpha=rate)


class AdaDelta(Optimizer):
    """Zeiler (2012), which has no learning rate: ``w -= step + decay w``."""

    states = 2
    kernel = staticmethod(kernels.adadelta)
    own = (0.9, 0.0, 1e-5)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        square, moved = state
        slope = self._slope(weights, gradient)
        square.mul_(self.keep).addcmul_(slope, slope, value=1 - self.keep)
        step = (moved + self.epsilon).sqrt_().div_((square + self.epsilon).sqrt_()).mul_(slope)
        moved.mul_(self.keep).addcmul_(step, step, value=1 - self.keep)
        weights.sub_(step.add_(weights, alpha=decay))


class RMSProp(Optimizer):
    """Tieleman and Hinton (2012); decay is added to the gradient before it is cut."""

    states = 1
    kernel = staticmethod(kernels.rmsprop)
    own = (0.9, 0.0, 1e-8)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        slope = self._slope(weights, gradient, decay)
        state[0].mul_(self.keep).addcmul_(slope, slope, value=1 - self.keep)
        weights.addcdiv_(slope, (state[0] + self.epsilon).sqrt_(), value=-rate)


class CentredRMSProp(Optimizer):
    """Graves (2013, equations 38 to 45): the mean is taken off the squares, and steps have inertia."""

    states = 3
    kernel = staticmethod(kernels.centred_rmsprop)
    own = (0.9, 0.9, 1e-8)

    def _by_torch(self, weights: Tensor, gradient: Tensor, *state: Tensor, decay: float, rate: float) -> None:
        square, mean, moved = state
        slope = self._slope(weights, gradient, decay)
        square.mul_(self.keep).addcmul_(slope, slope, value=1 - self.keep)
        mean.mul_(self.keep).add_(slope, alpha=1 - self.keep)
        spread = torch.addcmul(square, mean, mean, value=-1).add_(self.epsilon).sqrt_()
        moved.mul_(self.keep_square).addcdiv_(slope, spread, value=-rate)
        weights.add_(moved)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nag": Nesterov,
    "adam": Adam,
    "adagrad": AdaGrad,
    "adadelta": AdaDelta,
    "rmsprop": RMSProp,
    "centred_rmsprop": CentredRMSProp,
}


def _parts(
    length: int, undecayed: Sequence[slice], speeds: Sequence[tuple[slice, float]]
) -> list[tuple[slice, bool, float]]:
    """The whole vector in parts, each with whether it does not decay, and its speed."""
    edges = {0, length}
    for part in (*undecayed, *(part for part, _ in speeds)):
        edges |= {part.start, part.stop}
    kept, quick = _At(undecayed), _At([part for part, _ in speeds])
    found: list[tuple[slice, bool, float]] = []
    for start, stop in itertools.pairwise(sorted(edges)):
        fast = quick.find(start)
        apart, speed = kept.find(start) is not None, 1.0 if fast is None else speeds[fast][1]
        if found and found[-1][1:] == (apart, speed):
            found[-1] = (slice(found[-1][0].start, stop), apart, speed)
        else:
            found.append((slice(start, stop), apart, speed))
    return found


class _At:
    """Which of some slices, in rising order, holds a place."""

    def __init__(self, slices: Sequence[slice]) -> None:
        self._slices = slices
        self._starts = [one.start for one in slices]

    def find(self, place: int) -> int | None:
        number = bisect.bisect_right(self._starts, place) - 1
        return number if number >= 0 and place < self._slices[number].stop else None


def _pieces(part: slice, threads: int) -> list[slice]:
    size = part.stop - part.start
    count = max(1, min(threads, size // _FEWEST))
    bounds = [part.start + size * piece // count for piece in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
