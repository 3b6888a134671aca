"""Trials and what is known of them, kept on disk so that a killed tuning goes on where it was."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.failures import ClientError
from common.job import written

FILE = "trials.json"
RUNNING, COMPLETED, STOPPED, FAILED = "InProgress", "Completed", "Stopped", "Failed"


@dataclass
class Trial:
    """One training job of a tuning."""

    name: str
    values: dict[str, str]  # of what is tuned
    created: float  # seconds since 1970
    status: str = RUNNING
    reports: list[float] = field(default_factory=list)  # the objective, each time it was printed
    ended: float | None = None
    reason: str = ""  # why it failed

    @property
    def number(self) -> int:
        """Which it is of its tuning, from 0, as its name tells."""
        return int(self.name.rsplit("-", 2)[1]) - 1

    @property
    def objective(self) -> float | None:
        """The last value printed, which is what SageMaker takes."""
        return self.reports[-1] if self.reports else None


def name(tuning: str, number: int) -> str:
    """A name for a trial in the form of AWS's."""
    return f"{tuning}-{number + 1:03d}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Objective:
    """The metric that is tuned for."""

    metric: str
    regex: str
    maximize: bool

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is better than ``other``."""
        return one > other if self.maximize else one < other

    def best(self, trials: Iterable[Trial]) -> Trial | None:
        """The trial with the best last value; of equals the first. None when none has printed any."""
        found: Trial | None = None
        for trial in trials:
            value = trial.objective
            if value is None or trial.status not in (COMPLETED, STOPPED):
                continue
            if found is None or found.objective is None or self.better(value, found.objective):
                found = trial
        return found


def save(folder: Path, request: dict[str, Any], trials: Sequence[Trial], seconds: float, status: str) -> None:
    """Keeps the request, all trials, and how long the tuning has run."""
    kept = {
        "request": request,
        "status": status,
        "seconds": seconds,
        "trials": [asdict(trial) for trial in trials],
    }
    with written(folder / FILE) as path:
        path.write_text(json.dumps(kept, indent=1))


def load(folder: Path) -> tuple[dict[str, Any], list[Trial], float, str] | None:
    """What was saved: request, trials, seconds, status; None where nothing was. Raises ClientError."""
    try:
        kept = json.loads((folder / FILE).read_text())
        trials = [Trial(**trial) for trial in kept["trials"]]
        return kept["request"], trials, kept["seconds"], kept["status"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ClientError(f"{folder / FILE} is damaged; accepted: what algodock tune wrote") from None
