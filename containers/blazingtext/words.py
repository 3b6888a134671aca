"""Trains word vectors of a job: vocabulary, epochs, vectors.txt, vectors.bin, eval.json."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.cores import Cores
from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.blazingtext import similarity, word_artifact
from containers.blazingtext.exchange import boost, combine
from containers.blazingtext.fasttext_file import Arguments, Kind, Loss
from containers.blazingtext.hyperparameters import BATCH_SKIPGRAM, CBOW, uses_subwords
from containers.blazingtext.learning import HogwildLearner, Learner, Parts, Settings, Task, parts_of
from containers.blazingtext.model import Matrices
from containers.blazingtext.progress import Progress
from containers.blazingtext.text import Block, Text
from containers.blazingtext.vocabulary import Vocabulary

_ROUND = 8  # blocks that each thread learns from before a request to stop is heard and hosts exchange
_EXCHANGES = 16  # between hosts in an epoch, at least
_MOST_ROWS = (1 << 31) - 1  # fastText numbers rows by 32 bits


@dataclass(frozen=True, slots=True)
class _Work:
    """A job under way."""

    run: Run
    text: Text
    parts: Parts
    learner: Learner
    progress: Progress
    round: int  # blocks


def train(run: Run) -> None:
    """Trains; the leader writes the model and scores it."""
    text = Text(run.train, run.hyperparameters["min_count"])
    if run.cluster.any(run.stop.requested):
        log.info("Stopping on request before training began: no model")
        return
    _check(run, text.vocabulary)
    with Cores(run.threads) as cores:
        work = _begun(run, text, cores)
        for epoch in run.epochs(run.hyperparameters["epochs"]):
            _epoch(work, epoch)
    work.progress.finish()
    matrices = work.learner.matrices()
    if not all(np.isfinite(matrix.sum()) for matrix in (matrices.inputs, matrices.outputs)):
        raise ClientError(
            "training diverged: vectors are no finite numbers; accepted: a smaller learning_rate"
        )
    if run.cluster.leader:
        _write(run, text.vocabulary, work.parts, matrices)


def _check(run: Run, vocabulary: Vocabulary) -> None:
    if not vocabulary.tokens:
        raise ClientError("channel train has no words; accepted: tokens with blanks between them")
    least = run.hyperparameters["min_count"]
    log.info("Read %dM words", vocabulary.tokens // 1_000_000)
    log.info("Number of words:  %d", vocabulary.words)
    if vocabulary.words < 2:
        raise ClientError(
            f"{vocabulary.words} of channel train's words come up min_count = {least} times; "
            "accepted: at least 2, a smaller min_count, or more text"
        )
    if vocabulary.words + _buckets(run) > _MOST_ROWS:
        raise ClientError(
            f"there are {_buckets(run)} buckets and {vocabulary.words} words; accepted: {_MOST_ROWS} in all"
        )


def _buckets(run: Run) -> int:
    return run.hyperparameters["buckets"] if uses_subwords(run.hyperparameters) else 0


def _begun(run: Run, text: Text, cores: Cores) -> _Work:
    values = run.hyperparameters
    lengths = (values["min_char"], values["max_char"]) if uses_subwords(values) else None
    parts = parts_of(text.vocabulary, lengths, _buckets(run))
    learner = _learner(run, text.vocabulary, parts, cores)
    progress = Progress(
        text.vocabulary.tokens * values["epochs"], values["learning_rate"], marked=run.cluster.size == 1
    )
    return _Work(run, text, parts, learner, progress, _round(run, text))


def _round(run: Run, text: Text) -> int:
    """Blocks from one exchange to the next, the same on all hosts."""
    threads = int(run.cluster.all_reduce(np.array([run.threads]), "max")[0])
    blocks = _ROUND * threads
    return blocks if run.cluster.size == 1 else max(1, min(blocks, text.count // _EXCHANGES))


def _learner(run: Run, vocabulary: Vocabulary, parts: Parts, cores: Cores) -> Learner:
    values = run.hyperparameters
    settings = Settings(
        values["mode"],
        values["vector_dim"],
        values["window_size"],
        values["negative_samples"],
        values["batch_size"],
        values["sampling_threshold"],
        run.seed,
    )
    if run.device == "cpu" or values["mode"] == BATCH_SKIPGRAM:
        return HogwildLearner(vocabulary, parts, settings, cores)
    from containers.blazingtext.torch_learning import TorchLearner

    return TorchLearner(vocabulary, parts, settings, run.devices)


def _epoch(work: _Work, epoch: int) -> None:
    """One pass, or less where any host is asked to stop."""
    blocks = enumerate(work.text.blocks())
    while batch := list(itertools.islice(blocks, work.round)):
        work.learner.learn(list(_tasks(work, epoch, batch)))
        if work.run.cluster.size > 1:
            combine(work.run.cluster, work.learner.matrices())
        work.progress.add(sum(len(block) for _, block in batch))
        if work.run.cluster.any(work.run.stop.requested):
            return


def _tasks(work: _Work, epoch: int, batch: list[tuple[int, Block]]) -> Iterator[Task]:
    """This host's part of each block."""
    run, words = work.run, work.progress.words
    rank, hosts = run.cluster.rank, run.cluster.size
    for number, block in batch:
        before, after = (work.progress.rate_after(count) for count in (words, words + len(block)))
        words += len(block)
        seed = np.random.SeedSequence([run.seed, epoch, number, rank]).generate_state(1, np.uint64)[0]
        rates = before * boost(hosts), after * boost(hosts)
        yield Task(block.part(rank, hosts), rates, seed | np.uint64(1))


def _write(run: Run, vocabulary: Vocabulary, parts: Parts, matrices: Matrices) -> None:
    values = word_artifact.vectors(matrices, parts)
    with run.artifact("vectors.txt") as path:
        word_artifact.write_text(path, vocabulary, values)
    if len(run.devices) > 1:
        log.info("vectors.bin is not written after training on several GPUs")
    else:
        with run.artifact("vectors.bin") as path:
            word_artifact.write_binary(path, _arguments(run), vocabulary, matrices, parts)
    if run.hyperparameters["evaluation"]:
        _evaluate(run, vocabulary, values)


def _evaluate(run: Run, vocabulary: Vocabulary, values: np.ndarray) -> None:
    log.info("Evaluating word embeddings....")
    log.info("Vectors read from: %s", run.job.model / "vectors.txt")
    rows = {word.decode("utf-8", "replace"): row for row, word in enumerate(vocabulary)}
    found = similarity.evaluate(rows, values)
    text = json.dumps(found, indent=4, sort_keys=True)
    with run.artifact("eval.json") as path:
        path.write_text(text, "utf-8")
    log.info("%s", text)
    log.info("#mean_rho: %s", found["mean_rho"])


def _arguments(run: Run) -> Arguments:
    values = run.hyperparameters
    subwords = uses_subwords(values)
    return Arguments(
        dim=values["vector_dim"],
        window=values["window_size"],
        epochs=values["epochs"],
        min_count=values["min_count"],
        negatives=values["negative_samples"],
        word_ngrams=1,
        loss=Loss.NEGATIVE_SAMPLING,
        kind=Kind.CBOW if values["mode"] == CBOW else Kind.SKIPGRAM,
        bucket=_buckets(run),
        min_char=values["min_char"] if subwords else 0,
        max_char=values["max_char"] if subwords else 0,
        update_rate=100,
        sampling_threshold=values["sampling_threshold"],
    )
