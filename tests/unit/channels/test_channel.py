"""What a channel accepts, how it cuts batches, and that nothing is left behind."""

from __future__ import annotations

import gc
import os
import threading

import numpy as np
import pytest

import common.channels.channel
from common.batches import Batch
from common.failures import ClientError
from common.stopping import Stop
from tests.unit.channels.conftest import encode, numbers


@pytest.fixture
def rows(data):
    (data / "train").mkdir()
    for name, values in (("a", range(100_000)), ("b", range(100_000, 100_005))):
        (data / "train" / name).write_bytes(encode(values))
    return 100_005


@pytest.mark.parametrize("size", [1000, 99_999, 1_000_000])
def test_batches_have_the_size_asked_for_but_the_last(make, rows, size):
    lengths = [len(batch) for batch in make().epoch(size)]
    assert lengths[:-1] == [size] * (rows // size)
    assert sum(lengths) == rows


def test_epochs_repeat_in_file_mode(make, rows):
    channel = make()
    assert numbers(channel.epoch(7777)) == numbers(channel.epoch(None)) == list(range(rows))
    assert channel.epochs_read == 0


def test_file_epochs_can_run_side_by_side(make, rows):
    channel = make()
    for left, right in zip(channel.epoch(5000), channel.epoch(5000), strict=True):
        assert (left.features == right.features).all()


def test_an_epoch_that_is_not_begun_reads_nothing(make, rows):
    threads = threading.active_count()
    epoch = make().epoch(10)
    assert threading.active_count() == threads
    del epoch


def test_an_abandoned_epoch_leaves_no_thread_and_no_file(make, rows):
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    epoch = make().epoch(10)
    next(epoch)
    assert threading.active_count() == threads + 1
    del epoch
    gc.collect()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("error", [ClientError("bad row"), ValueError("a bug"), MemoryError()])
def test_an_error_in_the_decoder_arrives_as_it_is_after_the_good_batches(make, rows, monkeypatch, error):
    def failing(stream, name, media_type, layout):
        yield Batch(np.zeros((5, 1), np.float32))
        raise error

    monkeypatch.setattr(common.channels.channel, "decode", failing)
    epoch = make().epoch(5)
    assert len(next(epoch)) == 5
    with pytest.raises(type(error)) as caught:
        next(epoch)
    assert caught.value is error


def test_files_of_different_widths_are_told_apart(make, rows, monkeypatch):
    def wide(stream, name, media_type, layout):
        stream.readinto(memoryview(bytearray(8)))
        yield Batch(np.zeros((5, 3 if name.endswith("a") else 4), np.float32))

    monkeypatch.setattr(common.channels.channel, "decode", wide)
    with pytest.raises(ClientError, match=r"channel train, file b: rows have 4 features, .* before have 3"):
        list(make().epoch(100))


def test_stop_ends_a_file_epoch(make, rows):
    stop = Stop()
    channel = make(stop=stop)
    seen = []
    for batch in channel.epoch(100):
        seen.append(len(batch))
        stop.requested = len(seen) == 3
    assert seen == [100] * 3
    assert sum(len(batch) for batch in channel.epoch(100, stoppable=False)) == rows


def test_labels_are_as_the_algorithm_wants_them(make, rows):
    assert all(batch.labels is None for batch in make().epoch(None))
    labelled = make(labels="required")
    assert labelled.labelled
    assert all(batch.labels is not None for batch in labelled.epoch(None))


@pytest.mark.parametrize(
    ("content_type", "labels", "expected"),
    [
        ("text/csv", "ignored", 1),
        ("text/csv;label_size=0", "ignored", 0),
        ("text/csv; label_size=2", "required", 2),
        ("application/x-recordio-protobuf", "ignored", 0),
        ("application/x-recordio-protobuf", "required", 1),
        ("application/x-parquet", "required", 1),
        ("text/x-libsvm", "required", 1),
    ],
)
def test_label_size(make, rows, monkeypatch, content_type, labels, expected):
    layouts = []

    def keep(stream, name, media_type, layout):
        layouts.append(layout)
        return iter(())

    monkeypatch.setattr(common.channels.channel, "decode", keep)
    types = ("text/csv", "application/x-recordio-protobuf", "application/x-parquet", "text/libsvm")
    channel = make(content_type=content_type, labels=labels, content_types=types, missing=True)
    list(channel.epoch(None, feature_dim=3, weights=True))
    layout = layouts[0]
    assert (layout.label_size, layout.feature_dim, layout.weights, layout.missing) == (
        expected,
        3,
        True,
        True,
    )


def test_labels_that_the_content_type_denies(make):
    with pytest.raises(ClientError, match=r"no label column, .* accepted: label_size from 1"):
        make(content_type="text/csv;label_size=0", labels="required")
    with pytest.raises(ClientError, match=r"label_size=x .* is not accepted"):
        make(content_type="text/csv;label_size=x")


def test_content_types(make):
    assert make().media_type.name == "text/csv"
    assert make(content_type="CSV").media_type.name == "text/csv"
    assert make(content_types=("csv",), content_type="text/csv").media_type.name == "text/csv"
    assert make(content_type="text/csv; charset=utf-8; label_size=2").media_type.parameters == {
        "charset": "utf-8",
        "label_size": "2",
    }
    with pytest.raises(
        ClientError,
        match="channel train: content type 'image/png' is not accepted; "
        "accepted: text/csv or application/x-recordio-protobuf",
    ):
        make(content_type="image/png")


def test_a_channel_that_lists_no_content_type_takes_any(make):
    assert make(content_types=(), content_type="image/png").media_type.name == "image/png"
    assert make(content_types=()).media_type.name == "application/octet-stream"


def test_content_types_of_pipe_mode(make):
    settings = {"content_types": ("text/libsvm", "text/csv"), "pipe_content_types": ("text/csv",)}
    assert make(**settings).media_type.name == "text/libsvm"
    assert make("Pipe", content_type="csv", **settings).media_type.name == "text/csv"
    message = r"'text/libsvm' \(the default\) is not accepted in Pipe mode; accepted: text/csv"
    with pytest.raises(ClientError, match=message):
        make("Pipe", **settings)


def test_input_modes(make):
    with pytest.raises(ClientError, match="input mode Pipe is not accepted; accepted: File or FastFile"):
        make("Pipe", input_modes=("File", "FastFile"))


def test_description(make, data):
    assert make().describe() == f"channel train (File, {data}/train)"
    assert make("Pipe").describe() == f"channel train (Pipe, {data}/train_N)"


class Words:
    """Rows of a kind that no shared decoder makes."""

    def __init__(self, words):
        self.words = words

    def __len__(self):
        return len(self.words)

    def __getitem__(self, rows):
        return Words(self.words[rows])


def words(stream, name):
    text = bytearray()
    buffer = bytearray(8)
    while count := stream.readinto(buffer):
        text += buffer[:count]
    if b"?" in text:
        raise ClientError(f"{name}: what is that?")
    yield Words(text.decode().split())


def joined(parts):
    return Words([word for part in parts for word in part.words])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [["a", "b", "c"], ["d", "e", "f"], ["g"]]),
        ({"rank": 1, "hosts": 2}, [["b", "d", "f"]]),
        (
            {"rank": 1, "hosts": 2, "distribution": "ShardedByS3Key"},
            [["a", "b", "c"], ["d", "e", "f"], ["g"]],
        ),
    ],
)
def test_an_algorithm_may_bring_a_decoder_for_rows_of_its_own(make, data, settings, expected):
    (data / "train").mkdir()
    (data / "train" / "1").write_bytes(b"a b c d")
    (data / "train" / "2").write_bytes(b"e f g")
    channel = make(**settings)
    for _ in range(2):
        assert [batch.words for batch in channel.read(words, joined, 3, share=True)] == expected


def test_what_a_decoder_of_its_own_refuses_is_told_with_the_files_name(make, data):
    (data / "train").mkdir()
    (data / "train" / "1").write_bytes(b"?")
    with pytest.raises(ClientError, match=r"1: what is that"):
        list(make(content_type="text/csv").read(words, joined, None))


def test_a_distribution_that_the_algorithm_cannot_take_is_refused(make):
    with pytest.raises(
        ClientError, match="S3DistributionType ShardedByS3Key is not accepted; accepted: FullyReplicated"
    ):
        make(distribution="ShardedByS3Key", distributions=("FullyReplicated",))
