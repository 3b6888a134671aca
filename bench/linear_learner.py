"""The linear learner's figures: 32 models at once against 32 fits of scikit-learn, and against one of ours.

Run with ``python -m bench.linear_learner``. Data: 200,000 x 50 standard normal features, labels from a random
linear rule through logistic noise; 20,000 more rows validate. Both sides reach the same validation accuracy:
scikit-learn's 32 SGDClassifiers, of the same learning rates and penalties, stop by themselves as ours do.

Ours is timed as whole jobs of ``containers.linear_learner.train.train``, from RecordIO files to the artifact:
decoding, scaler pass, training, validation after each epoch, early stopping, calibration and metric lines
included. scikit-learn is timed on arrays that are in memory and standardised already, and fits alone, one
after the other; what its fits would take if they shared all cores without loss is printed too. The least of
some repeats counts for ours, one run of 32 fits for the peer.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.linear_model import SGDClassifier

from common import cluster, instances, job, manifest
from common.batches import Batch
from common.channels import open_channels
from common.formats import encode_batch
from common.job import ChannelConfig, Hosts
from common.metrics import Metrics, set_up_logging
from common.stopping import Stop
from common.training import Run
from containers.linear_learner.candidates import candidates
from containers.linear_learner.predict import load


def data(rows: int, features: int) -> tuple[Batch, Batch]:
    """Rows to train on, and a tenth as many to validate with."""
    generator = np.random.default_rng(0)
    total = rows + rows // 10
    x = generator.standard_normal((total, features), np.float32)
    rule = generator.standard_normal(features) / features**0.5
    y = (x @ rule * 3 + generator.logistic(size=total) > 0).astype(np.float32)
    return Batch(x[:rows], y[:rows]), Batch(x[rows:], y[rows:])


def ours(folder: Path, train: Batch, validation: Batch, **hyperparameters: str) -> tuple[float, float, int]:
    """Seconds of a whole job, the model's accuracy on the validation rows, and epochs taken."""
    for name, batch in (("train", train), ("validation", validation)):
        (folder / "input" / "data" / name).mkdir(parents=True, exist_ok=True)
        path = folder / "input" / "data" / name / "rows.pbr"
        if not path.exists():
            path.write_bytes(encode_batch(batch))
    log = io.StringIO()
    set_up_logging(stream=log)
    found = manifest.load("linear-learner")
    channels = {name: ChannelConfig(name) for name in ("train", "validation")}
    described = job.Job(
        folder, {"predictor_type": "binary_classifier", **hyperparameters}, channels, Hosts(), None
    )
    with contextlib.redirect_stdout(log):
        started = time.perf_counter()
        stop = Stop()
        run = Run(
            described,
            found,
            found.declaration().resolve(described.hyperparameters),
            open_channels(described, found, stop),
            cluster.join(described.hosts),
            Metrics(found.metrics_name, "algo-1", log),
            stop,
            "cpu",
            instances.threads(),
            0,
        )
        found.module("train").train(run)
        seconds = time.perf_counter() - started
    columns = load(folder / "model").predict(validation.features, {})
    accuracy = float(np.mean(columns["predicted_label"] == validation.labels))
    return seconds, accuracy, log.getvalue().count("#early_stopping_criteria_metric")


def scikit_learn(train: Batch, validation: Batch, models: int) -> tuple[float, float, float]:
    """Seconds of that many fits, the best one's accuracy on the validation rows, mean epochs."""
    declaration = manifest.load("linear-learner").declaration()
    values = declaration.resolve({"predictor_type": "binary_classifier"})
    assert isinstance(train.features, np.ndarray)
    mean, deviation = train.features.mean(0), train.features.std(0)
    x, held_out = (train.features - mean) / deviation, (validation.features - mean) / deviation
    started, best, epochs = time.perf_counter(), 0.0, 0
    for settings in candidates(values, "adam", models, 0):
        model = SGDClassifier(
            loss="log_loss",
            alpha=max(settings.wd, 1e-6),
            # Its steps are a row's, not a batch's: rates that are large for a batch would not converge.
            learning_rate="invscaling",
            eta0=settings.learning_rate,
            power_t=0.25,
            max_iter=15,
            n_iter_no_change=3,
            tol=1e-3,
            random_state=0,
        ).fit(x, train.labels)
        epochs += model.n_iter_
        best = max(best, float(model.score(held_out, validation.labels)))
    return time.perf_counter() - started, best, epochs / models


def least(repeats: int, measure: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """The fastest of some runs."""
    return min((measure() for _ in range(repeats)), key=lambda result: result[0])


def main() -> None:
    """Prints both figures."""
    parser = argparse.ArgumentParser(description="the linear learner's figures")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    train, validation = data(chosen.rows, chosen.features)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def job_of(**hyperparameters: str) -> tuple[float, ...]:
            return least(chosen.repeats, lambda: ours(folder, train, validation, **hyperparameters))

        ours(folder, train, validation, epochs="1")  # imports, kernels, the page cache
        many, accuracy, epochs = job_of()
        # The same number of epochs for both: early stopping would end one model's job at another place.
        fixed = {"epochs": "15", "early_stopping_patience": "100"}
        all_models, _, _ = job_of(**fixed)
        one_model, _, _ = job_of(num_models="1", **fixed)
    peer, peer_accuracy, peer_epochs = scikit_learn(train, validation, 32)
    print(f"{chosen.rows} x {chosen.features} rows, {instances.threads()} threads")
    print(f"32 models, whole job      {many:8.3f} s  accuracy {accuracy:.4f}  {epochs} epochs")
    print(f"32 x SGDClassifier.fit    {peer:8.3f} s  accuracy {peer_accuracy:.4f}  {peer_epochs:.1f} epochs")
    print(f"ratio                     {peer / many:8.1f} x (at least 10)")
    print(f"  were its fits to share all cores   {peer / many / instances.threads():8.1f} x")
    print(f"32 models, 15 epochs      {all_models:8.3f} s")
    print(f"1 model, 15 epochs        {one_model:8.3f} s")
    print(f"ratio                     {all_models / one_model:8.2f} x (at most 3)")
    print(json.dumps({"against_sklearn": peer / many, "against_one_model": all_models / one_model}))


if __name__ == "__main__":
    main()
