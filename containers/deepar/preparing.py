"""From a job's channels and hyperparameters to series that can be learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.deepar.artifact import Settings
from containers.deepar.frequencies import parse
from containers.deepar.hyperparameters import AUTO, OFF
from containers.deepar.reading import Reader
from containers.deepar.series import Schema, Series
from containers.deepar.statistics import Statistics, spreads


@dataclass(frozen=True, slots=True)
class Data:
    """What a job learns from and is scored on."""

    settings: Settings
    train: list[Series]
    test: list[Series]


def prepared(run: Run) -> Data | None:
    """Reads the channels, checks them and logs what they hold; None where a stop was asked for meanwhile.

    Raises ClientError for series that aren't accepted. All hosts call it.
    """
    values = run.hyperparameters
    horizon, likelihood = values["prediction_length"], values["likelihood"]
    reader = Reader(run.train, _asked(values["cardinality"], values["num_dynamic_feat"]), horizon)
    train = reader.read()
    schema = _agreed(run, reader, train)
    test: list[Series] = []
    if "test" in run.channels:
        test = Reader(run.channels["test"], schema, horizon).read()
    if run.cluster.any(run.stop.requested):
        return None
    _tell_features(run, reader, schema)
    statistics = Statistics(train, run.cluster)
    statistics.tell("Training")
    statistics.check()
    statistics.check_range("train", likelihood)
    if "test" in run.channels:
        of_test = Statistics(test, run.cluster)
        of_test.tell("Test")
        of_test.check_range("test", likelihood)
    dynamic = schema.dynamic or 0
    centers, distances = spreads(train, dynamic, run.cluster) if dynamic else ([], [])
    settings = Settings(
        time_freq=values["time_freq"],
        context_length=values["context_length"],
        prediction_length=horizon,
        lags=parse(values["time_freq"]).lags().tolist(),
        likelihood=likelihood,
        num_cells=values["num_cells"],
        num_layers=values["num_layers"],
        dropout_rate=values["dropout_rate"],
        cardinality=list(schema.cardinality),
        embedding_dimension=values["embedding_dimension"],
        num_dynamic_feat=dynamic,
        scale=statistics.scale,
        dynamic_centers=centers,
        dynamic_spreads=distances,
    )
    return Data(settings, _long(run, train, horizon, "train"), _long(run, test, horizon + 1, "test"))


def _asked(cardinality: str | list[int], dynamic: str | int) -> Schema:
    """What hyperparameters say of the features of series."""
    sizes = () if isinstance(cardinality, str) else tuple(cardinality)
    cats = len(sizes) if sizes else None if cardinality == AUTO else 0
    rows = None if dynamic == AUTO else 0 if dynamic in OFF else int(dynamic)
    return Schema(cats, rows, sizes)


def _agreed(run: Run, reader: Reader, train: list[Series]) -> Schema:
    """The schema of all hosts' series, with the number of each category's values."""
    found, cluster = reader.schema, run.cluster
    mine = np.array([-1 if number is None else number for number in (found.cats, found.dynamic)])
    counts = cluster.all_reduce(mine, "max")
    if train and list(mine) != list(counts):
        raise ClientError(
            f"host {run.job.hosts.current} has series with {mine[0]} cat and {mine[1]} dynamic_feat values, "
            f"another host {counts[0]} and {counts[1]}; accepted: the same number in all series"
        )
    cats, rows = (max(int(count), 0) for count in counts)
    sizes = np.zeros(cats, np.int64)
    if train:
        sizes[:] = np.array([one.cat for one in train], np.int64).reshape(len(train), cats).max(axis=0) + 1
    largest = cluster.all_reduce(sizes, "max")
    cardinality = found.cardinality or tuple(int(size) for size in largest)
    for feature, size in enumerate(cardinality):
        if size > largest[feature]:
            log.warning(
                "Category %d of cat has %d values by cardinality, and none above %d occurs in training",
                *(feature, size, largest[feature] - 1),
            )
    return Schema(cats, rows, cardinality)


def _tell_features(run: Run, reader: Reader, schema: Schema) -> None:
    values = run.hyperparameters
    for name, field, found in (
        ("cardinality", "cat", schema.cats),
        ("num_dynamic_feat", "dynamic_feat", schema.dynamic),
    ):
        if values[name] == AUTO:
            negation, use = ("", "will") if found else ("NOT ", "will NOT")
            log.info(
                "[%s=auto] `%s` field was %sfound in the file `%s` and %s be used for training.",
                *(name, field, negation, reader.file, use),
            )
    if values["cardinality"] == AUTO and schema.cats:
        log.info(
            "[cardinality=auto] Inferred value of cardinality=%s from dataset.", list(schema.cardinality)
        )
    if values["num_dynamic_feat"] == AUTO and schema.dynamic:
        log.info(
            "[num_dynamic_feat=auto] Inferred value of num_dynamic_feat=%d from dataset.", schema.dynamic
        )
    if not schema.cats and "embedding_dimension" in values.given:
        log.warning("hyperparameter embedding_dimension has no effect: series have no cat that is used")


def _long(run: Run, series: list[Series], least: int, channel: str) -> list[Series]:
    """The series of at least ``least`` points. Raises ClientError when no host has one."""
    kept = [one for one in series if len(one) >= least]
    if len(kept) < len(series):
        log.warning(
            "Channel %s: %d time series of fewer than %d points are left out",
            *(channel, len(series) - len(kept), least),
        )
    if not run.cluster.any(bool(kept)) and channel in run.channels:
        raise ClientError(
            f"channel {channel} has no time series of at least {least} points; accepted: one or more"
        )
    return kept
