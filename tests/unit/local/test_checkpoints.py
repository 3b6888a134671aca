"""Checkpoint folders and a prefix on S3 in step."""

import shutil
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
        assert arrived.wait(60)


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


def test_hosts_of_the_same_names_do_not_undo_each_other(store, folders):
    first, second = folders
    store.put("b", {"run/old": b"old"})
    with Checkpoints("s3://b/run", folders, NEVER) as kept:
        for folder in folders:
            (folder / "state").write_bytes(folder.name.encode())
        (first / "old").unlink()  # the other's is as it was brought, and nobody's work
        kept.sync()
        assert store.below("b", "run/") == {"state": b"one"}
        before = len(store.requests)
        kept.sync()
        assert len(store.requests) == before
        (second / "state").unlink()
        kept.sync()
        assert store.below("b", "run/") == {"state": b"one"}
        (second / "state").write_bytes(b"two")
        kept.sync()
        (first / "state").unlink()
        kept.sync()
        kept.sync()
        assert store.below("b", "run/") == {"state": b"two"}
    assert store.below("b", "run/") == {"state": b"two"}


def test_one_file_that_is_refused_holds_no_others_up(store, folders):
    def work():
        with Checkpoints("s3://b/run", folders, NEVER) as kept:
            (folders[0] / "old").unlink()
            for name in ("a", "b", "c"):
                (folders[0] / name).write_bytes(b"")
                (folders[1] / f"{name}-2").write_bytes(b"")
            with pytest.raises(ClientError, match="s3://b/run/b can't be written"):
                kept.sync()
            # What was there stays until what is new is.
            assert store.below("b", "run/").keys() == {"old", "a", "a-2", "b-2", "c", "c-2"}
            store.denied.clear()

    store.put("b", {"run/old": b""})
    store.denied.add("run/b")
    work()
    assert store.below("b", "run/").keys() == {"a", "a-2", "b", "b-2", "c", "c-2"}


def test_a_look_at_which_all_is_refused_is_given_up(store, folders):
    store.put("b", {"other": b""})
    names = [f"{number:04}" for number in range(300)]
    store.denied |= {f"run/{name}" for name in names}
    with Checkpoints("s3://b/run", folders, NEVER) as kept:
        for name in names:
            (folders[0] / name).write_bytes(b"")
        with pytest.raises(ClientError, match="access is denied"):
            kept.sync()
        assert len([method for method, *_ in store.requests if method == "PUT"]) < 60
        store.denied.clear()
    assert len(store.below("b", "run/")) == 300


def test_a_job_that_is_removed_leaves_its_checkpoints_on_s3(store, folders):
    store.put("b", {"run/old": b"old"})
    with Checkpoints("s3://b/run", folders, NEVER):
        for folder in folders:
            shutil.rmtree(folder)
    assert store.below("b", "run/") == {"old": b"old"}


def test_a_file_that_takes_anothers_place_goes_up(store, folders):
    store.put("b", {"run/x": b"old"})
    with Checkpoints("s3://b/run", folders, NEVER):
        old, new = folders[0] / "x", folders[0] / "y"
        new.write_bytes(b"new")
        shutil.copystat(old, new)  # as long and, by its clock, as old
        new.replace(old)
    assert store.below("b", "run/") == {"x": b"new"}
