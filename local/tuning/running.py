"""Runs trials, some at once, until a limit is reached; what is known is on disk after each."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.failures import AlgorithmError, ClientError
from common.manifest import Manifest
from local import storage
from local.jobs import Host, JobSpec, brought, possible
from local.runtimes import Running, Runtime
from local.training import failure, train
from local.tuning import pruning, search, trials
from local.tuning.ranges import Words
from local.tuning.request import Tuning
from local.tuning.trials import COMPLETED, FAILED, RUNNING, STOPPED, Trial

GRACE = 120  # seconds that a trial has to save its model once it is asked to stop
THREADS = "ALGODOCK_NUM_THREADS"
OBJECTIVE = "_tuning_objective_metric"
_DRAWS = 20  # of which one must be accepted
_WIDE = 1_000_000  # features, more than what rules compare with how many there are


class _Held:
    """A runtime whose hosts can be stopped from elsewhere."""

    def __init__(self, runtime: Runtime, seconds: float) -> None:
        self._runtime, self._seconds = runtime, seconds
        self._hosts: list[Running] = []
        self._lock = threading.Lock()
        self._timers: list[threading.Timer] = []
        self.stopped = False

    def host_names(self, count: int) -> list[str]:
        return self._runtime.host_names(count)

    def start(
        self, manifest: Manifest, hosts: Sequence[Host], environment: Mapping[str, str]
    ) -> list[Running]:
        with self._lock:
            self._hosts = self._runtime.start(manifest, hosts, environment)
            if self.stopped:
                self._stop()
            elif math.isfinite(self._seconds):
                self._after(self._seconds, self.stop)
        return self._hosts

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._runtime.close()

    def stop(self) -> None:
        """Asks the hosts to end with what they have learned, and ends them when they take too long."""
        with self._lock:
            if not self.stopped:
                self.stopped = True
                self._stop()

    def _stop(self) -> None:
        for host in self._hosts:
            host.stop()
        self._after(GRACE, self.kill)

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, what)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def kill(self) -> None:
        """Ends the hosts at once; those that have ended already don't mind."""
        for host in self._hosts:
            with contextlib.suppress(OSError):
                host.kill()


class _Listener(io.StringIO):
    """Stands for a job's screen, and hears the objective; what is no finite number tells nothing."""

    def __init__(self, regex: str, heard: Callable[[float], None]) -> None:
        super().__init__()
        self._regex, self._heard = re.compile(regex), heard

    def write(self, text: str) -> int:
        for line in text.splitlines():
            # AWS's logs, which XGBoost's regexes are for, show a tab as #011; a user's own may mean the tab.
            found = self._regex.search(line) or self._regex.search(line.replace("\t", "#011"))
            with contextlib.suppress(ValueError, TypeError):
                if found and math.isfinite(value := float(found[1])):
                    self._heard(value)
        return len(text)


@dataclass
class _Under:
    """A trial under way."""

    trial: Trial
    runtime: _Held


