"""Carries a job's channels to LDA: documents to a corpus, its moments to topics, these to model_algo-1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.channels import Channel
from common.cores import Cores
from common.failures import ClientError
from common.formats import ndarray
from common.metrics import log
from common.training import Run
from containers.lda import model
from containers.lda.corpus import Corpus, Counts, check, join, tidy


def train(run: Run) -> None:
    """Trains, scores and writes the model."""
    with Cores(run.threads) as cores:
        try:
            topics = _topics(run, _corpus(run), cores)
        except ClientError as error:
            if not run.stop.requested:
                raise
            log.info("Stopping on request before enough documents were read, no model: %s", error)
            return
        with run.artifact("model_algo-1") as path:
            ndarray.save(path, [topics.alpha, topics.beta])
        run.metrics.flush()
        if "test" in run.channels and not run.stop.requested:
            _score(run, model.Mixer(topics, cores))
    log.info("===== Job Complete =====")


def _corpus(run: Run) -> Corpus:
    """All training documents, or those that were read before the job was asked to stop."""
    with run.metrics.timed("initialize.time"):
        documents = join(list(_blocks(run, run.train)))
    lengths = documents.sums()
    log.info(
        "%d documents of %d words, %d of them distinct",
        len(documents),
        lengths.sum(),
        len(np.unique(documents.indices)),
    )
    if not (lengths >= model.FEWEST_WORDS).any():
        raise ClientError(
            f"channel train has {len(documents)} documents, none of them with {model.FEWEST_WORDS} words; "
            "accepted: documents of which at least one has that many"
        )
    return Corpus(documents, run.hyperparameters["feature_dim"])


def _blocks(run: Run, channel: Channel) -> Iterator[Counts]:
    """A channel's documents, in the blocks they are read in; counts that are none are refused."""
    rows = 0
    for batch in channel.epoch(None, feature_dim=run.hyperparameters["feature_dim"]):
        check(batch.features, channel.name, rows)
        rows += len(batch)
        yield tidy(batch.features)
    batches = -(-rows // run.hyperparameters["mini_batch_size"])
    run.metrics.counted("training_data_iter" if channel.name == "train" else "test_data_iter", rows, batches)


def _topics(run: Run, corpus: Corpus, cores: Cores) -> model.Topics:
    values = run.hyperparameters
    wanted, alpha0 = values["num_topics"], values["alpha0"]

    def stopped() -> bool:
        return run.stop.requested

    with run.metrics.timed("spectral.time"):
        found = model.spectrum(
            corpus,
            wanted,
            alpha0,
            np.random.default_rng(run.seed),
            cores,
            max_restarts=values["max_restarts"],
            max_iterations=values["max_iterations"],
            tolerance=values["tol"],
            stopped=stopped,
        )
    for number, fit in enumerate(found.fits):
        log.info("ALS restart #%d: error %f after %d iterations", number, fit.error, fit.iterations)
    log.info("%d topics computed with error %f, %d kept", len(found.alpha), found.best.error, wanted)
    with run.metrics.timed("refine.time"):
        topics, history = model.refine(
            corpus, found.alpha[:wanted], found.beta[:wanted], alpha0, cores, stopped
        )
    for number, likelihood in enumerate(history):
        log.info("refinement #%d: log-likelihood of a training word %f", number, likelihood)
    return topics


def _score(run: Run, mixer: model.Mixer) -> None:
    """Prints the per-word log-likelihood of the test channel."""
    total = words = 0.0
    for documents in _blocks(run, run.channels["test"]):
        total += mixer.likelihood(documents)
        words += float(documents.sums().sum())
    if run.stop.requested:
        return  # an early end of the channel: no score of all of it
    if not words:
        raise ClientError("channel test has no words; accepted: at least one, or no test channel")
    run.metrics.score("test", "pwll", total / words)
    run.metrics.quality("test", "pwll", total / words, "score")
