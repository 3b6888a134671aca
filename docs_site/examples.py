"""The commands that pages hold, run in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from docs_site.places import ROOT

_LENT = ("examples", "tests", "common", "containers", "kubernetes")  # what commands read of the repository


def prepare(folder: Path) -> None:
    """Makes ``folder`` look like the repository to commands that write below jobs/."""
    for name in _LENT:
        (folder / name).symlink_to(ROOT / name)


def run(commands: Iterable[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Runs the blocks one after the other, as pasted into one shell; what they print.

    Raises CalledProcessError when a command fails.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=folder,
        env={**os.environ, "PATH": path, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout
