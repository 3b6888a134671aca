"""An endpoint's answer as people read it: a table, a chart or a picture, and always as it came."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from common.report import charts, page
from local.ui import pictures
from local.ui.curves import drawn

_ROWS, _VALUES = 200, 6  # that a table shows, and of a list in a cell
_RAW = 100_000  # characters of an answer that a page has; all of it can be downloaded
_BARS = (2, 64)  # how many bars a chart may have
_FEW_ROWS = 5  # up to which rows are no curve
_LINES = 4
_FORECASTS = 3
_PAST = 3  # times a forecast's length that is shown of what came before

Rows = list[Any]


def shown(answer: bytes, asked: bytes) -> Markup:
    """The answer to what was asked."""
    picture = pictures.Picture.of(asked)
    return _understood(answer, asked, picture) + _raw(answer)


def _understood(answer: bytes, asked: bytes, picture: pictures.Picture | None) -> Markup:
    if answer.startswith(b"\x89PNG"):
        return pictures.mask(picture, answer) or Markup("")
    text = _text(answer)
    value = None if text is None else _value(text)
    if value is None:
        return pictures.plain(picture) if picture else Markup("")
    found = pictures.as_boxes(value)
    if picture and found is not None:
        return pictures.boxes(picture, found)
    rows = _rows(value)
    if picture and _numbers(rows):
        return pictures.plain(picture) + _probabilities(rows)
    return _forecasts(rows, asked) or _charts(rows) + _table(rows)


def _text(answer: bytes) -> str | None:
    try:
        text = answer.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _value(text: str) -> Any:
    """What JSON says, or the lines of JSON Lines or CSV; None where it is nothing."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    except RecursionError:
        return None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    try:
        return [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        pass
    try:
        return [[_cell(cell) for cell in row] for row in csv.reader(lines)]
    except csv.Error:
        return None


def _cell(written: str) -> object:
    try:
        return float(written)
    except ValueError:
        return written


def _rows(value: Any) -> Rows:
    """One for each row that was asked about: what a JSON answer has below its only key."""
    if isinstance(value, Mapping) and len(value) == 1:
        (below,) = value.values()
        if isinstance(below, list):
            return below
    return value if isinstance(value, list) else [value]


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_number(one) for one in value)


def _number(value: Any) -> bool:
    # Compared: an integer beyond all floats can't be asked whether it is finite.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


# --- tables ---


def _table(rows: Rows) -> Markup:
    if not rows:
        return Markup("<p>The answer has no rows.</p>")
    if all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
        cells = [[_short(row.get(name)) for name in names] for row in rows[:_ROWS]]
    else:
        lists = [row if isinstance(row, list) else [row] for row in rows]
        width = max(map(len, lists))
        if width > 24:
            names, cells = ["answer"], [[_short(row)] for row in lists[:_ROWS]]
        else:
            names = _numbered(width)
            cells = [[_short(one) for one in row] for row in lists[:_ROWS]]
    body = [[number + 1, *row] for number, row in enumerate(cells)]
    more = f"<p>The first {_ROWS:,} of {len(rows):,} rows.</p>" if len(rows) > _ROWS else ""
    return Markup(page.table(["row", *map(str, names)], body) + more)


def _numbered(width: int) -> list[str]:
    """Names of a list's values, from 0 as classes and topics are counted."""
    return ["answer"] if width == 1 else [str(number) for number in range(width)]


def _short(value: Any) -> object:
    """What fits into a cell."""
    if value is None or _number(value):
        return value
    if isinstance(value, list):
        first = ", ".join(str(page.number(_short(one))) for one in value[:_VALUES])
        return f"{first}, … ({len(value):,} values)" if len(value) > _VALUES else first
    if isinstance(value, Mapping):
        return charts.shortened(json.dumps(value, ensure_ascii=False), 200)
    return charts.shortened(value, 400)


# --- charts ---


def _charts(rows: Rows) -> Markup:
    if len(rows) <= _FEW_ROWS:
        return _bars(rows[0]) if len(rows) == 1 else Markup("")
    series = {name: values for name, values in _columns(rows).items() if all(map(_number, values))}
    if not series:
        return Markup("")
    return Markup(page.figures(*(_curve(name, series[name]) for name in list(series)[:_LINES])))


def _curve(name: str, values: Sequence[float]) -> tuple[str, str]:
    series = {name: (range(1, len(values) + 1), values)}
    return drawn(lambda: charts.lines(f"{name} by row", series, "row", whole=True)), f"{name} by row"


def _columns(rows: Rows) -> dict[str, list[Any]]:
    """Values that every row has, by name."""
    if all(isinstance(row, Mapping) for row in rows):
        names = [name for name in rows[0] if all(name in row for row in rows)]
        return {str(name): [row[name] for row in rows] for name in names}
    lists = [row if isinstance(row, list) else [row] for row in rows]
    width = min(map(len, lists))
    if width > _LINES:
        return {}
    names = _numbered(width)
    return {name: [row[number] for row in lists] for number, name in enumerate(names)}


