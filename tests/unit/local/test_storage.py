"""s3:// places, against a store in memory."""

import io
import os
from concurrent.futures import CancelledError

import pytest

from common.failures import ClientError
from local import storage
from local.storage import s3, transfers

FILES = {"data/a.csv": b"1", "data/deep/c.csv": b"2", "data/d.csv": b"3", "data/e#?%.csv": b"4", "data/": b""}


@pytest.fixture
def full(store):
    store.put("b", FILES)
    return store


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("uri", ["s3://b/data/", "s3://b/data"])
def test_a_prefix_becomes_a_folder(full, tmp_path, uri):
    found = files(storage.local_copy(uri, tmp_path))
    assert found == {"a.csv": b"1", "deep/c.csv": b"2", "d.csv": b"3", "e#?%.csv": b"4"}


def test_a_prefix_is_the_beginning_of_keys(full, tmp_path):
    full.put("b", {"data-2/a.csv": b"5", "x/part-1": b"6", "x/part-2": b"7", "x/other": b"8"})
    assert files(storage.local_copy("s3://b/data", tmp_path))["data-2/a.csv"] == b"5"
    assert files(storage.local_copy("s3://b/x/part", tmp_path)) == {"part-1": b"6", "part-2": b"7"}


@pytest.mark.parametrize("name", ["a.csv", "e#?%.csv"])
def test_one_object_is_a_file(full, tmp_path, name):
    assert storage.local_copy(f"s3://b/data/{name}", tmp_path).read_bytes() == FILES[f"data/{name}"]


def test_any_key_is_a_file(store, tmp_path):
    keys = ["a b+c", "ü/日本 1", "x%2F&=?#'\"", "deep//y", "é" * 127, "empty", ".z.part", "z"]
    keys += ["n" * 210 + str(number) for number in range(20)]
    store.put("whole", {key: key.encode() if key != "empty" else b"" for key in keys})
    store.put("whole", {"folder/": b"", "/first": b"/first"})
    for uri in ("s3://whole", "s3://whole/"):
        found = files(storage.local_copy(uri, tmp_path))
        assert found.pop("empty") == b""
        assert found == {
            key.replace("//", "/").lstrip("/"): key.encode() for key in [*keys, "/first"] if key != "empty"
        }


def test_a_prefix_of_folders_alone_is_empty(store, tmp_path):
    store.put("b", {"data/": b"", "data/deep/": b""})
    with pytest.raises(ClientError, match=r"^s3://b/data/ holds no object"):
        storage.local_copy("s3://b/data/", tmp_path)
    storage.bring("s3://b/data/", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_one_object_is_fetched_though_others_begin_like_it(full, tmp_path):
    full.put("b", {"m.tar.gz": b"1", "m.tar.gz.old": b"2"})
    assert files(storage.local_copy("s3://b/m.tar.gz", tmp_path)).keys() == {"m.tar.gz", "m.tar.gz.old"}
    assert storage.exactly("s3://b/m.tar.gz", tmp_path).read_bytes() == b"1"
    with pytest.raises(ClientError, match="leaves its folder"):
        storage.exactly("s3://b/", tmp_path)


def test_an_interrupt_leaves_no_half_files(full, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(transfers, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.local_copy("s3://b/data/", tmp_path / "scratch")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.read_bytes() == FILES[f"data/{path.name}"] for path in left if path.parent.name != "deep")
    assert not list(tmp_path.rglob(".part-*"))


def test_an_upload_that_is_stopped_ends(store, tmp_path):
    def stop(count):
        raise CancelledError

    store.put("b", {"other": b""})
    (tmp_path / "x").write_bytes(bytes(100))
    with pytest.raises((CancelledError, ClientError)):
        storage.put(tmp_path / "x", "s3://b/x", stop)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "InvalidObjectState",
            "s3://b/data/a.csv can't be read: it is archived; accepted: objects that are r",
        ),
        ("RequestTimeTooSkewed", "can't be read: this machine's clock is wrong; accepted: a clock"),
        ("SignatureDoesNotMatch", "S3 answers SignatureDoesNotMatch; accepted: credentials"),
    ],
)
def test_a_refusal_tells_what_it_is_about(full, tmp_path, code, message):
    full.refused["data/a.csv"] = code
    with pytest.raises(ClientError, match=message):
        storage.local_copy("s3://b/data/", tmp_path)


def test_a_large_object_comes_in_parts(store, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "PART", 1000)
    monkeypatch.setattr(transfers, "LARGE", 2000)
    content = os.urandom(4500)
    store.put("b", {"large": content})
    assert storage.local_copy("s3://b/large", tmp_path).read_bytes() == content
    spans = sorted(span for span, match in store.gets("large") if match)
    assert spans == [f"bytes={start}-{min(start + 999, 4499)}" for start in range(0, 4500, 1000)]


def test_results_go_up(full, tmp_path):
    (tmp_path / "deep").mkdir()
    names = [tmp_path / "model.tar.gz", tmp_path / "deep" / "x"]
    for path in names:
        path.write_bytes(path.name.encode())
    storage.upload(tmp_path, names, "s3://b/jobs/one/")
    assert full.below("b", "jobs/one/") == {"model.tar.gz": b"model.tar.gz", "deep/x": b"x"}


