"""What a job trains with: vocabularies, pairs in buckets, a network and what it learns by."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from common.channels.streams import Stream
from common.failures import ClientError
from common.hyperparameters import Values
from common.metrics import log
from common.optimizers import Settings
from common.training import Run
from containers.seq2seq import bucketing, pairs, schedules, vocabulary
from containers.seq2seq.bucketing import Bucketed, Lengths
from containers.seq2seq.hyperparameters import configured
from containers.seq2seq.learner import Learner, Sums
from containers.seq2seq.network import Network, initialize
from containers.seq2seq.pairs import Pairs
from containers.seq2seq.stopping import Patience
from containers.seq2seq.vocabulary import Vocabulary

_SHOWN = 6  # pairs of channel validation that the report translates


@dataclass
class Work:
    """A job under way."""

    run: Run
    vocabularies: tuple[Vocabulary, Vocabulary]
    learner: Learner
    train: Bucketed
    validation: Bucketed
    decoded: Pairs  # what BLEU is measured on; shortest sources first
    patience: Patience
    epoch: int = 0
    since: Sums = field(default_factory=Sums)  # of the training data since the last checkpoint
    started: float = field(default_factory=time.perf_counter)  # when that was
    samples: int = 0  # pairs learned from
    best: Tensor | None = None  # the weights of the best checkpoint
    best_epoch: int = 0

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to stop."""
        return self.run.stop.requested


def prepared(run: Run) -> Work | None:
    """All that training needs; None when the job was asked to stop before it was read."""
    values = run.hyperparameters
    torch.set_num_threads(run.threads)
    vocabularies = vocabulary.read(run.channels["vocab"])
    found = [_read(run, name, vocabularies) for name in ("train", "validation")]
    if run.stop.requested:
        return None
    training, held_out = found
    run.kept["pairs"] = held_out[:_SHOWN]
    lengths = Lengths.of(training)
    log.info("Mean training target/source length ratio: %.2f (+-%.2f)", lengths.mean, lengths.deviation)
    bounds = _buckets(values, lengths.mean)
    return Work(
        run,
        vocabularies,
        _learner(run, vocabularies, lengths),
        Bucketed(training, bounds, values["batch_size"]),
        Bucketed(held_out, bounds, values["batch_size"]),
        _sample(held_out, _decoded_count(values, len(held_out)), run.seed),
        Patience(
            values["optimized_metric"],
            values["checkpoint_threshold"] if values["max_num_epochs"] is None else None,
            values["min_num_epochs"],
        ),
    )


def _read(run: Run, name: str, vocabularies: tuple[Vocabulary, Vocabulary]) -> Pairs:
    """A channel's pairs. Raises ClientError when there are none, but for a stop."""
    sizes = len(vocabularies[0]), len(vocabularies[1])
    most = run.hyperparameters["max_seq_len_source"], run.hyperparameters["max_seq_len_target"]

    def decode(stream: Stream, shown: str) -> Iterator[Pairs]:
        return pairs.decode(stream, shown, sizes, most)

    found = pairs.join(list(run.channels[name].read(decode, pairs.join, None)))
    if not len(found) and not run.stop.requested:
        raise ClientError(f"channel {name} has no records; accepted: at least one pair of sequences")
    log.info("%d pairs in channel %s", len(found), name)
    return found


def _buckets(values: Values, ratio: float) -> list[tuple[int, int]]:
    # The symbol of the beginning is part of a target's length.
    most = values["max_seq_len_source"], values["max_seq_len_target"] + 1
    if not values["bucketing_enabled"]:
        return [most]
    return bucketing.buckets(most, values["bucket_width"], ratio)


def _learner(run: Run, vocabularies: tuple[Vocabulary, Vocabulary], lengths: Lengths) -> Learner:
    values = run.hyperparameters
    source, target = vocabularies
    torch.manual_seed(run.seed)
    network = Network(configured(values, len(source), len(target), lengths.mean, lengths.deviation))
    initialize(
        network,
        values["weight_init_type"],
        values["weight_init_scale"],
        values["xavier_factor_type"],
        run.seed,
    )
    log.info("Total # of parameters: %d", sum(parameter.numel() for parameter in network.parameters()))
    clip = values["clip_gradient"]
    momentum = values["momentum"] or 0.0
    return Learner(
        network,
        "momentum" if values["optimizer_type"] == "sgd" and momentum else values["optimizer_type"],
        Settings(clip=clip if clip > 0 else math.inf, decay=values["weight_decay"], momentum=momentum),
        _schedule(values),
        devices=run.devices,
        cluster=run.cluster,
        threads=run.threads,
        accuracy=values["training_metric"] == "accuracy",
    )


def _schedule(values: Values) -> schedules.Schedule:
    rate, kind = values["learning_rate"], values["lr_scheduler_type"]
    if kind == "plateau_reduce":
        return schedules.PlateauReduce(
            rate, values["plateau_reduce_lr_factor"], values["plateau_reduce_lr_threshold"]
        )
    half_life = values["fixed_rate_lr_half_life"] * values["checkpoint_frequency_num_batches"]
    inverse = schedules.InverseTime if kind == "fixed_rate_inv_t" else schedules.InverseSquareRoot
    return inverse(rate, half_life)


def _decoded_count(values: Values, pairs: int) -> int:
    """How many validation pairs are decoded at a checkpoint."""
    asked = values["bleu_sample_size"]
    if asked < 0 or (asked == 0 and values["optimized_metric"] == "bleu"):
        return pairs
    return int(min(asked, pairs))


def _sample(found: Pairs, count: int, seed: int) -> Pairs:
    """So many pairs, drawn once, so that checkpoints can be compared; shortest sources first."""
    rows = np.random.default_rng([seed, 1]).permutation(len(found))[:count]
    rows = rows[np.argsort(found.source.lengths[rows], kind="stable")]
    return pairs.join([found[row : row + 1] for row in rows.tolist()])
