"""LSTM layers with zoneout, unrolled over all steps of a window at once.

What a layer makes of its input is one matrix product over all steps; only what it makes of its own state goes
step by step. On the CPU a step is a matrix product and one pass of machine code, forwards and backwards.

Zoneout: Krueger and others, 2016 (arXiv:1606.01305): while training, random values of the cells and of what
they put out stay as they were a step before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from containers.deepar import kernels


def unrolled(sums: Tensor, recurrent: Tensor, held: Tensor) -> Tensor:
    """What a layer puts out at each step, (steps, rows, cells).

    ``sums`` (steps, rows, 4 cells) are what input and bias add to the input, forget, new and output gates,
    and may be overwritten; ``recurrent`` is (4 cells, cells). ``held`` (steps, rows, cells), uint8, has the
    bits `kernels.HELD_OUTPUT` and `kernels.HELD_CELL` where values stay.
    """
    if sums.device.type == "cpu":
        found: Tensor = _Native.apply(sums, recurrent, held)
        return found
    return by_torch(sums, recurrent, held)


def by_torch(sums: Tensor, recurrent: Tensor, held: Tensor) -> Tensor:
    """The same by torch's own operations, on any device."""
    hidden = cell = sums.new_zeros(sums.shape[1], recurrent.shape[1])
    keeps_output, keeps_cell = (held & kernels.HELD_OUTPUT) > 0, (held & kernels.HELD_CELL) > 0
    out = []
    for step in range(len(sums)):
        enter, forget, new, leave = (sums[step] + hidden @ recurrent.t()).chunk(4, 1)
        value = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        shown = leave.sigmoid() * value.tanh()
        hidden = torch.where(keeps_output[step], hidden, shown)
        cell = torch.where(keeps_cell[step], cell, value)
        out.append(hidden)
    return torch.stack(out)


class _Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, recurrent: Tensor, held: Tensor) -> Tensor:
        steps, rows, _ = sums.shape
        count = recurrent.shape[1]
        # What computed the sums doesn't need them for its gradient: they become the gates where they are.
        gates = sums.detach()
        cells, hidden = torch.empty(2, steps + 1, rows, count).unbind(0)
        cells[0] = hidden[0] = 0
        arrays = (gates.numpy(), cells.numpy(), hidden.numpy(), held.numpy())
        by_step, states, weight = gates.unbind(0), hidden.unbind(0), recurrent.detach().t()
        for step in range(steps):
            if step:
                by_step[step].addmm_(states[step], weight)
            kernels.forward(*arrays, step)
        ctx.kept = (gates, cells, hidden, held, recurrent.detach())
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        gates, cells, hidden, held, recurrent = ctx.kept
        steps = len(gates)
        to_hidden, to_cell = torch.zeros(2, *cells.shape[1:]).unbind(0)
        arrays = (gates.numpy(), cells.numpy(), held.numpy(), np.ascontiguousarray(slopes[0].numpy()))
        carried = (to_hidden.numpy(), to_cell.numpy())
        by_step = gates.unbind(0)
        for step in reversed(range(steps)):
            kernels.backward(*arrays, *carried, step)
            if step:
                to_hidden.addmm_(by_step[step], recurrent)
        # At the first step there was no state.
        return gates, gates[1:].flatten(0, 1).t() @ hidden[1:-1].flatten(0, 1), None
