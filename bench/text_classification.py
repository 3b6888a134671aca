"""BlazingText's supervised mode against fastText: the same model, from the same file, by as many threads.

Both sides read the training file, count its vocabulary and learn for as many epochs, with the same
hyperparameters; then accuracy is measured on the last fifth of the lines, or on a file of its own. What is
timed is all of training but writing the model. Sides take turns; the time is the least and the accuracy the
mean over the repetitions. At the end whole processes are timed once: ours as a job with accuracies and
model.bin, fastText's with its model alone. Needs the package fasttext. Run as::

    python -m bench.text_classification [--train PATH] [--validation PATH] [--epochs 10] [--repeats 3]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fasttext
import numpy as np

from common import instances, job, manifest
from common.channels import open_channels
from common.cluster import Cluster
from common.metrics import Metrics, set_up_logging
from common.stopping import Stop
from common.training import Run
from containers.blazingtext import classification
from containers.blazingtext.warm import compile_all

SENTENCES = Path(__file__).parents[1] / "tests" / "data" / "subjectivity.txt.gz"
Settings = dict[str, Any]


def laid_out(root: Path, train: bytes, validation: bytes, settings: Settings) -> None:
    """The folder of a job."""
    for name, content in (("train", train), ("validation", validation)):
        folder = root / "input" / "data" / name
        folder.mkdir(parents=True)
        (folder / "text").write_bytes(content)
    config = root / "input" / "config"
    config.mkdir()
    written = {"mode": "supervised", **{name: str(value) for name, value in settings.items()}}
    (config / "hyperparameters.json").write_text(json.dumps(written))
    (config / "inputdataconfig.json").write_text(json.dumps({"train": {}, "validation": {}}))


def ours(root: Path, threads: int, seed: int) -> tuple[float, float]:
    """Seconds and accuracy."""
    found, described, stop = manifest.load("blazingtext"), job.read(root), Stop()
    values = found.declaration().resolve(described.hyperparameters)
    channels, cluster = open_channels(described, found, stop), Cluster(described.hosts)
    metrics = Metrics(found.metrics_name, "algo-1")
    run = Run(described, found, values, channels, cluster, metrics, stop, ("cpu",), threads, seed)
    started = time.perf_counter()
    work = classification.learn(run)
    seconds = time.perf_counter() - started
    assert work is not None
    assert work.validation is not None
    return seconds, classification.accuracy(work, work.validation)[0]


def options(settings: Settings, threads: int) -> dict[str, Any]:
    """The same in fastText's words."""
    return {
        "dim": settings["vector_dim"],
        "wordNgrams": settings["word_ngrams"],
        "bucket": settings["buckets"],
        "minCount": settings["min_count"],
        "lr": settings["learning_rate"],
        "epoch": settings["epochs"],
        "thread": threads,
        "verbose": 0,
    }


def theirs(root: Path, settings: Settings, threads: int, seed: int) -> tuple[float, float]:
    """Seconds and accuracy."""
    data = root / "input" / "data"
    started = time.perf_counter()
    model = fasttext.train_supervised(str(data / "train" / "text"), seed=seed, **options(settings, threads))
    seconds = time.perf_counter() - started
    _, accuracy, _ = model.test(str(data / "validation" / "text"))
    return seconds, accuracy


def processes(root: Path, settings: Settings, threads: int) -> tuple[float, float]:
    """Seconds of the two programs, each with its model written."""
    environment = {**os.environ, "ALGORITHM": "blazingtext", "OPT_ML": str(root)}
    environment["ALGODOCK_NUM_THREADS"] = str(threads)
    started = time.perf_counter()
    program = [Path(sys.executable).parent / "train"]
    subprocess.run(program, env=environment, check=True, stdout=subprocess.DEVNULL)
    own = time.perf_counter() - started
    text = str(root / "input" / "data" / "train" / "text")
    code = (
        f"import fasttext; fasttext.train_supervised({text!r}, **{options(settings, threads)!r})"
        f".save_model({str(root / 'theirs.bin')!r})"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return own, time.perf_counter() - started


def main() -> None:
    """Prints both sides and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.text_classification")
    parser.add_argument(
        "--train", type=Path, default=SENTENCES, help="lines with __label__ tokens, maybe .gz"
    )
    parser.add_argument("--validation", type=Path, help="the same; without it the last fifth of the lines")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.5)
    parser.add_argument("--word-ngrams", type=int, default=2)
    parser.add_argument("--vector-dim", type=int, default=100)
    parser.add_argument("--buckets", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    settings = {
        name: getattr(chosen, name)
        for name in ("epochs", "learning_rate", "word_ngrams", "vector_dim", "buckets")
    }
    settings["min_count"] = 1
    compile_all()
    set_up_logging("error")
    train = _lines(chosen.train)
    cut = len(train) if chosen.validation else len(train) * 4 // 5
    validation = _lines(chosen.validation) if chosen.validation else train[cut:]
    train, threads = train[:cut], instances.threads()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        laid_out(root, b"".join(train), b"".join(validation), settings)
        sides: dict[str, Callable[[int], tuple[float, float]]] = {
            "fastText": lambda seed: theirs(root, settings, threads, seed),
            "BlazingText": lambda seed: ours(root, threads, seed),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for seed in range(chosen.repeats):
            for name, run in sides.items():
                found[name].append(run(seed))
        print(f"{len(train):,} sentences, {settings}, {threads} threads")
        for name, results in found.items():
            seconds, accuracy = min(first for first, _ in results), np.mean([last for _, last in results])
            words = sum(len(line.split()) + 1 for line in train) * chosen.epochs
            print(
                f"{name:12} {seconds:7.2f} s {words / seconds / 1e6:7.2f} M words/s  accuracy {accuracy:.4f}"
            )
        speed = min(found["fastText"])[0] / min(found["BlazingText"])[0]
        own, other = processes(root, settings, threads)
        print(f"BlazingText is {speed:.1f}x as fast; as whole processes {own:.1f} s and {other:.1f} s")


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines(keepends=True)


if __name__ == "__main__":
    main()
