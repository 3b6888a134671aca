"""The `serve` program with the algorithms of the folder beside this file."""

from pathlib import Path

import containers
from common import manifest
from serve import server

FOLDER = Path(__file__).parent / "algorithms"


def main() -> None:
    containers.__path__.append(str(FOLDER))
    manifest.CONTAINERS = FOLDER
    server.main()


if __name__ == "__main__":
    main()
