"""The jobs and tunings below a folder, found and described."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.failures import ClientError
from local.tuning import trials
from local.tuning.trials import Objective, Trial
from local.ui import folders
from local.ui.folders import DESCRIPTION, LOG, MODEL
from local.ui.jobs import COMPLETED, FAILED, RUNNING, STOPPED, UNKNOWN, Entry, Job, Tuning
from local.ui.writers import Writers

DEPTH = 4
OUTCOMES = {
    trials.RUNNING: RUNNING,
    trials.COMPLETED: COMPLETED,
    trials.STOPPED: STOPPED,
    trials.FAILED: FAILED,
}
ENDINGS = {told: status for told, status in OUTCOMES.items() if status != RUNNING}
# For how long a job is thought to run that nobody is seen to write: it is between two files, or where its
# writers can't be seen at all.
_RECENT, _RECENT_UNSEEN = 10.0, 120.0
_LATEST = 1e11  # seconds since 1970 that can be written as a date
# Of these one at least is another when a job begins or ends.
_CHANGING = (".", "ml", "ml/algo-1", "ml/algo-1/input", "ml/algo-1/output", DESCRIPTION, LOG, MODEL)


class Store:
    """All jobs below ``folder``, or the one that it is itself. Links that lead out of it are not followed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder.resolve()
        # What keys begin from, so that a job shown alone has a name too.
        self._base = (
            self.root.parent if folders.is_job(self.root) or folders.is_tuning(self.root) else self.root
        )
        self._writers = Writers(self.root)
        self._lock = threading.Lock()
        self._found: list[Path] = []
        self._walk_again = 0.0
        self._ended: dict[Path, tuple[list[float], Job]] = {}

    def entries(self) -> list[Entry]:
        """The newest first, trials within their tuning."""
        found = [entry for folder in self._folders() if (entry := self._described(folder))]
        trials_of = {entry.folder for entry in found if isinstance(entry, Tuning)}
        top = [entry for entry in found if entry.folder.parent not in trials_of]
        return sorted(top, key=lambda entry: (-entry.started, entry.key))

    def get(self, key: str) -> Entry | None:
        """The job or tuning of that key; None where there is none, or it lies elsewhere."""
        if not key or "\0" in key or ".." in key.split("/"):
            return None
        try:
            folder = (self._base / key).resolve()
            known = folder.is_relative_to(self.root) and folder.is_dir()
        except (OSError, RuntimeError):  # no name of a file, or links in a ring
            return None
        return self._described(folder) if known else None

    def _key(self, folder: Path) -> str:
        return folder.relative_to(self._base).as_posix()

    def _folders(self) -> list[Path]:
        """Walked anew after a moment, a longer one where the walk takes long."""
        with self._lock:
            began = time.monotonic()
            if began >= self._walk_again:
                self._found = list(folders.walk(self.root, DEPTH))
                ended = time.monotonic()
                self._walk_again = ended + max(0.5, 10 * (ended - began))
            return self._found

    def _described(self, folder: Path) -> Entry | None:
        try:
            if folders.is_tuning(folder):
                return self._tuning(folder)
            return self._job(folder) if folders.is_job(folder) else None
        except OSError:  # it is being removed
            return None

    def _tuning(self, folder: Path) -> Tuning | None:
        try:
            kept = trials.load(folder)
            if kept is None:
                return None
            request, tried, seconds, told = kept
            asked = request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
            objective = Objective(str(asked["MetricName"]), "", asked["Type"] == "Maximize")
            image = str(request["TrainingJobDefinition"]["AlgorithmSpecification"]["TrainingImage"])
            if not all(map(_sound, tried)) or not _number(seconds, _LATEST):
                return None
            started = min((float(trial.created) for trial in tried), default=folders.touched(folder))
            status = OUTCOMES.get(told, UNKNOWN)
        except (ClientError, KeyError, TypeError, ValueError):
            return None
        if status == RUNNING:
            if not self._alive(folder):
                status = UNKNOWN
            else:
                seconds = max(seconds, time.time() - started)
        jobs = [job for trial in tried if (job := self._trial(folder, trial))]
        algorithm = image.rsplit("/", 1)[-1].partition(":")[0]
        return Tuning(self._key(folder), folder, status, algorithm, started, seconds, objective, tried, jobs)

    def _trial(self, folder: Path, trial: Trial) -> Job | None:
        place = folder / trial.name
        known = place.parent == folder and ".." not in place.parts and not place.is_symlink()
        return self._job(place) if known and folders.is_job(place) else None

    def _job(self, folder: Path) -> Job:
        """One that has ended is described anew only when another begins in its folder."""
        stamp = folders.times([folder / name for name in _CHANGING])
        known, job = self._ended.get(folder, ([], None))
        if job is None or known != stamp:
            job = self._read(folder)
            if job.status not in (RUNNING, UNKNOWN):
                self._ended[folder] = stamp, job
        return job

    def _read(self, folder: Path) -> Job:
        # While another job is under way the description is the earlier one's.
        under_way = folders.under_way(folder)
        described = {} if under_way else folders.as_object(folders.inside(folder, folder / DESCRIPTION))
        config = folders.config(folder)
        status, failure = self._status(folder, described)
        return Job(
            key=self._key(folder),
            folder=folder,
            status=status,
            algorithm=folders.algorithm(folder, described),
            started=folders.started(folder),
            ended=None if status == RUNNING else folders.ended(folder),
            failure=failure,
            hyperparameters=_texts(config.get("hyperparameters") or described.get("hyperparameters")),
            channels=_texts(described.get("channels")) or _modes(config.get("inputdataconfig")),
            settings=_settings(described),
        )

    def _status(self, folder: Path, described: Mapping[str, Any]) -> tuple[str, str]:
        """How the job is, and why it failed.

        A folder's hosts have input/data until the last of them has ended, and job.json is written last. So
        the folder tells what became of it also where an earlier job's files lie in it; whether one runs that
        hasn't ended is told by who writes there.
        """
        if self._writers.below(folder):
            return RUNNING, ""
        failure = folders.failure(folder)
        told = ENDINGS.get(str(described.get("status"))) or (FAILED if failure else None)
        if told:
            return told, (failure or f"it left no reason; see {LOG}") if told == FAILED else ""
        return (RUNNING if not described and self._alive(folder) else UNKNOWN), ""

    def _alive(self, folder: Path) -> bool:
        recent = _RECENT if self._writers.would_know(folder) else _RECENT_UNSEEN
        return self._writers.below(folder) or time.time() - folders.touched(folder) < recent


