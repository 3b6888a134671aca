"""DeepAR beside GluonTS's PyTorch DeepAREstimator: seconds an epoch, forecasts, and how good they are.

Both have two layers of 40 cells, Student's t, a rate of 0.001, dropout (zoneout here) of 0.1, batches of 128,
10 of them an epoch, contexts of 72 and forecasts of 48 hours, the same series in memory and the same number
of threads. They take turns at epochs and at forecasts; the time is the least. The seconds from start to a
trained model are the sum of all epochs. Forecasts are 100 draws of each series. Without --data the series are
400 made ones with a day's and a week's season, a trend and bursts; the folder of --data has train.csv and
test.csv as the M4 competition's hourly data, without a header: id,v1,v2,... GluonTS pins versions of its
own, so it lives in an environment of its own: python -m venv PEER && PEER/bin/pip install "gluonts[torch]".
Run as::

    python -m bench.deepar --peer-python PEER/bin/python [--data FOLDER] [--epochs 50] [--seeds 3]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

CONTEXT, HORIZON, BATCH, BATCHES, SAMPLES = 72, 48, 128, 10, 100
START = np.datetime64("2015-01-01T00:00:00")
LEVELS = [level / 10 for level in range(1, 10)]
COUNTS = (100, 100, 100, None)  # series of each forecast: requests that are timed, and all


def made(count: int = 400, length: int = 900) -> list[Float32]:
    """Hourly series, each with a level, seasons and bursts of its own."""
    random = np.random.default_rng(0)
    hours = np.arange(length)
    found = []
    for _ in range(count):
        day, week = (np.sin(2 * np.pi * (hours / period + random.random())) for period in (24, 168))
        shape = 1 + 0.4 * day + 0.2 * week + 0.1 * day * week + 0.0002 * hours
        bursts = random.standard_t(3, length) * 0.05
        found.append((10 ** random.uniform(1, 4) * (shape + bursts)).astype(np.float32))
    return found


def read(folder: Path) -> list[Float32]:
    """The series of train.csv, each with its continuation in test.csv."""
    parts = []
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(newline="") as file:
            rows = [[float(cell) for cell in row[1:] if cell] for row in csv.reader(file)]
        parts.append([np.array(row, np.float32) for row in rows])
    return [np.concatenate(pair) for pair in zip(*parts, strict=True)]


def starts(count: int) -> list[np.datetime64]:
    """A day of its own for each series, whose true one isn't known, so that no day means the same to all."""
    return [START + np.timedelta64(day, "D") for day in range(count)]


def losses(forecasts: Sequence[Float32], actual: Float32) -> tuple[float, float]:
    """Mean weighted quantile loss, and ND, of (series, levels, steps) quantiles."""
    short = actual[:, None] - np.stack(forecasts)
    levels = np.array(LEVELS)[:, None]
    pinball = 2 * np.maximum(levels * short, (levels - 1) * short).sum((0, 2)) / np.abs(actual).sum()
    return float(pinball.mean()), float(pinball[LEVELS.index(0.5)])


def quantiles_of(paths: Any) -> Float32:
    """(levels, steps) of (samples, steps)."""
    return np.quantile(np.asarray(paths, np.float64), LEVELS, axis=0).astype(np.float32)


