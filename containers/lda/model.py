"""LDA by the method of moments: topics from the whitened third moment, then refined by maximum likelihood.

`containers.lda.moments` and `containers.lda.decomposition` are the method; here its components become topics.
The refinement is expectation maximization of the documents' likelihood with a Dirichlet prior on mixtures and
topics. Its usual weakness, that it ends where it happens to start, is what the moments mend, and its few
rounds mend theirs, the noise of third moments: Y. Zhang, X. Chen, D. Zhou, M. Jordan, "Spectral Methods Meet
EM", JMLR 17, 2016. A mixture is the mode of its posterior in the softmax basis (D. MacKay, "Choice of Basis
for Laplace Approximation", Machine Learning 33, 1998), that is, of the likelihood times
prod_k mixture_k^alpha_k. Its logarithm is concave, so that there is one best mixture whatever the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.batches import Float32, Int64
from common.cores import Cores
from common.failures import ClientError
from containers.lda import kernels
from containers.lda.corpus import Corpus, Counts
from containers.lda.decomposition import Fit, decompose
from containers.lda.kernels import Float64
from containers.lda.moments import Moments, Whitening

# Words that a document needs for its triples.
FEWEST_WORDS = 3

# Topics that are computed for each one that is asked for.
OVERSAMPLING = 1.25
# An eigenvalue this many times the next one is the last that is no noise.
_FALL = 2.0

# How often a topic is taken to have seen each word besides what it has seen.
SMOOTHING = 0.05
# Of a topic's mass, what the frequencies of all words get before the refinement, which can't raise a 0.
_SHARE_OF_ALL = 0.01
_FIRST_STEPS = 5  # of the mixtures, for the topics to be refined
_MOST_ROUNDS = 50
_LEAST_GAIN = 1e-4  # of the log-likelihood of a word, that a round must bring

# Of the mixtures of documents.
_MIXTURE_ROUNDS = 1000
_MIXTURE_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Topics:
    """``alpha`` (k,), the Dirichlet prior of mixtures; ``beta`` (k, words), a distribution in each row."""

    alpha: Float32
    beta: Float32


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the moments say: ``best`` of all ``fits``, and all topics found, largest alpha first.

    ``alpha`` is (m,) float64, ``beta`` (m, words) float64.
    """

    alpha: Float64
    beta: Float64
    whitening: Whitening
    fits: list[Fit]

    @property
    def best(self) -> Fit:
        """The fit that misses least; the topics are its components."""
        return min(self.fits, key=lambda fit: fit.error)


def spectrum(
    corpus: Corpus, topics: int, alpha0: float, generator: np.random.Generator, cores: Cores, *,
    max_restarts: int = 10, max_iterations: int = 1000, tolerance: float = 1e-8,
    stopped: Callable[[], bool] = lambda: False,
) -> Spectrum:  # fmt: skip
    """Topics from a corpus' moments: up to a quarter more than ``topics``, fewer where it has no more.

    Of the quarter only those are computed whose directions stand out of the noise. ``max_restarts`` runs of
    `decompose` compete, each until ``max_iterations`` or ``tolerance``; ``stopped`` ends them early. Raises
    ClientError when the corpus is too poor for ``topics``.
    """
    moments = Moments(corpus, alpha0, cores)
    most = min(math.ceil(OVERSAMPLING * topics), len(corpus.words))
    whitening = moments.whitening(topics, most, generator, stopped)
    if len(whitening.values) < topics:
        raise ClientError(
            f"num_topics is {topics}, but the moments of the training documents' words have rank "
            f"{len(whitening.values)}; accepted: at most as many topics, or more and longer documents"
        )
    whitening = whitening.first(_clear(whitening.values, whitening.noise, topics))
    tensor = moments.third(whitening)

    def attempt(number: int, own: np.random.Generator) -> Fit | None:
        if number and stopped():
            return None
        return decompose(tensor, own, max_iterations, tolerance, stopped)

    starts = enumerate(generator.spawn(max_restarts))
    fits = [fit for fit in cores.map(lambda start: attempt(*start), starts) if fit]
    best = min(fits, key=lambda fit: fit.error)
    # Component i is sqrt(alpha_i / (alpha0 (alpha0 + 1))) times topic i, and a topic's sum is 1.
    components = whitening.undone(best.vectors).T
    masses = components.sum(axis=1)
    components = np.maximum(components * np.where(masses < 0, -1, 1)[:, None], 0)
    beta = components / np.maximum(components.sum(axis=1, keepdims=True), 1e-300)
    alpha = alpha0 * (alpha0 + 1) * masses**2
    order = np.argsort(-alpha, kind="stable")
    return Spectrum(alpha[order], beta[order], whitening, fits)


