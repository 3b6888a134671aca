"""The endpoints that pages have started: a few at once, and none longer than it is of use."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from common.failures import AlgorithmError, ClientError
from local.endpoints import Endpoint, Gone, unpacked
from local.ui.folders import MODEL
from local.ui.jobs import Job

AT_ONCE = 3
IDLE_SECONDS = 600.0
# What one waits for at most, longer than an endpoint takes that doesn't come up.
_START_SECONDS = 150.0
OFF, STARTING, READY, BROKEN = "off", "starting", "ready", "broken"


@dataclass
class _Served:
    """One endpoint and the thread that holds it."""

    model: Path
    stamp: int  # of the model's file
    algorithm: str
    used: float = field(default_factory=time.monotonic)
    asked: int = 0  # requests under way
    endpoint: Endpoint | None = None
    trouble: str = ""
    tried: threading.Event = field(default_factory=threading.Event)  # whether it came up or didn't
    ending: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._hold, name="endpoint", daemon=True)
        self.thread.start()

    def _hold(self) -> None:
        environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
        try:
            with unpacked(str(self.model), self.algorithm) as (algorithm, root):
                if self.ending.is_set():
                    return
                with Endpoint(algorithm, root, environment=environment) as endpoint:
                    self.endpoint = endpoint
                    endpoint.wait(_START_SECONDS - 30)
                    self.tried.set()
                    self.ending.wait()
        except Exception as error:
            self.trouble = str(error) or type(error).__name__
        finally:
            self.tried.set()

    def end(self) -> None:
        """Asks it to end, also while it starts."""
        self.ending.set()
        if self.endpoint and not self.tried.is_set():
            threading.Thread(target=self.endpoint.stop, daemon=True).start()

    @property
    def state(self) -> str:
        if not self.tried.is_set():
            return STARTING
        return BROKEN if self.trouble else READY


@dataclass(frozen=True)
class State:
    """How a job's endpoint is: off, starting, ready or broken, and then why."""

    name: str = OFF
    trouble: str = ""
    port: int | None = None


class Endpoints:
    """Endpoints by the keys of their jobs. Those beyond ``at_once`` take the place of the longest unused."""

    def __init__(self, at_once: int = AT_ONCE, idle_seconds: float = IDLE_SECONDS) -> None:
        self._at_once, self._idle = at_once, idle_seconds
        self._lock = threading.Lock()
        self._served: dict[str, _Served] = {}
        self._ended: list[_Served] = []
        self._closing = threading.Event()
        threading.Thread(target=self._watch, name="idle endpoints", daemon=True).start()

    def state(self, job: Job) -> State:
        """How the job's endpoint is."""
        with self._lock:
            served = self._served.get(job.key)
        if served is None:
            return State()
        port = served.endpoint.port if served.endpoint else None
        return State(served.state, served.trouble, port)

    def start(self, job: Job) -> _Served:
        """The job's endpoint, begun where there is none or the model is another by now.

        Raises ClientError where the job has no model, or all places are taken.
        """
        model = job.file(MODEL)
        if model is None or job.manifest is None:
            raise ClientError(f"{job.name} has no {MODEL} of a known algorithm; has the job ended well?")
        stamp = model.stat().st_mtime_ns
        with self._lock:
            if self._closing.is_set():
                raise ClientError("algodock ui is ending")
            served = self._served.get(job.key)
            if served and served.stamp == stamp and served.state != BROKEN:
                served.used = time.monotonic()
                return served
            if served:
                self._end(job.key)
            self._make_room()
            served = self._served[job.key] = _Served(model, stamp, job.manifest.name)
            served.start()
            return served

    def ask(self, job: Job, body: bytes, content_type: str, accept: str | None) -> bytes:
        """The answer of the endpoint, which is started for it.

        Raises ClientError with the endpoint's words, AlgorithmError where there is none.
        """
        served = self.start(job)
        with self._lock:
            served.asked += 1
        try:
            served.tried.wait(_START_SECONDS)
            if served.trouble or served.endpoint is None or served.ending.is_set():
                raise AlgorithmError(served.trouble or "the endpoint was stopped")
            return served.endpoint.ask(body, content_type, accept).body
        except Gone as error:
            self.stop(job)
            raise AlgorithmError(f"{error}; the next request starts another") from None
        finally:
            with self._lock:
                served.asked -= 1
                served.used = time.monotonic()

    def stop(self, job: Job) -> None:
        """Stops the job's endpoint, if there is one."""
        with self._lock:
            if job.key in self._served:
                self._end(job.key)

    def close(self) -> None:
        """Stops all and waits for them."""
        self._closing.set()
        with self._lock:
            for key in list(self._served):
                self._end(key)
            ended = list(self._ended)
        for served in ended:
            if served.thread:
                served.thread.join()

    def _end(self, key: str) -> None:
        served = self._served.pop(key)
        self._ended = [one for one in self._ended if one.thread and one.thread.is_alive()] + [served]
        served.end()

    def _make_room(self) -> None:
        while len(self._served) >= self._at_once:
            idle = [key for key, served in self._served.items() if not served.asked]
            if not idle:
                raise ClientError(f"{self._at_once} endpoints are answering already; try again in a moment")
            self._end(min(idle, key=lambda key: self._served[key].used))

    def _watch(self) -> None:
        while not self._closing.wait(min(15.0, self._idle / 4)):
            now = time.monotonic()
            with self._lock:
                for key, served in list(self._served.items()):
                    if not served.asked and now - served.used > self._idle:
                        self._end(key)