@dataclass
class Tuner:
    """One tuning in a folder. ``tell(trial)`` hears of each trial that begins or ends."""

    tuning: Tuning
    request: dict[str, Any]
    folder: Path
    runtime: Callable[[], Runtime]
    tell: Callable[[Trial], None] = lambda trial: None
    parents: Sequence[Trial] = ()
    trials: list[Trial] = field(default_factory=list)
    ran: float = 0.0  # seconds, in earlier runs too

    def __post_init__(self) -> None:
        self._events: queue.SimpleQueue[tuple[_Under, float | Exception | int]] = queue.SimpleQueue()
        self._under: dict[str, _Under] = {}
        self._began = time.monotonic()
        self._earlier = self.ran

    def run(self) -> str:
        """Runs to the end and returns the tuning's status. An interrupt stops what is under way."""
        self._drop_what_runs()
        done = {trial.number for trial in self.trials}
        # A kill may have left gaps: what ran beside those that had ended is tried again.
        self._numbers = (number for number in itertools.count() if number not in done)
        self._search = self._strategy()
        for trial in self.parents:
            self._search.learn(None, trial.values, trial.objective)
        for trial in self.trials:
            self._learn(trial)
        self._pruning = self._rule()
        status = COMPLETED
        try:
            self._channels = [] if self._full() else brought(_spec(self.tuning, self.folder))
            while True:
                while not self._full() and len(self._under) < self.tuning.limits.parallel:
                    self._begin()
                if not self._under:
                    break
                self._wait()
        except KeyboardInterrupt:
            status = STOPPED
            self._end_all()
            self._drop_what_runs()
        finally:
            shutil.rmtree(storage.downloads(self.folder), ignore_errors=True)
        if status == COMPLETED and self.trials and all(trial.status == FAILED for trial in self.trials):
            status = FAILED
        self._save(status)
        return status

    def _strategy(self) -> search.Search:
        tuning = self.tuning
        if tuning.strategy == "Grid":
            return search.Grid([one for one in tuning.ranges if isinstance(one, Words)])
        if tuning.strategy == "Bayesian":
            # A tuning that goes on draws on, rather than again.
            seed = (tuning.seed + len(self.trials)) % 2**32
            return search.Bayesian(tuning.ranges, seed, tuning.objective.maximize)
        return search.Random(tuning.ranges, tuning.seed)

    def _rule(self) -> pruning.Pruning:
        if self.tuning.strategy == "Hyperband":
            return pruning.Hyperband(self.tuning.objective, *self.tuning.resource)
        return pruning.Median(self.tuning.objective) if self.tuning.early_stopping else pruning.Never()

    def _drop_what_runs(self) -> None:
        """What was under way when an earlier run was killed counts as not begun.

        So does what an interrupt kept from beginning.
        """
        self.trials = [trial for trial in self.trials if trial.status != RUNNING]

    def _full(self) -> bool:
        limits, objective = self.tuning.limits, self.tuning.objective
        if len(self.trials) >= limits.trials or self.seconds >= limits.seconds:
            return True
        ended = [trial for trial in self.trials if trial.status in (COMPLETED, STOPPED)]
        best = objective.best(ended)
        if best is None or best.objective is None:
            return False
        if limits.target is not None and not objective.better(float(limits.target), best.objective):
            return True
        since = len(ended) - 1 - next(n for n, trial in enumerate(ended) if trial is best)
        return limits.not_improving is not None and since >= limits.not_improving

    @property
    def seconds(self) -> float:
        """How long the tuning has run."""
        return self._earlier + time.monotonic() - self._began

    def _begin(self) -> None:
        number = next(self._numbers)
        values = self._search.propose(number)
        trial = Trial(trials.name(self.tuning.name, number), values, time.time())
        under = _Under(trial, _Held(self.runtime(), self.tuning.limits.trial_seconds))
        self.trials.append(trial)
        self._save(RUNNING)
        self.tell(trial)
        # Last: an interrupt before this mustn't wait for a trial that never began.
        self._under[trial.name] = under
        threading.Thread(target=self._run, args=(under,), daemon=True).start()

    def _run(self, under: _Under) -> None:
        spec = self._job(under.trial)
        listener = _Listener(
            self.tuning.objective.regex, lambda value: self._events.put((under, float(value)))
        )
        try:
            code = train(spec, under.runtime, listener, lambda: under.runtime.stopped)
            self._events.put((under, AlgorithmError(failure(spec)) if code else 0))
        except Exception as error:
            self._events.put((under, error))

    def _job(self, trial: Trial) -> JobSpec:
        tuning = self.tuning
        cores = max(1, (os.cpu_count() or 1) // tuning.limits.parallel)
        share = {} if tuning.limits.parallel == 1 or THREADS in os.environ else {THREADS: str(cores)}
        # Only of the algorithm's own metrics: a user's regex finds another, of which it knows nothing.
        known = tuning.objective.metric in {metric.name for metric in tuning.algorithm.metrics}
        return replace(
            _spec(tuning, self.folder / trial.name),
            hyperparameters={
                **tuning.static,
                **trial.values,
                **({OBJECTIVE: tuning.objective.metric} if known else {}),
            },
            channels=self._channels,
            environment={**share, **tuning.environment},
        )

    def _wait(self) -> None:
        """Until something happens, or the time is up."""
        left = self.tuning.limits.seconds - self.seconds
        try:
            # In steps: a lock that waits without an end doesn't hear of interrupts everywhere.
            under, what = self._events.get(timeout=min(max(left, 0.0), 3600) if math.isfinite(left) else 3600)
        except queue.Empty:
            if self.seconds >= self.tuning.limits.seconds:
                for other in self._under.values():
                    other.runtime.stop()
                under, what = self._events.get()
            else:
                return
        self._happened(under, what)

    def _happened(self, under: _Under, what: float | Exception | int) -> None:
        trial = under.trial
        if isinstance(what, float):
            trial.reports.append(what)
            if not under.runtime.stopped and self._pruning.ends(trial, self.trials):
                under.runtime.stop()
            return
        del self._under[trial.name]
        trial.ended = time.time()
        # One that was asked to stop counts as stopped, also when its program took it badly.
        if isinstance(what, Exception) and not under.runtime.stopped:
            trial.status, trial.reason = FAILED, str(what)
        else:
            # One that Hyperband gave all there is has had its whole training.
            whole = 0 < self.tuning.resource[1] <= len(trial.reports)
            trial.status = STOPPED if under.runtime.stopped and not whole else COMPLETED
        if trial.status == COMPLETED and trial.objective is None:
            trial.reason = f"it didn't print {self.tuning.objective.metric}"
        self._learn(trial)
        self._save(RUNNING)
        self.tell(trial)

    def _learn(self, trial: Trial) -> None:
        objective = None if trial.status == FAILED else trial.objective
        self._search.learn(trial.number, trial.values, objective)

    def _end_all(self) -> None:
        for under in self._under.values():
            under.runtime.stop()
        try:
            while self._under:
                self._happened(*self._events.get())
        except KeyboardInterrupt:
            for under in self._under.values():
                under.runtime.kill()
            while self._under:
                self._happened(*self._events.get())

    def _save(self, status: str) -> None:
        self.ran = self.seconds
        trials.save(self.folder, self.request, self.trials, self.ran, status)


def _spec(tuning: Tuning, output: Path) -> JobSpec:
    """What all trials are."""
    return JobSpec(
        manifest=tuning.algorithm,
        output=output,
        hyperparameters=tuning.static,
        channels=tuning.channels,
        input_mode=tuning.input_mode,
        distribution=tuning.distribution,
        host_count=tuning.hosts,
        instance_type=tuning.instance_type,
        environment=tuning.environment,
        checkpoints=tuning.checkpoints,
    )


def check(tuning: Tuning) -> None:
    """Raises ClientError for what would fail every trial: static values, channels that can't be so."""
    _check_values(tuning)
    given = {channel.name for channel in tuning.channels}
    for spec in tuning.algorithm.channels:
        if spec.required and spec.name not in given:
            raise ClientError(f"channel {spec.name} is missing; {tuning.algorithm.name} requires it")
    metric = tuning.objective.metric
    own = tuning.objective.regex not in {known.regex for known in tuning.algorithm.metrics}
    if metric.startswith("test:") and not own and "test" not in given:
        raise ClientError(
            f"the objective {metric} is of channel test, which isn't given; accepted: with that channel, or "
            "another objective"
        )
    job = _spec(tuning, Path())
    for channel in tuning.channels:
        possible(job, channel)


def _check_values(tuning: Tuning) -> None:
    """Raises ClientError where none of some draws is accepted; a rule between two ranges may refuse a few."""
    declared = tuning.algorithm.declaration()
    needed = [one for one in declared.parameters if one.name == "feature_dim" and one.required]
    unknown = {one.name: str(one.max or _WIDE) for one in needed}  # `train` fills it in from the data
    draws = search.Random(tuning.ranges, tuning.seed)
    faults = []
    for number in range(_DRAWS):
        try:
            declared.resolve({**unknown, **tuning.static, **draws.propose(number)})
        except ClientError as error:
            faults.append(error)
        else:
            return
    raise faults[0]
