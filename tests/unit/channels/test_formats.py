"""Channels with the decoders they run with: what a user's data become, and how mistakes are told."""

from __future__ import annotations

import gzip
import threading

import numpy as np
import pytest

from common.batches import Batch, dense, join, to_csr
from common.channels import Channel
from common.failures import ClientError
from common.formats import encode_batch
from common.job import ChannelConfig
from common.manifest import ChannelSpec
from common.stopping import Stop
from local.feeder import Feeder

TYPES = ("application/x-recordio-protobuf", "text/csv", "text/libsvm", "application/x-parquet")


def channel(data, content_type, mode="File", labels="required", **settings) -> Channel:
    config = ChannelConfig("train", mode, content_type, record_wrapper=settings.pop("record_wrapper", "None"))
    return Channel(config, ChannelSpec("train", "", TYPES, labels=labels), data, **settings)


def table(batches) -> tuple[list, list | None]:
    whole = join(list(batches))
    return dense(whole.features).tolist(), None if whole.labels is None else whole.labels.tolist()


@pytest.fixture
def folder(data):
    (data / "train").mkdir()
    return data / "train"


def test_csv_files_without_a_final_newline_stay_apart(data, folder):
    (folder / "a.csv").write_bytes(b"1,2,3\n4,5,6")
    (folder / "b.csv").write_bytes(b"7,8,9")
    (folder / "c.csv").write_bytes(gzip.compress(b"0,1,1"))
    rows = table(channel(data, "text/csv").epoch(2))
    assert rows == ([[2, 3], [5, 6], [8, 9], [1, 1]], [1, 4, 7, 0])


def test_wrapped_csv_objects_stay_apart(data):
    with Feeder(data, "train", [[b"1,2,3\n4,5,6"], [b"7,8,9"]], record_wrapper=True):
        rows = table(channel(data, "text/csv", "Pipe", record_wrapper="RecordIO").epoch(10))
    assert rows == ([[2, 3], [5, 6], [8, 9]], [1, 4, 7])


def test_label_columns_are_dropped_where_labels_are_ignored(data, folder):
    (folder / "a.csv").write_bytes(b"1,2,3\n4,5,6\n")
    assert table(channel(data, "text/csv", labels="ignored").epoch(10)) == ([[2, 3], [5, 6]], None)
    unlabelled = channel(data, "text/csv;label_size=0", labels="ignored")
    assert table(unlabelled.epoch(10)) == ([[1, 2, 3], [4, 5, 6]], None)


def test_libsvm(data, folder):
    (folder / "rows").write_bytes(b"1 0:2 2:3\n0 1:4\n")
    (folder / "wider").write_bytes(b"1 4:2\n")
    features, labels = table(channel(data, "libsvm").epoch(10))
    assert labels == [1, 0, 1]
    assert np.array(features)[:, :5].tolist() == [[2, 0, 3, 0, 0], [0, 4, 0, 0, 0], [0, 0, 0, 0, 2]]
    assert table(channel(data, "libsvm", labels="ignored").epoch(10))[1] is None


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("size", [None, 1, 7, 5000])
def test_recordio_through_a_pipe(data, sparse, size):
    random = np.random.default_rng(0)
    matrix = np.round(random.standard_normal((20_000 if size != 1 else 200, 9), np.float32))
    labels = np.arange(len(matrix), dtype=np.float32)
    content = encode_batch(Batch(to_csr(matrix) if sparse else matrix, labels))
    # Records are cut anywhere.
    cuts = sorted(random.integers(0, len(content), 30).tolist())
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    with Feeder(data, "train", [pieces]):
        reader = channel(data, None, "Pipe")
        for _ in range(2):
            whole = join(list(reader.epoch(size, feature_dim=9)))
            assert (dense(whole.features) == matrix).all()
            assert (whole.labels == labels).all()


def test_a_record_cut_short_in_a_pipe(data):
    content = encode_batch(Batch(np.ones((10, 3), np.float32), np.ones(10, np.float32)))
    with Feeder(data, "train", [[content], [content[:-5]]]):
        reader = channel(data, None, "Pipe")
        for epoch in range(2):
            with pytest.raises(ClientError, match="record") as caught:
                list(reader.epoch(4))
            assert f"channel train, epoch {epoch}" in str(caught.value)
            assert "20" in str(caught.value)


def test_a_bad_row_names_its_file(data, folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "b.csv").write_bytes(b"1,2,3\n4,x,6\n")
    with pytest.raises(ClientError, match=r"channel train, file sub/b\.csv"):
        list(channel(data, "text/csv").epoch(10))


def test_a_content_type_that_nobody_gave_is_told(data, folder):
    (folder / "a").write_bytes(b"1,2,3\n")
    with pytest.raises(ClientError, match="no ContentType, which means application/x-recordio-protobuf; acc"):
        list(channel(data, None).epoch(10))
    with pytest.raises(ClientError) as caught:
        list(channel(data, "application/x-recordio-protobuf").epoch(10))
    assert "no ContentType" not in str(caught.value)


def test_files_of_other_widths(data, folder):
    (folder / "a.csv").write_bytes(b"1,2,3\n")
    (folder / "b.csv").write_bytes(b"1,2\n")
    with pytest.raises(ClientError, match=r"channel train, file b\.csv: rows have 1 features"):
        list(channel(data, "text/csv").epoch(10))
    with pytest.raises(ClientError, match=r"channel train, file b\.csv"):
        list(channel(data, "text/csv").epoch(10, feature_dim=2))


@pytest.mark.parametrize("content_type", TYPES)
def test_stop_in_mid_record_is_no_error(data, content_type):
    stop = Stop()
    halted = threading.Event()

    class Halting:
        def __iter__(self):
            yield b"1"
            halted.wait(60)

    with Feeder(data, "train", [Halting()]):
        threading.Timer(0.15, lambda: setattr(stop, "requested", True)).start()
        assert list(channel(data, content_type, "Pipe", stop=stop).epoch(10)) == []
        halted.set()


def test_hosts_share_one_piped_epoch(data):
    matrix = np.arange(9000, dtype=np.float32)[:, None]
    content = encode_batch(Batch(matrix, matrix[:, 0]))
    parts = []
    for rank in range(3):
        with Feeder(data, "train", [[content]]):
            reader = channel(data, None, "Pipe", rank=rank, hosts=3)
            parts.append(np.concatenate([batch.labels for batch in reader.epoch(100, share=True)]))
    assert sorted(np.concatenate(parts).tolist()) == matrix[:, 0].tolist()
    assert [len(part) for part in parts] == [3000] * 3
