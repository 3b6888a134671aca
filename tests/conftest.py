"""A job's folder made, trained and served for real, in temporary folders and on free ports."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

BIN = Path(sys.executable).parent
# Of reports there are tests; elsewhere a second for each of thousands of jobs buys nothing.
os.environ.setdefault("ALGODOCK_REPORT", "0")
# The same examples in every run, however slow the machine is: `make fuzz` is for what nobody has tried yet.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("tests")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class TrainingJob:
    """One training job: lay it out, then `run` the real `train`."""

    algorithm: str
    root: Path
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    channels: dict[str, dict[str, str]] = field(default_factory=dict)
    resources: dict[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    pipes: dict[str, bytes] = field(default_factory=dict)

    def channel(
        self,
        name: str,
        data: bytes | dict[str, bytes],
        content_type: str | None = None,
        mode: str = "File",
        distribution: str = "FullyReplicated",
        wrapper: str = "None",
    ) -> TrainingJob:
        """Adds a channel: one file's bytes, or several files by name; a Pipe is fed anew each epoch."""
        self.channels[name] = {
            "TrainingInputMode": mode,
            "S3DistributionType": distribution,
            "RecordWrapperType": wrapper,
        }
        if content_type:
            self.channels[name]["ContentType"] = content_type
        files = {"data": data} if isinstance(data, bytes) else data
        if mode == "Pipe":
            self.pipes[name] = b"".join(files[key] for key in sorted(files))
            return self
        folder = self.root / "input" / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        return self

    def start(self) -> subprocess.Popen[str]:
        """Starts `train`; Pipe channels are fed from a thread, one FIFO an epoch."""
        config = self.root / "input" / "config"
        config.mkdir(parents=True, exist_ok=True)
        (self.root / "input" / "data").mkdir(parents=True, exist_ok=True)
        written = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in self.hyperparameters.items()
        }
        (config / "hyperparameters.json").write_text(json.dumps(written))
        (config / "inputdataconfig.json").write_text(json.dumps(self.channels))
        if self.resources:
            (config / "resourceconfig.json").write_text(json.dumps(self.resources))
        environment = {**os.environ, "ALGORITHM": self.algorithm, "OPT_ML": str(self.root)}
        process = subprocess.Popen(
            [BIN / "train"],
            env={**environment, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, content in self.pipes.items():
            threading.Thread(target=self._feed, args=(name, content, process), daemon=True).start()
        return process

    def run(self, timeout: float = 240) -> Finished:
        """Trains to the end."""
        process = self.start()
        try:
            log, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return Finished(process.returncode, log, self.root)

    def run_with(self, *others: TrainingJob, timeout: float = 120) -> list[Finished]:
        """Trains this and other jobs as hosts of one; how each ended."""
        jobs = [self, *others]
        names, port = [f"127.0.0.{number}" for number in range(1, len(jobs) + 1)], str(free_port())
        for name, job in zip(names, jobs, strict=True):
            job.resources = {"current_host": name, "hosts": names}
            job.environment["ALGODOCK_CLUSTER_PORT"] = port
        processes = [job.start() for job in jobs]
        with ThreadPoolExecutor(len(jobs)) as readers:
            logs = list(readers.map(lambda process: process.communicate(timeout=timeout)[0], processes))
        return [
            Finished(process.returncode, log, job.root)
            for process, log, job in zip(processes, logs, jobs, strict=True)
        ]

    def _feed(self, name: str, content: bytes, process: subprocess.Popen[str]) -> None:
        epoch = 0
        while process.poll() is None:
            path = self.root / "input" / "data" / f"{name}_{epoch}"
            os.mkfifo(path)
            while process.poll() is None:
                try:
                    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                    break
                except OSError:  # no reader yet
                    time.sleep(0.005)
            else:
                return
            os.set_blocking(writer, True)
            with suppress(BrokenPipeError), open(writer, "wb") as file:
                file.write(content)
            path.unlink()
            epoch += 1


@dataclass
class Finished:
    """A training job that ended."""

    code: int
    log: str
    root: Path

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def failure(self) -> str:
        path = self.root / "output" / "failure"
        return path.read_text() if path.exists() else ""

    def succeeded(self) -> Finished:
        """Asserts exit code 0, no failure file, and nothing half-written."""
        assert self.code == 0, self.log
        assert not self.failure
        assert not [path for path in self.model.rglob("*") if "sagemaker-ignore" in path.name]
        return self

    def failed(self, *parts: str) -> Finished:
        """Asserts exit code 1, a client's error that holds ``parts``, no trace and no model."""
        assert self.code == 1, self.log
        assert self.failure.startswith("ClientError: "), self.failure
        assert "Traceback" not in self.log
        for part in parts:
            assert part in self.failure, self.failure
        assert not self.model.exists() or not list(self.model.iterdir())
        return self


@dataclass
class Response:
    """An endpoint's answer."""

    status: int
    content_type: str | None
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Endpoint:
    """The real `serve` on a free port."""

    def __init__(self, algorithm: str, root: Path, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [BIN / "serve"],
            env={
                **os.environ,
                "ALGORITHM": algorithm,
                "OPT_ML": str(root),
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self, seconds: float = 60) -> Endpoint:
        """Waits for /ping to answer 200."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/ping").status == 200:
                    return self
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"the endpoint did not come up: {self.process.stdout.read()}")

    def request(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return Response(answer.status, answer.getheader("Content-Type"), answer.read())
        finally:
            connection.close()

    def invoke(
        self, body: bytes | str, content_type: str = "text/csv", accept: str | None = None
    ) -> Response:
        """POST /invocations."""
        headers = {"Content_Type": content_type, **({"Accept": accept} if accept else {})}
        return self.request("POST", "/invocations", body, **headers)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()


@pytest.fixture
def training_job(tmp_path: Path) -> Any:
    """Makes training jobs: ``training_job("kmeans", k=3, feature_dim=2).channel("train", b"...").run()``."""
    made = 0

    def make(algorithm: str, **hyperparameters: Any) -> TrainingJob:
        nonlocal made
        made += 1
        return TrainingJob(algorithm, tmp_path / f"ml-{made}", hyperparameters)

    return make


@pytest.fixture
def endpoint() -> Iterator[Any]:
    """Starts endpoints: ``endpoint("kmeans", finished.root).invoke("1,2\\n")``; stops them afterwards."""
    started: list[Endpoint] = []

    def make(algorithm: str, root: Path, **environment: str) -> Endpoint:
        started.append(Endpoint(algorithm, root, environment))
        return started[-1].wait()

    yield make
    for one in started:
        one.stop()
