"""The neural topic model: a variational autoencoder over bags of words.

A document ``x`` of word counts goes through layers with an activation, then two linear maps give the mean
and the logarithm of the deviation of a normal distribution over ``h``. Its softmax ``z`` says how the
document mixes the topics, and ``softmax(W z + b)`` is the probability of each word. What is minimised is the
mean over documents of

    (- sum_w x_w log softmax(W z + b)_w  +  KL(N(mean, deviation^2) || N(0, 1))) / sum_w x_w,

the bound on the logarithm of the perplexity a word. Miao, Yu and Blunsom: Neural Variational Inference for
Text Processing (2016, arXiv 1511.06038), and with the softmax: Discovering Discrete Latent Topics with
Neural Variational Inference (2017, arXiv 1706.00359). Layers and loss as in Ding, Nallapati and Xiang:
Coherence-Aware Neural Topic Modeling (2018, arXiv 1809.02687).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from containers.ntm import kernels

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
# By what factor Glorot's deviations keep signals through an activation as large as they came.
_GAINS = {"sigmoid": 4.0, "tanh": 5 / 3, "relu": 2**0.5}
# Deviation of the first projection weights, so that topics differ from the start.
_PROJECTION = 0.3
# From this share of words that occur on, a dense product is faster than sums of rows.
_DENSE = 0.1


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents on one device, none of them without words.

    Document ``i`` holds ``counts[j]`` of word ``words[j]`` for ``j`` from ``starts[i]`` to ``starts[i + 1]``.
    """

    words: Tensor  # (entries,) int64
    counts: Tensor  # (entries,) float32, at least 0
    starts: Tensor  # (documents + 1,) int64
    noise: Tensor  # (documents, topics) float32, standard normal

    def __len__(self) -> int:
        return len(self.noise)


class Network(nn.Module):
    """Encoder and decoder. ``layers`` are the sizes of the encoder's layers, ``activation`` theirs."""

    def __init__(
        self,
        vocabulary: int,
        topics: int,
        layers: Sequence[int],
        activation: str,
        *,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.activation = activation
        # The decoder learns on ``scale z``, whose entries are near 1 however many topics there are. On ``z``
        # its gradients would be so small that the divergence wins first, and all documents have one mixture.
        self.scale = float(topics)
        # A row a word, so that those of a document's words can be added up.
        self.word_weight = nn.Parameter(torch.empty(vocabulary, layers[0]))
        self.word_bias = nn.Parameter(torch.zeros(layers[0]))
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in itertools.pairwise(layers))
        self.norms = nn.ModuleList(_Normalisation(size) for size in layers if batch_norm)
        self.mean = nn.Linear(layers[-1], topics)
        self.log_deviation = nn.Linear(layers[-1], topics)
        self.projection = nn.Linear(topics, vocabulary)
        self._start()

    def _start(self) -> None:
        gain = _GAINS[self.activation]
        nn.init.xavier_uniform_(self.word_weight, gain)
        for layer in [*self.layers, self.mean, self.log_deviation, self.projection]:
            nn.init.zeros_(layer.bias)
        for layer in [*self.layers, self.mean]:
            nn.init.xavier_uniform_(layer.weight, gain)
        nn.init.xavier_uniform_(self.log_deviation.weight)
        nn.init.normal_(self.projection.weight, std=_PROJECTION / self.scale)

    def encode(self, documents: Documents) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the deviation of ``h``: each (documents, topics)."""
        hidden = _FirstLayer.apply(self.word_weight, self, documents) + self.word_bias
        for index in range(len(self.layers) + 1):
            if index:
                hidden = self.layers[index - 1](hidden)
            if self.norms:
                hidden = self.norms[index](hidden)
            hidden = ACTIVATIONS[self.activation](hidden)
        return self.mean(hidden), self.log_deviation(hidden)

    def losses(self, documents: Documents) -> Tensor:
        """Sums over documents: total loss, KL divergence, reconstruction loss, and how many documents.

        Losses are a document's, divided by its words. The noise of ``documents`` makes the sample of ``h``.
        """
        rows = torch.repeat_interleave(
            torch.arange(len(documents), device=documents.noise.device),
            documents.starts.diff(),
            output_size=len(documents.words),
        )
        lengths = documents.counts.new_zeros(len(documents)).index_add_(0, rows, documents.counts)
        shares = documents.counts / lengths[rows]
        mean, log_deviation = self.encode(documents)
        deviation = log_deviation.exp()
        mixtures = torch.softmax(torch.addcmul(mean, deviation, documents.noise), 1) * self.scale
        divergence = (mean.square() + deviation.square() - 1).sum(1) / 2 - log_deviation.sum(1)
        kld = (divergence / lengths).sum()
        recons = _Reconstruction.apply(mixtures, self, documents.words, shares, rows)
        return torch.stack([kld + recons, kld, recons, kld.new_tensor(len(documents))])


class _Normalisation(nn.BatchNorm1d):
    """Batch normalisation with MXNet's numbers; a single document, which has no spread, is no batch."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=1e-3, momentum=0.1)

    def forward(self, input: Tensor) -> Tensor:
        training = self.training and len(input) > 1
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training, 0.1, self.eps
        )


