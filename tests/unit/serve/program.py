"""The `serve` program with the algorithms of the folder beside this file."""

import os
import time
from pathlib import Path

import containers
from common import manifest
from serve import server

FOLDER = Path(__file__).parent / "algorithms"


def main() -> None:
    containers.__path__.append(str(FOLDER))
    manifest.CONTAINERS = FOLDER
    # New processes may be slow to begin, as on a machine with much to do.
    pause = float(os.environ.get("TEST_PAUSE_AFTER_FORK", "0"))
    os.register_at_fork(after_in_child=lambda: time.sleep(pause))
    server.main()


if __name__ == "__main__":
    main()
