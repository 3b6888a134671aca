"""LDA on 20,000 documents of 5,000 words with 20 topics, against tomotopy and scikit-learn.

The documents are drawn from an LDA model: 120 words each on average, alpha 1/20 and topics of a Dirichlet
prior of 0.05. A tenth as many more are held out, and half of a held-out document's words are scored under the
mixture of its other half, all sides' topics by the same code. Tomotopy (collapsed Gibbs sampling) and
scikit-learn's batch variational Bayes are given the model's own priors and all cores; ours has its defaults.
Tomotopy makes passes until twenty more raise the likelihood of its words by less than a thousandth of it;
scikit-learn makes 20, twice its default. What is timed is learning from counts in memory. Seeds take turns,
the time is the least and the likelihood the mean. Then the same on real speeches (tests/data), one passage in
five held out (``--real``: these alone). Needs ``pip install tomotopy``. Run as::

    python -m bench.lda [--documents 20000] [--seeds 1] [--real]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import tomotopy  # type: ignore[import-untyped]
from sklearn.decomposition import LatentDirichletAllocation

from common import instances
from common.batches import CSR
from common.cores import Cores
from containers.lda import model
from containers.lda.corpus import Corpus, Counts, tidy
from containers.lda.warm import compile_all

WORDS, TOPICS, LENGTH, ETA = 5000, 20, 120, 0.05
GAIN = 1e-3  # of the likelihood: less is a plateau
PASSES = 20
SPEECHES = Path(__file__).parent.parent / "tests" / "data" / "state_of_the_union.npz"


@dataclass(frozen=True)
class Data:
    """Documents to learn from and held-out ones, and the priors for the peers."""

    train: Counts
    test: Counts
    words: int
    topics: int
    alpha: float
    eta: float


def drawn(documents: int) -> Data:
    """Documents of an LDA model."""
    generator = np.random.default_rng(0)
    ladders = np.cumsum(generator.dirichlet(np.full(WORDS, ETA), TOPICS), axis=1)
    count = documents + documents // 10
    mixtures = generator.dirichlet(np.full(TOPICS, 1 / TOPICS), count)
    rows = np.repeat(np.arange(count), generator.poisson(LENGTH, count))
    chosen = (generator.random(len(rows))[:, None] > np.cumsum(mixtures, axis=1)[rows]).sum(axis=1)
    chosen = np.minimum(chosen, TOPICS - 1)
    tokens = np.empty(len(rows), np.int64)
    for topic, ladder in enumerate(ladders):
        own = chosen == topic
        tokens[own] = np.searchsorted(ladder, generator.random(own.sum()) * ladder[-1])
    indptr = np.searchsorted(rows, np.arange(count + 1)).astype(np.int64)
    whole = CSR(np.ones(len(rows), np.float32), tokens, indptr, (count, WORDS))
    return Data(tidy(whole[:documents]), tidy(whole[documents:]), WORDS, TOPICS, 1 / TOPICS, ETA)


def speeches() -> Data:
    """Passages of messages on the State of the Union."""
    data = np.load(SPEECHES)
    words = len(data["vocabulary"])
    rows = np.repeat(np.arange(len(data["labels"])), np.diff(data["indptr"]))
    whole = scipy.sparse.csr_matrix(
        (data["counts"].astype(np.float32), (rows, data["words"])), (len(data["labels"]), words)
    )
    held_out = np.arange(len(data["labels"])) % 5 == 4
    train, test = whole[~held_out], whole[held_out]

    def counts(part: scipy.sparse.csr_matrix) -> Counts:
        return tidy(CSR(part.data, part.indices.astype(np.int64), part.indptr.astype(np.int64), part.shape))

    return Data(counts(train), counts(test), words, TOPICS, 0.1, ETA)


def ours(data: Data, seed: int, threads: int) -> tuple[float, str, model.Topics]:
    """Seconds, what was done, and topics."""
    started = time.perf_counter()
    with Cores(threads) as cores:
        corpus = Corpus(data.train, data.words)
        found = model.spectrum(corpus, data.topics, 1.0, np.random.default_rng(seed), cores)
        topics, history = model.refine(
            corpus, found.alpha[: data.topics], found.beta[: data.topics], 1.0, cores
        )
    return time.perf_counter() - started, f"{len(history)} rounds", topics


def gibbs(data: Data, seed: int, threads: int) -> tuple[float, str, model.Topics]:
    """The same of tomotopy; handing documents over isn't timed."""
    peer = tomotopy.LDAModel(k=data.topics, alpha=data.alpha, eta=data.eta, seed=seed + 1)
    tokens = np.repeat(data.train.indices, data.train.counts.astype(np.int64)).astype(str).tolist()
    ends = np.cumsum(data.train.sums().astype(np.int64)).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        if end > start:
            peer.add_doc(tokens[start:end])
    started, passes, before = time.perf_counter(), 0, -np.inf
    while True:
        peer.train(PASSES, workers=threads)
        passes += PASSES
        if passes > PASSES and peer.ll_per_word - before < GAIN * -peer.ll_per_word:
            break
        before = peer.ll_per_word
    seconds = time.perf_counter() - started
    beta = np.full((data.topics, data.words), 1e-12)
    beta[:, np.array(list(peer.used_vocabs)).astype(int)] = [
        peer.get_topic_word_dist(topic) for topic in range(data.topics)
    ]
    return seconds, f"{passes} passes", _topics(peer.alpha, beta)


