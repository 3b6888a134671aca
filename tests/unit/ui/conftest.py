"""Folders of jobs as `algodock train` leaves them at each moment, and a real one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common import manifest
from local.jobs import ChannelSource, JobSpec
from local.runtimes.process import ProcessRuntime
from local.training import train
from local.ui.app import create
from local.ui.endpoints import Endpoints
from local.ui.store import Store

LINE = "[11/30/2026 10:00:00 INFO 1234] "
FIRST = f"{LINE}Reading default configuration from /opt/algodock/containers/kmeans/hyperparameters.py: {{}}\n"
ROWS = "".join(f"{label},{label * 5 + n % 3},{label + n % 2}\n" for n in range(20) for label in (0, 1))


def quality(epoch: int, value: float, channel: str = "train") -> str:
    """A line of a log."""
    return f"{LINE}#quality_metric: host=algo-1, epoch={epoch}, {channel} msd <loss>={value}\n"


class Folder:
    """Makes the folder of a job."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def begin(self, algorithm: str = "kmeans", **hyperparameters: str) -> Folder:
        """As it is while the job runs."""
        config = self.place / "ml" / "algo-1" / "input" / "config"
        for folder in (config, config.parent / "data", self.ml / "model", self.ml / "output" / "data"):
            folder.mkdir(parents=True, exist_ok=True)
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
        channels = {"train": {"TrainingInputMode": "File", "ContentType": "text/csv"}}
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        return self.log(FIRST.replace("kmeans", algorithm))

    @property
    def ml(self) -> Path:
        return self.place / "ml" / "algo-1"

    def log(self, *lines: str) -> Folder:
        with (self.place / "train.log").open("a") as file:
            file.writelines(lines)
        return self

    def end(self, model: bool = True, failure: str = "", report: str = "", **described: Any) -> Folder:
        """As it is once the job has ended."""
        (self.ml / "input" / "data").rmdir()
        if model:
            (self.ml / "model" / "model").write_text("m")
            (self.place / "model.tar.gz").write_bytes(b"m")
        if failure:
            (self.ml / "output" / "failure").write_text(failure)
        if report:
            (self.ml / "output" / "data" / "report.html").write_text(report)
        told = {
            "algorithm": "kmeans",
            "hyperparameters": {"k": "2"},
            "channels": {"train": "train.csv"},
            "status": "Completed" if model else "Failed",
        }
        (self.place / "job.json").write_text(json.dumps({**told, **described}))
        return self

    def age(self, seconds: float = 3600) -> Folder:
        """As if nobody had written for long."""
        then = time.time() - seconds
        for path in [self.place / "train.log", *self.place.rglob("*")]:
            os.utime(path, (then, then))
        return self


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Folder]:
    """Makes folders below ``tmp_path / "jobs"``."""

    def make(name: str) -> Folder:
        place = tmp_path / "jobs" / name
        place.mkdir(parents=True)
        return Folder(place)

    (tmp_path / "jobs").mkdir()
    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "jobs")


class Asked:
    """Stands for the endpoints: answers what it is told to, and keeps what it was asked."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self.answer: bytes | Exception = b""
        self.requests: list[tuple[bytes, str, str | None]] = []
        self.started: list[str] = []
        self.stopped: list[str] = []

    def ask(self, job: Any, body: bytes, content_type: str, accept: str | None) -> bytes:
        self.requests.append((body, content_type, accept))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def start(self, job: Any) -> None:
        self.started.append(job.key)

    def stop(self, job: Any) -> None:
        self.stopped.append(job.key)

    def state(self, job: Any) -> Any:
        return self._endpoints.state(job)


@pytest.fixture
def endpoints() -> Iterator[Asked]:
    real = Endpoints()
    yield Asked(real)
    real.close()


@pytest.fixture
def client(store: Store, endpoints: Asked) -> Any:
    """A browser's requests, as far as the app can tell."""
    app = create(store, endpoints, "127.0.0.1")  # type: ignore[arg-type]
    made = app.test_client()
    made.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    return made


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A k-means job that has run."""
    place = tmp_path_factory.mktemp("trained")
    (place / "train.csv").write_text(ROWS)
    spec = JobSpec(
        manifest=manifest.load("kmeans"),
        output=place / "jobs" / "clusters",
        hyperparameters={"k": "2", "feature_dim": "2", "epochs": "3"},
        channels=[ChannelSource("train", str(place / "train.csv"), "text/csv;label_size=1")],
        environment={"ALGODOCK_NUM_THREADS": "1", "ALGODOCK_REPORT": "1"},
    )
    with (place / "screen").open("w") as screen:
        assert train(spec, ProcessRuntime(), screen) == 0
    return place / "jobs"
