"""The charts of reports: arrays in, ``<svg>`` out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from common.report.drawing import INK, SOFT, colour, draw

_POINTS = 400  # that a line has at most, and
_DOTS = 900  # a scatter
_NUMBERED = 12  # rows and columns up to which a matrix has its numbers written in it
_TICKS, _LETTERS = 24, 50  # names along a side of it; letters that stand below it side by side
_IN_A_ROW = 6  # names of a legend, at most
_ROOM, _MARK = 80, 7  # letters that fit into a row of it; as how many a mark and its gaps count
_LABEL = 32  # letters that fit along an axis

Line = tuple[ArrayLike, ArrayLike]


def lines(
    label: str,
    series: Mapping[str, Line],
    xlabel: str = "",
    ylabel: str = "",
    *,
    whole: bool = False,
    marks: Sequence[tuple[float, float, str]] = (),
    diagonal: bool = False,
) -> str:
    """One line for each name's (xs, ys). ``whole``: xs count; ``marks`` are points (x, y, text)."""

    def paint(axes: Axes) -> None:
        for number, (name, (xs, ys)) in enumerate(series.items()):
            x, y = _peaks(np.asarray(xs), np.asarray(ys))
            marker = "." if len(x) < 15 else None
            axes.plot(*_broken(x, y), color=colour(number), label=name, marker=marker)
        if diagonal:
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle="--")
        for at, value, text in marks:
            axes.plot([at], [value], marker="o", color=colour(1), linestyle="")
            axes.annotate(text, (at, value), xytext=(6, -10), textcoords="offset points", color=INK)
        if whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        _labelled(axes, xlabel, ylabel)
        if len(series) > 1:
            axes.legend()

    return draw(label, paint)


def bands(
    label: str,
    xs: ArrayLike,
    median: ArrayLike,
    between: Sequence[tuple[ArrayLike, ArrayLike, str]],
    past: Line,
    truth: Line | None = None,
    xlabel: str = "",
) -> str:
    """A forecast: its median, bands (low, high, name), what came before and, where known, what came true."""

    def paint(axes: Axes) -> None:
        axes.plot(*past, color=SOFT, linewidth=1, label="before")
        if truth is not None:
            axes.plot(*truth, color=colour(1), linewidth=1, label="what came")
        for number, (low, high, name) in enumerate(between):
            axes.fill_between(
                np.asarray(xs),
                low,
                high,
                color=colour(0),
                alpha=0.15 + number * min(0.15, 0.75 / len(between)),
                linewidth=0,
                label=name,
            )
        axes.plot(xs, median, color=colour(0), linewidth=1.4, label="median")
        _labelled(axes, xlabel, "")
        _legend(axes)

    return draw(label, paint)


def bars(label: str, names: Sequence[object], values: ArrayLike, xlabel: str = "", ylabel: str = "") -> str:
    """Upright bars; lying ones with ``xlabel`` alone, for names that are long."""
    heights = np.asarray(values, float)
    lying = not ylabel

    def paint(axes: Axes) -> None:
        places = np.arange(len(heights))
        if lying:
            axes.barh(places, heights, color=colour(0), height=0.7)
            axes.set_yticks(places, [shortened(name) for name in names])
            axes.invert_yaxis()
            axes.grid(False, axis="y")
        else:
            axes.bar(places, heights, color=colour(0), width=0.8)
            axes.grid(False, axis="x")
            if len(heights) <= 24:
                axes.set_xticks(places, [shortened(name, 8) for name in names])
            else:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        _labelled(axes, xlabel, ylabel)

    return draw(label, paint, height=max(1.2, 0.4 + 0.21 * len(heights)) if lying else 2.9)


def histogram(label: str, groups: Mapping[str, ArrayLike], xlabel: str, mark: float | None = None) -> str:
    """How often values occur, one outline for each group; ``mark`` is an upright line."""
    found = {name: _finite(values) for name, values in groups.items()}

    def paint(axes: Axes) -> None:
        every = np.concatenate([*found.values(), *([] if any(map(len, found.values())) else [np.zeros(1)])])
        low, high = float(every.min()), float(every.max())
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            low, high = low - 0.5, high + 0.5  # one value, and what computing with it left
        edges = np.linspace(low, high, 41)
        for number, (name, values) in enumerate(found.items()):
            if len(values):
                axes.hist(
                    values,
                    bins=list(edges),
                    color=colour(number),
                    alpha=0.55,
                    label=name,
                    histtype="stepfilled",
                )
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=1, linestyle="--")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(False, axis="x")
        _labelled(axes, xlabel, "rows")
        if len(groups) > 1:
            _legend(axes)

    return draw(label, paint)


def scatter(
    label: str,
    points: NDArray[Any],
    groups: NDArray[Any] | None = None,
    names: Mapping[int, str] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    *,
    texts: Sequence[str] = (),
    diagonal: bool = False,
) -> str:
    """(n, 2) points, coloured by the whole numbers ``groups``; or written as ``texts``, one for each."""
    points, groups = _thinned(points, _DOTS), None if groups is None else _thinned(groups, _DOTS)

    def paint(axes: Axes) -> None:
        kinds = [0] if groups is None else sorted(set(groups.tolist()))
        for number, kind in enumerate(kinds):
            chosen = points if groups is None else points[groups == kind]
            name = (names or {}).get(int(kind), f"{kind:g}")
            axes.scatter(
                chosen[:, 0], chosen[:, 1], s=7, color=colour(number), alpha=0.7, linewidths=0, label=name
            )
        if diagonal and len(points):
            low, high = float(points.min()), float(points.max())
            axes.plot([low, high], [low, high], color=SOFT, linewidth=0.8, linestyle="--")
        for (x, y), text in zip(points, texts, strict=False):
            axes.annotate(text, (x, y), xytext=(2, 2), textcoords="offset points", fontsize=6.5)
        _labelled(axes, xlabel, ylabel)
        if 1 < len(kinds) <= 12:
            _legend(axes, handletextpad=0.1, markerscale=1.6)

    return draw(label, paint, 6.4, 4.6) if texts else draw(label, paint, height=3.6)


