"""Pipe mode: FIFOs that come late, in strict order, closed early, cut short, or never fed."""

from __future__ import annotations

import gzip
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest

from common.failures import ClientError
from common.stopping import Stop
from local.feeder import Feeder
from tests.unit.channels.conftest import encode, numbers


@contextmanager
def elsewhere(work: Callable[[], object]):
    """Runs ``work`` in a thread that must have ended with the block."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()


def serve(path, content: bytes, before: float = 0, within: float = 0) -> None:
    """A writer that comes late, and halts in the middle."""
    time.sleep(before)
    with open(path, "wb", buffering=0) as file:
        time.sleep(within)
        file.write(content[: len(content) // 2])
        time.sleep(within)
        file.write(content[len(content) // 2 :])


def test_one_epoch_a_fifo_in_order(make, data):
    channel = make("Pipe")
    for epoch in range(3):
        os.mkfifo(data / f"train_{epoch}")
    for epoch in range(3):
        with elsewhere(lambda epoch=epoch: serve(data / f"train_{epoch}", encode([epoch, 10]))):
            assert numbers(channel.epoch(None)) == [epoch, 10]
        assert channel.epochs_read == epoch + 1
        # What is kept for whoever looks later is of one epoch, no row twice.
        assert numbers(channel.first) == [0, 10]


def test_a_fifo_may_appear_late_and_its_writer_later(make, data):
    def late():
        time.sleep(0.15)
        os.mkfifo(data / "train_0")
        serve(data / "train_0", encode(range(10)), 0.1, 0.15)

    channel = make("Pipe")
    channel.check()
    with elsewhere(late):
        # A read before the writer comes answers 0, which is not the end; nor is a pause.
        assert numbers(channel.epoch(None)) == list(range(10))


def test_a_writer_that_leaves_at_once_is_an_empty_epoch(make, data):
    os.mkfifo(data / "train_0")
    with elsewhere(lambda: serve(data / "train_0", b"", 0.05)):
        assert list(make("Pipe").epoch(5)) == []


def test_checking_does_not_open_the_fifo(make, data):
    os.mkfifo(data / "train_0")
    channel = make("Pipe")
    channel.check()
    with pytest.raises(OSError, match="No such device"):  # nobody reads
        os.open(data / "train_0", os.O_WRONLY | os.O_NONBLOCK)
    assert channel.epochs_read == 0


def test_early_close_breaks_the_writers_pipe_and_the_next_epoch_is_whole(make, data):
    rows = np.arange(1 << 20)
    with Feeder(data, "train", [[encode(rows)]]) as feeder:
        channel = make("Pipe")
        for batch in channel.epoch(100):
            assert list(batch.features[:, 0]) == list(range(100))
            break
        assert channel.epochs_read == 1
        assert sum(len(batch) for batch in channel.epoch(1000)) == len(rows)
        assert channel.epochs_read == 2
        deadline = time.monotonic() + 60
        while feeder.epochs_served < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert feeder.epochs_served == 2


def test_a_new_epoch_gives_up_one_that_is_still_being_read(make, data):
    with Feeder(data, "train", [[encode(range(1 << 18))]]):
        channel = make("Pipe")
        first = channel.epoch(10)
        next(first)
        # With FIFO 0 still open the platform would never feed FIFO 1.
        assert sum(len(batch) for batch in channel.epoch(1000)) == 1 << 18
        with pytest.raises(RuntimeError, match="given up"):
            next(first)


def test_an_end_in_mid_record_names_channel_epoch_and_record(make, data):
    with Feeder(data, "train", [[encode(range(5)) + b"\1"]]):
        channel = make("Pipe")
        for epoch in range(2):
            with pytest.raises(ClientError, match=f"channel train, epoch {epoch}: .* middle of record 5"):
                numbers(channel.epoch(2))


def test_a_fifo_that_never_appears(make, data, monkeypatch):
    monkeypatch.setenv("ALGODOCK_PIPE_TIMEOUT", "0.2")
    with pytest.raises(ClientError, match=r"epoch 0: waited 0\.2 s in vain for .*train_0 to appear"):
        numbers(make("Pipe").epoch(None))


def test_a_fifo_that_is_never_fed(make, data, monkeypatch):
    monkeypatch.setenv("ALGODOCK_PIPE_TIMEOUT", "0.2")
    os.mkfifo(data / "train_0")
    with pytest.raises(ClientError, match=r"channel train, epoch 0: waited 0\.2 s in vain for data"):
        numbers(make("Pipe").epoch(None))


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_a_timeout_that_is_no_time(make, monkeypatch, text):
    monkeypatch.setenv("ALGODOCK_PIPE_TIMEOUT", text)
    with pytest.raises(ClientError, match=r"ALGODOCK_PIPE_TIMEOUT is .* accepted: seconds above 0"):
        make("Pipe")


@pytest.mark.parametrize("state", ["no fifo", "no writer", "silent writer"])
def test_stop_while_waiting(make, data, state):
    stop = Stop()
    if state != "no fifo":
        os.mkfifo(data / "train_0")
    writer = -1
    if state == "silent writer":
        os.set_blocking(reader := os.open(data / "train_0", os.O_RDONLY | os.O_NONBLOCK), False)
        writer = os.open(data / "train_0", os.O_WRONLY)
        os.close(reader)
    threading.Timer(0.2, lambda: setattr(stop, "requested", True)).start()
    assert list(make("Pipe", stop=stop).epoch(10)) == []
    assert stop.requested
    if writer >= 0:
        os.close(writer)


def test_stop_ends_an_epoch_at_the_next_batch_unless_it_must_not(make, data):
    stop = Stop()
    with Feeder(data, "train", [[encode(range(1000))]]):
        channel = make("Pipe", stop=stop)
        seen = 0
        for _ in channel.epoch(10):
            seen += 1
            stop.requested = True
        assert seen == 1
        assert list(channel.epoch(10)) == []
        assert channel.epochs_read == 1
        assert numbers(channel.epoch(10, stoppable=False)) == list(range(1000))


def test_gzip_that_the_platform_left_is_inflated(make, data):
    with Feeder(data, "train", [[gzip.compress(encode([1]))], [gzip.compress(encode([2]))]]):
        assert numbers(make("Pipe").epoch(None)) == [1, 2]


def test_wrapped_objects_are_decoded_apart(make, data):
    sources = [[encode([1, 2])], [encode([3])], [b""], [encode(range(1 << 17))]]
    with Feeder(data, "train", sources, record_wrapper=True):
        channel = make("Pipe", record_wrapper="RecordIO")
        assert numbers(channel.epoch(None)) == [1, 2, 3, *range(1 << 17)]
    with (
        Feeder(data, "train", [[encode([1])], [b"odd"]], record_wrapper=True),
        pytest.raises(ClientError, match=r"channel train, epoch 0, object 1: .* middle of record 0"),
    ):
        numbers(make("Pipe", record_wrapper="RecordIO").epoch(None))


def test_recordio_is_not_unwrapped(make, data):
    with Feeder(data, "train", [[encode([1])]]):
        settings = {"record_wrapper": "RecordIO", "content_type": "application/x-recordio-protobuf"}
        assert numbers(make("Pipe", **settings).epoch(None)) == [1]


def test_memory_does_not_grow_with_the_stream(make, data):
    chunk = encode(range(1 << 18))

    def peak(chunks: int) -> int:
        with Feeder(data, "train", [[chunk] * chunks]):
            channel = make("Pipe")
            tracemalloc.start()
            try:
                rows = sum(len(batch) for batch in channel.epoch(1000))
                assert rows == chunks << 18
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak(1)  # what is imported and cached for good
    assert peak(64) < peak(8) + (1 << 20)
