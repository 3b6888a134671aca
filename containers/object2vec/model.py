"""Object2Vec: two encoders, a comparison of what they make, and a small network on top.

An encoder turns the embeddings of a sequence's tokens into a vector of ``enc_dim`` numbers:

* ``hcnn``: convolutions with ReLU, one on the other, each with its share of ``enc_dim`` filters. The largest
  value of each filter over the sequence is kept, of all layers.
* ``bilstm``: LSTMs in both directions, and the largest value of each of their units over the sequence.
* ``pooled_embedding``: the mean of the embeddings, and a linear layer.

The vectors ``u`` and ``v`` of a pair are compared by their product ``u * v``, by both, and by their absolute
difference, and layers lead from there to the classes or the score. Encoders and comparison are those of
Conneau and others: Supervised Learning of Universal Sentence Representations from Natural Language Inference
Data (2017, arXiv 1705.02364), whose hierarchical network is after Zhao, Lu and Poupart (2015, arXiv
1504.05070).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from containers.object2vec import ragged
from containers.object2vec.ragged import Dense, Sequences

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "linear": lambda values: values,
}
Drop = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    """What an encoder is: its kind, its layers, a filter's width, and the size of token embeddings."""

    network: str
    layers: int
    width: int
    token_dim: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a network is. ``classes`` is None for a score."""

    encoders: tuple[EncoderPlan, EncoderPlan]
    enc_dim: int
    comparators: tuple[str, ...]
    mlp_layers: int
    mlp_dim: int
    activation: str
    classes: int | None

    @property
    def compared(self) -> int:
        """Numbers that the comparison makes."""
        return sum(self.enc_dim * (2 if name == "concat" else 1) for name in self.comparators)


@dataclass(frozen=True, slots=True)
class Examples:
    """Pairs on one device. ``drop`` is dropout, as it applies to them."""

    sides: tuple[Sequences, Sequences]
    labels: Tensor  # (pairs,) float32
    share: float  # of the mini-batch's mean that a pair's loss has
    drop: Drop


class Network(nn.Module):
    """Both encoders and the head. Token embeddings are no part of it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.encoders = nn.ModuleList(_ENCODERS[one.network](one, plan.enc_dim) for one in plan.encoders)
        sizes = [plan.compared, *[plan.mlp_dim] * plan.mlp_layers, plan.classes or 1]
        self.head = nn.ModuleList(_started(*pair) for pair in itertools.pairwise(sizes))

    def start_at(self, score: float) -> None:
        """Lets scores begin there."""
        nn.init.constant_(self.get_parameter(f"head.{len(self.head) - 1}.bias"), score)

    def encode(self, side: int, sequences: Sequences, drop: Drop = lambda values: values) -> Tensor:
        """(sequences, enc_dim): what encoder ``side`` makes of them."""
        found: Tensor = self.encoders[side](sequences, drop)
        return found

    def compare(self, first: Tensor, second: Tensor, drop: Drop = lambda values: values) -> Tensor:
        """Both sides' vectors to (pairs, classes) before the softmax, or (pairs, 1) scores."""
        parts: list[Tensor] = []
        for name in self.plan.comparators:
            if name == "concat":
                parts += [first, second]
            else:
                parts.append(first * second if name == "hadamard" else (first - second).abs())
        hidden = torch.cat(parts, 1)
        activate = ACTIVATIONS[self.plan.activation]
        for layer in self.head[:-1]:
            hidden = activate(layer(drop(hidden)))
        found: Tensor = self.head[-1](drop(hidden))
        return found

    def losses(self, examples: Examples) -> Tensor:
        """The pairs' part of the mini-batch's mean loss, the sum of their losses, and how many are right.

        The loss is the cross-entropy, or the squared error, of which none is right.
        """
        vectors = [self.encode(side, one, examples.drop) for side, one in enumerate(examples.sides)]
        found = self.compare(vectors[0], vectors[1], examples.drop)
        if self.plan.classes is None:
            total = (found.squeeze(1) - examples.labels).square().sum()
            right = total.new_zeros(())
        else:
            labels = examples.labels.long()
            total = functional.cross_entropy(found, labels, reduction="sum")
            right = (found.argmax(1) == labels).sum().to(total.dtype)
        return torch.stack([total * examples.share, total.detach(), right])