def variational(data: Data, seed: int, threads: int) -> tuple[float, str, model.Topics]:
    """The same of scikit-learn."""
    train = data.train
    rows = scipy.sparse.csr_matrix((train.counts, train.indices, train.indptr), (len(train), data.words))
    peer = LatentDirichletAllocation(
        data.topics,
        doc_topic_prior=data.alpha,
        topic_word_prior=data.eta,
        max_iter=PASSES,
        learning_method="batch",
        n_jobs=threads,
        random_state=seed,
    )
    started = time.perf_counter()
    peer.fit(rows)
    seconds = time.perf_counter() - started
    return seconds, f"{peer.n_iter_} passes", _topics(np.full(data.topics, data.alpha), peer.components_)


def _topics(alpha: np.ndarray, beta: np.ndarray) -> model.Topics:
    rows = beta / beta.sum(axis=1, keepdims=True)
    return model.Topics(np.asarray(alpha, np.float32), rows.astype(np.float32))


SIDES: dict[str, Callable[[Data, int, int], tuple[float, str, model.Topics]]] = {
    "lda": ours,
    "tomotopy": gibbs,
    "scikit-learn": variational,
}


def compare(title: str, data: Data, seeds: int) -> None:
    """Prints seconds and held-out log-likelihoods of a word of all sides, and how ours compares."""
    threads = instances.threads()
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    scores: dict[str, list[float]] = {name: [] for name in SIDES}
    done = {}
    for seed in range(seeds):
        for name, run in SIDES.items():
            seconds, done[name], topics = run(data, seed, threads)
            times[name].append(seconds)
            with Cores(threads) as cores:
                scores[name].append(model.Mixer(topics, cores).likelihood(data.test) / data.test.sums().sum())
    print(f"{title}: {len(data.train):,} documents, {data.words:,} words, {data.topics} topics, "
          f"{threads} threads")  # fmt: skip
    for name in SIDES:
        print(
            f"{name:14} {min(times[name]):8.2f} s  {np.mean(scores[name]):9.4f} a held-out word  {done[name]}"
        )
    for name in list(SIDES)[1:]:
        print(
            f"{min(times[name]) / min(times['lda']):.1f} times as fast as {name}, "
            f"likelihood {np.mean(scores['lda']) - np.mean(scores[name]):+.4f}"
        )


def main() -> None:
    """Prints both comparisons."""
    parser = argparse.ArgumentParser(prog="python -m bench.lda")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--real", action="store_true")
    chosen = parser.parse_args()
    compile_all()
    # Tomotopy warns that results differ with several threads, and scikit-learn of a call of its own.
    warnings.simplefilter("ignore")
    if not chosen.real:
        compare("drawn", drawn(chosen.documents), chosen.seeds)
    compare("speeches", speeches(), chosen.seeds)


if __name__ == "__main__":
    main()
