"""The whole `train` process on 1,000 rows, from its start to its exit, for each algorithm.

Caches are warm: every job has run once before it is timed, so numba's kernels are compiled and files are in
memory. Prints the median and the fastest of the repeats, which should stay under 2 s, or under 5 s where the
algorithm needs torch, and the median of the processor's seconds, which a busy machine hardly changes. Exit
code 1 where a median is too long::

    python -m bench.startup [ALGORITHM ...] [--repeats 5] [--content-type text/csv]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from common import manifest
from common.batches import Batch
from common.content_types import CSV, RECORDIO_PROTOBUF
from common.formats import encode_batch

ROWS, FEATURES = 1000, 20
LIMIT, LIMIT_WITH_TORCH = 2.0, 5.0
WITH_TORCH = ("linear-learner",)

# What a job must say besides feature_dim.
HYPERPARAMETERS = {
    "kmeans": {"k": "10"},
    "pca": {"num_components": "5", "mini_batch_size": "500"},
    "knn": {"k": "10", "sample_size": "1000", "predictor_type": "classifier"},
    "linear-learner": {"predictor_type": "binary_classifier"},
    "xgboost": {"num_round": "50", "objective": "binary:logistic"},
}


def body(content_type: str) -> bytes:
    """1,000 rows of two classes."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((ROWS, FEATURES), np.float32)
    labels = (rows[:, 0] + rows[:, 1] > 0).astype(np.float32)
    if content_type == RECORDIO_PROTOBUF:
        return encode_batch(Batch(rows, labels))
    lines = np.column_stack([labels, rows]).tolist()
    return "".join(",".join(map(repr, line)) + "\n" for line in lines).encode()


def lay_out(root: Path, algorithm: str, content_type: str) -> None:
    """The job's folder."""
    config, data = root / "input" / "config", root / "input" / "data" / "train"
    config.mkdir(parents=True)
    data.mkdir(parents=True)
    (data / "rows").write_bytes(body(content_type))
    values = dict(HYPERPARAMETERS[algorithm])
    if "feature_dim" in manifest.load(algorithm).declaration().defaults():
        values["feature_dim"] = str(FEATURES)
    (config / "hyperparameters.json").write_text(json.dumps(values))
    settings = {
        "ContentType": f"{CSV};label_size=1" if content_type == CSV else content_type,
        "TrainingInputMode": "File",
    }
    (config / "inputdataconfig.json").write_text(json.dumps({"train": settings}))


def run(root: Path, algorithm: str) -> tuple[float, float]:
    """Seconds of one job, on the clock and of the processors. Exits with its log when it fails."""
    shutil.rmtree(root / "model", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name("train")],
        env={**os.environ, "ALGORITHM": algorithm, "OPT_ML": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{algorithm}: {done.stdout.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup")
    installed = [name for name in HYPERPARAMETERS if name in manifest.known()]
    parser.add_argument("algorithms", nargs="*", metavar="ALGORITHM", help=", ".join(installed))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--content-type", choices=(CSV, RECORDIO_PROTOBUF))
    chosen = parser.parse_args()
    late = False
    for algorithm in chosen.algorithms or installed:
        limit = LIMIT_WITH_TORCH if algorithm in WITH_TORCH else LIMIT
        for content_type in (chosen.content_type,) if chosen.content_type else (CSV, RECORDIO_PROTOBUF):
            with tempfile.TemporaryDirectory() as folder:
                lay_out(Path(folder), algorithm, content_type)
                run(Path(folder), algorithm)
                runs = [run(Path(folder), algorithm) for _ in range(chosen.repeats)]
            times, processors = zip(*runs, strict=True)
            median = statistics.median(times)
            late |= median > limit
            print(
                f"{algorithm:14} {content_type:31} median {median:.2f} s, fastest {min(times):.2f} s "
                f"(under {limit:g}), processor {statistics.median(processors):.2f} s",
                flush=True,
            )
    sys.exit(int(late))


if __name__ == "__main__":
    main()
