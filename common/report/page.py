"""Sections as one self-contained page, for any width and for night."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.report.drawing import BRIGHT, COLOURS

_SENTENCE = 24  # letters from which on a cell of a table isn't squeezed
WANTED = -1  # the series of boxes that should have been found
_DAY = " ".join(f"--{name}: {light};" for name, (light, _) in COLOURS.items())
_NIGHT = " ".join(f"--{name}: {dark};" for name, (_, dark) in COLOURS.items())
STYLE = f"""
:root {{ color-scheme: light dark; {_DAY} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_NIGHT} }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; line-height: 1.2; margin: .5rem 0 0; }}
h2 {{ font-size: 1.15rem; margin: 2.2rem 0 .4rem; }}
p {{ margin: .3rem 0 .8rem; }} .soft, figcaption {{ color: var(--soft); font-size: .9rem; }}
.failure {{ border-left: 4px solid var(--c4); padding-left: .8rem; }}
dl {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem 1.4rem; }}
dt {{ color: var(--soft); font-size: .85rem; }}
dd {{ margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
  gap: 1rem 1.5rem; align-items: start; }}
.figures.small {{ grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }}
figure {{ margin: 0; min-width: 0; }}
svg {{ width: 100%; height: auto; display: block; }} svg * {{ stroke-linejoin: round; }}
.picture {{ position: relative; }} .picture img {{ width: 100%; display: block; border-radius: 4px; }}
.picture svg {{ position: absolute; inset: 0; height: 100%; max-width: none;
  filter: drop-shadow(0 0 1px #000) drop-shadow(0 0 1px #000); }}
.key {{ display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; }}
.key i {{ display: inline-block; width: .8em; height: .8em; margin-right: .4em;
  border: 1px solid var(--soft); }}
.wide {{ overflow-x: auto; overflow-wrap: normal; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }}
th, td {{ text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }}
th {{ color: var(--soft); font-weight: 600; }}
td.number {{ text-align: right; }} td.long {{ min-width: 15rem; }} td.name {{ min-width: 9rem; }}
"""


@dataclass(frozen=True)
class Section:
    """A part of the page: a title, a sentence about what is shown, HTML made by this module and charts."""

    title: str
    parts: Sequence[str]
    note: str = ""


def document(title: str, head: str, sections: Iterable[Section]) -> str:
    """The page. ``head`` is HTML below the title."""
    body = "".join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><h1>{text(title)}</h1>{head}{body}</main></body></html>\n"
    )


def text(value: object) -> str:
    """Any text as HTML."""
    return html.escape(str(value))


def breakable(name: object) -> str:
    """A name as HTML that may be broken after its colons and underscores."""
    return text(name).replace(":", ":<wbr>").replace("_", "_<wbr>")


def number(value: object) -> str:
    """A number as people read it, six digits; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (1000 <= abs(value) < 1e15 and float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:.6g}"


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def facts(pairs: Mapping[str, object]) -> str:
    """A few numbers that are to be seen first."""
    values = [text(number(value)) for value in pairs.values()]
    shown = "".join(map("<div><dt>{}</dt><dd>{}</dd></div>".format, map(breakable, pairs), values))
    return f"<dl>{shown}</dl>"


def figures(*drawn: tuple[str, str]) -> str:
    """Charts side by side where there is room: (svg, caption) each."""
    return f'<div class="figures">{"".join(_figure(svg, caption) for svg, caption in drawn)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls by itself where it is too wide."""
    top = "".join(f"<th scope=col>{text(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


@dataclass(frozen=True)
class Picture:
    """An image file's bytes, a caption, and boxes (left, top, right, bottom, text, series) from 0 to 1.

    Boxes of the series WANTED are dashed and white.
    """

    data: bytes
    media_type: str
    caption: str
    boxes: Sequence[tuple[float, float, float, float, str, int]] = ()


def pictures(shown: Iterable[Picture], *, wide: bool = False) -> str:
    """Small pictures in rows; fewer in a row when they are ``wide``."""
    return f'<div class="figures{"" if wide else " small"}">{"".join(map(_picture, shown))}</div>'


def key(names: Iterable[tuple[str, str]]) -> str:
    """What colours mean: (colour, name) each."""
    told = "".join(f'<span><i style="background:{colour}"></i>{text(name)}</span>' for colour, name in names)
    return f'<p class="soft key">{told}</p>'


def _section(section: Section) -> str:
    note = paragraph(section.note, "soft") if section.note else ""
    return f"<section><h2>{text(section.title)}</h2>{note}{''.join(section.parts)}</section>\n"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="number">{number(value)}</td>'
    words = text("" if value is None else value)
    if len(words) <= _SENTENCE:
        return f"<td>{words}</td>"
    # Beside a name that can't be broken a phone shows nothing else.
    return f'<td class="long">{words}</td>' if " " in words else f'<td class="name">{breakable(value)}</td>'


def _picture(picture: Picture) -> str:
    encoded = base64.b64encode(picture.data).decode()
    boxes = "".join(map(_box, picture.boxes))
    over = (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{boxes}</svg>'
        if boxes
        else ""
    )
    return (
        f'<figure><div class="picture"><img alt="{text(picture.caption)}" '
        f'src="data:{picture.media_type};base64,{encoded}">{over}</div>'
        f"<figcaption>{text(picture.caption)}</figcaption></figure>"
    )


def _box(box: tuple[float, float, float, float, str, int]) -> str:
    left, top, right, bottom, label, series = box
    stroke = 'stroke="#fff" stroke-dasharray="6 4"' if series == WANTED else f'stroke="{BRIGHT[series % 10]}"'
    return (
        f'<rect x="{100 * left:.2f}" y="{100 * top:.2f}" width="{100 * (right - left):.2f}" '
        f'height="{100 * (bottom - top):.2f}" fill="none" {stroke} stroke-width="2" '
        f'vector-effect="non-scaling-stroke"><title>{text(label)}</title></rect>'
    )
