"""Every figure that the README quotes, one after the other: ``python -m bench`` (about ten minutes)."""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (
    "formats recordio-dense",
    "formats recordio-sparse",
    "formats recordio-changing",
    "formats csv",
    "pipe",
    "kmeans",
    "linear_learner",
    "knn",
    "xgboost_job",
    "factorization_machines",
    "random_cut_forest",
    "lda",
    "ntm",
    "ipinsights",
    "endpoint",
    "memory kmeans",
    "memory linear-learner",
    "memory factorization-machines",
    "memory randomcutforest",
    "memory ntm",
    "memory ipinsights",
    "startup",
)


def main() -> None:
    """Runs the commands. Exit code 1 when any of them fails."""
    failed = []
    for command in COMMANDS:
        print(f"\n$ python -m bench.{command}", flush=True)
        if subprocess.run([sys.executable, "-m", *f"bench.{command}".split()]).returncode:
            failed.append(command)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
