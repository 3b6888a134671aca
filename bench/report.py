"""What the report of a job adds to it: the whole `train` process with and without, in turn::

    python -m bench.report [--repeats 7]

Jobs of 1,000 rows: what a report costs hardly grows with a job.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.startup import lay_out
from common.content_types import CSV

ALGORITHMS = ("kmeans", "linear-learner", "xgboost")


def seconds(root: Path, algorithm: str, report: str) -> float:
    """One job."""
    environment = {**os.environ, "ALGORITHM": algorithm, "OPT_ML": str(root), "ALGODOCK_REPORT": report}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "common"], env=environment, capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Prints the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.report")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    for algorithm in ALGORITHMS:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            lay_out(root, algorithm, CSV)
            seconds(root, algorithm, "1")  # caches
            size = (root / "output" / "data" / "report.html").stat().st_size
            pairs = [[seconds(root, algorithm, report) for report in "10"] for _ in range(chosen.repeats)]
        with_one, without = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{algorithm}: {with_one:.2f} s with a report of {size / 1000:.0f} kB, {without:.2f} s without: "
            f"{with_one - without:+.2f} s"
        )


if __name__ == "__main__":
    main()
