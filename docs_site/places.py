"""Where files of the repository stand on the site, and links between them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from common import manifest
from docs_site import markdown

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

_MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "adding-an-algorithm.md"}
_PICTURES = (".png", ".svg", ".jpg", ".gif")
_ELSEWHERE = ("http://", "https://", "mailto:", "#")


@dataclass
class Places:
    """Rewrites links, and remembers which pictures the site must have copies of."""

    pages: dict[str, str] = field(default_factory=lambda: {**_MOVED, **_readmes()})  # file to page
    pictures: dict[str, str] = field(default_factory=dict)  # page's place to file

    def rewritten(self, text: str, file: str, page: str) -> str:
        """The text of ``file`` with links as they are on ``page``; what isn't on the site stays as words."""

        def one(mark: str, words: str, target: str) -> str:
            if target.startswith(_ELSEWHERE):
                return f"{mark}[{words}]({target})"
            path, _, anchor = target.partition("#")
            found = self._page(posixpath.normpath(posixpath.join(posixpath.dirname(file), path)))
            if found is None:
                return words if words.startswith("`") else f"`{words}`"
            there = posixpath.relpath(found, posixpath.dirname(page) or ".")
            return f"{mark}[{words}]({there}{'#' + anchor if anchor else ''})"

        return markdown.links(text, one)

    def _page(self, file: str) -> str | None:
        if file in self.pages:
            return self.pages[file]
        if not (ROOT / file).is_file():
            # A page that is made, or one that isn't: mkdocs tells of it.
            return file.removeprefix("docs/") if file.startswith("docs/") else None
        if file.startswith("docs/"):
            return file.removeprefix("docs/")
        if file.endswith(_PICTURES):
            place = "images/" + file.replace("/", "-")
            self.pictures[place] = file
            return place
        return None


def page_of(algorithm: manifest.Manifest) -> str:
    """Where an algorithm's page stands."""
    return f"algorithms/{algorithm.name}.md"


def readme_of(algorithm: manifest.Manifest) -> str:
    """The algorithm's README, from the repository's root."""
    return f"containers/{algorithm.folder}/README.md"


def _readmes() -> dict[str, str]:
    found = [manifest.load(name) for name in manifest.known()]
    return {readme_of(algorithm): page_of(algorithm) for algorithm in found}
