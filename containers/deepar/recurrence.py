"""LSTM layers with zoneout, unrolled over all steps of a window, forwards and backwards.

On the CPU a step of a layer is one matrix product of its input and its state, and one pass of machine code
over what that gave, which is still in the cache. Windows are columns, so that a gate's values lie together.

Zoneout: Krueger and others, 2016 (arXiv:1606.01305): while training, random values of the cells and of what
they put out stay as they were a step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from containers.deepar import kernels


class Memory:
    """What layers of ``cells`` need for inputs of a ``shape`` (steps, width, windows).

    A network uses it for one batch after the other: what would be asked of the system for each takes as long
    as computing with it.
    """

    def __init__(self, shape: tuple[int, ...], cells: int, layers: int) -> None:
        self.shape = shape
        steps, width, windows = shape
        widths = [width] + [cells] * (layers - 1)
        self.inputs = [torch.zeros(steps + 1, wide + cells, windows) for wide in widths]
        self.top = torch.empty(steps, cells, windows)
        self.cells = [torch.zeros(steps + 1, cells, windows) for _ in widths]
        self.gates = [torch.empty(steps, 4 * cells, windows) for _ in widths]
        self.held = [torch.empty(steps, cells, windows, dtype=torch.uint8) for _ in widths]


def native(inputs: Tensor, bases: Sequence[Tensor], weights: Sequence[Tensor], memory: Memory) -> Tensor:
    """What the last layer puts out, (steps, cells, windows), by machine code for the CPU.

    ``inputs`` are (steps, width, windows). Of each layer ``bases`` (4 cells, windows) are what is added to
    the sums of its input, forget, new and output gates at every step, and ``weights`` (4 cells, below +
    cells) what its input and its own output are multiplied with. ``memory.held`` has the bits
    `kernels.HELD_OUTPUT` and `kernels.HELD_CELL` where values stay. The result lies in ``memory`` too.
    """
    memory.inputs[0][:-1, : inputs.shape[1]] = inputs
    found: Tensor = _Native.apply(memory, *bases, *weights)
    return found


def by_torch(
    inputs: Tensor, bases: Sequence[Tensor], weights: Sequence[Tensor], held: Sequence[Tensor]
) -> Tensor:
    """The same by torch's own operations, on any device."""
    out = list(inputs.unbind(0))
    for base, weight, kept in zip(bases, weights, held, strict=True):
        hidden = cell = inputs.new_zeros(len(base) // 4, base.shape[1])
        keeps_output, keeps_cell = (kept & kernels.HELD_OUTPUT) > 0, (kept & kernels.HELD_CELL) > 0
        for step, below in enumerate(out):
            enter, forget, new, leave = (weight @ torch.cat([below, hidden]) + base).chunk(4)
            value = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            shown = leave.sigmoid() * value.tanh()
            out[step] = hidden = torch.where(keeps_output[step], hidden, shown)
            cell = torch.where(keeps_cell[step], cell, value)
    return torch.stack(out)


class _Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, memory: Memory, *tensors: Tensor) -> Tensor:
        layers = len(memory.gates)
        bases = [base.detach().contiguous() for base in tensors[:layers]]
        weights = [weight.detach() for weight in tensors[layers:]]
        ctx.memory, ctx.weights = memory, weights
        above = [*memory.inputs[1:], memory.top]
        arrays: list[Any] = [
            tuple(tensor.numpy() for tensor in (gates, base, *others))
            for gates, base, *others in zip(
                memory.gates, bases, memory.cells, memory.inputs, above, memory.held, strict=True
            )
        ]
        by_step = [
            (gates.unbind(0), below.unbind(0))
            for gates, below in zip(memory.gates, memory.inputs, strict=True)
        ]
        for step in range(memory.shape[0]):
            for (gates, below), weight, kernel in zip(by_step, weights, arrays, strict=True):
                torch.mm(weight, below[step], out=gates[step])
                kernels.forward(step, *kernel)
        return memory.top.view_as(memory.top)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        memory, weights = ctx.memory, ctx.weights
        layers, outer = len(weights), slopes[0].contiguous()
        shape = memory.top.shape[1:]
        hidden, cell = ([torch.zeros(shape) for _ in weights] for _ in range(2))
        to_bases = [torch.zeros_like(gates[0]) for gates in memory.gates]
        to_weights = [torch.zeros_like(weight) for weight in weights]
        cells = shape[0]
        to_inputs = torch.empty(2 * cells, shape[1])
        to_below, to_own = to_inputs[:cells], to_inputs[cells:]
        turned = [
            weights[0][:, -cells:].t().contiguous(),
            *(weight.t().contiguous() for weight in weights[1:]),
        ]
        gates = [tensor.unbind(0) for tensor in memory.gates]
        inputs = [tensor.transpose(1, 2).unbind(0) for tensor in memory.inputs]
        arrays: list[Any] = [
            tuple(tensor.numpy() for tensor in tensors)
            for tensors in zip(memory.gates, memory.cells, memory.held, hidden, cell, to_bases, strict=True)
        ]
        slope, below = outer.numpy(), to_below.numpy()
        for step in reversed(range(memory.shape[0])):
            for layer in reversed(range(layers)):
                shown = slope[step] if layer == layers - 1 else below
                kernels.backward(step, shown, *arrays[layer])
                sums = gates[layer][step]
                to_weights[layer].addmm_(sums, inputs[layer][step])
                if layer:
                    torch.mm(turned[layer], sums, out=to_inputs)
                    hidden[layer].add_(to_own)
                else:
                    hidden[0].addmm_(turned[0], sums)
        return None, *to_bases, *to_weights
