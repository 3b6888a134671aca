"""Forecasts: the network run over the past of series, then on into the future with its own draws.

Every draw of every series is a column of one matrix. What is the same for all draws of a series, its past,
its calendar and the lags that are known, is computed once for it, and only what a draw changes for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common.batches import Float32
from containers.deepar import kernels
from containers.deepar.artifact import Model
from containers.deepar.sampling import LIKELIHOODS
from containers.deepar.series import Series
from containers.deepar.windows import Store, Windows

# Draws at once: few enough to stay in a core's cache, and enough for a matrix product to be worth it.
_DRAWS = 2000
_SERIES = 200


@dataclass(frozen=True, slots=True)
class _State:
    """Of each layer the cells (cells, draws), and the inputs (..., draws): its own output first, then what
    comes from below, for the first layer the lagged draws. ``top`` is what the last layer puts out.
    """

    cells: list[Float32]
    inputs: list[Float32]
    top: Float32

    def repeated(self, times: int) -> _State:
        """The same ``times`` times for each draw."""
        cells, inputs = (
            [np.repeat(a, times, axis=1) for a in arrays] for arrays in (self.cells, self.inputs)
        )
        return _State(cells, inputs, np.repeat(self.top, times, axis=1))


class Forecaster:
    """A trained model that forecasts. It may be used by several threads at once."""

    def __init__(self, model: Model) -> None:
        settings, weights = model.settings, model.weights
        self.settings = settings
        self._span = settings.span
        self._likelihood = LIKELIHOODS[settings.likelihood]
        self._zoneout = float(settings.dropout_rate)
        self._lags = self._span.lags[self._span.lags < settings.prediction_length]
        self._tables = [weights[f"embedding{feature}_weight"] for feature in range(len(settings.cardinality))]
        layers = range(settings.num_layers)
        below = [weights[f"lstm{layer}_i2h_weight"] for layer in layers]
        own = [weights[f"lstm{layer}_h2h_weight"] for layer in layers]
        # Of one column: in `_advance` it belongs to all draws.
        self._biases = [np.array(weights[f"lstm{layer}_i2h_bias"])[:, None] for layer in layers]
        width = below[0].shape[1] - settings.constant
        self._moving, self._constant = below[0][:, :width].copy(), below[0][:, width:].copy()
        below[0] = below[0][:, : len(self._lags)]
        self._layers = [np.concatenate(pair, axis=1) for pair in zip(own, below, strict=True)]
        self._head = weights["projection_weight"], weights["projection_bias"][:, None]

    def parts(self, series: Sequence[Series], samples: int) -> list[slice]:
        """The series in parts of which each is one call's work."""
        size = max(1, min(_SERIES, _DRAWS // samples))
        bounds = [*range(0, len(series), size), len(series)]
        return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

    def paths(self, series: Sequence[Series], samples: int, random: np.random.Generator) -> Float32:
        """(series, samples, prediction_length) draws of what follows the targets."""
        store = Store(series, self._span, scale=self.settings.scale, scaled=self._likelihood.scaled)
        windows = store.windows(np.arange(len(store)), store.lengths)
        with np.errstate(over="ignore", invalid="ignore"):
            base = self._base(windows)
            state = self._start(len(store))
            gates = np.empty((base.shape[1], len(store)), np.float32)
            for step in range(self._span.context):
                self._advance(state, gates, base[step], 1, 0)
            drawn = self._drawn(state.repeated(samples), base, windows.scale, samples, random)
        return np.ascontiguousarray(drawn.reshape(len(drawn), len(store), samples).transpose(1, 2, 0))

    def _base(self, windows: Windows) -> Float32:
        """(steps, 4 cells, series): what all that is known adds to the sums of the first layer's gates."""
        vectors = [table[windows.cats[:, feature]].T for feature, table in enumerate(self._tables)]
        constant = np.concatenate([*vectors, np.log(windows.scale)[None]])
        base: Float32 = np.matmul(self._moving, windows.inputs)
        base += self._constant @ constant + self._biases[0]
        return base

    def _start(self, draws: int) -> _State:
        cells = self.settings.num_cells
        widths = [cells + len(self._lags)] + [2 * cells] * (self.settings.num_layers - 1)
        return _State(
            [np.zeros((cells, draws), np.float32) for _ in widths],
            [np.zeros((width, draws), np.float32) for width in widths],
            np.zeros((cells, draws), np.float32),
        )

    def _advance(self, state: _State, gates: Float32, base: Float32, repeat: int, lags: int) -> None:
        """A step of all layers; ``lags`` is how many lags are draws by now."""
        used = self.settings.num_cells + lags
        for layer, weight in enumerate(self._layers):
            inputs = state.inputs[layer]
            if layer == 0:
                np.matmul(weight[:, :used], inputs[:used], out=gates)
            else:
                np.matmul(weight, inputs, out=gates)
                base, repeat = self._biases[layer], gates.shape[1]
            last = layer == len(self._layers) - 1
            above = state.top if last else state.inputs[layer + 1]
            kernels.advance(gates, base, repeat, state.cells[layer], inputs, above, self._zoneout)

    def _drawn(
        self, state: _State, base: Float32, scale: Float32, samples: int, random: np.random.Generator
    ) -> Float32:
        """(prediction_length, series * samples) draws, each step's from what the draws before led to."""
        draws, horizon = state.top.shape[1], self._span.horizon
        cells, (weight, bias) = self.settings.num_cells, self._head
        scales = np.repeat(scale, samples)
        drawn, history = np.empty((2, horizon, draws), np.float32)
        gates = np.empty((base.shape[1], draws), np.float32)
        for step in range(horizon):
            lags = int(np.searchsorted(self._lags, step, "right"))
            for index, lag in enumerate(self._lags[:lags]):
                state.inputs[0][cells + index] = history[step - lag]
            self._advance(state, gates, base[self._span.context + step], samples, lags)
            drawn[step] = self._likelihood.draw(weight @ state.top + bias, scales, random)
            np.divide(drawn[step], scales, out=history[step])
        return drawn


def seeded(seed: np.random.SeedSequence) -> Iterator[np.random.Generator]:
    """Generators, one after the other, that don't depend on the work that is done with them."""
    while True:
        yield np.random.default_rng(seed.spawn(1)[0])
