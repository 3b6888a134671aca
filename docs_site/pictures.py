"""Draws the pictures of worked examples: ``python -m docs_site.pictures [kmeans ...] [--list]``.

Each example is run in a folder of its own; where no block of it is one that tests run, all are. A README's
picture ``docs/pictures/kmeans-cluster-sizes.svg`` is the figure "cluster sizes" of the report of its job;
``--list`` tells what figures a report has.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import manifest
from common.report.drawing import COLOURS
from docs_site import examples, markdown
from docs_site.algorithms import EXAMPLE
from docs_site.places import DOCS, ROOT, readme_of

FOLDER = DOCS / "pictures"
LIMIT = 80_000  # bytes of a picture

_FIGURE = re.compile(r'<svg [^>]*?aria-label="([^"]*)".*?</svg>', re.DOTALL)
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


def example_of(name: str) -> str:
    """The text of an algorithm's worked example."""
    _, sections = markdown.split((ROOT / readme_of(manifest.load(name))).read_text("utf-8"))
    return next((section.text for section in sections if section.title == EXAMPLE), "")


def wanted(name: str) -> list[str]:
    """The files' names of pictures that the example shows, without their ending."""
    return re.findall(r"\(\.\./\.\./docs/pictures/([\w-]+)\.svg\)", example_of(name))


def figures(report: str) -> dict[str, str]:
    """The figures of a report by the words of their labels with dashes between them."""
    found: dict[str, str] = {}
    for match in _FIGURE.finditer(report):
        words, number = _words(match[1]), 2
        name = words
        while name in found:
            name, number = f"{words}-{number}", number + 1
        found[name] = match[0]
    return found


def alone(figure: str) -> str:
    """A figure as a file of its own, on paper by day and by night."""
    size = _SIZE.search(figure)
    assert size
    day, night = (" ".join(f"--{name}: {pair[n]};" for name, pair in COLOURS.items()) for n in (0, 1))
    style = (
        f"<style>svg {{ {day} font-family: system-ui, sans-serif; }} svg * {{ stroke-linejoin: round; }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {night} }} }}</style>"
        f'<rect width="{size[1]}" height="{size[2]}" fill="var(--paper)"/>'
    )
    figure = re.sub(r' style="max-width:\d+px"', "", figure, count=1)
    if "xmlns=" not in figure.partition(">")[0]:
        figure = figure.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    opening, _, rest = figure.partition(">")
    return f"{opening}>{style}{rest}\n"


def draw(name: str, only_list: bool = False) -> Iterator[str]:
    """Runs an algorithm's example and writes its pictures; a sentence about each."""
    names = wanted(name)
    if not names and not only_list:
        return
    with tempfile.TemporaryDirectory(prefix="algodock-") as scratch:
        folder = Path(scratch)
        examples.prepare(folder)
        text = example_of(name)
        examples.run(markdown.runnable(text) or [block.text for block in markdown.blocks(text)], folder)
        found: dict[str, str] = {}
        # The first job's figures, where several have some of the same name.
        for report in sorted(folder.glob("jobs/**/output/data/report.html"), key=_age, reverse=True):
            found.update(figures(report.read_text("utf-8")))
    if only_list:
        yield from (f"{name}: {label}, {len(figure):,} bytes" for label, figure in found.items())
        return
    for file in names:
        label = file.removeprefix(f"{name}-")
        if label not in found:
            raise SystemExit(f"{name}: its report has no figure {label}; it has {', '.join(found)}")
        picture = alone(found[label])
        if len(picture) > LIMIT:
            raise SystemExit(f"{name}: the figure {label} has {len(picture):,} bytes; accepted: {LIMIT:,}")
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{file}.svg").write_text(picture, "utf-8")
        yield f"docs/pictures/{file}.svg: {len(picture):,} bytes"


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _words(label: str) -> str:
    return re.sub(r"\W+", "-", label.lower()).strip("-")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m docs_site.pictures", description=__doc__)
    parser.add_argument("algorithm", nargs="*", help="an image name; default: all")
    parser.add_argument("--list", action="store_true", help="only tell the figures that there are")
    chosen = parser.parse_args()
    for name in chosen.algorithm or manifest.known():
        for sentence in draw(name, chosen.list):
            print(sentence)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
