"""Machine code for the CPU: windows of series, and a step of the recurrent cells in one pass over memory."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64
from common.compiled import compiled

_fast = functools.partial(compiled, fastmath=("reassoc", "contract", "nsz", "arcp"))

Bytes = NDArray[np.uint8]

HELD_OUTPUT, HELD_CELL = 1, 2  # bits of zoneout's choices

# tanh(x) = x p(x^2) / q(x^2) up to 8, where a 32-bit float has no room left below 1: the rational function of
# least relative error, 2e-8, found by least squares with weights that rise where the error is largest.
_END = np.float32(8)
_P0, _P1, _P2 = np.float32(9.99999981e-01), np.float32(1.29792228e-01), np.float32(2.98586133e-03)
_P3, _P4, _P5 = np.float32(9.87865557e-06), np.float32(-1.47042102e-08), np.float32(2.35085893e-11)
_Q0, _Q1, _Q2, _Q3 = (
    np.float32(1),
    np.float32(4.63125388e-01),
    np.float32(2.40279220e-02),
    np.float32(2.37203158e-04),
)
_HALF, _ONE = np.float32(0.5), np.float32(1)


@_fast
def _tanh(x: Any) -> Any:
    x = min(max(x, -_END), _END)
    u = x * x
    p = _P0 + u * (_P1 + u * (_P2 + u * (_P3 + u * (_P4 + u * _P5))))
    return x * p / (_Q0 + u * (_Q1 + u * (_Q2 + u * _Q3)))


@_fast
def _activate(gates: Float32, cells: int) -> None:
    """What the gates (input, forget, new, output; ``cells`` of each) are of their sums, in place."""
    # One loop for each kind: the compiler makes vector code of these, not of one that mixes them.
    for j in range(2 * cells):
        gates[j] = _HALF * _tanh(_HALF * gates[j]) + _HALF
    for j in range(2 * cells, 3 * cells):
        gates[j] = _tanh(gates[j])
    for j in range(3 * cells, 4 * cells):
        gates[j] = _HALF * _tanh(_HALF * gates[j]) + _HALF


@_fast
def forward(gates: Float32, cells: Float32, hidden: Float32, held: Bytes, step: int) -> None:
    """A step of a layer, in training.

    ``gates`` is (steps, rows, 4 cells), the sums, which become what the gates let through. ``cells`` and
    ``hidden`` are (steps + 1, rows, cells), of which ``step + 1`` is written. ``held`` (steps, rows, cells)
    says which values stay as they were (zoneout).
    """
    count = cells.shape[2]
    for row in range(gates.shape[1]):
        gate, keep = gates[step, row], held[step, row]
        old_cell, old_hidden = cells[step, row], hidden[step, row]
        cell, out = cells[step + 1, row], hidden[step + 1, row]
        _activate(gate, count)
        enter, forget = gate[:count], gate[count : 2 * count]
        new, leave = gate[2 * count : 3 * count], gate[3 * count :]
        for j in range(count):
            value = forget[j] * old_cell[j] + enter[j] * new[j]
            shown = leave[j] * _tanh(value)
            cell[j] = old_cell[j] if keep[j] & HELD_CELL else value
            out[j] = old_hidden[j] if keep[j] & HELD_OUTPUT else shown


@_fast
def backward(
    gates: Float32, cells: Float32, held: Bytes, slope: Float32, hidden: Float32, cell: Float32, step: int
) -> None:
    """The same step's gradients.

    ``gates`` at ``step`` becomes the gradient of the sums. ``slope`` (steps, rows, cells) is the gradient of
    what the layer put out. ``hidden`` and ``cell`` (rows, cells) are the gradients of the state behind the
    step, from later ones, and become those of the state before it, but for the part through the sums.
    """
    count = cells.shape[2]
    for row in range(gates.shape[1]):
        gate, keep, outer = gates[step, row], held[step, row], slope[step, row]
        old, to_hidden, to_cell = cells[step, row], hidden[row], cell[row]
        enter, forget = gate[:count], gate[count : 2 * count]
        new, leave = gate[2 * count : 3 * count], gate[3 * count :]
        for j in range(count):
            i, f, g, o = enter[j], forget[j], new[j], leave[j]
            bent = _tanh(f * old[j] + i * g)
            both, later = to_hidden[j] + outer[j], to_cell[j]
            shown = np.float32(0) if keep[j] & HELD_OUTPUT else both
            stored = np.float32(0) if keep[j] & HELD_CELL else later
            within = stored + shown * o * (_ONE - bent * bent)
            to_hidden[j] = both - shown
            to_cell[j] = later - stored + within * f
            enter[j] = within * g * i * (_ONE - i)
            forget[j] = within * old[j] * f * (_ONE - f)
            new[j] = within * i * (_ONE - g * g)
            leave[j] = shown * bent * o * (_ONE - o)


@_fast
def advance(
    gates: Float32,
    base: Float32,
    repeat: int,
    cells: Float32,
    inputs: Float32,
    above: Float32,
    zoneout: float,
) -> None:
    """A step of a layer, in forecasts.

    ``gates`` (rows, 4 cells) and ``base``, of which row ``i // repeat`` belongs to row ``i``, add up to the
    sums. ``cells`` (rows, cells) and the first columns of ``inputs`` hold the state and become the next;
    what the layer puts out also becomes the last columns of ``above``. ``zoneout`` is the share of the old
    state that stays: what its random choices come to on average.
    """
    count = cells.shape[1]
    past = above.shape[1] - count
    keep = np.float32(zoneout)
    take = _ONE - keep
    for row in range(len(gates)):
        gate, more, cell = gates[row], base[row // repeat], cells[row]
        state, out = inputs[row, :count], above[row, past:]
        for j in range(4 * count):
            gate[j] += more[j]
        _activate(gate, count)
        enter, forget = gate[:count], gate[count : 2 * count]
        new, leave = gate[2 * count : 3 * count], gate[3 * count :]
        for j in range(count):
            value = forget[j] * cell[j] + enter[j] * new[j]
            shown = keep * state[j] + take * leave[j] * _tanh(value)
            cell[j] = keep * cell[j] + take * value
            state[j] = shown
            out[j] = shown


@compiled
def choose(seed: int, rate: float, held: Bytes) -> None:
    """Zoneout's choices, each of which holds a value with probability ``rate``: (n,) bits of both kinds.

    They are the halves of a hash of ``seed`` and the place: murmur3's finalizer, by Austin Appleby.
    """
    bound = np.uint32(rate * 65536)
    start = np.uint32(seed)
    for at in range(len(held)):
        x = np.uint32(np.uint32(at) * np.uint32(0x9E3779B9)) ^ start
        x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        x = np.uint32((x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        x = np.uint32(x ^ (x >> np.uint32(16)))
        output = np.uint8((x & np.uint32(0xFFFF)) < bound)
        cell = np.uint8((x >> np.uint32(16)) < bound)
        held[at] = output | (cell << np.uint8(1))


@compiled
def scales(
    values: Float32,
    observed: Bytes,
    offsets: Int64,
    rows: Int64,
    at: Int64,
    context: int,
    otherwise: float,
    out: Float32,
) -> None:
    """The mean absolute value of what is observed of the ``context`` points before point ``at`` of a series.

    Where that is nothing or 0 it is that of all points before, and where that is nothing or 0 ``otherwise``.
    """
    for window in range(len(rows)):
        first = offsets[rows[window]]
        stop = first + at[window]
        scale = 0.0
        for start in (max(first, stop - context), first):
            total, count = 0.0, 0
            for place in range(start, stop):
                if observed[place]:
                    total += abs(values[place])
                    count += 1
            if total > 0:
                scale = total / count
                break
        out[window] = scale if scale > 0 else otherwise


@compiled
def gather(
    values: Float32,
    observed: Bytes,
    offsets: Int64,
    calendar: Float32,
    calendar_at: Int64,
    dynamic: Float32,
    dynamic_at: Int64,
    lags: Int64,
    rows: Int64,
    at: Int64,
    context: int,
    scale: Float32,
    inputs: Float32,
    targets: Float32,
    weights: Float32,
) -> None:
    """Windows of series ``rows`` whose forecasts begin at point ``at``, a column of all arrays each.

    ``inputs`` (steps, windows, features) get at each step the target at each of ``lags`` steps before, over
    its scale, 0 beyond the series; the calendar, the logarithm of the series' age, and the dynamic features.
    ``targets`` (steps, windows) get the target over its scale, and ``weights`` 1 where that is observed.
    ``values`` of a series are ``offsets[row]`` to ``offsets[row + 1]``; its calendar begins ``context`` steps
    before it at row ``calendar_at``, its dynamic features with it at row ``dynamic_at``.
    """
    steps, looks, wide = len(inputs), len(lags), calendar.shape[1]
    tail = looks + wide
    for window in range(len(rows)):
        row = rows[window]
        first, length = offsets[row], offsets[row + 1] - offsets[row]
        known = dynamic_at[row + 1] - dynamic_at[row]
        factor = np.float32(1) / scale[window]
        for step in range(steps):
            point = at[window] - context + step
            cells = inputs[step, window]
            for look in range(looks):
                past = point - lags[look]
                cells[look] = values[first + past] * factor if 0 <= past < length else np.float32(0)
            place = calendar_at[row] + context + point
            for column in range(wide):
                cells[looks + column] = calendar[place, column]
            cells[tail] = np.log10(np.float32(2 + max(point, 0)))
            for column in range(dynamic.shape[1]):
                cells[tail + 1 + column] = (
                    dynamic[dynamic_at[row] + point, column] if 0 <= point < known else np.float32(0)
                )
            inside = 0 <= point < length
            targets[step, window] = values[first + point] * factor if inside else np.float32(0)
            weights[step, window] = np.float32(observed[first + point]) if inside else np.float32(0)
