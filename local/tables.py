"""Writes each algorithm's hyperparameter table into its README: ``python -m local.tables [--check]``."""

from __future__ import annotations

import re
import sys

from common import manifest
from local.describing import as_table

_SECTION = re.compile(r"(<!-- hyperparameters -->\n).*?(<!-- /hyperparameters -->)", re.DOTALL)


def stale() -> dict[str, str]:
    """Paths of READMEs whose table is not the declaration's, with the text that they should have."""
    found = {}
    for name in manifest.known():
        algorithm = manifest.load(name)
        path = manifest.CONTAINERS / algorithm.folder / "README.md"
        text = path.read_text("utf-8")
        table = as_table(algorithm)
        wanted = _SECTION.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)  # type: ignore[misc]
        if wanted != text or not _SECTION.search(text):
            found[str(path)] = wanted
    return found


def main() -> None:
    """Rewrites the tables, or with ``--check`` only tells which are stale (exit code 1)."""
    wanted = stale()
    for path, text in wanted.items():
        print(path)
        if "--check" not in sys.argv:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    sys.exit(bool(wanted) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
