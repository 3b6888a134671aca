"""Attention of decoder states to encoded source tokens: dot, bilinear, mlp and fixed.

The scores are those of Luong et al. 2015 ("Effective Approaches to Attention-based Neural Machine
Translation") as Sockeye 1 computes them. All take arrays of (n, k, ...): n sentences, k queries of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from containers.seq2seq.recurrence import Deferred, Pairs, linear

# What a padded source token scores: exp() makes nothing of it, and a row of nothing else still has a softmax.
_NEVER = -1e8


def padding(lengths: Tensor, size: int) -> Tensor:
    """(n, 1, size) float32 to add to scores: 0 for each sentence's tokens and nearly -inf behind them."""
    behind = torch.arange(size, device=lengths.device) >= lengths[:, None]
    return behind[:, None].float() * _NEVER


def mean(encoded: Tensor, lengths: Tensor) -> Tensor:
    """The mean (n, hidden) of each sentence's tokens."""
    inside = (torch.arange(encoded.shape[1], device=lengths.device) < lengths[:, None]).to(encoded.dtype)
    return (inside[:, None] @ encoded)[:, 0] / lengths[:, None]


def last(encoded: Tensor, lengths: Tensor) -> Tensor:
    """The encoding (n, hidden) of each sentence's last token."""
    return encoded[torch.arange(len(encoded), device=encoded.device), lengths - 1]


class _Collect(Function):
    """Keys or values as they are; their gradient is made of all pairs of an (n, k, S) and an (n, k, size)."""

    @staticmethod
    def forward(ctx: Any, array: Tensor, pairs: Pairs, sums: list[Tensor]) -> Tensor:
        ctx.pairs, ctx.sums, ctx.rows = pairs, sums, len(array)
        ctx.set_materialize_grads(False)
        return array.view_as(array)

    @staticmethod
    def backward(ctx: Any, _: Tensor | None) -> tuple[Tensor | None, None, None]:
        total = ctx.sums.pop() if ctx.sums else None
        if ctx.pairs:
            left, right = (
                torch.cat([_whole(part, ctx.rows) for part in side], 1)
                for side in zip(*ctx.pairs, strict=True)
            )
            ctx.pairs.clear()
            product = left.transpose(1, 2) @ right
            total = product if total is None else total.add_(product)
        return total, None, None


def _whole(part: Tensor, rows: int) -> Tensor:
    """``part`` of the first sentences as one of all ``rows``, with zeros behind."""
    missing = rows - len(part)
    return nn.functional.pad(part, (0, 0, 0, 0, 0, missing)) if missing else part


# Queries may be those of the first sentences only: later ones have ended.


class _Scores(Function):
    """(n, k, S): each query's dot product with each key."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        keys = keys[: len(queries)]
        ctx.save_for_backward(queries, keys)
        ctx.pairs = pairs
        return queries @ keys.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        queries, keys = ctx.saved_tensors
        ctx.pairs.append((gradient, queries))
        return gradient @ keys, None, None


class _Context(Function):
    """(n, k, size): the values weighted by (n, k, S) probabilities."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, values: Tensor, pairs: Pairs) -> Tensor:
        values = values[: len(probabilities)]
        ctx.save_for_backward(probabilities, values)
        ctx.pairs = pairs
        return probabilities @ values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        probabilities, values = ctx.saved_tensors
        ctx.pairs.append((probabilities, gradient))
        return gradient @ values.transpose(1, 2), None, None


