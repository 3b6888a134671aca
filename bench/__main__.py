"""Every figure that the README quotes, one after the other: ``python -m bench [--peer-python PYTHON]``.

Some peers need versions of their own; their Python is given, or those commands are passed over.
"""

from __future__ import annotations

import argparse
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
    "word_vectors",
    "text_classification",
    "object2vec",
    "image_loading",
    "endpoint",
    "image_endpoint",
    "memory kmeans",
    "memory linear-learner",
    "memory factorization-machines",
    "memory randomcutforest",
    "memory ntm",
    "memory ipinsights",
    "memory blazingtext",
    "startup",
)
APART = ("deepar", "seq2seq_training", "seq2seq_decoding")


def main() -> None:
    """Runs the commands. Exit code 1 when any of them fails."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--peer-python", help="a Python that has gluonts[torch] and joeynmt")
    peer = parser.parse_args().peer_python
    commands = [*COMMANDS, *(f"{name} --peer-python {peer}" for name in APART if peer)]
    failed = []
    for command in commands:
        print(f"\n$ python -m bench.{command}", flush=True)
        if subprocess.run([sys.executable, "-m", *f"bench.{command}".split()]).returncode:
            failed.append(command)
    if not peer:
        print(f"\npassed over without --peer-python: {', '.join(APART)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
