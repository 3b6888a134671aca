"""Learning word vectors on GPUs, or whatever devices torch names: large batches in place of single steps."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from containers.blazingtext import model
from containers.blazingtext.exchange import boost
from containers.blazingtext.learning import Parts, Settings, Task
from containers.blazingtext.learning_kernels import LINE
from containers.blazingtext.model import Matrices
from containers.blazingtext.text import end_of_sentence
from containers.blazingtext.vocabulary import Vocabulary

_BATCHES = 64, 8192  # words that are learnt from before the next step, at least and at most
_SHARE = 4  # between these, a quarter of the vocabulary, so that few rows come up very often in one batch
_FARTHEST = 2.0  # the most that steps of one row in one batch add up to


class TorchLearner:
    """Learns on each of ``devices``; see `exchange` for how they make one model."""

    def __init__(
        self, vocabulary: Vocabulary, parts: Parts, settings: Settings, devices: Sequence[str]
    ) -> None:
        started = model.initial(parts.count, vocabulary.words, settings.dim, settings.seed)
        self._dim = settings.dim
        self._replicas = [
            _Replica(vocabulary, parts, settings, started, device, boost(len(devices))) for device in devices
        ]

    def learn(self, tasks: Sequence[Task]) -> None:
        """Each device learns from its share of the tasks; then all have the mean of their models."""
        count = len(self._replicas)
        with ThreadPoolExecutor(count) as pool:
            shares = [tasks[number::count] for number in range(count)]
            list(pool.map(lambda replica, share: replica.learn(share), self._replicas, shares))
        for matrices in zip(*(replica.weights for replica in self._replicas), strict=True):
            if count > 1:
                mean = sum(matrix.to(matrices[0].device) for matrix in matrices) / count
                for matrix in matrices:
                    matrix.copy_(mean)

    def matrices(self) -> Matrices:
        """A copy of what was learnt."""
        inputs, outputs = (weights.cpu().numpy() for weights in self._replicas[0].weights)
        return Matrices(inputs, outputs, self._dim)


class _Replica:
    """The model on one device."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        parts: Parts,
        settings: Settings,
        started: Matrices,
        device: str,
        boost: int,
    ) -> None:
        self._device = torch.device(device)
        self._boost = boost
        self._settings = settings
        self._random = torch.Generator(self._device)
        self.weights = [self._tensor(matrix).clone() for matrix in (started.inputs, started.outputs)]
        keep = model.keeping(vocabulary.counts, vocabulary.tokens, settings.threshold)
        self._keep = self._tensor(keep / 2**32)
        lots = model.lots(vocabulary.counts)
        self._chance = self._tensor(lots[:, 0] / 2**32)
        self._other = self._tensor(lots[:, 1].astype(np.int64))
        self._rows, self._bounds = self._tensor(parts.rows.astype(np.int64)), self._tensor(parts.bounds)
        self._end = end_of_sentence(vocabulary)
        self._batch_size = min(max(vocabulary.words // _SHARE, _BATCHES[0]), _BATCHES[1])

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    @torch.no_grad()
    def learn(self, tasks: Sequence[Task]) -> None:
        """Learns from some blocks, one after the other."""
        for task in tasks:
            self._random.manual_seed(int(task.key >> np.uint64(1)))
            words, lines = self._chosen(self._tensor(task.block.numbers().astype(np.int64)))
            first, last = (rate * self._boost for rate in task.rates)
            for start in range(0, len(words), self._batch_size):
                places = torch.arange(start, min(start + self._batch_size, len(words)), device=self._device)
                self._batch(words, lines, places, first + (last - first) * start / len(words))

    def _chosen(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """The words that aren't left out by chance, and each one's line."""
        ends = (words == self._end).cumsum(0)
        ends = torch.cat([ends.new_zeros(1), ends[:-1]])  # the end is part of its line
        places = torch.arange(len(words), device=self._device)
        lines = ends * (len(words) + 1) + places // LINE
        known = words >= 0
        kept = known & (self._uniform(len(words)) <= self._keep[words.clamp(min=0)])
        return words[kept], lines[kept]

    def _batch(self, words: Tensor, lines: Tensor, places: Tensor, rate: float) -> None:
        """One step from the words at ``places``."""
        window = self._settings.window
        reach = (self._uniform(len(places)) * window).long() + 1
        offsets = torch.cat([torch.arange(-window, 0), torch.arange(1, window + 1)]).to(self._device)
        others = places[:, None] + offsets
        inside = (others >= 0) & (others < len(words)) & (offsets.abs() <= reach[:, None])
        others = others.clamp(0, max(len(words) - 1, 0))
        inside &= lines[others] == lines[places][:, None]
        if self._settings.mode == "cbow":
            used = inside.any(1)
            context = words[others[used]]
            self._step(context, inside[used], words[places[used]], rate)
        else:
            centre, at = inside.nonzero(as_tuple=True)
            context = words[others[centre, at]]
            ours = words[places[centre]][:, None]
            self._step(ours, torch.ones_like(ours, dtype=torch.bool), context, rate)

    def _step(self, words: Tensor, used: Tensor, positives: Tensor, rate: float) -> None:
        """A step from (n, m) words of which some are ``used``, their mean against (n,) positives."""
        inputs, outputs = self.weights
        owner, rows = self._parts(words, used)
        count = torch.bincount(owner, minlength=len(words)).clamp(min=1)[:, None]
        hidden = torch.zeros(len(words), inputs.shape[1], device=self._device)
        _add_rows(hidden, owner, inputs[rows])
        hidden /= count
        targets = torch.cat([positives[:, None], self._negatives(positives)], 1)
        vectors = outputs[targets]
        errors = -torch.sigmoid((vectors @ hidden[:, :, None])[:, :, 0])
        errors[:, 0] += 1
        # A negative that is the positive itself teaches nothing.
        errors[:, 1:] *= targets[:, 1:] != positives[:, None]
        errors *= rate
        gradient = (errors[:, None] @ vectors)[:, 0]
        changes = (errors[:, :, None] * hidden[:, None]).flatten(0, 1)
        self._add(outputs, targets.flatten(), changes, rate)
        self._add(inputs, rows, gradient[owner], rate)

    def _parts(self, words: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
        """The input rows of all words that are used, and which of the n they are for."""
        owner = used.nonzero(as_tuple=True)[0]
        words = words[used]
        counts = self._bounds[words + 1] - self._bounds[words]
        within = torch.arange(int(counts.sum()), device=self._device)
        within -= torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        rows = self._rows[torch.repeat_interleave(self._bounds[words], counts) + within]
        return torch.repeat_interleave(owner, counts), rows

    def _add(self, matrix: Tensor, rows: Tensor, changes: Tensor, rate: float) -> None:
        """Adds changes to rows; those of a row that has very many are shortened, as they would overshoot."""
        count = torch.bincount(rows, minlength=len(matrix)).clamp(min=1)
        scale = (_FARTHEST / rate / count).clamp(max=1)
        _add_rows(matrix, rows, changes * scale[rows][:, None])

    def _negatives(self, positives: Tensor) -> Tensor:
        shape = len(positives), self._settings.negatives
        drawn = (self._uniform(*shape).double() * len(self._chance)).long().clamp(max=len(self._chance) - 1)
        return torch.where(self._uniform(*shape) < self._chance[drawn], drawn, self._other[drawn])

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._random, device=self._device)


def _add_rows(matrix: Tensor, rows: Tensor, changes: Tensor) -> None:
    """As index_add_, which on a CPU takes many times longer."""
    matrix.scatter_add_(0, rows[:, None].expand_as(changes), changes)