def _clear(values: Float64, noise: float, topics: int) -> int:
    """How many of the descending eigenvalues to keep: ``topics``, and of the rest those that are no noise.

    Noise is below ``noise`` or behind a steep fall; whitening would make it as loud as a topic.
    """
    clear = max(topics, int((values > noise).sum()))
    falls = values[topics - 1 : clear - 1] / values[topics:clear]
    return topics + int(falls.argmax()) if (falls >= _FALL).any() else clear


def refine(
    corpus: Corpus, alpha: Float64, beta: Float64, alpha0: float, cores: Cores,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Topics, list[float]]:  # fmt: skip
    """Raises the likelihood of the documents from (k,) ``alpha`` and (k, words) ``beta`` on.

    Alpha becomes each topic's share of all words times ``alpha0``. Returns the topics, and the log-likelihood
    of a word before each round; rounds end when they bring little, or once ``stopped`` says so.
    """
    documents, words = corpus.documents, corpus.words
    all_words = words.sums()
    count = all_words.sum()
    beta = (1 - _SHARE_OF_ALL) * beta + _SHARE_OF_ALL * all_words / count
    topics = np.ascontiguousarray(beta.T, np.float32)
    prior = np.asarray(alpha0 * alpha / alpha.sum(), np.float32)
    mixtures = np.empty((len(documents), len(alpha)), np.float32)
    mixtures[:] = prior / prior.sum()
    better, found = np.empty_like(mixtures), np.empty_like(topics)
    logs = np.empty(len(documents))
    history: list[float] = []

    def expect() -> None:
        documents.each(cores, kernels.expect, topics, prior, mixtures, better, logs)

    for _ in range(_FIRST_STEPS):
        expect()
        mixtures, better = better, mixtures
    while len(history) < _MOST_ROUNDS and not stopped():
        expect()
        history.append(float(logs.sum() / count))
        if len(history) > 1 and history[-1] - history[-2] < _LEAST_GAIN:
            break
        words.each(cores, kernels.collect, topics, mixtures, found)
        mixtures, better = better, mixtures
        totals = found.sum(axis=0, dtype=np.float64)
        prior = np.asarray(alpha0 * totals / totals.sum(), np.float32)
        topics = np.asarray((found + SMOOTHING) / (totals + SMOOTHING * len(words)), np.float32)
    beta = topics.T.astype(np.float64)
    return Topics(prior, np.asarray(beta / beta.sum(axis=1, keepdims=True), np.float32)), history


class Mixer:
    """Finds the mixtures of documents for topics that stand; without ``cores`` in the thread that asks."""

    def __init__(self, topics: Topics, cores: Cores | None = None) -> None:
        self._alpha = np.ascontiguousarray(topics.alpha, np.float32)
        self._words = np.ascontiguousarray(topics.beta.T, np.float32)
        self._cores = cores

    def mixtures(self, documents: Counts) -> Float32:
        """(documents, k) float32, rows of sum 1; that of a document without words is alpha's."""
        found = np.empty((len(documents), len(self._alpha)), np.float32)
        documents.each(
            self._cores, kernels.mix, self._words, self._alpha, _MIXTURE_ROUNDS, _MIXTURE_TOLERANCE, found
        )
        return found

    def likelihood(self, documents: Counts) -> float:
        """The log-likelihood of all words, each half of a document's under the mixture of its other half."""
        total = 0.0
        halves = split(documents)
        for seen, hidden in (halves, halves[::-1]):
            logs = np.empty(len(documents))
            hidden.each(self._cores, kernels.score, self._words, self.mixtures(seen), logs)
            total += float(logs.sum())
        return total


def split(documents: Counts) -> tuple[Counts, Counts]:
    """Every other occurrence of a word, counting through a document in the order of words; and the rest.

    Counts must be whole numbers.
    """
    counts = documents.counts.astype(np.int64)
    before = np.cumsum(counts) - counts
    rows = documents.rows()
    firsts = np.append(before, 0)[documents.indptr[:-1]]
    even = (before - firsts[rows]) % 2 == 0
    half = (counts + even) // 2
    return _part(documents, rows, half), _part(documents, rows, counts - half)


def _part(documents: Counts, rows: Int64, counts: Int64) -> Counts:
    kept = counts > 0
    indptr = np.zeros(len(documents) + 1, np.int64)
    np.cumsum(np.bincount(rows[kept], minlength=len(documents)), out=indptr[1:])
    return Counts(counts[kept].astype(np.float32), documents.indices[kept], indptr)
