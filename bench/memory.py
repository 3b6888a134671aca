"""Memory of the real `train` on a Pipe stream of 2 GB, from its first record to its last.

A FIFO is fed, on the fly, with dense RecordIO-protobuf records (50 float32 and a label; counts of words for
NTM), with CSV (pairs of 20,000 accounts and their addresses for IP Insights) or with text (sentences of
20,000 words for BlazingText, once for the vocabulary and once to learn from). Meanwhile the process's VmRSS
is sampled. Prints the highest for each quarter of the stream and for the whole job (VmHWM), and the growth
from the first quarter to the last, which should be none; the whole should stay under 700 MB. Exit code 1
where either fails::

    python -m bench.memory kmeans|randomcutforest|... [--gigabytes 2] [--features 50]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import manifest
from common.batches import Batch
from common.formats import encode_batch
from local.feeder import Feeder

ROWS = 1 << 15  # of a piece of the stream
PIECES = 4  # that differ; they come again and again
LIMIT = 700  # MB
FLAT = 0.05  # of the peak: what an allocator may come and go by
PERIOD = 0.05  # seconds between samples


def records(features: int) -> list[bytes]:
    """Records of two classes that a plane divides."""
    random = np.random.default_rng(0)
    plane = random.normal(size=features)
    made = []
    for _ in range(PIECES):
        rows = random.standard_normal((ROWS, features), np.float32)
        made.append(encode_batch(Batch(rows, (rows @ plane > 0).astype(np.float32))))
    return made


def documents(features: int) -> list[bytes]:
    """Records of word counts."""
    random = np.random.default_rng(0)
    return [
        encode_batch(Batch(random.poisson(0.5, (ROWS, features)).astype(np.float32))) for _ in range(PIECES)
    ]


def pairs(features: int) -> list[bytes]:
    """CSV lines of an account and one of its few addresses."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(PIECES):
        accounts, places = random.integers(0, 20_000, ROWS), random.integers(0, 5, ROWS)
        made.append(
            "".join(
                f"account-{account},{account % 223 + 1}.{account % 251}.{place}.{account % 241}\n"
                for account, place in zip(accounts, places, strict=True)
            ).encode()
        )
    return made


def sentences(features: int) -> list[bytes]:
    """Lines of twenty words, the more frequent the lower their number."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(PIECES):
        numbers = np.minimum(random.zipf(1.2, (ROWS, 20)), 20_000)
        made.append("".join(" ".join(f"word{n}" for n in row) + "\n" for row in numbers.tolist()).encode())
    return made


@dataclass(frozen=True)
class Case:
    """How one algorithm is tried."""

    hyperparameters: dict[str, str]
    pieces: Callable[[int], list[bytes]] = records
    content_type: str | None = None


CASES = {
    "kmeans": Case({"k": "10"}),
    "pca": Case({"num_components": "5", "mini_batch_size": "1000"}),
    "knn": Case({"k": "10", "sample_size": "100000", "predictor_type": "classifier"}),
    "linear-learner": Case({"predictor_type": "binary_classifier", "epochs": "1"}),
    "randomcutforest": Case({"num_trees": "100"}),
    "factorization-machines": Case({"num_factors": "8", "predictor_type": "binary_classifier"}),
    "ntm": Case({"num_topics": "10", "epochs": "1", "mini_batch_size": "1000"}, documents),
    "ipinsights": Case(
        {"num_entity_vectors": "40000", "vector_dim": "16", "epochs": "1", "feature_dim": "2"},
        pairs,
        "text/csv",
    ),
    "blazingtext": Case({"mode": "batch_skipgram", "epochs": "1"}, sentences, "text/plain"),
}


class Stream:
    """Some pieces over and over until ``size`` bytes went by; ``share`` tells how far it is."""

    def __init__(self, made: list[bytes], size: int) -> None:
        self._made = made
        self._size = size
        self.share = 0.0

    def __iter__(self) -> Iterator[bytes]:
        sent = number = 0
        while sent < self._size:
            piece = self._made[number % len(self._made)]
            yield piece
            sent, number = sent + len(piece), number + 1
            self.share = min(1.0, sent / self._size)


def status(process: int, name: str) -> int:
    """Kilobytes of VmRSS or VmHWM; 0 once the process has gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def watch(process: subprocess.Popen[bytes], stream: Stream) -> tuple[list[int], int]:
    """The highest VmRSS in each quarter of the stream, and VmHWM; in kilobytes."""
    quarters, peak = [0, 0, 0, 0], 0
    while process.poll() is None:
        share, now = stream.share, status(process.pid, "VmRSS")
        if 0 < share < 1:
            quarters[int(share * 4)] = max(quarters[int(share * 4)], now)
        peak = max(peak, status(process.pid, "VmHWM"))
        time.sleep(PERIOD)
    return quarters, peak


def lay_out(root: Path, algorithm: str, case: Case, features: int) -> None:
    """The job's folder."""
    config = root / "input" / "config"
    config.mkdir(parents=True)
    hyperparameters = dict(case.hyperparameters)
    if "feature_dim" in manifest.load(algorithm).declaration().defaults():
        hyperparameters.setdefault("feature_dim", str(features))
    channel = {"TrainingInputMode": "Pipe", "ContentType": case.content_type}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (config / "inputdataconfig.json").write_text(json.dumps({"train": channel}))


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory")
    parser.add_argument("algorithm", choices=sorted(CASES))
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--features", type=int, default=50)
    chosen = parser.parse_args()
    case = CASES[chosen.algorithm]
    stream = Stream(case.pieces(chosen.features), int(chosen.gigabytes * 1e9))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lay_out(root, chosen.algorithm, case, chosen.features)
        environment = {**os.environ, "ALGORITHM": chosen.algorithm, "OPT_ML": str(root)}
        with Feeder(root / "input" / "data", "train", [stream]):
            started = time.perf_counter()
            process = subprocess.Popen(
                [Path(sys.executable).with_name("train")], env=environment, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            log: list[bytes] = []
            reader = threading.Thread(target=lambda: log.extend(process.stdout or ()), daemon=True)
            reader.start()
            quarters, peak = watch(process, stream)
            seconds = time.perf_counter() - started
            reader.join()
        if process.returncode:
            sys.exit(b"".join(log[-20:]).decode())
    growth = (quarters[3] - quarters[0]) / 1024
    megabytes = peak / 1024
    print(
        f"{chosen.algorithm}: {chosen.gigabytes:g} GB in {seconds:.0f} s; "
        f"VmRSS by quarter {', '.join(f'{quarter / 1024:.0f}' for quarter in quarters)} MB, "
        f"growth {growth:+.0f} MB, peak {megabytes:.0f} MB (at most {LIMIT})"
    )
    if not all(quarters):
        sys.exit("the stream was too short for a sample in each quarter: give more --gigabytes")
    sys.exit(int(growth > FLAT * megabytes or megabytes > LIMIT))


if __name__ == "__main__":
    main()