def test_progress_is_a_line(full, tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    wanted = storage.named(storage.objects("s3://b/data/"), "s3://b/data/")
    plain, terminal = io.StringIO(), Terminal()
    transfers.download(wanted, tmp_path, "s3://b/data/", plain)
    transfers.download(wanted, tmp_path, "s3://b/data/", terminal)
    assert plain.getvalue().startswith("s3://b/data/: 4 objects, 0.0 MB, ")
    assert plain.getvalue().count("\n") == 1
    assert " of 4 objects, 0.0 of 0.0 MB, " in terminal.getvalue()
    assert terminal.getvalue().endswith("/s\n")
    assert "4 objects" in terminal.getvalue().rsplit("\r", 1)[1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["x/../../../y"], "leaves its folder"),
        (["x/.."], "leaves its folder"),
        (["x/a", "x/a/b"], "s3://b/x/a has the name of a folder of other objects"),
        (["x/a", "x/./a"], "would be one file, a"),
        (["x/b/" + "y" * 256], "too long for a file; accepted: at most 255 bytes"),
    ],
)
def test_names_that_files_cannot_have_are_refused(store, tmp_path, keys, message):
    store.put("b", dict.fromkeys(keys, b""))
    with pytest.raises(ClientError, match=message):
        storage.local_copy("s3://b/x/", tmp_path)
    assert not list(tmp_path.rglob("y"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://b/nothing/", r"^s3://b/nothing/ holds no object; accepted: "),
        ("s3:///x", "names no bucket"),
        ("/nowhere", "does not exist"),
        ("s3://none/x", r"^s3://none/x can't be read: there is no bucket none; accepted: "),
        ("s3://b(/x", r"^s3://b\(/x can't be read: .*[Ii]nvalid bucket name"),
    ],
)
def test_what_is_not_there_is_told(full, tmp_path, uri, message):
    with pytest.raises(ClientError, match=message):
        storage.local_copy(uri, tmp_path)


def test_a_refusal_names_the_object(full, tmp_path):
    full.denied |= {"data/d.csv", "up/a", "secret/"}
    told = "can't be {}: access is denied; accepted: credentials that are allowed {}"
    with pytest.raises(
        ClientError, match="^s3://b/data/d.csv " + told.format("read", "s3:ListBucket and s3:G")
    ):
        storage.local_copy("s3://b/data/", tmp_path)
    with pytest.raises(ClientError, match="^s3://b/secret/ " + told.format("read", "s3:ListBucket")):
        storage.local_copy("s3://b/secret/", tmp_path)
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(ClientError, match="^s3://b/up/a " + told.format("written", "s3:PutObject")):
        storage.upload(tmp_path, [tmp_path / "a"], "s3://b/up")
    with pytest.raises(ClientError, match=r"^s3://b/data/gone does not exist; accepted"):
        storage.contents("s3://b/data/gone", tmp_path)


def test_no_credentials_and_no_endpoint_are_told(full, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    s3.forget()
    with pytest.raises(
        ClientError, match=r"s3://b/data/ can't be read: http://127\.0\.0\.1:9 doesn't answer"
    ):
        storage.local_copy("s3://b/data/", tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3.forget()
    with pytest.raises(
        ClientError, match="s3://b/data/ can't be read: there are no AWS credentials; accepted: "
    ):
        storage.local_copy("s3://b/data/", tmp_path)


def test_the_general_endpoint_is_found_too(full, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", full.environment["AWS_ENDPOINT_URL_S3"])
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    s3.forget()
    assert storage.contents("s3://b/data/a.csv", tmp_path) == b"1"


def test_a_broken_connection_is_resumed(store, tmp_path):
    content = os.urandom(3 << 20)
    store.put("b", {"x": content})
    store.drops["x"] = [(1 << 20) + 5, 10]
    stream = storage.S3Stream(storage.parse("s3://b/x"))
    assert b"".join(stream) == content
    (_, first), *more = store.gets("x")
    assert first is None
    assert [span for span, _ in more] == [f"bytes={(1 << 20) + 5}-", f"bytes={(1 << 20) + 15}-"]
    assert all(match for _, match in more)
    assert b"".join(stream) == content  # once an epoch


def test_a_store_that_knows_no_ranges_is_told(store):
    store.put("b", {"x": bytes(3 << 20)})
    store.drops["x"] = [2 << 20]
    store.ranges = False
    with pytest.raises(ClientError, match=r"^s3://b/x came whole in place of a part; accepted: "):
        list(storage.chunks(storage.parse("s3://b/x")))


def test_an_object_that_changes_meanwhile_is_told(store, tmp_path):
    store.put("b", {"x": bytes(3 << 20)})
    store.drops["x"] = [2 << 20]
    chunks = storage.chunks(storage.parse("s3://b/x"))
    next(chunks)
    store.put("b", {"x": bytes(1)})
    with pytest.raises(ClientError, match=r"^s3://b/x changed while it was read; accepted: "):
        list(chunks)


def test_a_connection_that_breaks_again_and_again_is_told(store, monkeypatch):
    monkeypatch.setattr(s3, "_PAUSE", 0)
    store.put("b", {"x": b"content"})
    store.drops["x"] = [0] * 9
    with pytest.raises(ClientError, match=r"s3://b/x can't be read: .* doesn't answer, or breaks off"):
        list(storage.chunks(storage.parse("s3://b/x")))


def test_a_path_is_itself(tmp_path):
    assert storage.local_copy(f"file://{tmp_path}", tmp_path) == tmp_path.resolve()
