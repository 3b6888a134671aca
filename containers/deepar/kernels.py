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
def _activate(gates: Float32, base: Float32) -> None:
    """What the gates (4, values) (input, forget, new, output) are of their sums and ``base``, in place."""
    # Long loops of one kind each: the compiler makes vector code of these.
    for kind in range(4):
        gate, more = gates[kind], base[kind]
        if kind == 2:
            for k in range(len(gate)):
                gate[k] = _tanh(gate[k] + more[k])
        else:
            for k in range(len(gate)):
                gate[k] = _HALF * _tanh(_HALF * (gate[k] + more[k])) + _HALF


@_fast
def forward(
    step: int, gates: Float32, base: Float32, cells: Float32, inputs: Float32, above: Float32, held: Bytes
) -> None:
    """A step of a layer, in training; the last axis of all arrays is that of windows.

    ``gates`` is (steps, 4 cells, windows), the sums without ``base`` (4 cells, windows), which become what
    the gates let through. ``cells`` is (steps + 1, cells, windows), of which ``step + 1`` is written. The
    last rows of ``inputs`` (steps + 1, ..., windows) hold what the layer put out before, and get what it
    puts out now for ``step + 1``; so do the first of ``above`` for ``step``. ``held`` (steps, cells, windows)
    says which values stay as they were (zoneout).
    """
    count, size = cells.shape[1], cells.shape[1] * cells.shape[2]
    gate, keep = gates[step].reshape(4, size), held[step].reshape(size)
    _activate(gate, base.reshape(4, size))
    enter, forget, new, leave = gate[0], gate[1], gate[2], gate[3]
    old, cell = cells[step].reshape(size), cells[step + 1].reshape(size)
    first = inputs.shape[1] - count
    before, out = inputs[step][first:].reshape(size), inputs[step + 1][first:].reshape(size)
    up = above[step][:count].reshape(size)
    for k in range(size):
        value = forget[k] * old[k] + enter[k] * new[k]
        shown = leave[k] * _tanh(value)
        put = before[k] if keep[k] & HELD_OUTPUT else shown
        cell[k] = old[k] if keep[k] & HELD_CELL else value
        out[k] = put
        up[k] = put


@_fast
def backward(
    step: int,
    outer: Float32,
    gates: Float32,
    cells: Float32,
    held: Bytes,
    hidden: Float32,
    cell: Float32,
    base: Float32,
) -> None:
    """The same step's gradients.

    ``gates`` at ``step`` becomes the gradient of the sums, which is also added to ``base``. ``outer`` (cells,
    windows) is the gradient of what the layer put out, but for later steps of the same layer: ``hidden`` and
    ``cell`` (cells, windows) are those of the state behind the step from there, and become those of the state
    before it, but for the part through the sums.
    """
    size = cells.shape[1] * cells.shape[2]
    gate, keep = gates[step].reshape(4, size), held[step].reshape(size)
    enter, forget, new, leave = gate[0], gate[1], gate[2], gate[3]
    old, shown = cells[step].reshape(size), outer.reshape(size)
    to_hidden, to_cell = hidden.reshape(size), cell.reshape(size)
    for k in range(size):
        both = to_hidden[k] + shown[k]
        taken = np.float32(0) if keep[k] & HELD_OUTPUT else both
        to_hidden[k] = both - taken
        bent = _tanh(forget[k] * old[k] + enter[k] * new[k])
        o = leave[k]
        leave[k] = taken * bent * o * (_ONE - o)
        later = to_cell[k]
        stored = np.float32(0) if keep[k] & HELD_CELL else later
        within = stored + taken * o * (_ONE - bent * bent)
        i, f, g = enter[k], forget[k], new[k]
        to_cell[k] = later - stored + within * f
        enter[k] = within * g * i * (_ONE - i)
        forget[k] = within * old[k] * f * (_ONE - f)
        new[k] = within * i * (_ONE - g * g)
    sums, total = gate.reshape(4 * size), base.reshape(4 * size)
    for k in range(4 * size):
        total[k] += sums[k]


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
    """A step of a layer, in forecasts; the last axis of all arrays is that of draws.

    ``gates`` (4 cells, draws) are the sums without ``base`` (4 cells, draws / ``repeat``), a column of which
    belongs to ``repeat`` draws. ``cells`` (cells, draws) and the first rows of ``inputs`` hold the state and
    become the next; what the layer puts out also becomes the last rows of ``above``. ``zoneout`` is the share
    of the old state that stays: what its random choices come to on average.
    """
    count, draws = cells.shape
    size = count * draws
    keep = np.float32(zoneout)
    take = _ONE - keep
    for row in range(4 * count):
        gate = gates[row]
        for group in range(base.shape[1]):
            more = base[row, group]
            for k in range(group * repeat, (group + 1) * repeat):
                gate[k] += more
        if 2 * count <= row < 3 * count:
            for k in range(draws):
                gate[k] = _tanh(gate[k])
        else:
            for k in range(draws):
                gate[k] = _HALF * _tanh(_HALF * gate[k]) + _HALF
    parts = gates.reshape(4, size)
    enter, forget, new, leave = parts[0], parts[1], parts[2], parts[3]
    cell, state = cells.reshape(size), inputs[:count].reshape(size)
    out = above[len(above) - count :].reshape(size)
    for k in range(size):
        value = forget[k] * cell[k] + enter[k] * new[k]
        shown = keep * state[k] + take * leave[k] * _tanh(value)
        cell[k] = keep * cell[k] + take * value
        state[k] = shown
        out[k] = shown


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

    ``inputs`` (steps, features, windows) get at each step the target at each of ``lags`` steps before, over
    its scale, 0 beyond the series; the calendar, the logarithm of the series' age, and the dynamic features.
    ``targets`` (steps, windows) get the target over its scale, and ``weights`` 1 where that is observed.
    ``values`` of a series are ``offsets[row]`` to ``offsets[row + 1]``; its calendar begins ``context`` steps
    before it at row ``calendar_at``, its dynamic features with it at row ``dynamic_at``.
    """
    steps, looks, wide = len(inputs), len(lags), calendar.shape[1]
    tail = looks + wide
    for step in range(steps):
        cells = inputs[step]
        for window in range(len(rows)):
            row, factor = rows[window], np.float32(1) / scale[window]
            first, length = offsets[row], offsets[row + 1] - offsets[row]
            known = dynamic_at[row + 1] - dynamic_at[row]
            point = at[window] - context + step
            for look in range(looks):
                past = point - lags[look]
                cells[look, window] = values[first + past] * factor if 0 <= past < length else np.float32(0)
            place = calendar_at[row] + context + point
            for column in range(wide):
                cells[looks + column, window] = calendar[place, column]
            cells[tail, window] = np.log10(np.float32(2 + max(point, 0)))
            for column in range(dynamic.shape[1]):
                cells[tail + 1 + column, window] = (
                    dynamic[dynamic_at[row] + point, column] if 0 <= point < known else np.float32(0)
                )
            inside = 0 <= point < length
            targets[step, window] = values[first + point] * factor if inside else np.float32(0)
            weights[step, window] = np.float32(observed[first + point]) if inside else np.float32(0)
