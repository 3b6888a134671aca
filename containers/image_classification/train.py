"""The job of image classification: what can be known to be wrong before data are read, then `engine`."""

from __future__ import annotations

from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.image_classification.reading import CLASS_ID, MULTI_HOT, RECORDIO


def train(run: Run) -> None:
    """Every device of every host trains the same network. Raises ClientError."""
    _check(run)
    # torch takes a second to import, and faults are to be told at once.
    from common.learning import distributed
    from containers.image_classification.engine import work

    distributed.train(run, work)


def _check(run: Run) -> None:
    """What needs to know channels and hosts. Raises ClientError."""
    values = run.hyperparameters
    for name in ("train", "validation"):
        _check_channel(run, name)
    if run.cluster.size > 1 and values["kv_store"] == "dist_async":
        raise ClientError(
            "hyperparameter kv_store is dist_async; accepted on several machines: dist_sync, since they "
            "average their gradients at each update"
        )
    if run.cluster.size == 1 and values["kv_store"]:
        log.warning("hyperparameter kv_store has no effect: it applies when there are several machines")
    if values["mini_batch_size"] % len(run.devices):
        raise ClientError(
            f"hyperparameter mini_batch_size is {values['mini_batch_size']}; accepted: a multiple of the "
            f"number of GPUs, {len(run.devices)}"
        )
    if values["use_pretrained_model"] and "model" in run.channels:
        log.warning(
            "hyperparameter use_pretrained_model has no effect: there is a channel model to go on from"
        )


def _check_channel(run: Run, name: str) -> None:
    channel, listed = run.channels[name], f"{name}_lst"
    if channel.media_type.name == RECORDIO:
        form = channel.media_type.parameters.get("label-format", MULTI_HOT)
        if form not in (MULTI_HOT, CLASS_ID):
            raise ClientError(
                f"channel {name}: label-format={form} is not accepted; accepted: {MULTI_HOT} or {CLASS_ID}"
            )
        if listed in run.channels:
            log.warning("channel %s is not read: it applies when channel %s holds image files", listed, name)
        return
    if run.hyperparameters["resize"] is None:
        raise ClientError(
            "hyperparameter resize is missing; accepted with image files: the length of their shorter side"
        )
    if listed not in run.channels:
        raise ClientError(
            f"channel {listed} is missing; accepted with content type {channel.media_type}: a channel with "
            "one .lst file that names images and labels"
        )
