"""A job's channels as tables, agreed between hosts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common import content_types
from common.batches import CSR
from common.channels import Channel
from common.channels.interrupts import Interrupt
from common.failures import ClientError
from common.training import Run
from containers.xgboost import ranking
from containers.xgboost.matrices import BATCH, Table, check_features, check_labels, gather


@dataclass(slots=True)
class Data:
    """What a job learns from: its tables, and how many features every row of every host has."""

    train: Table
    validation: Table | None
    width: int


def read(run: Run) -> Data:
    """Reads the train and validation channels. Raises ClientError for whatever can't be learnt from.

    All hosts agree on the width; hosts without rows take part.
    """
    _check_content_types(run)
    train = _table(run, run.train, share=True)
    validation = _table(run, run.channels["validation"]) if "validation" in run.channels else None
    if run.stop.requested:
        # The tables are cut short; nobody will learn from them.
        return Data(train, None, 0)
    values = run.hyperparameters
    for table, name in ((train, "train"), (validation, "validation")):
        if table is not None:
            check_features(table, name)
            check_labels(table, values["objective"], values["num_class"], name)
    width = _width(run, train, validation)
    _check_start(run, train)
    return Data(train, validation, width)


def _check_content_types(run: Run) -> None:
    validation = run.channels.get("validation")
    if validation is not None and validation.config.content_type is None:
        # AWS parses it as the train channel, whatever it declares; what is declared is believed here.
        validation.media_type = run.train.media_type
    for channel in (run.train, validation):
        if channel is not None and channel.media_type.integer("label_size", 1) != 1:
            raise ClientError(
                f"channel {channel.name}: content type '{channel.media_type}' is not accepted: "
                "rows have one label; accepted: label_size=1"
            )


def _table(run: Run, channel: Channel, share: bool = False) -> Table:
    weights = bool(run.hyperparameters["csv_weights"]) and channel.media_type.name == content_types.CSV
    if channel.media_type.name == content_types.LIBSVM and ranking.has_groups(channel):
        divided = share and channel.config.distribution == "FullyReplicated"
        hosts = run.cluster.size if divided else 1
        return ranking.read(channel, Interrupt(run.stop), run.cluster.rank if divided else 0, hosts)
    return gather(channel.epoch(BATCH, share=share, weights=weights))


def _width(run: Run, train: Table, validation: Table | None) -> int:
    rows = np.array([len(train), 0 if validation is None else len(validation)])
    rows = run.cluster.all_reduce(rows)
    if not rows[0]:
        if run.cluster.size > 1:
            raise ClientError("No hosts received training data.")
        raise ClientError(f"No data in training channel path {_place(run.train)}")
    if validation is not None and not rows[1]:
        raise ClientError(f"No data in validation channel path {_place(run.channels['validation'])}")
    # A sparse row is as wide as its largest index, so the widest of all rows tells.
    widths = np.array([train.width, validation.width if validation is not None and validation.sparse else 0])
    width = int(run.cluster.all_reduce(widths, "max").max())
    for table, name in ((train, "train"), (validation, "validation")):
        for part in [] if table is None else table.parts[:1]:
            if not isinstance(part, CSR) and part.shape[1] != width:
                raise ClientError(
                    f"channel {name}: rows have {part.shape[1]} features, and {width} in the train channel's "
                    "widest; accepted: the same number in every row"
                )
    return width


def _check_start(run: Run, train: Table) -> None:
    """Raises ClientError when the rows of all hosts have no mean that the library can start from."""
    weights, labels = train.weights, train.labels
    weighed = labels if weights is None else weights * labels
    own = len(labels) if weights is None else weights.sum(dtype=np.float64)
    mass, total = run.cluster.all_reduce(np.array([own, weighed.sum(dtype=np.float64)]))
    if not mass:
        raise ClientError("channel train: all weights are 0; accepted: at least one above 0")
    values = run.hyperparameters
    # Its start is a logarithm.
    if values["objective"] == "reg:tweedie" and "base_score" not in values.given and not total:
        raise ClientError(
            "channel train: all labels are 0; accepted by reg:tweedie: at least one above 0, or a base_score"
        )


def _place(channel: Channel) -> str:
    return str(channel.folder) + ("_0" if channel.piped else "")