def _sound(trial: Trial) -> bool:
    """Whether a trial is what `algodock tune` writes."""
    times = [trial.created, *(() if trial.ended is None else (trial.ended,))]
    texts = [trial.name, trial.status, trial.reason]
    return (
        all(_number(one, _LATEST) for one in times)
        and all(_number(one, sys.float_info.max) for one in trial.reports)
        and all(isinstance(one, str) for one in texts)
        and isinstance(trial.values, dict)
    )


def _number(value: object, most: float) -> bool:
    """Whether it is a finite number of that size, also where it is an integer beyond all floats."""
    return isinstance(value, int | float) and abs(value) <= most


def _texts(value: object) -> dict[str, str]:
    return {str(name): str(one) for name, one in value.items()} if isinstance(value, dict) else {}


def _modes(config: object) -> dict[str, str]:
    """Channels of a running job: their places aren't written yet."""
    if not isinstance(config, dict):
        return {}
    return {str(name): _mode(one) for name, one in config.items()}


def _mode(channel: object) -> str:
    found = channel if isinstance(channel, dict) else {}
    return ", ".join(str(found[key]) for key in ("TrainingInputMode", "ContentType") if found.get(key))


def _settings(described: Mapping[str, Any]) -> dict[str, str]:
    shown = {"input mode": "input_mode", "distribution": "distribution", "hosts": "hosts"}
    return {name: str(described[key]) for name, key in shown.items() if key in described}
