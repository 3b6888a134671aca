"""Pairs of small tasks as channels hold them, and jobs in this process, for the tests of this folder."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import cluster, job, manifest
from common.channels import open_channels
from common.formats import recordio
from common.formats.record_pb2 import Record
from common.job import ChannelConfig, Hosts
from common.metrics import Metrics, set_up_logging
from common.stopping import Stop
from common.training import Run
from containers.seq2seq.config import SPECIAL
from containers.seq2seq.pairs import Pairs, packed

Coded = tuple[Sequence[int], Sequence[int]]

WORDS = 12
SMALL = {
    "rnn_num_hidden": "8",
    "num_embed_source": "6",
    "num_embed_target": "6",
    "cnn_num_hidden": "8",
    "batch_size": "16",
    "max_num_batches": "6",
    "checkpoint_frequency_num_batches": "3",
    "max_seq_len_source": "12",
    "max_seq_len_target": "12",
}
MANIFEST = manifest.load("seq2seq")


def turned(count: int, seed: int = 0, longest: int = 8) -> list[Coded]:
    """Sequences, and the same turned round."""
    random = np.random.default_rng(seed)
    sources = [random.integers(4, WORDS, random.integers(1, longest + 1)).tolist() for _ in range(count)]
    return [(source, source[::-1]) for source in sources]


def as_pairs(coded: Iterable[Coded]) -> Pairs:
    """The same as arrays."""
    sides = list(zip(*coded, strict=True))
    return Pairs(
        *(
            packed(
                np.array([token for sequence in side for token in sequence], np.int32),
                np.array([len(sequence) for sequence in side], np.int64),
            )
            for side in sides
        )
    )


def listed(pairs: Pairs) -> list[tuple[list[int], list[int]]]:
    """The pairs as lists."""
    return [(pairs.source.one(row).tolist(), pairs.target.one(row).tolist()) for row in range(len(pairs))]


def record(**sides: Sequence[int]) -> bytes:
    """A framed record with these features."""
    made = Record()
    for key, ids in sides.items():
        made.features[key].int32_tensor.values.extend(ids)
    return recordio.frame(made.SerializeToString(deterministic=True))


def records(coded: Iterable[Coded]) -> bytes:
    """A file of pairs."""
    return b"".join(record(source=source, target=target) for source, target in coded)


def vocabulary(size: int = WORDS) -> dict[str, int]:
    """Special tokens and made-up words."""
    words = [*SPECIAL, *(f"w{number}" for number in range(len(SPECIAL), size))]
    return {word: number for number, word in enumerate(words)}


def vocabularies(source: int = WORDS, target: int = WORDS) -> dict[str, bytes]:
    """The files of the channel vocab."""
    return {
        "vocab.src.json": json.dumps(vocabulary(source)).encode(),
        "vocab.trg.json": json.dumps(vocabulary(target)).encode(),
    }


def prepared_run(
    root: Path, stop: Stop | None = None, devices: tuple[str, ...] = ("cpu",), **values: Any
) -> Run:
    """A job on turned sequences; its channels are filled unless they are there."""
    channels = {
        "train": {"train.rec": records(turned(64))},
        "validation": {"val.rec": records(turned(20, 1))},
        "vocab": vocabularies(),
    }
    for name, files in channels.items():
        folder = root / "input" / "data" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            for file, data in files.items():
                (folder / file).write_bytes(data)
    given = {**SMALL, **{name: str(value) for name, value in values.items()}}
    given = {name: value for name, value in given.items() if value != "None"}
    described = job.Job(root, dict(given), {name: ChannelConfig(name) for name in channels}, Hosts(), None)
    stop = stop or Stop()
    return Run(
        described,
        MANIFEST,
        MANIFEST.declaration().resolve(given),
        open_channels(described, MANIFEST, stop),
        cluster.join(described.hosts),
        Metrics(MANIFEST.metrics_name, "algo-1"),
        stop,
        devices,
        1,
        0,
    )


def trained(run: Run) -> str:
    """Trains in this process; the log."""
    log = io.StringIO()
    set_up_logging(stream=log)
    try:
        with contextlib.redirect_stdout(log):
            MANIFEST.module("train").train(run)
    finally:
        set_up_logging()
    return log.getvalue()
