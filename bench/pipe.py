"""Pipe mode: a FIFO to batches, against reading the same FIFO and throwing the bytes away.

A process of its own feeds dense RecordIO-protobuf records (50 float32 and a label) from memory, so that the
reader is what is measured. Both readers take turns on its epochs; prints the rate of each and the ratio::

    python -m bench.pipe [--megabytes 1024] [--rounds 5] [--batch-size 1000]
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from common.batches import Batch
from common.channels import Channel
from common.content_types import RECORDIO_PROTOBUF
from common.formats import encode_batch
from common.job import ChannelConfig
from common.manifest import ChannelSpec
from local.feeder import Feeder

FEATURES = 50
ROWS = 1 << 16  # of the piece that is fed again and again
TARGET = 0.5


def piece() -> bytes:
    """ROWS records."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((ROWS, FEATURES), np.float32)
    return encode_batch(Batch(rows, random.standard_normal(ROWS, np.float32)))


class Repeated:
    """Some bytes many times over, anew each epoch."""

    def __init__(self, content: bytes, times: int) -> None:
        self._content = content
        self._times = times

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._times):
            yield self._content


def feed(data: Path, times: int, ready: Event, done: Event) -> None:
    """The other process."""
    with Feeder(data, "train", [Repeated(piece(), times)]):
        ready.set()
        done.wait()


def discard(fifo: Path) -> int:
    """Reads a FIFO as fast as that goes; how many bytes."""
    while not fifo.exists():
        time.sleep(0.001)
    buffer = bytearray(1 << 20)
    total = 0
    descriptor = os.open(fifo, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, len(buffer))
        while count := os.readv(descriptor, [buffer]):
            total += count
    finally:
        os.close(descriptor)
    return total


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024, help="an epoch's size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1000)
    chosen = parser.parse_args()

    size = len(piece())
    times = max(1, (chosen.megabytes << 20) // size)
    spec = ChannelSpec("train", "", (RECORDIO_PROTOBUF,), labels="required")
    context = multiprocessing.get_context("spawn")
    rates: dict[str, list[float]] = {"thrown away": [], "batches": []}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        ready, done = context.Event(), context.Event()
        feeder = context.Process(target=feed, args=(data, times, ready, done))
        feeder.start()
        try:
            ready.wait()
            channel = Channel(ChannelConfig("train", "Pipe"), spec, data)
            # The first round is for imports and caches.
            for turn in range(chosen.rounds + 1):
                began = time.perf_counter()
                assert discard(data / f"train_{2 * turn}") == size * times
                between = time.perf_counter()
                channel.epochs_read = 2 * turn + 1
                rows = sum(len(batch) for batch in channel.epoch(chosen.batch_size, feature_dim=FEATURES))
                ended = time.perf_counter()
                assert rows == ROWS * times
                if turn:
                    rates["thrown away"].append(size * times / (between - began))
                    rates["batches"].append(size * times / (ended - between))
        finally:
            done.set()
            feeder.join()
    ratio = statistics.median(
        batches / thrown for thrown, batches in zip(rates["thrown away"], rates["batches"], strict=True)
    )
    medians = {what: statistics.median(values) for what, values in rates.items()}
    print(
        f"{times * ROWS} records, {times * size >> 20} MiB an epoch, medians of {chosen.rounds} epochs each"
    )
    for what, rate in medians.items():
        print(f"{what:12}  {rate / 1e9:6.2f} GB/s")
    print(f"ratio         {ratio:6.2f}  median of neighbours' (target: at least {TARGET})")


if __name__ == "__main__":
    main()
