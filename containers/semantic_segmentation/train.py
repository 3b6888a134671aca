"""The job of semantic segmentation: what can be known to be wrong before data are read, then `engine`."""

from __future__ import annotations

from common.failures import ClientError
from common.metrics import log
from common.training import Run

RECORDIO = "application/x-recordio"


def train(run: Run) -> None:
    """Every device of the host trains the same network. Raises ClientError."""
    values = run.hyperparameters
    for name in ("train", "validation"):
        _check_channel(run, name)
    if values["mini_batch_size"] % len(run.devices):
        raise ClientError(
            f"hyperparameter mini_batch_size is {values['mini_batch_size']}; accepted: a multiple of the "
            f"number of GPUs, {len(run.devices)}"
        )
    if values["syncbn"] and (len(run.devices) < 2 or "cpu" in run.devices):
        log.warning("hyperparameter syncbn has no effect: it applies when there are several GPUs")
    if "model" in run.channels:
        if run.channels["train"].piped or run.channels["train"].media_type.name == RECORDIO:
            raise ClientError(
                "channel model goes with image files in channel train; accepted: content type "
                "application/x-image in File mode"
            )
        if values["use_pretrained_model"] and "use_pretrained_model" in values.given:
            log.warning(
                "hyperparameter use_pretrained_model has no effect: there is a channel model to go on from"
            )
    # torch takes a second to import, and faults are to be told at once.
    from common.learning import distributed
    from containers.semantic_segmentation.engine import work

    distributed.train(run, work)


def _check_channel(run: Run, name: str) -> None:
    channel, annotated = run.channels[name], f"{name}_annotation"
    if channel.piped:
        for other in (annotated, "label_map"):
            if other in run.channels:
                log.warning("channel %s is not read: masks come with the images of channel %s", other, name)
        return
    if channel.media_type.name == RECORDIO:
        raise ClientError(
            f"channel {name}: content type {channel.media_type} in File mode; accepted there: image files, "
            "application/x-image"
        )
    if annotated not in run.channels:
        raise ClientError(
            f"channel {annotated} is missing; accepted with image files: a channel with a PNG mask for each"
        )
