"""A symmetric tensor as a sum of cubes of vectors, by alternating least squares.

T. Kolda, B. Bader, "Tensor Decompositions and Applications", SIAM Review 51(3), 2009, section 3.4, for the
iteration; V. Sharan, G. Valiant, "Orthogonalized ALS: A Theoretically Principled Tensor Decomposition
Algorithm for Practical Use", ICML 2017, for its first steps: factors that are made orthogonal before each
don't let two columns find the same component.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from containers.lda.kernels import Float64

_ORTHOGONAL_STEPS = 5


@dataclass(frozen=True, slots=True)
class Fit:
    """One run of ALS: (m, m) ``vectors`` with unit columns, one a component.

    ``error`` is what the components miss of the tensor, as a share of its norm.
    """

    vectors: Float64
    error: float
    iterations: int


def decompose(
    tensor: Float64, generator: np.random.Generator, max_iterations: int, tolerance: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Fit:  # fmt: skip
    """ALS on a symmetric (m, m, m) tensor from a random start, with m components.

    Ends when an iteration changes the error by less than ``tolerance``, after ``max_iterations``, or once
    ``stopped`` says so.
    """
    size = len(tensor)
    unfolded = tensor.reshape(size, size * size)
    squares = float((tensor**2).sum()) or 1.0
    factors = [np.linalg.qr(generator.normal(size=(size, size)))[0] for _ in range(3)]
    error, iterations = np.inf, 0
    while iterations < max_iterations and not (iterations and stopped()):
        if iterations < _ORTHOGONAL_STEPS:
            factors = [np.linalg.qr(factor)[0] for factor in factors]
        iterations, previous = iterations + 1, error
        for mode in range(3):
            factors[mode], missed = _least_squares(unfolded, factors[mode - 2], factors[mode - 1])
        error = float(np.sqrt(max(squares + missed, 0) / squares))
        if iterations > _ORTHOGONAL_STEPS and abs(previous - error) < tolerance:
            break
    return Fit(_one(factors), error, iterations)


def _least_squares(unfolded: Float64, left: Float64, right: Float64) -> tuple[Float64, float]:
    """The factor that fits best beside two others, in unit columns; the loss less the tensor's squares."""
    size = len(unfolded)
    products = (left[:, None, :] * right).reshape(size * size, size)
    gram = (left.T @ left) * (right.T @ right)
    target = unfolded @ products
    # The little that is added keeps columns apart that have become one.
    factor = np.linalg.solve(gram + 1e-10 * np.eye(size), target.T).T
    loss = float((((factor.T @ factor) * gram).sum()) - 2 * (factor * target).sum())
    lengths = np.linalg.norm(factor, axis=0)
    return factor / np.where(lengths > 0, lengths, 1), loss


def _one(factors: Sequence[Float64]) -> Float64:
    """The three factors of a symmetric tensor are one but for signs and rounding: their mean."""
    first = factors[0]
    signs = [np.where((first * factor).sum(axis=0) < 0, -1.0, 1.0) for factor in factors]
    total = sum(factor * sign for factor, sign in zip(factors, signs, strict=True))
    lengths = np.linalg.norm(total, axis=0)
    return np.asarray(total / np.where(lengths > 0, lengths, 1))
