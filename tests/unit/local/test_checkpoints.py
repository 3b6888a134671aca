"""Checkpoint folders and a prefix on S3 in step."""

import threading
import time

import pytest

from common.failures import ClientError
from local.checkpoints import Checkpoints

NEVER = 3600.0


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / "one", tmp_path / "two"]
    for folder in made:
        folder.mkdir()
    return made


def test_folders_begin_with_what_is_there_and_s3_follows_them(store, folders):
    store.put("b", {"run/old": b"old", "run/deep/kept": b"kept", "run-2/other": b"other"})
    first, second = folders
    with Checkpoints("s3://b/run", folders, NEVER) as kept:
        assert (first / "old").read_bytes() == (second / "old").read_bytes() == b"old"
        assert not (first / "other").exists()
        (first / "deep" / "new").write_bytes(b"new")
        (second / "state-2").write_bytes(b"two")
        for ending in ("ignore", "uploading", "uploaded"):
            (first / f"x.sagemaker-{ending}").write_bytes(b"half")
        (first / "old").unlink()
        kept.sync()
        assert store.below("b", "run/") == {"deep/kept": b"kept", "deep/new": b"new", "state-2": b"two"}
        (first / "deep" / "new").write_bytes(b"newer")
        store.put("b", {"run/foreign": b"foreign"})
        before = len(store.requests)
        kept.sync()
        assert [request[:2] for request in store.requests[before:]] == [("PUT", "run/deep/new")]
        (first / "last").write_bytes(b"last")
    assert store.below("b", "run/") == {
        "deep/kept": b"kept",
        "deep/new": b"newer",
        "state-2": b"two",
        "foreign": b"foreign",
        "last": b"last",
    }
    assert not (first / "foreign").exists()


def test_s3_follows_while_the_block_runs(store, folders):
    arrived = threading.Event()
    store.put("b", {"other": b""})
    store.on_put = lambda key: arrived.set() if key == "run/new" else None
    with Checkpoints("s3://b/run", folders, 0.01):
        (folders[1] / "new").write_bytes(b"new")
        assert arrived.wait(10)


def test_the_last_look_is_taken_also_when_the_block_fails(store, folders):
    def fail():
        with Checkpoints("s3://b/run/", folders, NEVER):
            (folders[0] / "new").write_bytes(b"new")
            raise KeyError

    store.put("b", {"other": b""})
    with pytest.raises(KeyError):
        fail()
    assert store.below("b", "run/") == {"new": b"new"}


def test_a_refusal_is_told_once_and_raised_at_the_end(store, folders, capsys):
    def work():
        with Checkpoints("s3://b/run", folders, 0.01):
            (folders[0] / "new").write_bytes(b"new")
            while len([method for method, *_ in store.requests if method == "PUT"]) < 3:
                time.sleep(0.01)

    store.put("b", {"other": b""})
    store.denied.add("run/new")
    with pytest.raises(ClientError, match=r"s3://b/run/new can't be written: access is denied"):
        work()
    assert capsys.readouterr().err.count("can't be written") == 1


def test_a_prefix_that_cannot_be_read_is_told_at_the_start(store, folders):
    with pytest.raises(ClientError, match="there is no bucket none"), Checkpoints("s3://none/x", folders):
        pass
