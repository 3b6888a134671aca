"""Beam search over many sentences at once.

A hypothesis is worth the mean log-probability of its words: Sockeye's length penalty with its alpha of 1 and
beta of 0. As there, a hypothesis that has ended keeps its place in the beam as long as it is worth it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from containers.seq2seq.attention import Source
from containers.seq2seq.config import BOS, EOS, PAD, Config
from containers.seq2seq.network import Network

SENTENCES = 64  # decoded together
_DEVIATIONS = 2  # beyond the mean length ratio, as in Sockeye
_LENGTH_STEP = 10  # Sockeye bounds the answer by the source's bucket, which is this wide
_BLOCK = 64  # words of which only the largest is looked at first

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Translation:
    """The best answer found for a source, without <s> and </s>."""

    ids: Ids  # (T,)
    score: float  # mean log-probability of its words and of </s>
    attention: NDArray[np.float32] | None  # (T, S), rows that add up to 1; None unless asked for


def most_words(config: Config, length: int) -> int:
    """How many words an answer to a source of ``length`` tokens may have, </s> among them."""
    ratio = config.length_ratio_mean + _DEVIATIONS * config.length_ratio_std
    bound = ratio * math.ceil(length / _LENGTH_STEP) * _LENGTH_STEP
    return max(1, math.ceil(min(bound, config.max_seq_len_target)))


def translate(
    network: Network,
    sources: Sequence[NDArray[Any]],
    beam_size: int | None = None,
    attention: bool = False,
    sentences: int = SENTENCES,
) -> list[Translation]:
    """The best answer to each source, an array of ids below vocab_source_size.

    Sources are cut at max_seq_len_source; an empty one has an empty answer with a score of 0. ``beam_size``
    is the configuration's unless it is given, ``sentences`` how many are decoded together. The network is in
    evaluation mode for as long as this takes.
    """
    config = network.config
    cut = [np.asarray(source)[: config.max_seq_len_source] for source in sources]
    # Sentences of like lengths are least padded, and end together.
    order = sorted((index for index, source in enumerate(cut) if len(source)), key=lambda i: len(cut[i]))
    nothing = np.empty((0, 0), np.float32) if attention else None
    answers = [Translation(np.empty(0, np.int64), 0.0, nothing)] * len(cut)
    training = network.training
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(order), sentences):
            chosen = order[start : start + sentences]
            search = _Search(
                network, [cut[index] for index in chosen], beam_size or config.beam_size, attention
            )
            for index, answer in zip(chosen, search.run(), strict=True):
                answers[index] = answer
    network.train(training)
    return answers


class _Search:
    """The search for answers to a few sentences; those that have one drop out.

    Of each sentence that is left there are ``width`` places for hypotheses: one at first, then the beam's.
    The decoder has a row for each hypothesis that hasn't ended; ``slots`` are the rows' places, counted
    through all sentences, or None where every place has a row.
    """

    def __init__(self, network: Network, sources: list[NDArray[Any]], beam: int, attention: bool) -> None:
        self._network = network
        self._beam = beam
        device = network.output.weight.device
        sizes = [len(source) for source in sources]
        padded = np.full((len(sources), max(sizes)), PAD, np.int64)
        for row, source in zip(padded, sources, strict=True):
            row[: len(source)] = source
        self._lengths = torch.tensor(sizes, device=device)
        self._limits = torch.tensor([most_words(network.config, size) for size in sizes], device=device)
        encoded = network.encoder(torch.from_numpy(padded).to(device), self._lengths)
        self._source: Source = network.decoder.source(encoded, self._lengths)
        self._loop = network.decoder.loop(self._source)
        self._state = network.decoder.start(encoded, self._lengths)
        # Nothing is ever answered with these.
        self._bias = network.output.bias.clone()
        self._bias[[PAD, BOS]] = -math.inf
        count = len(sources)
        self._sentences = torch.arange(count, device=device)  # of all, which are left
        self._width = 1
        self._slots: Tensor | None = None
        self._words = torch.full((count,), BOS, device=device)
        self._sums = torch.zeros(count, 1, device=device)  # of log-probabilities, a row each
        self._ended = torch.full((count, 1), -math.inf, device=device)  # those that have: their worth
        self._tokens = torch.empty(count, 1, 0, dtype=torch.int64, device=device)
        # For each word of a hypothesis, the row that made it: where its attention is found.
        self._rows = self._tokens
        self._attention: list[Tensor] | None = [] if attention else None
        self._answers: list[Translation] = [Translation(np.empty(0, np.int64), 0.0, None)] * count

    def run(self) -> list[Translation]:
        """The answers, in the order of the sources."""
        length = 0
        while len(self._sentences):
            length += 1
            self._step(length)
        return self._answers

    def _step(self, length: int) -> None:
        """All hypotheses, of ``length`` words with the next, go on by a word."""
        self._state, probabilities = self._loop.step(
            self._words, length - 1, self._state, self._slots, self._width
        )
        logits = torch.addmm(self._bias, self._state[0], self._network.output.weight.t())
        found, words = _largest(torch.log_softmax(logits, 1), min(self._beam, logits.shape[1]))
        count, width, many = len(self._sentences), self._width, found.shape[1]
        rows = torch.arange(len(found), device=found.device)
        grid, choices = found + self._sums, words
        if self._slots is not None:
            grid = found.new_full((count * width, many), -math.inf)
            choices = words.new_full((count * width, many), PAD)
            at = rows.new_zeros(count * width)
            grid[self._slots], choices[self._slots], at[self._slots] = found + self._sums, words, rows
            rows = at
        candidates = torch.cat([grid.view(count, -1) / length, self._ended], 1)
        worth, index = candidates.topk(min(self._beam, candidates.shape[1]), 1)
        kept = index >= width * many  # hypotheses that had ended
        place = torch.where(kept, index - width * many, index // many)
        word = choices.view(count, -1).gather(1, index.clamp(max=width * many - 1)).masked_fill_(kept, PAD)
        if self._attention is not None:
            self._attention.append(probabilities)
            self._rows = _extended(self._rows, place, rows.view(count, width).gather(1, place))
        self._tokens = _extended(self._tokens, place, word)
        rows = rows.view(count, width).gather(1, place)
        over = kept | (word == EOS)
        self._go_on(length, worth, word, rows, over)

    def _go_on(self, length: int, worth: Tensor, word: Tensor, rows: Tensor, over: Tensor) -> None:
        """Answers what is decided, and makes the rows of what isn't: (n, beam) tensors of the new beam."""
        going = ~over & (worth > -math.inf)
        sums = worth * length
        # Words can only make a sum smaller, so that the longest answer is worth at most this.
        hope = sums.masked_fill(~going, -math.inf).amax(1) / self._limits
        decided = (over[:, 0] & (worth[:, 0] >= hope)) | (length >= self._limits) | ~going.any(1)
        ended = worth.masked_fill(~over, -math.inf)
        if decided.any():
            for sentence in decided.nonzero()[:, 0].tolist():
                self._answer(sentence, float(worth[sentence, 0]))
            left = (~decided).nonzero()[:, 0]
            self._lengths, self._limits = self._lengths[left], self._limits[left]
            self._sentences, self._tokens, self._rows = (
                self._sentences[left],
                self._tokens[left],
                self._rows[left],
            )
            if not len(left):
                return
            self._source = self._source.select(left, int(self._lengths.max()))
            self._loop.attend(self._source)
            ended, going, sums, word, rows = ended[left], going[left], sums[left], word[left], rows[left]
        self._width = going.shape[1]
        slots = going.view(-1).nonzero()[:, 0]
        self._slots = None if len(slots) == going.numel() else slots
        chosen = rows.reshape(-1)[slots]
        self._state = tuple(part.index_select(0, chosen) for part in self._state)
        self._words, self._sums, self._ended = word.reshape(-1)[slots], sums.reshape(-1)[slots, None], ended

    def _answer(self, sentence: int, score: float) -> None:
        tokens = self._tokens[sentence, 0].cpu().numpy()
        stops = np.flatnonzero((tokens == EOS) | (tokens == PAD))
        size = int(stops[0]) if len(stops) else len(tokens)
        matrix = None
        if self._attention is not None:
            made = zip(self._attention, self._rows[sentence, 0, :size].tolist(), strict=False)
            columns = int(self._lengths[sentence])
            matrix = np.empty((size, columns), np.float32)
            for at, (probabilities, row) in enumerate(made):
                matrix[at] = probabilities[row, :columns].cpu().numpy()
        self._answers[int(self._sentences[sentence])] = Translation(tokens[:size].copy(), score, matrix)


def _extended(histories: Tensor, place: Tensor, last: Tensor) -> Tensor:
    """The histories (n, width, t) at the places (n, beam), with one more entry (n, beam) each."""
    taken = histories.gather(1, place[:, :, None].expand(-1, -1, histories.shape[2]))
    return torch.cat([taken, last[:, :, None]], 2)


def _largest(values: Tensor, many: int) -> tuple[Tensor, Tensor]:
    """The ``many`` largest of each row and their columns, as ``topk`` gives them.

    They are in the ``many`` blocks whose largest values are largest, so that few are ever put in order.
    """
    rows, columns = values.shape
    blocks = columns // _BLOCK
    if blocks <= many:
        return values.topk(many, 1)
    whole = blocks * _BLOCK
    best = values[:, :whole].view(rows, blocks, _BLOCK).amax(2).topk(many, 1).indices
    inside = torch.arange(_BLOCK, device=values.device)
    at = (best[:, :, None] * _BLOCK + inside).view(rows, -1)
    if whole < columns:
        rest = torch.arange(whole, columns, device=values.device).expand(rows, -1)
        at = torch.cat([at, rest], 1)
    found, index = values.gather(1, at).topk(many, 1)
    return found, at.gather(1, index)
