"""Every figure that the README quotes, one after the other::

    python -m bench [--peer-python PYTHON] [--mxnet-python PYTHON]

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
    "q_learning",
    "ppo",
    "tuning overhead",
    "tuning search",
    "memory kmeans",
    "memory linear-learner",
    "memory factorization-machines",
    "memory randomcutforest",
    "memory ntm",
    "memory ipinsights",
    "memory blazingtext",
    "startup",
    "report",
)
APART = {
    "peer": ("deepar", "seq2seq_training", "seq2seq_decoding"),
    "mxnet": ("image_loading --workers 1", "image_training"),
}


def main() -> None:
    """Runs the commands. Exit code 1 when any of them fails."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--peer-python", help="a Python that has gluonts[torch] and joeynmt")
    parser.add_argument("--mxnet-python", help="one that has mxnet and gluoncv: make test-interop makes it")
    chosen = parser.parse_args()
    pythons = {"peer": chosen.peer_python, "mxnet": chosen.mxnet_python}
    commands = list(COMMANDS)
    for kind, names in APART.items():
        if pythons[kind]:
            commands += [f"{name} --peer-python {pythons[kind]}" for name in names]
    failed = []
    for command in commands:
        print(f"\n$ python -m bench.{command}", flush=True)
        if subprocess.run([sys.executable, "-m", *f"bench.{command}".split()]).returncode:
            failed.append(command)
    for kind, names in APART.items():
        if not pythons[kind]:
            print(f"\npassed over without --{kind}-python: {', '.join(names)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
