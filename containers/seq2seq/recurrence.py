"""Steps of recurrent cells for loops that go through time one step after the other.

Automatic differentiation would make a gradient of every weight at every step and add them up: as many passes
over memory as there are steps. Here a step only keeps what it saw and what flowed back, and one product after
the last step makes the gradient of all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

Pairs = list[tuple[Tensor, Tensor]]


class Deferred:
    """A matrix (outputs, inputs) that each step of a loop multiplies by; steps are given ``value``."""

    def __init__(self, weight: Tensor) -> None:
        self.pairs: Pairs = []
        self.value: Tensor = _Collect.apply(weight, self.pairs) if weight.requires_grad else weight


class _Collect(Function):
    """The weight as it is; its gradient is made of all pairs of (gradient of outputs, inputs)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, pairs: Pairs) -> Tensor:
        ctx.pairs = pairs
        ctx.set_materialize_grads(False)  # steps return nothing for the weight
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, _: Tensor | None) -> tuple[Tensor | None, None]:
        if not ctx.pairs:
            return None, None
        gradients, inputs = zip(*ctx.pairs, strict=True)
        ctx.pairs.clear()
        return torch.cat(gradients).t() @ torch.cat(inputs), None


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, bias: Tensor, inputs: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.pairs, ctx.wide = pairs, bias.dim() == 2
        return torch.addmm(bias, inputs, weight.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        inputs, weight = ctx.saved_tensors
        ctx.pairs.append((gradient, inputs))
        return (gradient if ctx.wide else gradient.sum(0)), gradient @ weight, None, None


def linear(bias: Tensor, inputs: Tensor, weight: Deferred) -> Tensor:
    """``inputs @ weight.T + bias``: inputs (rows, inputs), bias (outputs,) or (rows, outputs)."""
    output: Tensor = _Linear.apply(bias, inputs, weight.value, weight.pairs)
    return output


class _Lstm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        base: Tensor,
        inputs: Tensor,
        hidden: Tensor,
        memory: Tensor,
        of: Tensor,
        oh: Tensor,
        pairs: Any,
    ) -> tuple[Tensor, Tensor]:
        gates = torch.addmm(base, inputs, of.t()).addmm_(hidden, oh.t())
        size = memory.shape[1]
        gates[:, : 2 * size].sigmoid_()
        gates[:, 2 * size : 3 * size].tanh_()
        gates[:, 3 * size :].sigmoid_()
        admit, keep, new, show = gates.chunk(4, 1)
        after = torch.addcmul(keep * memory, admit, new)
        squashed = after.tanh()
        ctx.save_for_backward(inputs, hidden, memory, of, oh, gates, squashed)
        ctx.pairs = pairs
        return show * squashed, after

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        inputs, hidden, memory, of, oh, gates, squashed = ctx.saved_tensors
        admit, keep, new, show = gates.chunk(4, 1)
        d_memory = torch.ops.aten.tanh_backward(d_output * show, squashed).add_(d_after)
        back = torch.empty_like(gates)
        d_admit, d_keep, d_new, d_show = back.chunk(4, 1)
        torch.mul(d_memory, new, out=d_admit)
        torch.mul(d_memory, memory, out=d_keep)
        torch.mul(d_memory, admit, out=d_new)
        torch.mul(d_output, squashed, out=d_show)
        size = memory.shape[1]
        for part in (slice(0, 2 * size), slice(3 * size, 4 * size)):
            back[:, part] = torch.ops.aten.sigmoid_backward(back[:, part], gates[:, part])
        d_new.copy_(torch.ops.aten.tanh_backward(d_new, new))
        ctx.pairs[0].append((back, inputs))
        ctx.pairs[1].append((back, hidden))
        return back, back @ of, back @ oh, d_memory.mul_(keep), None, None, None


class _Gru(Function):
    @staticmethod
    def forward(
        ctx: Any,
        base: Tensor,
        bias: Tensor,
        inputs: Tensor,
        hidden: Tensor,
        of: Tensor,
        oh: Tensor,
        pairs: Any,
    ) -> Tensor:
        size = hidden.shape[1]
        gates = torch.addmm(base, inputs, of.t())
        inner = torch.addmm(bias, hidden, oh.t())
        gates[:, : 2 * size].add_(inner[:, : 2 * size]).sigmoid_()
        reset, keep, new = gates.chunk(3, 1)
        new.addcmul_(reset, inner[:, 2 * size :]).tanh_()
        ctx.save_for_backward(inputs, hidden, of, oh, gates, inner[:, 2 * size :].clone())
        ctx.pairs = pairs
        return torch.lerp(new, hidden, keep)

    @staticmethod
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor | None, ...]:
        inputs, hidden, of, oh, gates, inner = ctx.saved_tensors
        reset, keep, new = gates.chunk(3, 1)
        size = hidden.shape[1]
        back = torch.empty_like(gates)
        back[:, 2 * size :] = torch.ops.aten.tanh_backward(d_output * (1 - keep), new)
        back[:, size : 2 * size] = d_output * (hidden - new)
        back[:, :size] = back[:, 2 * size :] * inner
        back[:, : 2 * size] = torch.ops.aten.sigmoid_backward(back[:, : 2 * size], gates[:, : 2 * size])
        recurrent = back.clone()
        recurrent[:, 2 * size :] *= reset
        ctx.pairs[0].append((back, inputs))
        ctx.pairs[1].append((recurrent, hidden))
        d_hidden = (recurrent @ oh).addcmul_(d_output, keep)
        return back, recurrent.sum(0), back @ of, d_hidden, None, None, None


GATES = {"lstm": 4, "gru": 3}


class Cell(nn.Module):
    """The weights of an LSTM's or a GRU's cell, with two biases, named and stacked as torch's own.

    Gates are stacked as input, forget, new, output, or as reset, update, new.
    """

    def __init__(self, kind: str, inputs: int, hidden: int) -> None:
        super().__init__()
        self.kind = kind
        rows = GATES[kind] * hidden
        self.weight_ih = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))

    def begin(self, skipped: int = 0) -> Steps:
        """The cell for a loop. The first ``skipped`` inputs come in as the steps' ``base`` (see `before`)."""
        return Steps(self, skipped)

    def before(self, inputs: Tensor) -> Tensor:
        """What the cell's first inputs, (..., size) for any number of steps, give to its gates."""
        bias = self.bias_ih if self.kind == "gru" else self.bias_ih + self.bias_hh
        return nn.functional.linear(inputs, self.weight_ih[:, : inputs.shape[-1]], bias)


class Steps:
    """A cell in a loop."""

    def __init__(self, cell: Cell, skipped: int) -> None:
        self._kind = cell.kind
        self._of, self._oh = Deferred(cell.weight_ih[:, skipped:]), Deferred(cell.weight_hh)
        self._pairs = (self._of.pairs, self._oh.pairs)
        self._inner = cell.bias_hh
        self._base = cell.bias_ih if self._kind == "gru" else cell.bias_ih + cell.bias_hh

    def __call__(
        self, base: Tensor | None, inputs: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output (rows, hidden) and the next state for inputs (rows, size) and a state of such tensors.

        ``base`` is (rows, gates) from `Cell.before`.
        """
        if base is None:
            base = self._base.expand(len(inputs), -1)
        of, oh = self._of.value, self._oh.value
        if self._kind == "gru":
            output: Tensor = _Gru.apply(base, self._inner, inputs, state[0], of, oh, self._pairs)
            return output, (output,)
        output, memory = _Lstm.apply(base, inputs, *state, of, oh, self._pairs)
        return output, (output, memory)