def cloud(
    label: str,
    points: NDArray[Any],
    xlabel: str,
    ylabel: str,
    *,
    logarithmic: bool = False,
    names: Sequence[str] = (),
    largest: bool = False,
) -> str:
    """(n, 2) points, and a line through the lowest of each x, or the largest; x are places of ``names``."""
    values = np.unique(points[:, 0])
    end = np.max if largest else np.min
    ends = [end(points[points[:, 0] == x, 1]) for x in values]

    def paint(axes: Axes) -> None:
        axes.scatter(points[:, 0], points[:, 1], s=14, color=colour(0), alpha=0.75, linewidths=0)
        if 2 < len(values) < len(points):
            axes.plot(values, ends, color=colour(1), linewidth=1)
        if logarithmic:
            axes.set_xscale("log")
        if names:
            axes.set_xticks(range(len(names)), [shortened(name, 12) for name in names])
        _labelled(axes, xlabel, ylabel)

    return draw(label, paint)


def matrix(
    label: str,
    values: NDArray[Any],
    rows: Sequence[object],
    columns: Sequence[object],
    xlabel: str = "",
    ylabel: str = "",
    *,
    by_row: bool = False,
) -> str:
    """Cells as dark as their values are large, of all or ``by_row`` of their row; few have their numbers."""
    shape = values.shape
    most = np.maximum(values.max(1, keepdims=True) if by_row else values.max(), 1e-12)
    strength = np.clip(values / most, 0, 1)
    numbered = max(shape) <= _NUMBERED and np.issubdtype(values.dtype, np.integer)

    def paint(axes: Axes) -> None:
        for row, column in np.argwhere(strength > 0.004):
            axes.add_patch(_cell(column, row, float(strength[row, column])))
            if numbered:
                axes.text(column, row, f"{values[row, column]}", ha="center", va="center", fontsize=7)
        axes.set_xlim(-0.5, shape[1] - 0.5)
        axes.set_ylim(shape[0] - 0.5, -0.5)
        step = max(1, -(-shape[1] // _TICKS)), max(1, -(-shape[0] // _TICKS))
        below = [shortened(name, 14) for name in columns[:: step[0]]]
        turned = len(below) * max(map(len, below), default=0) > _LETTERS
        axes.set_xticks(
            range(0, shape[1], step[0]),
            below,
            rotation=45 if turned else 0,
            ha="right" if turned else "center",
        )
        axes.set_yticks(range(0, shape[0], step[1]), [shortened(name, 14) for name in rows[:: step[1]]])
        axes.tick_params(length=0)
        axes.grid(False)
        _labelled(axes, xlabel, ylabel)

    side = 0.25 * shape[0] + 1.0
    return draw(label, paint, height=min(max(side, 1.6), 5.0))


def shortened(text: object, length: int = 26) -> str:
    """The text, or its beginning where it is longer than ``length``."""
    written = " ".join(str(text).split())
    return written if len(written) <= length else written[: length - 1] + "…"


def _cell(x: float, y: float, strength: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour(0), alpha=0.08 + 0.62 * strength, linewidth=0)


def _legend(axes: Axes, **settings: float) -> None:
    """Above the axes, where nothing lies below it, row by row."""
    handles, names = axes.get_legend_handles_labels()
    columns = _columns(names)
    # Matplotlib fills columns.
    order = [place for column in range(columns) for place in range(column, len(names), columns)]
    axes.figure.legend(
        [handles[place] for place in order],
        [names[place] for place in order],
        loc="outside upper center",
        ncols=columns,
        fontsize=7,
        columnspacing=1,
        **settings,
    )


def _columns(names: Sequence[str]) -> int:
    """How many columns of a legend fit side by side when it is read row by row."""
    lengths = [_MARK + len(name) for name in names]
    fits = (
        n for n in range(_IN_A_ROW, 1, -1) if sum(max(lengths[k::n], default=0) for k in range(n)) <= _ROOM
    )
    return next(fits, 1)


def _labelled(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(shortened(ylabel, _LABEL))


def _broken(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A line with a gap wherever it goes back, as the folds of a cross-validation begin anew."""
    gaps = np.flatnonzero(np.diff(x) < 0) + 1
    return np.insert(x.astype(float), gaps, np.nan), np.insert(y.astype(float), gaps, np.nan)


def _peaks(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of a long line the ends, and the lowest and the highest of each of its stretches."""
    if len(x) <= _POINTS:
        return x, y
    edges = np.linspace(0, len(x), _POINTS // 2 + 1).astype(int)
    stretches = [(low, y[low:high]) for low, high in itertools.pairwise(edges)]
    kept = {low + place for low, part in stretches for place in (int(part.argmin()), int(part.argmax()))}
    chosen = sorted({0, len(x) - 1} | kept)
    return x[chosen], y[chosen]


def _thinned(values: ArrayLike, most: int) -> NDArray[Any]:
    """Evenly spread over the same length, ends included."""
    array = np.asarray(values)
    if len(array) <= most:
        return array
    return array[np.linspace(0, len(array) - 1, most).round().astype(np.int64)]


def _finite(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values, np.float64).ravel()
    return array[np.isfinite(array)]
