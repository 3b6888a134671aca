"""Word moments of a corpus, whitened: from sparse counts to a small tensor, never forming a large one.

A. Anandkumar, R. Ge, D. Hsu, S. Kakade, M. Telgarsky, "Tensor Decompositions for Learning Latent Variable
Models", JMLR 15, 2014, theorem 3.5. With x, y, z the indicators of three words of a document, a the sum of
alpha, m = E[x], b_i topic i, and all products outer ones:

    M2 = E[xy] - a / (a + 1) mm
       = sum_i alpha_i / (a (a + 1)) b_i b_i
    M3 = E[xyz] - a / (a + 2) (E[xym] + E[xmz] + E[myz]) + 2 a^2 / ((a + 1) (a + 2)) mmm
       = sum_i 2 alpha_i / (a (a + 1) (a + 2)) b_i b_i b_i

A document of n words has n (n - 1) ordered pairs and n (n - 1) (n - 2) triples of distinct words, over which
the expectations are means. Documents count by their length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.cores import Cores
from containers.lda.corpus import Corpus
from containers.lda.kernels import Float64

# Rounds of the subspace iteration, and the change of eigenvalues that ends it, relative to the largest.
_ROUNDS = 40
_TOLERANCE = 1e-4

# Columns that documents are multiplied with at a time.
_COLUMNS = 64

# Entries of the pairs of columns that are multiplied at a time, and how many rows at least.
_PAIRS, _FEWEST_ROWS = 1 << 20, 256


@dataclass(frozen=True, slots=True)
class Whitening:
    """The strongest eigenvectors of M2, ``vectors`` (words, m), and ``values`` (m,), descending, above 0.

    Nothing but sampling makes an eigenvalue negative: ``noise`` is the size of the most negative one seen.
    """

    values: Float64
    vectors: Float64
    noise: float

    @property
    def matrix(self) -> Float64:
        """W of shape (words, m), for which W^T M2 W is the identity."""
        return np.asarray(self.vectors / np.sqrt(self.values))

    def first(self, count: int) -> Whitening:
        """The ``count`` strongest."""
        return Whitening(self.values[:count], self.vectors[:, :count], self.noise)

    def undone(self, vectors: Float64) -> Float64:
        """What columns of the whitened space are in that of words: (words, columns)."""
        return np.asarray((self.vectors * np.sqrt(self.values)) @ vectors)


class Moments:
    """The moments of a corpus, with ``alpha0`` the sum of the Dirichlet prior."""

    def __init__(self, corpus: Corpus, alpha0: float, cores: Cores) -> None:
        self._corpus, self._alpha0, self._cores = corpus, alpha0, cores
        lengths = corpus.documents.sums()
        # (documents, 1) each: what one ordered pair, or triple, of a document's words counts for.
        self._pair, self._triple = _shares(lengths, 2), _shares(lengths, 3)
        self.mean = corpus.words.sums() / lengths.sum()
        self._paired = self._by_word(self._pair)

    def second(self, matrix: Float64) -> Float64:
        """The product of M2 with a (words, m) matrix."""
        found = self._together(self._pair, matrix)
        found -= self._paired * matrix  # a word doesn't pair with itself
        found -= self._alpha0 / (self._alpha0 + 1) * np.outer(self.mean, self.mean @ matrix)
        return found

    def whitening(
        self, least: int, most: int, generator: np.random.Generator,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Whitening:  # fmt: skip
        """Up to ``most`` eigenvectors of M2, by subspace iteration from a random start.

        It ends when the ``least`` strongest stand still (behind them noise may begin, which takes long), or
        once ``stopped`` says so.
        """
        words = len(self.mean)
        width = min(words, most + most // 2 + 10)
        basis = np.linalg.qr(generator.normal(size=(words, width)))[0]
        previous = np.full(width, np.inf)
        for _ in range(_ROUNDS):
            image = self.second(basis)
            within = basis.T @ image
            values, turn = np.linalg.eigh((within + within.T) / 2)
            change = np.abs(values - previous)[-least:].max()
            if change <= _TOLERANCE * np.abs(values).max() or stopped():
                break
            previous = values
            basis = np.linalg.qr(image)[0]
        # Below the size of rounding an eigenvalue is 0.
        kept = np.flatnonzero(values > 1e-12 * np.abs(values).max())[::-1][:most]
        return Whitening(values[kept], basis @ turn[:, kept], max(0.0, -float(values[0])))

    def third(self, whitening: Whitening) -> Float64:
        """M3 seen through the whitening: (m, m, m), symmetric."""
        a0, matrix = self._alpha0, whitening.matrix
        seen = self._corpus.documents.times(matrix, self._cores)
        tensor = self._cubes(seen, lambda block: self._triple[block] * seen[block])
        # Each term of `rest` stands for three, with its third index in each of the places.
        once, twice = self._by_word(self._triple), self._together(self._triple, matrix)
        rest = self._cubes(matrix, lambda block: 2 / 3 * once[block] * matrix[block] - twice[block])
        mean = self.mean @ matrix
        pairs = np.eye(len(mean)) + a0 / (a0 + 1) * np.outer(mean, mean)
        rest -= a0 / (a0 + 2) * pairs[:, :, None] * mean
        tensor += rest + rest.transpose(0, 2, 1) + rest.transpose(2, 1, 0)
        tensor += 2 * a0**2 / ((a0 + 1) * (a0 + 2)) * mean[:, None, None] * mean[:, None] * mean
        return tensor

    def _by_word(self, rows: Float64) -> Float64:
        return self._corpus.words.times(rows, self._cores)

    def _together(self, shares: Float64, matrix: Float64) -> Float64:
        """The product counts^T diag(shares) counts matrix, for a (words, m) matrix.

        It is made a few columns at a time, which between the factors are as long as there are documents.
        """
        columns = [matrix[:, start : start + _COLUMNS] for start in range(0, matrix.shape[1], _COLUMNS)]
        documents, cores = self._corpus.documents, self._cores
        return np.hstack([self._by_word(shares * documents.times(some, cores)) for some in columns])

    def _cubes(self, twice: Float64, once: Callable[[slice], Float64]) -> Float64:
        """The sum of ``xxy`` over (n, m) rows x of ``twice`` and y, which ``once`` gives by blocks."""
        size = twice.shape[1]
        step = max(_FEWEST_ROWS, _PAIRS // size**2)

        def block(start: int) -> Float64:
            chosen = slice(start, start + step)
            rows = twice[chosen]
            pairs = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), size**2)
            return np.asarray(pairs.T @ once(chosen))

        total = np.zeros((size**2, size))
        starts = range(0, len(twice), step)
        for first in range(0, len(starts), self._cores.threads):
            # A few at a time: each is as large as the tensor.
            for found in self._cores.map(block, starts[first : first + self._cores.threads]):
                total += found
        return total.reshape(size, size, size)


def _shares(lengths: Float64, order: int) -> Float64:
    """What ``order`` distinct words of a document count for: (documents, 1), 0 where there are fewer."""
    ways = np.prod([np.maximum(lengths - taken, 0) for taken in range(order)], axis=0)
    weights = np.where(ways > 0, lengths, 0)
    shares = np.divide(weights, ways, out=np.zeros(len(lengths)), where=ways > 0)
    return np.asarray(shares / max(weights.sum(), 1))[:, None]
