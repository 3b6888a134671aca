"""Trains a classifier of a job: vocabulary, epochs, early stopping, accuracies, model.bin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from common.failures import ClientError
from common.formats.lines import in_order
from common.metrics import log
from common.training import Run
from containers.blazingtext import fasttext_file
from containers.blazingtext.classifier import Classifier, HogwildClassifier, finite
from containers.blazingtext.corpus import Corpus, Rows
from containers.blazingtext.examples import Examples
from containers.blazingtext.fasttext_file import Arguments, Kind, Loss
from containers.blazingtext.progress import Progress

NAME = "model.bin"

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass
class Work:
    """A job under way."""

    run: Run
    train: Corpus
    validation: Corpus | None
    rows: Rows
    classifier: Classifier
    progress: Progress
    blocks: int = 0  # learnt from
    best: float = field(default=-1.0)  # accuracy on the validation channel
    waited: int = 0  # epochs since


def train(run: Run) -> None:
    """Trains and writes model.bin."""
    work = learn(run)
    if work is None:
        log.info("Stopping on request before an example was learnt: no model")
        return
    work.progress.finish()
    if not run.stop.requested:
        _tell_accuracies(work)
    weights = work.classifier.weights()
    if not finite(weights):
        raise ClientError(
            "training diverged: weights are no finite numbers; accepted: a smaller learning_rate"
        )
    with run.artifact(NAME) as path:
        vocabulary, inputs = work.rows.vocabulary, _inputs(run, work.rows, weights[0])
        fasttext_file.write(path, _arguments(run), vocabulary, inputs, weights[1])


def learn(run: Run) -> Work | None:
    """The job with all epochs done, and its best weights; None when it was asked to stop before the first."""
    work = _begun(run)
    if work is None:
        return None
    _learn(work)
    work.classifier.restore()
    return work if work.blocks else None


def accuracy(work: Work, corpus: Corpus) -> tuple[float, int]:
    """The share of a channel's examples whose likeliest label is one of theirs, and how many these are."""
    log.info("Using %d threads for prediction!", work.run.threads)

    def measured(examples: Examples) -> tuple[int, int]:
        return work.classifier.hits(examples), len(examples)

    found = np.array(list(_each(work, measured, corpus.examples(work.rows)))).reshape(-1, 2)
    hits, count = found.sum(0).tolist()
    if not count and not work.run.stop.requested:
        raise ClientError(f"channel {corpus.name} has no labelled sentence; accepted: one at least")
    return hits / max(count, 1), count


