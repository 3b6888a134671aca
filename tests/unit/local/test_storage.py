"""s3:// places, against a store in memory."""

import pytest

from common.failures import ClientError
from local import storage


class Store:
    """As much of boto3's S3 client as is used."""

    def __init__(self, objects):
        self.objects = objects

    def get_paginator(self, name):
        assert name == "list_objects_v2"
        return self

    def paginate(self, Bucket, Prefix):
        keys = [key for bucket, key in self.objects if bucket == Bucket and key.startswith(Prefix)]
        for start in range(0, len(keys), 2):
            yield {"Contents": [{"Key": key} for key in keys[start : start + 2]]}

    def download_file(self, bucket, key, path):
        with open(path, "wb") as file:
            file.write(self.objects[bucket, key])

    def upload_file(self, path, bucket, key):
        with open(path, "rb") as file:
            self.objects[bucket, key] = file.read()


@pytest.fixture
def store(monkeypatch):
    made = Store({("b", "data/a.csv"): b"1", ("b", "data/deep/c.csv"): b"2", ("b", "data/d.csv"): b"3"})
    monkeypatch.setattr(storage, "_client", lambda: made)
    return made


def test_a_prefix_becomes_a_folder(store, tmp_path):
    folder = storage.local_copy("s3://b/data/", tmp_path)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.csv")}
    assert found == {"a.csv": b"1", "deep/c.csv": b"2", "d.csv": b"3"}


def test_one_object_is_a_file(store, tmp_path):
    assert storage.local_copy("s3://b/data/a.csv", tmp_path).read_bytes() == b"1"


def test_results_go_up(store, tmp_path):
    (tmp_path / "model.tar.gz").write_bytes(b"m")
    storage.upload(tmp_path, [tmp_path / "model.tar.gz"], "s3://b/jobs/one/")
    assert store.objects["b", "jobs/one/model.tar.gz"] == b"m"


def test_an_object_that_would_leave_its_folder_is_refused(store, tmp_path):
    store.objects["b", "evil/../../../x"] = b"x"
    with pytest.raises(ClientError, match="leaves its folder"):
        storage.local_copy("s3://b/evil/", tmp_path)


@pytest.mark.parametrize(
    ("uri", "message"),
    [("s3://b/nothing/", "holds no object"), ("s3:///x", "names no bucket"), ("/nowhere", "does not exist")],
)
def test_what_is_not_there_is_told(store, tmp_path, uri, message):
    with pytest.raises(ClientError, match=message):
        storage.local_copy(uri, tmp_path)


def test_a_path_is_itself(tmp_path):
    assert storage.local_copy(f"file://{tmp_path}", tmp_path) == tmp_path.resolve()
