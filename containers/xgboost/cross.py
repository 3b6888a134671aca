"""Training with ``_kfold``: a model a fold, the folds' mean scores, and predictions of held-out rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.failures import ClientError
from common.job import written
from common.metrics import log
from common.training import Run
from containers.xgboost import checkpoints, folds, hosts, matrices, parameters
from containers.xgboost.library import xgb
from containers.xgboost.matrices import Table
from containers.xgboost.model import Boosting, Plan, Score, line
from containers.xgboost.reading import Data
from containers.xgboost.saving import newest, save


def train(run: Run, plan: Plan, data: Data) -> None:
    """Trains and saves ``xgboost-model-0`` and on, and ``predictions.csv`` beside the output data.

    Train and validation rows are dealt together. What a fold's lines call validation are the rows that it
    doesn't learn from.
    """
    values = run.hyperparameters
    table = _merged(data)
    labels, count, repeats = table.labels, values["_kfold"], values["_num_cv_round"]
    if len(labels) < count:
        raise ClientError(f"_kfold is {count} and there are {len(labels)} rows; accepted: 2 to {len(labels)}")
    matrix = matrices.plain(table, data.width, threads=run.threads, censored=parameters.censored(values))
    table.parts = []
    classified = parameters.classifies(values)
    predictions = folds.Predictions(labels, repeats, classified)
    scores: list[list[Score]] = []
    dealt = folds.splits(labels, count, repeats, plan.parameters["seed"], classified)
    for number, (learnt, held) in enumerate(dealt):
        if run.stop.requested:
            break
        log.info("Train cross validation fold %d", number % count + 1)
        held_out = matrix.slice(held)
        boosting = _fold(run, plan, number, [(matrix.slice(learnt), "train"), (held_out, "validation")])
        if not boosting.rounds:
            break
        booster = boosting.best()
        save(run, f"xgboost-model-{number}", booster)
        scores.append(boosting.measure(boosting.rounds - 1))
        _record(predictions, number // count, held, booster, held_out, values["objective"], classified)
        if len(scores) % count == 0:
            print(_mean_line(values["num_round"], scores[-count:]), flush=True)
    if len(scores) < count * repeats:
        log.warning(
            "Stopped after %d of %d folds: there are no predictions to save", len(scores), count * repeats
        )
        return
    if repeats > 1:
        print(f"The overall metrics of {repeats}-round cross validation", flush=True)
        print(_mean_line(values["num_round"], scores), flush=True)
    with written(run.job.output / "predictions.csv") as path:
        np.savetxt(path, predictions.table(), delimiter=",", fmt="%f")


def _fold(run: Run, plan: Plan, number: int, evaluated: list[tuple[xgb.DMatrix, str]]) -> Boosting:
    folder = None if run.job.checkpoints is None else run.job.checkpoints / f"model-{number}"
    resumed = None if folder is None else newest(folder)
    boosting = Boosting(plan, evaluated, None if resumed is None else resumed[1])
    done = 0 if resumed is None else resumed[0] + 1

    def rounds() -> Iterator[int]:
        for step in run.epochs(max(0, run.hyperparameters["num_round"] - done)):
            yield done + step

    def each(round_number: int, found: list[Score]) -> None:
        print(line(round_number, found), flush=True)
        if folder is not None:
            checkpoints.save(folder, round_number, bytes(boosting.booster.save_raw("ubj")))

    with hosts.translating():
        boosting.run(rounds(), each)
    return boosting


def _merged(data: Data) -> Table:
    tables = [data.train] if data.validation is None else [data.train, data.validation]
    if any(table.groups is not None for table in tables):
        raise ClientError(
            "_kfold deals single rows, and these are ranked in groups (qid); accepted: no _kfold"
        )
    weighted = any(table.weights is not None for table in tables)
    return Table(
        [part for table in tables for part in table.parts],
        np.concatenate([table.labels for table in tables]),
        np.concatenate([np.ones(len(t), np.float32) if t.weights is None else t.weights for t in tables])
        if weighted
        else None,
    )


def _record(
    predictions: folds.Predictions,
    repeat: int,
    held: folds.Rows,
    booster: xgb.Booster,
    matrix: xgb.DMatrix,
    objective: str,
    classified: bool,
) -> None:
    if classified:
        values, classes = folds.probabilities(objective, booster.predict(matrix, output_margin=True))
        predictions.record(repeat, held, values, classes)
    else:
        predictions.record(repeat, held, booster.predict(matrix), None)


def _mean_line(number: int, scores: list[list[Score]]) -> str:
    # Metric by metric, both kinds of rows side by side, as AWS's container prints it.
    metrics = dict.fromkeys(score.metric for score in scores[0])
    found = {(s.data, s.metric): [] for s in scores[0]}  # type: dict[tuple[str, str], list[float]]
    for fold in scores:
        for score in fold:
            found[score.data, score.metric].append(score.value)
    means = [
        Score(data, metric, float(np.mean(found[data, metric])))
        for metric in metrics
        for data in ("train", "validation")
    ]
    return line(number, means)
