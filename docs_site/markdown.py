"""Markdown as this project writes it: sections, fenced blocks, tables and links."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

RUNS = "console"  # the language of blocks that a test runs as they stand

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})[ ]*(\w*).*$")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, up to the next of the same or a higher level."""

    title: str
    text: str


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" where it has none, or is only indented) and its lines."""

    language: str
    text: str


def split(text: str, level: int = 2) -> tuple[str, list[Section]]:
    """What stands before the first heading of that level, and the sections."""
    mark = "#" * level + " "
    before: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for line, inside in _lines(text):
        if not inside and line.startswith(mark):
            sections.append((line[len(mark) :].strip(), []))
        elif sections:
            sections[-1][1].append(line)
        else:
            before.append(line)
    return "\n".join(before).strip(), [Section(title, "\n".join(body).strip()) for title, body in sections]


def blocks(text: str) -> Iterator[Block]:
    """Every block of code, fenced or indented by four."""
    found: list[str] = []
    language: str | None = None  # of the fence that is open
    indented = blank = False
    for line in [*text.split("\n"), ""]:
        fence = _FENCE.match(line)
        if fence and language is None:
            language, found = fence[3], []
        elif fence and not fence[3]:
            yield Block(str(language), "\n".join(found))
            language, found, indented = None, [], False
        elif language is not None:
            found.append(line)
        elif line.startswith("    ") and (indented or blank):
            found, indented = [*(found if indented else []), line[4:]], True
        elif indented and line.strip():
            yield Block("", "\n".join(found).strip("\n"))
            found, indented = [], False
        elif indented:
            found.append("")
        blank = not line.strip()
    if indented and language is None:
        yield Block("", "\n".join(found).strip("\n"))


def runnable(text: str) -> list[str]:
    """The blocks that are run as they stand, in order."""
    return [block.text for block in blocks(text) if block.language == RUNS]


def links(text: str, changed: Callable[[str, str, str], str]) -> str:
    """The text with ``changed(mark, words, target)`` in place of each link and picture outside of code."""
    return prose(text, lambda line: _outside_code(line, changed))


def prose(text: str, changed: Callable[[str], str]) -> str:
    """The text with ``changed(line)`` in place of each line that isn't one of a block of code."""
    lines = (line if inside or line.startswith("    ") else changed(line) for line, inside in _lines(text))
    return "\n".join(lines)


def without_rows(text: str, names: tuple[str, ...]) -> str:
    """The text without those rows of tables whose first cell is one of ``names``."""
    return "\n".join(line for line in text.split("\n") if _first_cell(line) not in names)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _first_cell(line: str) -> str | None:
    return line.split("|")[1].strip() if line.startswith("|") else None


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is a fence or inside one."""
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[2]
            yield line, True
        elif found and found[2].startswith(fence) and not found[3]:
            fence = ""
            yield line, True
        else:
            yield line, bool(fence)


def _outside_code(line: str, changed: Callable[[str, str, str], str]) -> str:
    # A link's words may hold code, code no link: what begins in code is left alone.
    spans = [match.span() for match in re.finditer(r"(`+)(?!`).*?(?<!`)\1(?!`)", line)]

    def one(match: re.Match[str]) -> str:
        if any(start < match.start() < end for start, end in spans):
            return match[0]
        return changed(match[1], match[2], match[3])

    return _LINK.sub(one, line)