class _Pooled(nn.Module):
    """The mean of token embeddings through a linear layer."""

    def __init__(self, plan: EncoderPlan, enc_dim: int) -> None:
        super().__init__()
        self.projection = _started(plan.token_dim, enc_dim)

    def forward(self, sequences: Sequences, drop: Drop) -> Tensor:
        # The two commute: whatever there are fewer of goes through the larger product.
        if len(sequences.vectors) < len(sequences):
            return ragged.means(self.projection(sequences.vectors), sequences)
        found: Tensor = self.projection(ragged.means(sequences.vectors, sequences))
        return found


class _Convolutions(nn.Module):
    """The hierarchical convolutional network."""

    def __init__(self, plan: EncoderPlan, enc_dim: int) -> None:
        super().__init__()
        self.width = plan.width
        filters = [enc_dim // plan.layers + (n < enc_dim % plan.layers) for n in range(plan.layers)]
        sizes = [plan.token_dim, *filters]
        self.layers = nn.ModuleList(
            _started(plan.width * one, other, 2**0.5) for one, other in itertools.pairwise(sizes)
        )

    def forward(self, sequences: Sequences, drop: Drop) -> Tensor:
        hidden = ragged.looked_up(sequences.vectors, sequences.tokens)
        found = []
        for number, layer in enumerate(self.layers):
            hidden = drop(hidden) if number else hidden
            hidden = layer(ragged.windows(hidden, sequences, self.width)).relu_()
            found.append(ragged.peaks(hidden, sequences))
        return torch.cat(found, 1)


class _Recurrence(nn.Module):
    """LSTMs in both directions. With an odd ``enc_dim`` the last unit has no say."""

    def __init__(self, plan: EncoderPlan, enc_dim: int) -> None:
        super().__init__()
        self.enc_dim = enc_dim
        units = (enc_dim + 1) // 2
        self.layers = nn.ModuleList(
            nn.LSTM(2 * units if number else plan.token_dim, units, bidirectional=True)
            for number in range(plan.layers)
        )

    def forward(self, sequences: Sequences, drop: Drop) -> Tensor:
        places, sizes = _by_time(sequences.lengths)
        order = torch.from_numpy(places).to(sequences.tokens.device)
        hidden = ragged.looked_up(sequences.vectors, sequences.tokens[order])
        for number, layer in enumerate(self.layers):
            hidden = drop(hidden) if number else hidden
            hidden = layer(PackedSequence(hidden, sizes))[0].data
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return ragged.peaks(ragged.looked_up(hidden, back), sequences)[:, : self.enc_dim]


def _by_time(lengths: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """The order of tokens that torch's LSTM takes: all first tokens, longest sequence first, all second ones.

    Gives the tokens' places in that order, (tokens,) int64, and how many tokens each time has, (longest,).
    """
    order = np.argsort(-lengths, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    owners = np.repeat(np.arange(len(lengths)), lengths)
    times = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.lexsort((rank[owners], times)), torch.from_numpy(np.bincount(times))


_ENCODERS: dict[str, type[nn.Module]] = {
    "pooled_embedding": _Pooled,
    "hcnn": _Convolutions,
    "bilstm": _Recurrence,
}


def _started(inputs: int, outputs: int, gain: float = 1.0) -> Dense:
    layer = Dense(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def dropout(share: float, generator: torch.Generator) -> Drop:
    """Sets that share of numbers to 0, drawn from ``generator``, and raises the others to make up for it."""

    def drop(values: Tensor) -> Tensor:
        if share == 0:
            return values
        if share == 1:
            return values * 0
        kept = torch.rand(values.shape, generator=generator, device=values.device).ge_(share)
        return values * kept.mul_(1 / (1 - share))

    return drop
