"""A whole XGBoost job against a bare xgboost script on the same CSV: ``python -m bench.xgboost_job``.

Both are processes timed from start to exit. Ours is `train` with the whole contract around it; the bare
script reads the CSV with pandas (its C reader), trains with the same parameters, prints the training metric
each round as ours does and saves the model. They take turns, and the least time of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SCRIPT = """
import sys
import pandas, xgboost
path, model, rounds, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
table = pandas.read_csv(path, header=None, dtype="float32")
matrix = xgboost.DMatrix(table.iloc[:, 1:].to_numpy(), table[0].to_numpy(), nthread=threads)
parameters = {"objective": "binary:logistic", "tree_method": "hist", "nthread": threads}
booster = xgboost.train(parameters, matrix, rounds, evals=[(matrix, "train")], verbose_eval=True)
booster.save_model(model)
"""


def main() -> None:
    """Prints both times, their ratio, and the time of a job on 1,000 rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--features", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        large = _write(root / "large.csv", chosen.rows, chosen.features)
        small = _write(root / "small.csv", 1_000, chosen.features)
        ours, bare, start = [], [], []
        for _ in range(chosen.repeats):
            bare.append(
                _timed([sys.executable, "-c", SCRIPT, large, root / "bare.ubj", chosen.rounds, threads])
            )
            ours.append(_job(root / "ml", large, chosen.rounds))
            start.append(_job(root / "ml", small, 10))
    print(f"{chosen.rows:,} rows x {chosen.features} features, {chosen.rounds} rounds, {threads} threads")
    print(f"  bare xgboost script  {min(bare):8.2f} s   (pandas.read_csv, DMatrix, train, save_model)")
    print(f"  train                {min(ours):8.2f} s   ratio {min(ours) / min(bare):.2f}, at most 1.10")
    print(f"1,000 rows, 10 rounds, the whole process: {min(start):.2f} s, under 2.00")


def _write(path: Path, rows: int, features: int) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for start in range(0, rows, 50_000):
            values = rng.normal(size=(min(50_000, rows - start), features))
            score = values[:, 0] + values[:, 1] * values[:, 2] + 0.5 * np.sin(3 * values[:, 3])
            label = score + 0.5 * rng.normal(size=len(values)) > 0
            np.savetxt(file, np.column_stack([label, values]), delimiter=",", fmt="%.6g")
    return path


def _job(root: Path, data: Path, rounds: int) -> float:
    shutil.rmtree(root, ignore_errors=True)
    (root / "input" / "config").mkdir(parents=True)
    (root / "input" / "data" / "train").mkdir(parents=True)
    os.link(data, root / "input" / "data" / "train" / "data.csv")
    hyperparameters = {"num_round": str(rounds), "objective": "binary:logistic", "tree_method": "hist"}
    channels = {"train": {"ContentType": "text/csv", "TrainingInputMode": "File"}}
    (root / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (root / "input" / "config" / "inputdataconfig.json").write_text(json.dumps(channels))
    return _timed([Path(sys.executable).parent / "train"], ALGORITHM="xgboost", OPT_ML=str(root))


def _timed(command: list[object], **environment: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
