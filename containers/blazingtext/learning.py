"""Learning word vectors on all cores of a machine, without locks (Recht et al., "Hogwild!", 2011)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from common.batches import Int64
from common.cores import Cores
from containers.blazingtext import learning_kernels, model
from containers.blazingtext.model import Matrices
from containers.blazingtext.subwords import subwords
from containers.blazingtext.text import Block, end_of_sentence
from containers.blazingtext.text_kernels import Int32
from containers.blazingtext.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Settings:
    """How word vectors are learnt."""

    mode: str  # skipgram, cbow or batch_skipgram
    dim: int
    window: int
    negatives: int
    batch: int  # words of a context that share negatives, in batch_skipgram
    threshold: float
    seed: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The input rows whose mean is a word's vector: ``rows[bounds[w]:bounds[w + 1]]`` of word w.

    The first is the word's own. Rows behind those of words are ``buckets``', ascending: those that a subword
    of the vocabulary has.
    """

    rows: Int32
    bounds: Int64  # (words + 1,)
    buckets: Int64

    @property
    def count(self) -> int:
        """How many input rows there are."""
        return len(self.bounds) - 1 + len(self.buckets)

    @property
    def longest(self) -> int:
        """The most that one word has."""
        return int(np.diff(self.bounds).max())


def parts_of(vocabulary: Vocabulary, lengths: tuple[int, int] | None, buckets: int) -> Parts:
    """The parts of words whose subwords have so many characters, from and to; None: without subwords."""
    words = vocabulary.words
    own = np.arange(words, dtype=np.int32)
    if lengths is None:
        return Parts(own, np.arange(words + 1, dtype=np.int64), np.empty(0, np.int64))
    found, bounds = subwords(vocabulary.text, vocabulary.offsets, *lengths, buckets)
    used, places = np.unique(found, return_inverse=True)
    rows = np.insert((words + places).astype(np.int32), bounds[:-1], own)
    return Parts(rows, bounds + np.arange(words + 1), used.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Task:
    """A block to learn from, step sizes at its beginning and its end, and what seeds its random numbers."""

    block: Block
    rates: tuple[float, float]
    key: np.uint64


class Learner(Protocol):
    """What learns word vectors."""

    def learn(self, tasks: Sequence[Task]) -> None:
        """Learns from some blocks, at once where that is possible."""
        ...

    def matrices(self) -> Matrices:
        """What was learnt, as it is; changes to it are learnt on from."""
        ...


class HogwildLearner:
    """Learns on the threads of ``cores``."""

    def __init__(self, vocabulary: Vocabulary, parts: Parts, settings: Settings, cores: Cores) -> None:
        self._settings = settings
        self._parts = parts
        self._cores = cores
        self._matrices = model.initial(parts.count, vocabulary.words, settings.dim, settings.seed)
        self._keep = model.keeping(vocabulary.counts, vocabulary.tokens, settings.threshold)
        self._lots = model.lots(vocabulary.counts)
        self._end = end_of_sentence(vocabulary)

    def learn(self, tasks: Sequence[Task]) -> None:
        """Learns from a block a thread."""
        self._cores.map(self._learn, tasks)

    def matrices(self) -> Matrices:
        """The matrices that are learnt in."""
        return self._matrices

    def _learn(self, task: Task) -> None:
        settings, matrices = self._settings, self._matrices
        words, rates = task.block.numbers(), np.array(task.rates, np.float32)
        shared = self._keep, self._lots, settings.window, settings.negatives
        if settings.mode == "batch_skipgram":
            learning_kernels.learn_batches(
                words,
                self._end,
                matrices.inputs,
                matrices.outputs,
                *shared,
                settings.batch,
                rates,
                task.key,
            )
            return
        learning_kernels.learn(
            settings.mode == "cbow",
            words,
            self._end,
            matrices.inputs,
            matrices.outputs,
            self._parts.rows,
            self._parts.bounds,
            self._parts.longest,
            *shared,
            rates,
            task.key,
        )
