"""Jobs of DeepAR in this process, where a process of its own would take seconds; and a small model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import manifest
from common.channels.channel import Channel
from common.cluster import Cluster
from common.job import ChannelConfig, Hosts, Job
from common.metrics import Metrics, log
from common.stopping import Stop
from common.training import Run
from containers.deepar import artifact, symbol
from containers.deepar.artifact import Model, Settings
from containers.deepar.hyperparameters import DECLARATION
from containers.deepar.train import train

MANIFEST = manifest.load("forecasting-deepar")
JOB = {
    "context_length": 8,
    "prediction_length": 4,
    "time_freq": "D",
    "epochs": 2,
    "mini_batch_size": 16,
    "num_cells": 6,
    "num_layers": 2,
    "embedding_dimension": 3,
    "num_eval_samples": 20,
}


def lines(*records: dict[str, Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def waves(count: int = 4, length: int = 100, **more: Any) -> list[dict[str, Any]]:
    """Series with a week's season, at levels of their own."""
    random = np.random.default_rng(0)
    time = np.arange(length)
    return [
        {
            "start": f"2020-01-{number + 1:02d} 00:00:00",
            "target": np.round(
                (number + 1) * (10 + 3 * np.sin(time * 2 * np.pi / 7) + random.normal(size=length)), 2
            ).tolist(),
            **more,
        }
        for number in range(count)
    ]


class Trained:
    """A job that ended: its model, and what it logged."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder = folder
        self.log = log

    @property
    def model(self) -> Model:
        return artifact.read(self.folder)

    @property
    def weights(self) -> bytes:
        return (self.folder / artifact.PARAMETERS).read_bytes()


@pytest.fixture
def trained(tmp_path, caplog, monkeypatch):
    """``trained({"train": {"a.json": b"..."}}, epochs=1)`` runs a job's ``train`` on one thread."""
    made = 0

    def run(channels: Any, content_type: str | None = None, seed: int = 0, threads: int = 1, **values: Any):
        nonlocal made
        made += 1
        root = tmp_path / f"job-{made}"
        (root / "model").mkdir(parents=True)
        for name, files in channels.items():
            for file, content in (files if isinstance(files, dict) else {"data.json": files}).items():
                path = root / "input" / "data" / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        written = {key: str(value) for key, value in {**JOB, **values}.items()}
        job = Run(
            job=Job(root, dict(written), {}, Hosts(), None),
            manifest=MANIFEST,
            hyperparameters=DECLARATION.resolve(written),
            channels={
                name: Channel(
                    ChannelConfig(name, content_type=content_type),
                    MANIFEST.channel(name),
                    root / "input" / "data",
                )
                for name in channels
            },
            cluster=Cluster(Hosts()),
            metrics=Metrics("AWS/DeepAR", "algo-1"),
            stop=Stop(),
            devices=("cpu",),
            threads=threads,
            seed=seed,
        )
        caplog.clear()
        log.setLevel(logging.INFO)
        monkeypatch.setattr(log, "propagate", False)
        log.addHandler(caplog.handler)
        try:
            train(job)
        finally:
            log.removeHandler(caplog.handler)
        return Trained(root / "model", caplog.text)

    return run


def small_model(seed: int = 0, **changed: Any) -> Model:
    """A model of random weights, with two categories and a dynamic feature."""
    values: dict[str, Any] = {
        "time_freq": "D",
        "context_length": 5,
        "prediction_length": 4,
        "lags": [1, 2, 7],
        "likelihood": "student-T",
        "num_cells": 3,
        "num_layers": 2,
        "dropout_rate": 0.1,
        "cardinality": [2, 3],
        "embedding_dimension": 2,
        "num_dynamic_feat": 1,
        "scale": 2.0,
    }
    settings = Settings(**{**values, **changed})
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in settings.shapes().items()
    }
    return Model(settings, weights)


def write(folder: Path, model: Model) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / artifact.PARAMETERS).write_bytes(b"".join(artifact.parameters(model)))
    (folder / artifact.CONFIG).write_bytes(artifact.config(model.settings))
    (folder / artifact.SYMBOL).write_bytes(symbol.dumps(model.settings))
    return folder
