"""The local stand-in for SageMaker's agent: FIFOs in order, each served once, and a clean end at any time."""

from __future__ import annotations

import gzip
import os
import stat
import struct
import threading
import time

import pytest

from local.feeder import Feeder


def read(path) -> bytes:
    deadline = time.monotonic() + 5
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    with open(path, "rb") as file:
        return file.read()


def test_epochs_in_order_without_end(tmp_path):
    (tmp_path / "a").write_bytes(b"one,")
    (tmp_path / "b").write_bytes(b"two,")
    with Feeder(tmp_path / "data", "train", [tmp_path / "a", tmp_path / "b", [b"th", b"ree"]]) as feeder:
        assert stat.S_ISFIFO(feeder.fifo(0).stat().st_mode)
        for epoch in range(5):
            assert read(feeder.fifo(epoch)) == b"one,two,three"
        assert not feeder.fifo(3).exists()
    assert feeder.epochs_served == 5
    assert not list((tmp_path / "data").iterdir())


def test_an_early_close_goes_on_to_the_next_epoch(tmp_path):
    content = os.urandom(1 << 22)
    with Feeder(tmp_path, "train", [[content]]) as feeder:
        with open(feeder.fifo(0), "rb") as file:
            assert file.read(1000) == content[:1000]
        assert read(feeder.fifo(1)) == content


@pytest.mark.parametrize("state", ["nobody reads", "the reader is slow"])
def test_closing_while_it_waits(tmp_path, state):
    threads = threading.active_count()
    with Feeder(tmp_path, "train", [[bytes(1 << 23)]]) as feeder:
        reader = os.open(feeder.fifo(0), os.O_RDONLY | os.O_NONBLOCK) if state != "nobody reads" else -1
        time.sleep(0.05)
    assert threading.active_count() == threads
    assert not list(tmp_path.iterdir())
    if reader >= 0:
        os.close(reader)


def test_shuffling_by_seed(tmp_path):
    def orders(seed) -> list[bytes]:
        sources = [[bytes([number])] for number in range(20)]
        with Feeder(tmp_path, "train", sources, shuffle_seed=seed) as feeder:
            return [read(feeder.fifo(epoch)) for epoch in range(2)]

    first = orders(1)
    assert first == orders(1)
    assert first[0] != first[1]
    assert first != orders(2)
    assert sorted(first[0]) == list(range(20))


def test_hosts_share_each_epoch_and_shuffling_moves_sources(tmp_path):
    def fed(rank, seed) -> list[bytes]:
        sources = [[bytes([number])] for number in range(9)]
        with Feeder(tmp_path, "train", sources, shuffle_seed=seed, share=(rank, 2)) as feeder:
            return [read(feeder.fifo(epoch)) for epoch in range(3)]

    assert fed(0, None) == [bytes([0, 2, 4, 6, 8])] * 3
    assert fed(1, None) == [bytes([1, 3, 5, 7])] * 3
    first, second = fed(0, 1), fed(1, 1)
    assert all(sorted(one + two) == list(range(9)) for one, two in zip(first, second, strict=True))
    assert len({frozenset(one) for one in first}) > 1


def test_sources_to_come_are_asked_early_and_closed(tmp_path):
    class Endless:
        def __init__(self, source):
            self.source = source

        def __iter__(self):
            return self

        def __next__(self):
            return bytes(1 << 20)

        def close(self):
            self.source.closed += 1

    class Source:
        made = closed = 0

        def __iter__(self):
            self.made += 1
            return Endless(self)

    sources = [Source() for _ in range(30)]
    with Feeder(tmp_path, "train", sources) as feeder:
        reader = os.open(feeder.fifo(0), os.O_RDONLY)
        assert os.read(reader, 10) == bytes(10)
    os.close(reader)
    made = [source.made for source in sources]
    assert made[:2] == [1, 1]  # the second too, though nobody has had the first to its end
    assert sum(made) < 30
    assert [source.closed > 0 for source in sources] == [count > 0 for count in made]


def test_wrapping_and_inflating(tmp_path):
    packed = gzip.compress(b"abc") + gzip.compress(b"de")
    with Feeder(tmp_path, "train", [[packed[:7], packed[7:]]], record_wrapper=True, inflate=True) as feeder:
        assert read(feeder.fifo(0)) == struct.pack("<II", 0xCED7230A, 5) + b"abcde" + bytes(3)


def test_a_source_that_fails_does_not_end_the_epoch_as_if_it_were_whole(tmp_path):
    told = []
    feeder = Feeder(tmp_path, "train", [[b"abc"], tmp_path / "gone"], on_failure=told.append)
    feeder.start()
    reader = os.open(feeder.fifo(0), os.O_RDONLY | os.O_NONBLOCK)
    deadline = time.monotonic() + 5
    while feeder.failure is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert os.read(reader, 10) == b"abc"
    with pytest.raises(BlockingIOError):  # still open
        os.read(reader, 10)
    os.close(reader)
    with pytest.raises(FileNotFoundError):
        feeder.__exit__(None, None, None)
    assert told == [feeder.failure]
