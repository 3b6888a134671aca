"""mkdocs' hook: adds the pages that are made, rewrites links, and orders the navigation."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

# mkdocs loads this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_site import algorithms, commands, markdown
from docs_site.places import DOCS, ROOT, Places, page_of, readme_of

EVERY = "algorithms/"  # of the navigation: an entry for each algorithm

_CONSOLE = re.compile(rf"^```{markdown.RUNS}$", re.MULTILINE)
_SECTION = re.compile(r"^<!-- section: (\S+): (.+) -->$", re.MULTILINE)
_PICTURES = re.compile(r"^(?:!\[[^\]]*\]\([^)\s]+\)\n?)+$", re.MULTILINE)
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> None:
    """Puts the algorithms into the navigation, and takes out what isn't there."""
    config.nav = _entries(config.nav or [])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made, and copies of pictures that stand beside READMEs."""
    places = Places()
    made = {
        algorithms.OVERVIEW: algorithms.overview(),
        commands.PAGE: commands.page(),
    }
    for algorithm in algorithms.known():
        page = page_of(algorithm)
        made[page] = places.rewritten(algorithms.page(algorithm), readme_of(algorithm), page)
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    for place, file in places.pictures.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ lead to pages, pictures have captions, and blocks that a test runs say so."""
    if page.file.abs_src_path and Path(page.file.abs_src_path).is_relative_to(DOCS):
        place = page.file.src_uri
        text = Places().rewritten(text, f"docs/{place}", place)
        text = _SECTION.sub(lambda found: _section(found[1], found[2], place), text)
    text = _PICTURES.sub(_captioned, text)
    return _CONSOLE.sub('```sh title="runs as it stands, in the repository\'s folder"', text)


def _section(file: str, title: str, page: str) -> str:
    """A section of a file of the repository, as it reads on ``page``."""
    _, sections = markdown.split((ROOT / file).read_text("utf-8"))
    text = next(section.text for section in sections if section.title == title)
    return Places().rewritten(text, file, page)


def _captioned(found: re.Match[str]) -> str:
    """Pictures in lines of their own, side by side where there is room."""
    figures = "\n".join(
        f'<figure markdown="span">![{words}]({place})<figcaption>{words}</figcaption></figure>'
        for words, place in _PICTURE.findall(found[0])
    )
    return f'<div class="pictures" markdown>\n{figures}\n</div>\n'


def _entries(nav: list[Any]) -> list[Any]:
    found: list[Any] = []
    for entry in nav:
        if entry == EVERY:
            found += [{algorithm.title: page_of(algorithm)} for algorithm in algorithms.known()]
            continue
        for title, place in entry.items() if isinstance(entry, dict) else [(None, entry)]:
            if isinstance(place, list):
                found.append({title: _entries(place)})
            elif _is_there(place):
                found.append({title: place} if title else place)
    return found


def _is_there(place: str) -> bool:
    made = (algorithms.OVERVIEW, commands.PAGE)
    return place in made or (DOCS / place).is_file()