class _FirstLayer(torch.autograd.Function):
    """The sums of the words' weights times their counts: (documents, columns).

    Adds the gradient to ``network.word_weight.grad``, which must be there: only the rows of words that occur
    are touched, in a matrix that is large.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, network: Network, documents: Documents) -> Tensor:
        ctx.network, ctx.documents = network, documents
        cells = len(documents) * len(weight)
        ctx.dense = _densely(documents, len(weight)) if len(documents.words) > _DENSE * cells else None
        if ctx.dense is not None:
            return ctx.dense @ weight
        return functional.embedding_bag(
            documents.words,
            weight,
            documents.starts,
            mode="sum",
            per_sample_weights=documents.counts,
            include_last_offset=True,
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        (slopes,) = gradients
        out = ctx.network.word_weight.grad
        documents: Documents = ctx.documents
        if ctx.dense is not None:
            out.addmm_(ctx.dense.t(), slopes)
        elif slopes.device.type == "cpu":
            kernels.scatter(
                documents.words.numpy(),
                documents.counts.numpy(),
                documents.starts.numpy(),
                slopes.contiguous().numpy(),
                out.numpy(),
            )
        else:
            rows = slopes.repeat_interleave(documents.starts.diff(), 0, output_size=len(documents.words))
            out.index_add_(0, documents.words, rows * documents.counts[:, None])
        return None, None, None


def _densely(documents: Documents, vocabulary: int) -> Tensor:
    rows = torch.arange(len(documents), device=documents.noise.device).repeat_interleave(
        documents.starts.diff(), output_size=len(documents.words)
    )
    matrix = documents.counts.new_zeros(len(documents) * vocabulary)
    return matrix.index_add_(0, rows * vocabulary + documents.words, documents.counts).view(-1, vocabulary)


class _Reconstruction(torch.autograd.Function):
    """``- sum of share times log softmax(W z + b)`` over all entries: one number.

    ``shares`` of a document add up to 1, so the gradient by ``W z + b`` is its softmax less the shares. It
    takes the place of the softmax, and the gradients by W and b are added where ``network`` keeps them:
    nothing of the vocabulary's width is made twice.
    """

    @staticmethod
    def forward(
        ctx: Any, mixtures: Tensor, network: Network, words: Tensor, shares: Tensor, rows: Tensor
    ) -> Tensor:
        weight, bias = network.projection.weight, network.projection.bias
        chances = torch.softmax(torch.addmm(bias, mixtures, weight.t()), 1)
        places = rows * len(weight) + words
        ctx.network, ctx.chances, ctx.places, ctx.shares = network, chances, places, shares
        ctx.save_for_backward(mixtures)
        logs = chances.view(-1)[places].clamp_min_(torch.finfo(chances.dtype).tiny).log_()
        return -torch.dot(logs, shares)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (scale,) = gradients
        (mixtures,) = ctx.saved_tensors
        projection = ctx.network.projection
        slopes = ctx.chances
        slopes.view(-1).index_add_(0, ctx.places, ctx.shares, alpha=-1)
        projection.weight.grad.addmm_(slopes.t(), mixtures * scale)
        projection.bias.grad.add_(slopes.sum(0) * scale)
        return (slopes @ projection.weight).mul_(scale), None, None, None, None