def _begun(run: Run) -> Work | None:
    """The job with its vocabulary; None when it was asked to stop before."""
    values = run.hyperparameters
    if values["early_stopping"] and "validation" not in run.channels:
        raise ClientError(
            "early_stopping is true, but there is no channel validation; accepted: labelled sentences"
        )
    corpora = {name: _corpus(run, name) for name in run.channels}
    rows = corpora["train"].count(values["min_count"])
    if run.stop.requested:
        return None
    _check(run, rows)
    log.info("Read %dM words", rows.vocabulary.tokens // 1_000_000)
    log.info("Number of words:  %d", rows.vocabulary.words)
    log.info("Number of labels: %d", rows.vocabulary.labels)
    return Work(
        run,
        corpora["train"],
        corpora.get("validation"),
        rows,
        _classifier(run, rows),
        Progress(rows.vocabulary.tokens * values["epochs"], values["learning_rate"]),
    )


def _corpus(run: Run, name: str) -> Corpus:
    values = run.hyperparameters
    return Corpus(run.channels[name], values["word_ngrams"], _buckets(run))


def _buckets(run: Run) -> int:
    """As fastText has it, there are none where nothing is hashed."""
    values = run.hyperparameters
    return values["buckets"] if values["word_ngrams"] > 1 else 0


def _check(run: Run, rows: Rows) -> None:
    vocabulary = rows.vocabulary
    if not vocabulary.labels:
        raise ClientError(
            "channel train has no labelled sentence; accepted: lines with tokens that begin with __label__"
        )
    if not rows.count:
        least = run.hyperparameters["min_count"]
        raise ClientError(
            f"no word of channel train comes up min_count = {least} times; accepted: a smaller min_count"
        )


def _classifier(run: Run, rows: Rows) -> Classifier:
    size = rows.count, rows.vocabulary.labels, run.hyperparameters["vector_dim"], run.seed
    if run.device == "cpu":
        return HogwildClassifier(*size)
    from containers.blazingtext.torch_classifier import TorchClassifier

    return TorchClassifier(*size, run.device)


def _learn(work: Work) -> None:
    """All epochs, or until early stopping or a request ends them."""
    values, stop = work.run.hyperparameters, work.run.stop
    for epoch in work.run.epochs(values["epochs"]):
        for _ in _each(work, lambda step: work.classifier.learn(*step), _steps(work, epoch)):
            work.blocks += 1
            if stop.requested:
                return
        if values["early_stopping"] and _is_done(work, epoch + 1):
            return


def _steps(work: Work, epoch: int) -> Iterator[tuple[Examples, float, float, int]]:
    """The blocks of an epoch, each with its learning rates and what chance depends on."""
    for number, examples in enumerate(work.train.examples(work.rows)):
        rate = work.progress.rate
        work.progress.add(examples.tokens)
        key = np.random.SeedSequence((work.run.seed, epoch, number)).generate_state(1, np.uint64)[0]
        yield examples, rate, work.progress.rate, int(key)


def _is_done(work: Work, epoch: int) -> bool:
    """Measures accuracy after an epoch, counted from 1, keeps the best weights, and says whether to end."""
    values = work.run.hyperparameters
    log.info("-------------- End of epoch: %d", epoch)
    assert work.validation is not None
    found, _ = accuracy(work, work.validation)
    if work.run.stop.requested:
        return True
    log.info("Validation accuracy: %.6g", found)
    if found > work.best:
        log.info("Validation accuracy improved! Storing best weights...")
        work.best, work.waited = found, 0
        work.classifier.keep()
        return False
    work.waited += 1
    log.info("Validation accuracy has not improved for last %d epochs.", work.waited)
    if epoch < values["min_epochs"] or work.waited < values["patience"]:
        return False
    log.info("Reached patience. Terminating training.")
    return True


def _tell_accuracies(work: Work) -> None:
    found, count = accuracy(work, work.train)
    log.info("#train_accuracy: %.4f", found)
    log.info("Number of train examples: %d", count)
    if work.validation is not None and not work.run.stop.requested:
        found, count = accuracy(work, work.validation)
        log.info("#validation_accuracy: %.4f", found)
        log.info("Number of validation examples: %d", count)


def _each(work: Work, function: Callable[[_Item], _Result], items: Iterator[_Item]) -> Iterator[_Result]:
    """``function`` of each item, on all cores, or by the one thread that a GPU needs."""
    return in_order(function, items, work.run.threads if work.run.device == "cpu" else 1)


def _inputs(run: Run, rows: Rows, values: np.ndarray) -> fasttext_file.Rows:
    words = rows.vocabulary.words
    numbers = np.concatenate([np.arange(words), words + rows.buckets])
    return fasttext_file.Rows(words + _buckets(run), numbers, values)


def _arguments(run: Run) -> Arguments:
    """What fastText keeps; of what a classifier doesn't use, its defaults."""
    values = run.hyperparameters
    return Arguments(
        dim=values["vector_dim"],
        window=5,
        epochs=values["epochs"],
        min_count=values["min_count"],
        negatives=5,
        word_ngrams=values["word_ngrams"],
        loss=Loss.SOFTMAX,
        kind=Kind.SUPERVISED,
        bucket=_buckets(run),
        min_char=0,
        max_char=0,
        update_rate=100,
        sampling_threshold=1e-4,
    )
