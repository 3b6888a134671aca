"""Batches made by worker processes."""

import os
import signal

import numpy as np
import pytest
from loader_tasks import SHAPES, task

from common.failures import AlgorithmError, ClientError
from common.images import loading
from common.images.loading import Loader


def read(loader, items, epoch=0):
    """Copies, since batches are overwritten."""
    return [{k: v.copy() for k, v in batch.arrays.items()} for batch in loader.epoch(items, epoch)]


@pytest.fixture(params=[0, 2])
def loader(request):
    with Loader(task, SHAPES, 4, request.param, seed=1) as made:
        yield made


def test_batches_are_whole_and_in_order(loader):
    batches = read(loader, range(10))
    assert [len(batch["number"]) for batch in batches] == [4, 4, 2]
    assert np.concatenate([batch["number"] for batch in batches]).tolist() == list(range(10))
    values = np.concatenate([batch["value"] for batch in batches])
    assert values.shape == (10, 3, 2)
    assert np.array_equal(np.floor(values[:, 0, 0]), np.arange(10))


def test_randomness_depends_on_seed_epoch_and_place_alone():
    found = []
    for workers in (0, 1, 3):
        with Loader(task, SHAPES, 4, workers, seed=1) as loader:
            found.append(np.concatenate([batch["value"] for batch in read(loader, range(9), epoch=2)]))
            other = np.concatenate([batch["value"] for batch in read(loader, range(9), epoch=3)])
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], other)


def test_the_last_batch_is_filled_with_the_first_items_where_asked():
    with Loader(task, SHAPES, 4, 2, seed=1, full=True) as loader:
        numbers = [batch["number"].tolist() for batch in read(loader, range(6))]
        assert numbers == [[0, 1, 2, 3], [4, 5, 0, 1]]
        assert [batch["number"].tolist() for batch in read(loader, [7])] == [[7, 7, 7, 7]]


def test_nothing_makes_no_batch(loader):
    assert read(loader, []) == []


def test_what_can_not_be_decoded_is_left_out_named_and_counted(loader, caplog, monkeypatch):
    monkeypatch.setattr(loading.log, "propagate", True)
    batches = read(loader, [0, "undecodable", 2, "undecodable", 4, 5])
    assert [batch["number"].tolist() for batch in batches] == [[0, 2], [4, 5]]
    assert loader.skipped == 2
    assert caplog.text.count("Skipping an image: x.jpg is not an image") == 2


def test_none_that_can_be_decoded_is_an_error(loader):
    with pytest.raises(ClientError, match="none of the images can be decoded"):
        read(loader, ["undecodable"] * 6)


def test_errors_keep_their_kind(loader):
    with pytest.raises(ClientError, match="label 7 is out of range"):
        read(loader, [0, 1, "client", 3] * 9)
    with pytest.raises(AlgorithmError, match="ZeroDivisionError"):
        read(loader, [0, 1, 2, "fault"] * 9)
    assert len(read(loader, range(8))) == 2  # and the next epoch is none the worse


def test_an_error_of_the_source_arrives(loader):
    def source():
        yield from range(6)
        raise ClientError("record 7 is damaged")

    with pytest.raises(ClientError, match="record 7 is damaged"):
        read(loader, source())


def test_an_epoch_may_be_left_early(loader):
    for _ in range(3):
        epoch = loader.epoch(iter(range(10**9)), 0)
        assert next(epoch).count == 4
        epoch.close()
    assert len(read(loader, range(8))) == 2


def test_two_batches_are_valid_at_once():
    with Loader(task, SHAPES, 4, 2, seed=1) as loader:
        epoch = loader.epoch(range(40), 0)
        before = next(epoch)
        for batch in epoch:
            assert before.arrays["number"][-1] + 1 == batch.arrays["number"][0]
            before = batch


def test_a_killed_worker_is_told():
    with Loader(task, SHAPES, 1, 1, seed=1) as loader:
        epoch = loader.epoch(["pid", "sleep", "sleep"], 0)
        os.kill(int(next(epoch).arrays["number"][0]), signal.SIGKILL)
        with pytest.raises(AlgorithmError, match="was killed; the machine may have run out of memory"):
            next(epoch)


def test_signals_are_left_to_the_job():
    with Loader(task, SHAPES, 1, 1, seed=1) as loader:
        epoch = loader.epoch(["pid", 1, 2, 3], 0)
        pid = int(next(epoch).arrays["number"][0])
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        assert [int(batch.arrays["number"][0]) for batch in epoch] == [1, 2, 3]
