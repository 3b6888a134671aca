"""The real MXNet and GluonCV as the other side: `make test-interop` makes their environment."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("ALGODOCK_INTEROP_PYTHON") or ROOT / ".interop" / "bin" / "python")


class Peer:
    """`peer.py` as a process. Calls return what it answers; arrays go and come as dicts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name("peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """One function of `peer.py`. Fails the test with its trace when it fails."""
        written = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
        print(json.dumps({"call": name, "arguments": written}), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def arrays(self, name: str, /, **arguments: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The same for a function that makes arrays, which come with the answer."""
        path = self._folder / f"result-{next(self._numbers)}.npz"
        answer = self.call(name, result=path, **arguments)
        with np.load(path) as found:
            return answer, dict(found)

    def given(self, **arrays: Any) -> Path:
        """A file of arrays for the peer to read."""
        path = self._folder / f"inputs-{next(self._numbers)}.npz"
        np.savez(path, **arrays)
        return path

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """The other side, started once."""
    if not PYTHON.exists():
        pytest.fail(f"there is no {PYTHON}: run make test-interop")
    one = Peer(tmp_path_factory.mktemp("peer"))
    yield one
    one.stop()
