"""Differentiable operations on sequences of different lengths that lie one after the other, unpadded.

Every value here is the CPU's or all are a GPU's. On the CPU kernels of ours do what goes row by row;
elsewhere torch does the same by indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from containers.object2vec import kernels


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences of tokens on one device, none of them empty.

    ``vectors[tokens[j]]`` is the embedding of token ``j``; sequence ``i`` has the tokens from ``starts[i]``
    to ``starts[i + 1]``.
    """

    vectors: Tensor  # (different tokens, dimension) float32
    tokens: Tensor  # (tokens,) int64
    starts: Tensor  # (sequences + 1,) int64
    lengths: NDArray[np.int64]  # (sequences,), in the CPU's memory

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def lone(self) -> bool:
        """Whether every sequence is a single token."""
        return len(self.tokens) == len(self)

    @property
    def owners(self) -> Tensor:
        """(tokens,): the sequence that each token belongs to."""
        return torch.arange(len(self), device=self.starts.device).repeat_interleave(
            self.starts.diff(), output_size=len(self.tokens)
        )


def _native(values: Tensor) -> bool:
    return values.device.type == "cpu"


def looked_up(vectors: Tensor, rows: Tensor) -> Tensor:
    """``vectors[rows]``, (rows, columns)."""
    found: Tensor = _LookUp.apply(vectors, rows) if _native(vectors) else vectors[rows]
    return found


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, rows: Tensor) -> Tensor:
        ctx.rows, ctx.shape = rows, vectors.shape
        out = vectors.new_empty(len(rows), vectors.shape[1])
        kernels.gathered(vectors.detach().contiguous().numpy(), rows.numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        out = slopes[0].new_zeros(ctx.shape)
        kernels.scattered(slopes[0].contiguous().numpy(), ctx.rows.numpy(), out.numpy())
        return out, None


def means(vectors: Tensor, sequences: Sequences) -> Tensor:
    """The mean over each sequence of the rows of ``vectors`` that its tokens stand for."""
    if sequences.lone:
        return looked_up(vectors, sequences.tokens)
    return functional.embedding_bag(
        sequences.tokens, vectors, sequences.starts, mode="mean", include_last_offset=True
    )


def windows(values: Tensor, sequences: Sequences, width: int) -> Tensor:
    """The ``width`` rows round each token's row side by side, zeros beyond its sequence.

    (tokens, columns) to (tokens, width x columns): a convolution is a matrix product with these.
    """
    if width == 1:
        return values
    if _native(values):
        found: Tensor = _Windows.apply(values, sequences.starts, width)
        return found
    places = torch.arange(len(values), device=values.device)[:, None] + (
        torch.arange(width, device=values.device) - (width - 1) // 2
    )
    owners = sequences.owners
    first, stop = sequences.starts[owners][:, None], sequences.starts[owners + 1][:, None]
    # Row len(values) is one of zeros.
    places = torch.where((places >= first) & (places < stop), places, len(values))
    return functional.pad(values, (0, 0, 0, 1))[places].view(len(values), -1)


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, starts: Tensor, width: int) -> Tensor:
        ctx.starts, ctx.width = starts, width
        out = values.new_empty(len(values), width * values.shape[1])
        kernels.windows(values.detach().contiguous().numpy(), starts.numpy(), width, out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        (given,) = slopes
        out = given.new_zeros(len(given), given.shape[1] // ctx.width)
        kernels.unwindow(given.contiguous().numpy(), ctx.starts.numpy(), ctx.width, out.numpy())
        return out, None, None


def peaks(values: Tensor, sequences: Sequences) -> Tensor:
    """The largest value of each column within each sequence: (tokens, columns) to (sequences, columns)."""
    if sequences.lone:
        return values
    if _native(values):
        found: Tensor = _Peaks.apply(values, sequences.starts)
        return found
    out = values.new_zeros(len(sequences), values.shape[1])
    owners = sequences.owners[:, None].expand_as(values)
    return out.scatter_reduce(0, owners, values, "amax", include_self=False)


class _Peaks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, starts: Tensor) -> Tensor:
        out = values.new_empty(len(starts) - 1, values.shape[1])
        ctx.where = np.empty(tuple(out.shape), np.int32)
        ctx.rows = len(values)
        kernels.peaks(values.detach().contiguous().numpy(), starts.numpy(), out.numpy(), ctx.where)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        out = slopes[0].new_zeros(ctx.rows, slopes[0].shape[1])
        kernels.unpeak(slopes[0].contiguous().numpy(), ctx.where, out.numpy())
        return out, None


class Dense(nn.Linear):
    """A linear layer that adds its gradients where they are kept, if there is such a place already.

    A large matrix then is made once in a step, and not made, added and thrown away.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(rows, inputs) to (rows, outputs)."""
        if self.weight.grad is None or self.bias.grad is None:
            return super().forward(input)
        found: Tensor = _Dense.apply(input, self.weight, self.bias)
        return found


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: nn.Parameter, bias: nn.Parameter) -> Tensor:
        ctx.save_for_backward(values)
        ctx.weight, ctx.bias = weight, bias
        return torch.addmm(bias, values, weight.t())

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, None, None]:
        (values,), (given,) = ctx.saved_tensors, slopes
        ctx.weight.grad.addmm_(given.t(), values)
        ctx.bias.grad.add_(given.sum(0))
        return given @ ctx.weight if ctx.needs_input_grad[0] else None, None, None
