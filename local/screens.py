"""What is written for a person, who may not be there any more."""

from __future__ import annotations

import os
from typing import IO


def tell(screen: IO[str], text: str) -> None:
    """Writes at once. Once its reader, its terminal or its room is gone, nothing more comes out or breaks."""
    try:
        screen.write(text)
        screen.flush()
    except OSError:
        silence(screen)


def silence(stream: IO[str]) -> None:
    """What is written to the stream from now on, or was and isn't out yet, goes nowhere."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
