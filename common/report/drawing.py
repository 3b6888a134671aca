"""Matplotlib's pictures as SVG that takes its colours from the page, so that it is read in the dark too."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Callable

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stand-ins that become variables of the page's style: names to the colours of paper and of night.
COLOURS = {
    "ink": ("#1b1f24", "#e6e9ed"),
    "soft": ("#68717d", "#9aa4b0"),
    "line": ("#d5dae0", "#363d46"),
    "paper": ("#fefefe", "#14171b"),
    "c0": ("#0b66c3", "#6cb2ff"),
    "c1": ("#c2570c", "#ffa35c"),
    "c2": ("#1a7f4b", "#5ed396"),
    "c3": ("#8a3ffc", "#c39bff"),
    "c4": ("#b3261e", "#ff8a80"),
    "c5": ("#00808a", "#4fd0d8"),
    "c6": ("#8c6d00", "#e3c04b"),
    "c7": ("#c43c8e", "#f58ac8"),
    "c8": ("#4a5560", "#b8c2cc"),
    "c9": ("#5b7a1f", "#a9cf5e"),
}
INK, SOFT, LINE, PAPER = (COLOURS[name][0] for name in ("ink", "soft", "line", "paper"))
SERIES = tuple(light for name, (light, _) in COLOURS.items() if name[0] == "c")
BRIGHT = tuple(dark for name, (_, dark) in COLOURS.items() if name[0] == "c")  # on pictures, day and night
WIDTH, HEIGHT = 4.6, 2.9  # inches: as wide as a phone, where letters keep their size

_VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}
_STAND_IN = re.compile("|".join(_VARIABLES))
_LONG = re.compile(r">[^<]*<|(\d+\.\d{3,})")  # what is read, or else a coordinate
_numbers = itertools.count()

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 8.5,
        "text.color": INK,
        "text.parse_math": False,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": SOFT,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.formatter.useoffset": False,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "figure.constrained_layout.use": True,
    }
)


def draw(label: str, paint: Callable[[Axes], None], width: float = WIDTH, height: float = HEIGHT) -> str:
    """What ``paint(axes)`` draws as an ``<svg>`` element; ``label`` is read out to those who can't see it."""
    figure = Figure(figsize=(width, height))
    paint(figure.subplots())
    # Names of clipping paths are hashes with this salt, and a page has many pictures.
    matplotlib.rcParams["svg.hashsalt"] = f"{label} {next(_numbers)}"
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Letters that Matplotlib's own font hasn't are drawn by the page's.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _for_a_page(buffer.getvalue(), label)


def colour(number: int) -> str:
    """The colour of a series, a class or a cluster; they come again after the tenth."""
    return SERIES[number % len(SERIES)]


def _for_a_page(svg: str, label: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style type=.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    # Inside a page neither namespaces are needed nor names that nothing refers to.
    svg = re.sub(r' id="[\w.]+_\d+"| xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    size = re.search(r'viewBox="0 0 ([\d.]+) ', svg)
    assert size
    spoken = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    style = f"max-width:{float(size[1]) * 1.6:.0f}px"
    svg = re.sub(
        r'width="[^"]*" height="[^"]*" ', f'role="img" aria-label="{spoken}" style="{style}" ', svg, count=1
    )
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = _LONG.sub(lambda found: f"{float(found[1]):.2f}" if found[1] else found[0], svg)
    svg = _STAND_IN.sub(lambda found: _VARIABLES[found[0]], svg)
    return re.sub(r"\n+", "\n", svg).strip()