class Turns:
    """A side's units of work, each begun when the parent writes a line, its seconds told when it is done."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever libraries print is no answer

    def begin(self) -> None:
        sys.stdin.readline()
        self._started = time.perf_counter()

    def end(self) -> None:
        self.say(time.perf_counter() - self._started)

    def say(self, value: Any) -> None:
        print(json.dumps(value), file=self._answers, flush=True)


def ours(
    series: list[Float32], epochs: int, threads: int, seed: int, turns: Turns
) -> Iterator[list[Float32]]:
    """Learns, then yields quantiles of all series, first of some, each time within a turn."""
    from common.cluster import Cluster
    from common.cores import Cores
    from common.job import Hosts
    from containers.deepar.artifact import Settings
    from containers.deepar.engine import Engine
    from containers.deepar.forecaster import Forecaster, seeded
    from containers.deepar.frequencies import parse
    from containers.deepar.series import Series
    from containers.deepar.warm import compile_all
    from containers.deepar.windows import Epoch, Store

    compile_all()
    past = [
        Series(start, one[:-HORIZON], (), np.zeros((0, len(one)), np.float32))
        for start, one in zip(starts(len(series)), series, strict=True)
    ]
    scale = float(np.mean([np.abs(one.target).mean() for one in past]))
    lags = parse("H").lags().tolist()
    settings = Settings("H", CONTEXT, HORIZON, lags, "student-T", 40, 2, 0.1, [], 10, 0, scale)
    store = Store(past, settings.span, scale=scale)
    hosts = Cluster(Hosts())
    engine = Engine(settings, store, rate=0.001, devices=("cpu",), threads=threads, cluster=hosts, seed=seed)
    windows, random = BATCH * BATCHES, np.random.default_rng(seed)
    epoch = Epoch(-(-windows // len(past)), 1.0)
    best, least, waited = engine.state(), np.inf, 0
    for _ in range(epochs):
        turns.begin()
        rows, at = epoch.draw(store.lengths, HORIZON, random)
        parts = [slice(first, first + BATCH) for first in range(0, windows, BATCH)]
        total, count = np.sum([engine.learn(rows[part], at[part]) for part in parts], axis=0)
        waited += 1
        if total / count < least:
            best, least, waited = engine.state(), total / count, 0
        elif waited % 10 == 0:
            engine.rate = max(engine.rate / 2, 5e-5)
        turns.end()
    forecaster = Forecaster(engine.model(best))
    for count in COUNTS:
        turns.begin()
        chosen, seeds = past[:count], seeded(np.random.SeedSequence(1))

        def work(part: tuple[slice, np.random.Generator]) -> Float32:
            return forecaster.paths(chosen[part[0]], SAMPLES, part[1])  # noqa: B023, used at once

        with Cores(threads) as cores:
            paths = cores.map(work, zip(forecaster.parts(chosen, SAMPLES), seeds, strict=False))
        turns.end()
        yield [quantiles_of(one) for part in paths for one in part]


def theirs(
    series: list[Float32], epochs: int, threads: int, seed: int, turns: Turns
) -> Iterator[list[Float32]]:
    """The same."""
    import logging
    import warnings

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import lightning.pytorch as lightning
    import torch
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.deepar import DeepAREstimator

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    np.random.seed(seed)
    past = [
        {"start": str(start), "target": one[:-HORIZON]}
        for start, one in zip(starts(len(series)), series, strict=True)
    ]

    class Epochs(lightning.Callback):
        def on_train_epoch_start(self, *arguments: Any) -> None:
            turns.begin()

        def on_train_epoch_end(self, *arguments: Any) -> None:
            turns.end()

    folder = tempfile.TemporaryDirectory()  # where lightning leaves its checkpoints
    trainer = {"max_epochs": epochs, "accelerator": "cpu", "enable_progress_bar": False, "logger": False}
    trainer["default_root_dir"] = folder.name
    estimator = DeepAREstimator(
        freq="h",
        prediction_length=HORIZON,
        context_length=CONTEXT,
        num_layers=2,
        hidden_size=40,
        dropout_rate=0.1,
        lr=0.001,
        batch_size=BATCH,
        num_batches_per_epoch=BATCHES,
        trainer_kwargs={**trainer, "enable_model_summary": False, "callbacks": [Epochs()]},
    )
    predictor = estimator.train(ListDataset(past, freq="h"), cache_data=True)
    for count in COUNTS:
        chosen = ListDataset(past[:count], freq="h")
        turns.begin()
        paths = [one.samples for one in predictor.predict(chosen, num_samples=SAMPLES)]
        turns.end()
        yield [quantiles_of(one) for one in paths]


SIDES = {"DeepAR": ours, "GluonTS": theirs}


def side(chosen: argparse.Namespace) -> None:
    """A child's work."""
    turns = Turns()
    series = read(chosen.data) if chosen.data else made()
    for forecasts in SIDES[chosen.side](series, chosen.epochs, chosen.threads, chosen.seed, turns):
        actual = np.stack([one[-HORIZON:] for one in series[: len(forecasts)]])
        turns.say(losses(forecasts, actual))


def main() -> None:
    """Prints both sides and the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.deepar")
    parser.add_argument("--peer-python", help="a Python that has gluonts[torch]")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3, help="models of each side; quality is their mean")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        side(chosen)
        return
    if not chosen.peer_python:
        parser.error("--peer-python is missing")
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    forecasts: dict[str, list[float]] = {name: [] for name in SIDES}
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
    for seed in range(chosen.seeds):
        children = {name: child(name, seed, chosen) for name in SIDES}
        for turn in range(chosen.epochs + len(COUNTS)):
            for name, process in children.items():
                learning = turn < chosen.epochs
                # Of the last forecast, that of all series, the quality counts and not the time.
                last = turn == chosen.epochs + len(COUNTS) - 1
                seconds = ask(process)
                if not last:
                    (times if learning else forecasts)[name].append(seconds)
                if not learning:
                    score = json.loads(answer(process))
                    scores[name] += [score] * last
    what = f"{chosen.epochs} epochs of {BATCHES} x {BATCH} windows, {chosen.threads} threads"
    print(f"{chosen.data or 'made series'}: {what}, {chosen.seeds} models of each side")
    for name in SIDES:
        loss, deviation = np.mean(scores[name], axis=0)
        each = ", ".join(f"{score[0]:.4f}" for score in scores[name])
        print(
            f"{name:8} {min(times[name]):6.2f} s an epoch (median {np.median(times[name]):.2f}), "
            f"{min(forecasts[name]):6.2f} s for {COUNTS[0]} series x {SAMPLES} draws x {HORIZON} steps; "
            f"of all series: mean wQuantileLoss {loss:.4f} ({each}), ND {deviation:.4f}"
        )
    ratios = [min(found["GluonTS"]) / min(found["DeepAR"]) for found in (times, forecasts)]
    print(f"DeepAR is {ratios[0]:.1f}x as fast an epoch, and {ratios[1]:.1f}x as fast a forecast")


def child(name: str, seed: int, chosen: argparse.Namespace) -> subprocess.Popen[str]:
    """A side's process: one that has other threads than those of the side it times would not be fair."""
    python = sys.executable if name == "DeepAR" else chosen.peer_python
    threads = str(chosen.threads)
    command = [python, __file__, "--side", name, "--epochs", str(chosen.epochs), "--threads", threads]
    command += ["--seed", str(seed)] + (["--data", str(chosen.data)] if chosen.data else [])
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": threads}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(process: subprocess.Popen[str]) -> float:
    """Lets a side have its turn; the seconds it took."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(answer(process))


def answer(process: subprocess.Popen[str]) -> str:
    """A line that a side says. Raises RuntimeError when it has gone."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a side has ended early; its message is above")
    return line


if __name__ == "__main__":
    main()
