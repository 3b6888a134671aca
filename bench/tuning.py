"""What tuning adds to its trials, and what Bayesian search finds beside random search.

    python -m bench.tuning overhead [--trials 14]
    python -m bench.tuning search [--trials 30] [--seeds 5]

Overhead: the seconds of a tuning of k-means on the digits of examples/, trial by trial, against the same
jobs one after the other. Search: the best objective of both strategies on k-means, the linear learner and
XGBoost, over several seeds; k-means with its documented ranges. Folders are temporary.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import statistics
import tempfile
import time
from pathlib import Path

from common import manifest
from local.jobs import ChannelSource, JobSpec
from local.runtimes.process import ProcessRuntime
from local.training import train
from local.tuning import command, trials

EXAMPLES = Path(__file__).parent.parent / "examples"
CSV = "text/csv;label_size=1"


@dataclasses.dataclass(frozen=True)
class Case:
    """A tuning that is tried."""

    objective: str
    static: dict[str, str]
    ranges: tuple[str, ...] = ()


CASES = {
    "kmeans": Case("test:msd", {"k": "10"}),
    "linear-learner": Case(
        "validation:multiclass_accuracy",
        {"predictor_type": "multiclass_classifier", "num_classes": "10", "epochs": "4"},
        ("learning_rate=0.0001:1:Logarithmic", "wd=0.0000001:1:Logarithmic", "mini_batch_size=20:500"),
    ),
    "xgboost": Case(
        "validation:merror",
        {"objective": "multi:softmax", "num_class": "10", "num_round": "15", "eval_metric": "merror"},
        ("eta=0.1:0.5", "max_depth=1:10", "min_child_weight=0:120", "subsample=0.5:1", "alpha=0:1000"),
    ),
}


def tuned(algorithm: str, strategy: str, seed: int, count: int, folder: Path) -> list[trials.Trial]:
    """The trials of a tuning."""
    case, found = CASES[algorithm], manifest.load(algorithm)
    evaluated = case.objective.split(":")[0]
    channels = [
        ChannelSource("train", str(EXAMPLES / "digits-train.csv"), CSV),
        ChannelSource(evaluated, str(EXAMPLES / "digits-test.csv"), CSV),
    ]
    asked = command.Options(
        algorithm=found,
        name="bench",
        channels=channels,
        hyperparameters=case.static,
        environment={},
        range=case.ranges,
        objective=case.objective,
        strategy=strategy,
        max_jobs=count,
        seed=seed,
    )
    command.run(command.request_of(asked), folder, ProcessRuntime, io.StringIO())
    kept = trials.load(folder)
    assert kept is not None
    return kept[1]


def overhead(count: int, folder: Path) -> None:
    """Prints what a trial takes beyond its training."""
    tuned("kmeans", "Random", 0, 1, folder / "warm")
    started = time.perf_counter()
    found = tuned("kmeans", "Bayesian", 0, count, folder / "tuning")
    whole = time.perf_counter() - started
    channels = [
        ChannelSource("train", str(EXAMPLES / "digits-train.csv"), CSV),
        ChannelSource("test", str(EXAMPLES / "digits-test.csv"), CSV),
    ]
    started = time.perf_counter()
    for trial in found:
        values = {**CASES["kmeans"].static, **trial.values}
        spec = JobSpec(manifest.load("kmeans"), folder / "plain" / trial.name, values, channels)
        train(spec, ProcessRuntime(), io.StringIO())
    plain = time.perf_counter() - started
    print(f"tuning {whole / count:.2f} s a trial, the same job alone {plain / count:.2f} s")
    print(f"{(whole - plain) / count:.2f} s more")


def search(count: int, seeds: int, folder: Path) -> None:
    """Prints the mean over seeds of the best objective of both strategies."""
    for algorithm, case in CASES.items():
        means = {}
        for strategy in ("Bayesian", "Random"):
            best = []
            for seed in range(seeds):
                found = tuned(algorithm, strategy, seed, count, folder / f"{algorithm}-{strategy}-{seed}")
                values = [trial.objective for trial in found if trial.objective is not None]
                maximize = "accuracy" in case.objective
                best.append(max(values) if maximize else min(values))
            means[strategy] = statistics.fmean(best)
        print(
            f"{algorithm}: {case.objective} Bayesian {means['Bayesian']:.5g}, Random {means['Random']:.5g}, "
            f"ratio {means['Bayesian'] / means['Random']:.3f}",
            flush=True,
        )


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m bench.tuning")
    parser.add_argument("kind", choices=("overhead", "search"))
    parser.add_argument("--trials", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.kind == "overhead":
            overhead(chosen.trials or 14, Path(folder))
        else:
            search(chosen.trials or 30, chosen.seeds, Path(folder))


if __name__ == "__main__":
    main()
