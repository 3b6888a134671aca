"""Documents of the tests: drawn ones whose topics are known, and real speeches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.batches import CSR

SPEECHES = Path(__file__).parents[2] / "data" / "state_of_the_union.npz"


def speech_counts() -> CSR:
    """All passages of the speeches."""
    data = np.load(SPEECHES)
    return CSR(
        data["counts"].astype(np.float32),
        data["words"].astype(np.int64),
        data["indptr"].astype(np.int64),
        (len(data["labels"]), len(data["vocabulary"])),
    )


def vocabulary() -> list[str]:
    """The words of the speeches."""
    names: list[str] = np.load(SPEECHES)["vocabulary"].tolist()
    return names


def bars(topics: int, documents: int = 5400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of a square of 5 x 5 words, and with ten topics its rows too: topics, counts and mixtures.

    The data of SageMaker's LDA notebooks, after T. Griffiths and M. Steyvers, "Finding Scientific Topics".
    """
    generator = np.random.default_rng(seed)
    square = np.zeros((topics, 5, 5))
    for place in range(5):
        square[place, :, place] = generator.dirichlet(np.full(5, 100))
        if topics == 10:
            square[place + 5, place] = generator.dirichlet(np.full(5, 100))
    beta = square.reshape(topics, 25)
    mixtures = generator.dirichlet(np.full(topics, 1 / topics), documents)
    lengths = generator.poisson(150, documents)
    return beta, generator.multinomial(lengths, mixtures @ beta).astype(np.float32), mixtures


def matched(known: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The rows of ``found`` in the order of those that they are closest to."""
    return found[linear_sum_assignment(np.abs(known[:, None] - found[None]).sum(axis=2))[1]]


def notebook_error(known: np.ndarray, found: np.ndarray) -> float:
    """The error of SageMaker's notebooks: the largest sum of a word's errors over topics."""
    return float(np.linalg.norm(known - matched(known, found), 1))
