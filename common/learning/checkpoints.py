"""Checkpoints of a network in training, so that a job that was killed goes on where it was.

A checkpoint is a zip (`common.formats.archive`) of arrays and of JSON; the last two are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import archive, ndarray
from common.job import written
from common.metrics import log

_NAME = re.compile(r"checkpoint-(\d{1,9})")
_KEPT = 2
_ARRAYS, _FACTS = "arrays", "facts.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was trained in ``epochs`` epochs."""

    epochs: int
    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class Checkpoints:
    """Those in ``folder``; without one (None) nothing is saved or found.

    ``same`` are facts, JSON values by name, that must be equal for a checkpoint to be gone on from.
    """

    def __init__(self, folder: Path | None, same: Mapping[str, Any]) -> None:
        self._folder = folder
        self._same = dict(same)

    @property
    def wanted(self) -> bool:
        """Whether checkpoints are kept."""
        return self._folder is not None

    def save(self, epochs: int, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Keeps what was trained in ``epochs`` epochs, whole or not at all."""
        if self._folder is None:
            return
        members: dict[str, Any] = {
            _ARRAYS: ndarray.pieces(arrays),
            _FACTS: json.dumps({**facts, "same": self._same}).encode(),
        }
        with written(self._folder / f"checkpoint-{epochs}") as path:
            archive.write(path, members)
        for old in self._numbers()[_KEPT:]:
            (self._folder / f"checkpoint-{old}").unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest that is whole; damaged ones are passed over with a warning.

        Raises ClientError when it is of a job with other ``same``.
        """
        for number in self._numbers():
            assert self._folder is not None
            path = self._folder / f"checkpoint-{number}"
            try:
                with archive.opened(path, "a checkpoint") as zipped:
                    facts, arrays = zipped.json(_FACTS), zipped.arrays(_ARRAYS)
            except ClientError as error:
                log.warning("the checkpoint %s can't be read and is passed over: %s", path, error)
                continue
            self._compare(path, facts.pop("same", {}))
            log.info("Going on from %s", path)
            return Checkpoint(number, arrays, facts)
        return None

    def _compare(self, path: Path, same: dict[str, Any]) -> None:
        for name, value in self._same.items():
            if same.get(name) != value:
                raise ClientError(
                    f"hyperparameter {name} is {value}, and the checkpoint {path} was made with "
                    f"{same.get(name)}; accepted: the same, or an empty folder of checkpoints"
                )

    def _numbers(self) -> list[int]:
        if self._folder is None or not self._folder.is_dir():
            return []
        found = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        return sorted((int(match[1]) for match in found if match), reverse=True)
