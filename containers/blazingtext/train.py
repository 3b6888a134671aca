"""Trains BlazingText: checks what a mode may run on, then carries the job to words or to classification."""

from __future__ import annotations

import os

from common import content_types, instances
from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.blazingtext.hyperparameters import BATCH_SKIPGRAM, SUPERVISED, uses_subwords


def train(run: Run) -> None:
    """Trains in the job's mode. Raises ClientError where that can't be done on these instances."""
    mode = run.hyperparameters["mode"]
    _check_instances(run, mode)
    _check_channels(run, mode)
    if (
        "buckets" in run.hyperparameters.given
        and mode != SUPERVISED
        and not uses_subwords(run.hyperparameters)
    ):
        log.warning(
            "hyperparameter buckets has no effect: it applies when subwords is true or mode is supervised"
        )
    log.info(_beginning(run, mode))
    if mode == SUPERVISED:
        from containers.blazingtext import classification

        classification.train(run)
    else:
        from containers.blazingtext import words

        words.train(run)


def _check_instances(run: Run, mode: str) -> None:
    hosts = run.job.hosts
    named = hosts.instance_type or ""
    real = named not in ("", *instances.LOCAL) and os.environ.get(instances.OVERRIDE) != "1"
    gpu = real and instances.parse(named).device == "gpu"
    if len(hosts.names) > 1:
        if gpu:
            raise ClientError("Please use a single GPU instance or change to multiple CPU instances.")
        if mode != BATCH_SKIPGRAM:
            raise ClientError("Only batch_skipgram is available when training on multiple CPU instances")
    if mode == BATCH_SKIPGRAM and gpu:
        raise ClientError(
            "batch_skipgram is not supported on GPU. Please select a CPU instance or use cbow/skipgram"
        )
    if mode == SUPERVISED and real and instances.parse(named).gpus > 1:
        raise ClientError(f"supervised trains on one GPU, and {named} has more; accepted: one GPU, or a CPU")


def _check_channels(run: Run, mode: str) -> None:
    if mode == SUPERVISED:
        return
    if "validation" in run.channels:
        raise ClientError(f"channel validation is for supervised mode, and mode is {mode}; accepted: train")
    channel = run.train
    if channel.media_type.name == content_types.JSON_LINES:
        raise ClientError(
            f"channel train: content type {channel.media_type} is for supervised mode, and mode is {mode}; "
            "accepted: text/plain"
        )
    if run.cluster.size > 1 and channel.config.distribution != "FullyReplicated":
        raise ClientError(
            f"channel train: S3DistributionType is {channel.config.distribution}; accepted: FullyReplicated, "
            "since hosts divide the text themselves"
        )


def _beginning(run: Run, mode: str) -> str:
    """What BlazingText says first; how GPUs are named is ours."""
    hosts = run.cluster.size
    if hosts > 1:
        return f"Running distributed CPU BlazingText training using {mode} on {hosts} hosts."
    kind = "CPU" if run.device == "cpu" or mode == BATCH_SKIPGRAM else "GPU"
    return f"Running single machine {kind} BlazingText training using {mode} mode."