def _bars(row: Any) -> Markup:
    """A single row's numbers: of classes, topics or coordinates."""
    if isinstance(row, Mapping) and isinstance(row.get("label"), list) and _numbers(row.get("prob")):
        return _bar_chart("probability", row["label"], row["prob"])
    if isinstance(row, Mapping):
        found = [(str(name), value) for name, value in row.items() if _numbers(value)]
        return Markup("").join(_bar_chart(name, range(len(value)), value) for name, value in found)
    return _bar_chart("answer", range(len(row)), row) if _numbers(row) else Markup("")


def _bar_chart(label: str, names: Sequence[object], values: Sequence[float]) -> Markup:
    if len(names) != len(values) or not _BARS[0] <= len(values) <= _BARS[1]:
        return Markup("")
    return _figure(drawn(lambda: charts.bars(label, names, values, label)))


def _probabilities(values: Sequence[float]) -> Markup:
    """The likeliest classes of a picture."""
    best = sorted(range(len(values)), key=lambda number: -values[number])[:20]
    names, heights = [f"class {number}" for number in best], [values[number] for number in best]
    chart = _figure(drawn(lambda: charts.bars("probability by class", names, heights, "probability")))
    rows = zip(names, heights, strict=True)
    return chart + Markup(page.table(["class", "probability"], rows))


def _forecasts(rows: Rows, asked: bytes) -> Markup:
    """The first series of a forecast: what came before, the mean or bands of quantiles, and their steps."""
    if not any(isinstance(row, Mapping) and {"mean", "quantiles"} & set(row) for row in rows):
        return Markup("")
    pasts = _pasts(asked)
    found = [_forecast(number, row, pasts) for number, row in enumerate(rows[:_FORECASTS])]
    return Markup("").join(found)


def _forecast(number: int, row: Any, pasts: Sequence[list[float]]) -> Markup:
    quantiles = _quantiles(row)
    mean = row.get("mean") if isinstance(row, Mapping) else None
    known = {**({"mean": mean} if isinstance(mean, list) and _numbers(mean) else {}), **quantiles}
    middle = known.get("0.5") or next(iter(known.values()), None)
    if middle is None:
        return Markup("")
    before = pasts[number][-_PAST * len(middle) :] if number < len(pasts) else []
    past = (range(-len(before), 0), before)
    levels = sorted(quantiles, key=float)
    pairs = list(zip(levels, reversed(levels), strict=True))[: len(levels) // 2]
    between = [(quantiles[low], quantiles[high], f"{low} to {high}") for low, high in pairs]
    label = f"forecast of series {number + 1}"

    def paint() -> str:
        if quantiles:
            return charts.bands(label, range(len(middle)), middle, between, past, xlabel="step")
        return charts.lines(label, {"mean": (range(len(middle)), middle), "before": past}, "step", whole=True)

    columns = {name: values for name, values in known.items() if len(values) == len(middle)}
    steps = zip(range(len(middle)), *columns.values(), strict=True)
    return _figure(drawn(paint), label) + Markup(
        page.table(["step", *columns], itertools.islice(steps, _ROWS))
    )


def _quantiles(row: Any) -> dict[str, list[float]]:
    found = row.get("quantiles") if isinstance(row, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    kept = {str(level): values for level, values in found.items() if _numbers(values) and _level(level)}
    length = len(next(iter(kept.values()), ()))
    return {level: values for level, values in kept.items() if len(values) == length}


def _level(written: str) -> bool:
    try:
        return 0 <= float(written) <= 1
    except ValueError:
        return False


def _pasts(asked: bytes) -> list[list[float]]:
    """The series that were sent; a value that is missing is a gap."""
    text = _text(asked)
    value = None if text is None else _value(text)
    instances = value.get("instances") if isinstance(value, Mapping) else value
    found = []
    for one in instances if isinstance(instances, list) else []:
        target = one.get("target") if isinstance(one, Mapping) else None
        found.append([v if _number(v) else math.nan for v in target] if isinstance(target, list) else [])
    return found


def _figure(svg: Markup, caption: str = "") -> Markup:
    return Markup(page.figures((svg, caption)))


# --- as it came ---


def _raw(answer: bytes) -> Markup:
    text = _text(answer)
    size = f"{len(answer):,} bytes"
    address = f"data:application/octet-stream;base64,{base64.b64encode(answer).decode()}"
    link = Markup('<p><a href="%s" download="%s">Download the answer</a> (%s)</p>') % (
        address,
        "answer.png" if answer.startswith(b"\x89PNG") else "answer.bin" if text is None else "answer.txt",
        size,
    )
    if text is None:
        return link
    cut = Markup("<p>The first %s characters.</p>") % f"{_RAW:,}" if len(text) > _RAW else Markup("")
    return (
        Markup('<details%s><summary>As it came</summary>%s<pre tabindex="0">%s</pre></details>')
        % (
            Markup(" open") if len(text) < 400 else "",
            cut,
            text[:_RAW],
        )
        + link
    )