class _MlpScores(Function):
    """(n, k, S): ``tanh(keys / 2 + query) @ weight`` for each query and key, plus what all keys have alike.

    That is lost in the softmax. What is computed is ``2 * sigmoid(keys + 2 * query) @ weight``, as
    tanh(x) is 2 sigmoid(2x) - 1 and takes three times as long.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, weight: Tensor, sums: list[Tensor]) -> Tensor:
        hidden = torch.add(keys[: len(queries), None], queries[:, :, None], alpha=2).sigmoid_()
        ctx.save_for_backward(hidden, weight)
        ctx.sums, ctx.shape = sums, keys.shape
        return hidden @ (2 * weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        hidden, weight = ctx.saved_tensors
        d_weight = (gradient.reshape(-1) @ hidden.view(-1, len(weight))).mul_(2)
        back = torch.ops.aten.sigmoid_backward(gradient[..., None] * (2 * weight), hidden)
        d_keys = back[:, 0] if back.shape[1] == 1 else back.sum(1)
        if not ctx.sums:
            ctx.sums.append(d_keys.new_zeros(ctx.shape))
        ctx.sums[0][: len(d_keys)].add_(d_keys)
        return back.sum(2).mul_(2), None, d_weight, None


@dataclass(slots=True)
class Source:
    """What a decoder attends to: (n, S, ...) keys and values, and what is added to scores for padding."""

    keys: Tensor
    values: Tensor
    mask: Tensor
    fixed: Tensor  # (n, 1, S) probabilities of attention that doesn't look at queries, else empty

    def select(self, sentences: Tensor, size: int) -> Source:
        """That of some of the sentences, of which none has more than ``size`` tokens."""
        return Source(
            self.keys[:, :size].index_select(0, sentences),
            self.values[:, :size].index_select(0, sentences),
            self.mask[..., :size].index_select(0, sentences),
            self.fixed[..., :size].index_select(0, sentences),
        )


class Attention(nn.Module):
    """The weights of one kind of attention. That of dot attention has none where all sizes are equal."""

    def __init__(self, kind: str, source_size: int, query_size: int, hidden: int) -> None:
        super().__init__()
        self.kind = kind
        self.source_weight = self.query_weight = self.score_weight = None
        if kind == "bilinear":
            self.source_weight = nn.Parameter(torch.empty(query_size, source_size))
        elif kind == "mlp" or (kind == "dot" and source_size != hidden):
            self.source_weight = nn.Parameter(torch.empty(hidden, source_size))
        if kind == "mlp" or (kind == "dot" and query_size != hidden):
            self.query_weight = nn.Parameter(torch.empty(hidden, query_size))
        if kind == "mlp":
            self.score_weight = nn.Parameter(torch.empty(1, hidden))

    def source(self, encoded: Tensor, lengths: Tensor) -> Source:
        """What of encoded sentences (n, S, size) is the same for all queries."""
        keys = encoded if self.source_weight is None else nn.functional.linear(encoded, self.source_weight)
        if self.kind == "mlp":
            keys = 2 * keys  # as `_MlpScores` takes them
        mask = padding(lengths, encoded.shape[1]).to(encoded.dtype)
        fixed = encoded.new_empty(len(encoded), 1, 0)
        if self.kind == "fixed":
            fixed = nn.functional.one_hot(lengths - 1, encoded.shape[1])[:, None].to(encoded.dtype)
        return Source(keys, encoded, mask, fixed)

    def on(self, source: Source) -> Attending:
        """Attention to ``source`` for a loop."""
        return Attending(self, source)


class Attending:
    """Attention in a loop: the gradients of keys, values and weights are made after its last step."""

    def __init__(self, attention: Attention, source: Source) -> None:
        self._kind, self._mask, self._fixed = attention.kind, source.mask, source.fixed
        self.sentences = len(source.values)
        self._key_pairs: Pairs = []
        self._key_sums: list[Tensor] = []
        self._value_pairs: Pairs = []
        self._keys, self._values = source.keys, source.values
        if torch.is_grad_enabled():
            self._keys = _Collect.apply(source.keys, self._key_pairs, self._key_sums)
            self._values = _Collect.apply(source.values, self._value_pairs, [])
        self._query = None if attention.query_weight is None else Deferred(attention.query_weight)
        self._score = None if attention.score_weight is None else attention.score_weight[0]

    def query(self, states: Tensor) -> Tensor:
        """Queries (rows, size) of decoder states (rows, hidden)."""
        if self._query is None:
            return states
        return linear(states.new_zeros(()).expand(len(self._query.value)), states, self._query)

    def __call__(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The context (n, k, size) and the probabilities (n, k, S) of queries (n, k, query size).

        n may be less than there are sentences: then it is the first ones that are asked about.
        """
        count = len(queries)
        if self._kind == "fixed":
            probabilities = self._fixed[:count].expand(-1, queries.shape[1], -1)
        else:
            if self._score is not None:
                scores = _MlpScores.apply(queries, self._keys, self._score, self._key_sums)
            else:
                scores = _Scores.apply(queries, self._keys, self._key_pairs)
            probabilities = torch.softmax(scores + self._mask[:count], 2)
        return _Context.apply(probabilities, self._values, self._value_pairs), probabilities
