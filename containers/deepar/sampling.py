"""Draws from the distributions that the network predicts; `losses` has their densities.

The network gives some numbers for each point. Targets are divided by the scale of their window, but for the
beta distribution, and the distributions are those of section 3 of the paper (Salinas and others, 2017), with
Student's t and a point forecast beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.batches import Float32

# Least deviation in units of the scale, for a constant series has a density without bound; least parameter of
# the beta distribution and of the negative binomial's shape.
LEAST = np.float32(1e-5)
_LARGEST_MEAN = 1e15  # of a Poisson distribution that numpy can draw from

Draw = Callable[[Float32, Float32, np.random.Generator], Float32]
"""Of (parameters, rows) numbers and (rows,) scales: (rows,) draws, in the units of the target."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How many numbers describe a point, how to draw one, and whether targets are divided by their scale."""

    parameters: int
    draw: Draw
    scaled: bool = True


def positive(values: Float32) -> Float32:
    """``log(1 + exp(x))``, and a little."""
    return np.logaddexp(values, np.float32(0)) + LEAST


def _gaussian(parameters: Float32, scale: Float32, random: np.random.Generator) -> Float32:
    drawn = random.standard_normal(len(scale), np.float32)
    return (parameters[0] + positive(parameters[1]) * drawn) * scale


def _student(parameters: Float32, scale: Float32, random: np.random.Generator) -> Float32:
    drawn = random.standard_t(2 + positive(parameters[2])).astype(np.float32)
    return (parameters[0] + positive(parameters[1]) * drawn) * scale


def _beta(parameters: Float32, scale: Float32, random: np.random.Generator) -> Float32:
    return random.beta(positive(parameters[0]), positive(parameters[1])).astype(np.float32)


def _negative_binomial(parameters: Float32, scale: Float32, random: np.random.Generator) -> Float32:
    # A Poisson distribution whose mean is gamma-distributed.
    mean = positive(parameters[0]) * scale
    shape = positive(parameters[1]) / np.sqrt(scale)
    means = random.gamma(1 / shape, shape * mean)
    return random.poisson(np.minimum(means, _LARGEST_MEAN)).astype(np.float32)


def _point(parameters: Float32, scale: Float32, random: np.random.Generator) -> Float32:
    return parameters[0] * scale


LIKELIHOODS = {
    "gaussian": Likelihood(2, _gaussian),
    "beta": Likelihood(2, _beta, scaled=False),
    "negative-binomial": Likelihood(2, _negative_binomial),
    "student-T": Likelihood(3, _student),
    "deterministic-L1": Likelihood(1, _point),
}
