"""A job and a tuning, as pages show them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common import manifest
from common.failures import ClientError
from common.manifest import Manifest
from local.tuning.trials import Objective, Trial
from local.ui import folders
from local.ui.folders import DESCRIPTION, LOG, MODEL, OUTPUT, REPORT, TUNING_REPORT

RUNNING, COMPLETED, FAILED, STOPPED, UNKNOWN = "running", "completed", "failed", "stopped", "unknown"
DOWNLOADS = (MODEL, OUTPUT, DESCRIPTION, LOG)


@dataclass(frozen=True)
class Job:
    """One training job's folder. ``key`` is its place below the folder of all."""

    key: str
    folder: Path
    status: str
    algorithm: str  # "" where nothing tells
    started: float
    ended: float | None
    failure: str = ""
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.key.rsplit("/", 1)[-1]

    @property
    def seconds(self) -> float:
        return max(0.0, (self.ended or time.time()) - self.started)

    @property
    def manifest(self) -> Manifest | None:
        """The algorithm's; None where it is unknown."""
        return algorithm_of(self.algorithm)

    def file(self, name: str) -> Path | None:
        """A regular file by its place in the folder; None where there is none, or a link leads out."""
        return folders.inside(self.folder, self.folder / name)

    @property
    def has_model(self) -> bool:
        """Whether there is a model that an endpoint can be made of."""
        return self.manifest is not None and self.file(MODEL) is not None

    def report(self) -> bytes | None:
        """The page that the job wrote of itself."""
        for path in folders.of_hosts(self.folder, REPORT):
            return path.read_bytes() if path.stat().st_size <= folders.LARGEST else None
        return folders.member(self.file(OUTPUT), "data/report.html")

    @property
    def has_report(self) -> bool:
        """The same, where that costs little to find out."""
        return any(folders.of_hosts(self.folder, REPORT)) or (
            not (self.folder / "ml").is_dir() and self.file(OUTPUT) is not None
        )


@dataclass(frozen=True)
class Tuning:
    """A tuning's folder with the jobs that are its trials."""

    key: str
    folder: Path
    status: str
    algorithm: str
    started: float
    seconds: float
    objective: Objective
    trials: Sequence[Trial]
    jobs: Sequence[Job] = ()

    @property
    def name(self) -> str:
        return self.key.rsplit("/", 1)[-1]

    @property
    def best(self) -> Trial | None:
        return self.objective.best(self.trials)

    def report(self) -> bytes | None:
        """The page that the tuning wrote of itself."""
        path = folders.inside(self.folder, self.folder / TUNING_REPORT)
        return path.read_bytes() if path and path.stat().st_size <= folders.LARGEST else None

    @property
    def has_report(self) -> bool:
        return folders.inside(self.folder, self.folder / TUNING_REPORT) is not None


Entry = Job | Tuning


def algorithm_of(name: str) -> Manifest | None:
    """The algorithm by its image's name; None where there is none such."""
    try:
        return manifest.load(name) if name else None
    except ClientError:
        return None
