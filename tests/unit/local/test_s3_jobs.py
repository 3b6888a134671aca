"""`algodock train` with its data, manifests, checkpoints and results on S3."""

import gzip
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from common import manifest
from common.failures import ClientError
from common.formats import recordio
from local import cli, endpoints, requests, training
from local.jobs import ChannelSource, JobSpec, lay_out, unpack_model
from local.training import with_feature_dim


def rows(number):
    """Forty rows of one of two clusters, behind a label."""
    draw = random.Random(number)
    center = number % 2 * 9
    return "".join(f"0,{draw.gauss(center, 1):.4f},{draw.gauss(0, 1):.4f}\n" for _ in range(40)).encode()


OBJECTS = {f"digits/part-{number}.csv": rows(number) for number in range(5)}


@pytest.fixture
def full(store, monkeypatch, tmp_path):
    monkeypatch.setenv("ALGODOCK_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    store.put("b", OBJECTS)
    handler = signal.getsignal(signal.SIGTERM)  # the command sets its own
    yield store
    signal.signal(signal.SIGTERM, handler)


def train(*arguments, uri="s3://b/digits", output="job"):
    """The exit code of a job that trains k-means."""
    asked = ["train", "kmeans", "--train", uri, "-p", "k=2", "-p", "mini_batch_size=20", "--output", output]
    with pytest.raises(SystemExit) as ended:
        cli.main([*asked, *arguments])
    return ended.value.code


def laid_out(folder, hosts=1, uri="s3://b/digits/", distribution="FullyReplicated", mode="File", **channel):
    spec = JobSpec(
        manifest=manifest.load("kmeans"),
        output=folder / "out",
        hyperparameters={"k": "2"},
        channels=[ChannelSource("train", uri, **channel)],
        input_mode=mode,
        distribution=distribution,
        host_count=hosts,
    )
    return lay_out(spec, [f"h{rank}" for rank in range(hosts)])


def epochs(host, count=1):
    """What a host's FIFOs give, one an epoch."""
    with host.streams["train"].feeder(host.root / "input" / "data", "train", pytest.fail) as feeder:
        return [read(feeder.fifo(epoch)) for epoch in range(count)]


def read(fifo):
    while not fifo.exists():
        time.sleep(0.002)
    return fifo.read_bytes()


def pieces(stream, bodies):
    """Which of ``bodies`` a stream is made of, in order."""
    found = []
    while stream:
        found.append(next(number for number, body in enumerate(bodies) if stream.startswith(body)))
        stream = stream[len(bodies[found[-1]]) :]
    return found


def names(host):
    return {path.name for path in (host.root / "input" / "data" / "train").rglob("*") if path.is_file()}


@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_hosts_train_on_their_shares(full, capsys, tmp_path, mode):
    code = train(
        "--input-mode", mode, "--hosts", "2", "--distribution", "ShardedByS3Key", output="s3://b/out/x"
    )
    told = capsys.readouterr()
    assert code == 0, told.err
    job = json.loads(full.objects["b", "out/x/job.json"])
    assert job["hyperparameters"]["feature_dim"] == "2"
    assert job["channels"] == {"train": "s3://b/digits"}
    with tarfile.open(fileobj=io.BytesIO(full.objects["b", "out/x/model.tar.gz"])) as archive:
        assert archive.getnames()
    on_disk = [path for path in (tmp_path / "jobs" / "x").rglob("*") if path.suffix == ".csv"]
    assert not on_disk
    assert ("s3://b/digits: 5 objects, " in told.err) == (mode == "File")
    assert sorted(re.findall("processed a total of (.*) examples", told.out)) == ["120", "80"]
    # The first one is looked into for its width.
    assert [len(full.gets(key)) for key in OBJECTS] == [2, 1, 1, 1, 1]


def test_a_model_on_s3_is_its_job_s_alone(full, tmp_path):
    assert train(output="s3://b/jobs/one") == 0
    full.put("b", {"jobs/one-2/model.tar.gz": b"another"})
    for place in ("s3://b/jobs/one", "s3://b/jobs/one/", "s3://b/jobs/one/model.tar.gz"):
        folder = tmp_path / place.replace("/", "_") / "model"
        assert unpack_model(place, folder) == (None if place.endswith("gz") else "kmeans")
        assert list(folder.iterdir())
    assert not full.gets("jobs/one-2/model.tar.gz")


def test_checkpoints_follow_a_job(full, monkeypatch, capsys):
    full.put("b", {"kept/earlier": b"e"})
    found = []
    run = training._run

    def write(spec, runtime, hosts, screen):
        folder = hosts[0].root / "checkpoints"
        found.append((folder / "earlier").read_bytes())
        (folder / "new").write_bytes(b"n")
        return run(spec, runtime, hosts, screen)

    monkeypatch.setattr(training, "_run", write)
    assert train("--checkpoints", "s3://b/kept", "-p", "nonsense=1") == 1  # a job that fails
    assert found == [b"e"]
    assert full.below("b", "kept/") == {"earlier": b"e", "new": b"n"}
    assert json.loads((Path("job") / "job.json").read_text())["checkpoints"] == "s3://b/kept"


def test_the_request_of_a_job_says_what_was_picked(full, tmp_path):
    full.put("b", {f"packed/{n}.csv.gz": gzip.compress(body) for n, body in enumerate(OBJECTS.values())})
    options = ["--compression", "Gzip", "--shuffle-seed", "3", "--input-mode", "Pipe"]
    assert train(*options, "--checkpoints", "s3://b/kept", uri="s3://b/packed/") == 0
    role = f"arn:aws:iam::{'1' * 12}:role/r"
    request = requests.training_job(tmp_path / "job", "image", role, "s3://b", {}, "ml.m5.large")
    (channel,) = request["InputDataConfig"]
    assert channel["DataSource"]["S3DataSource"]["S3DataType"] == "S3Prefix"
    assert (channel["CompressionType"], channel["ShuffleConfig"]) == ("Gzip", {"Seed": 3})
    assert request["CheckpointConfig"] == {"S3Uri": "s3://b/kept"}


def test_feature_dim_takes_one_object(full, tmp_path):
    spec = JobSpec(
        manifest=manifest.load("kmeans"),
        output=tmp_path / "out",
        hyperparameters={"k": "2"},
        channels=[ChannelSource("train", "s3://b/digits/")],
    )
    assert with_feature_dim(spec).hyperparameters["feature_dim"] == "2"
    read = [key for method, key, *_ in full.requests if method == "GET" and key]
    assert read == ["digits/part-0.csv"]
    assert not (tmp_path / "out").exists()


def test_piping_touches_no_disk_and_is_in_order(full, tmp_path):
    (host,) = laid_out(tmp_path, mode="Pipe")
    assert epochs(host, 2) == [b"".join(OBJECTS.values())] * 2
    assert not list(tmp_path.rglob("*.csv"))
    assert len(full.gets("digits/part-0.csv")) == 2


def test_compression_and_record_wrapper(full, tmp_path):
    full.put("b", {"packed/a": gzip.compress(b"abc"), "packed/b": gzip.compress(b"de")})
    (host,) = laid_out(
        tmp_path, uri="s3://b/packed/", mode="Pipe", compression="Gzip", record_wrapper="RecordIO"
    )
    assert epochs(host) == [recordio.frame(b"abc") + recordio.frame(b"de")]
    config = json.loads((host.root / "input" / "config" / "inputdataconfig.json").read_text())
    assert config["train"]["RecordWrapperType"] == "RecordIO"


def test_shards_of_a_shuffled_channel(full, tmp_path):
    def hosts(mode, seed):
        return laid_out(tmp_path, 2, mode=mode, distribution="ShardedByS3Key", shuffle_seed=seed)

    bodies = list(OBJECTS.values())
    one, two = (epochs(host, 4) for host in hosts("Pipe", 7))
    shares = [(pieces(a, bodies), pieces(b, bodies)) for a, b in zip(one, two, strict=True)]
    assert all(sorted(a + b) == [0, 1, 2, 3, 4] for a, b in shares)
    assert len({frozenset(a) for a, _ in shares}) > 1  # objects move between hosts
    by_seed = []
    for seed in range(6):
        one, two = (names(host) for host in hosts("File", seed))
        assert not one & two
        assert len(one | two) == 5
        by_seed.append(frozenset(one))
    assert len(set(by_seed)) > 1
    one, two = (names(host) for host in hosts("File", None))
    assert one == {"part-0.csv", "part-2.csv", "part-4.csv"}


@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_a_manifest_lists_objects(full, tmp_path, mode):
    listed = [{"prefix": "s3://b/digits/"}, "part-3.csv", "part-1.csv"]
    full.put("b", {"lists/a.manifest": json.dumps(listed).encode()})
    (host,) = laid_out(tmp_path, uri="s3://b/lists/a.manifest", mode=mode, data_type="ManifestFile")
    if mode == "File":
        assert names(host) == {"part-3.csv", "part-1.csv"}
    else:
        assert epochs(host) == [OBJECTS["digits/part-3.csv"] + OBJECTS["digits/part-1.csv"]]


def test_a_local_manifest_lists_files_and_objects(full, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.csv").write_text("1,2\n")
    (tmp_path / "near").write_text(json.dumps([{"prefix": "sub/"}, "x.csv"]))
    (tmp_path / "far").write_text(json.dumps([{"prefix": "s3://b/digits/part-"}, "0.csv"]))
    (host,) = laid_out(tmp_path, uri=str(tmp_path / "near"), data_type="ManifestFile")
    assert names(host) == {"x.csv"}
    (host,) = laid_out(tmp_path, uri=str(tmp_path / "far"), data_type="ManifestFile", mode="Pipe")
    assert epochs(host) == [OBJECTS["digits/part-0.csv"]]


def test_lines_of_an_augmented_manifest_are_shared_and_shuffled(full, tmp_path):
    lines = [{"source-ref": f"s3://b/digits/part-{n}.csv", "label": n} for n in range(5)]
    full.put("b", {"lists/a": "".join(json.dumps(line) + "\n" for line in lines).encode()})
    settings = {"uri": "s3://b/lists/a", "attributes": ("label", "source-ref"), "record_wrapper": "None"}
    (host,) = laid_out(tmp_path, **settings)
    bodies = [str(n).encode() + OBJECTS[f"digits/part-{n}.csv"] for n in range(5)]
    assert epochs(host) == [b"".join(bodies)]
    hosts = laid_out(tmp_path, 2, distribution="ShardedByS3Key", **settings)
    assert [pieces(*epochs(host), bodies) for host in hosts] == [[0, 2, 4], [1, 3]]
    hosts = laid_out(tmp_path, 2, distribution="ShardedByS3Key", shuffle_seed=1, **settings)
    one, two = ([pieces(stream, bodies) for stream in epochs(host, 4)] for host in hosts)
    assert all(sorted(a + b) == [0, 1, 2, 3, 4] for a, b in zip(one, two, strict=True))
    assert any(share != one[0] for share in one)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"^s3://b/m is not JSON: .*; accepted: \[\{"),
        (b"[" * 100_000, r"^s3://b/m is not JSON: "),
        (b"[]", r"^s3://b/m is not a manifest that begins with a prefix; accepted: "),
        (b'["x"]', "begins with a prefix"),
        (b'[{"prefix": "s3://b/digits/"}, 3]', "^s3://b/m names 3; accepted: "),
        (b'[{"prefix": "s3://b/digits/"}, "../x"]', "leaves its folder"),
        (b'[{"prefix": "/etc/"}, "hosts"]', "^s3://b/m names /etc/hosts, which does not exist"),
        (b'[{"prefix": "s3://b/digits/"}, "none"]', "^s3://b/digits/none does not exist"),
        (b'[{"prefix": "s3://b/digits/"}]', "no file at s3://b/m"),
        (None, "^s3://b/m does not exist"),
    ],
)
def test_a_manifest_that_is_none_is_told(full, tmp_path, content, message):
    if content is not None:
        full.put("b", {"m": content})
    with pytest.raises(ClientError, match=message):
        laid_out(tmp_path, uri="s3://b/m", data_type="ManifestFile")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data-type", "Prefix"], "channel train: data type 'Prefix' is unknown; accepted: S3Prefix, "),
        (["--data-type", "AugmentedManifestFile"], "is AugmentedManifestFile without attributes; accepted"),
        (["--data-type", "S3Prefix", "--attributes", "a"], "is S3Prefix with attributes; accepted"),
        (["--compression", "train=bzip2"], "compression 'bzip2' is unknown; accepted: None or Gzip"),
        (["--compression", "Gzip"], "in File mode; accepted: with --input-mode Pipe"),
        (["--compression", "Gzip", "--attributes", "a"], "with compression; accepted: None"),
        (["--record-wrapper", "TFRecord"], "record wrapper 'TFRecord' is unknown"),
        (["--shuffle-seed", "x"], "--shuffle-seed x is not accepted; accepted: a whole number"),
        (["--checkpoints", "there"], "--checkpoints is there; accepted: s3://bucket/prefix"),
        (["--input-mode", "FastFile", "--data-type", "ManifestFile"], "in FastFile mode; accepted: S3Prefix"),
    ],
)
def test_options_that_cannot_be_are_told(full, options, message):
    assert message in str(train(*options, "-p", "feature_dim=2"))


@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_an_object_that_is_refused_ends_the_job(full, mode):
    full.denied.add("digits/part-3.csv")
    told = str(train("--input-mode", mode))
    assert told.startswith("algodock: s3://b/digits/part-3.csv can't be read: access is denied; accepted: ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (gzip.compress(b"0,1,2\n" * 9, mtime=0)[:-9], "its gzip data end early; accepted: whole files"),
        (b"0,1,2\n" * 9, "incorrect header check; accepted: gzip data"),
        (gzip.compress(b"0,1,2\n", mtime=0) + b"x", "accepted"),
    ],
)
def test_gzip_that_is_damaged_ends_the_job(full, body, message):
    full.put("b", {"packed/1": body})
    options = ("--compression", "Gzip", "--input-mode", "Pipe", "--content-type", "text/csv")
    told = str(train(*options, "-p", "feature_dim=2", uri="s3://b/packed/"))
    assert told.startswith("algodock: s3://b/packed/1 can't be inflated: ")
    assert message in told
    assert described()["status"] == "Failed"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (gzip.compress(b"0,1,2\n" * 9, mtime=0)[:-9], "1.csv.gz: the gzip data are damaged or end early"),
        (b"", "1.csv.gz holds no rows, which would tell feature_dim; accepted: rows, or -p feature_dim=N"),
        (b"name,x\n", "line 1 of 1.csv.gz looks like a header"),
    ],
)
@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_what_keeps_feature_dim_from_being_found_is_told(full, body, message, mode):
    full.put("b", {"packed/1.csv.gz": body})
    options = ("--compression", "Gzip") if mode == "Pipe" else ()
    assert message in str(train("--input-mode", mode, *options, uri="s3://b/packed/"))


def test_gzip_may_be_filled_up_with_zeros(full, tmp_path):
    packed = gzip.compress(b"abc") + bytes(9) + gzip.compress(b"de") + bytes(2000)
    full.put("b", {"packed/a": packed})
    (host,) = laid_out(tmp_path, uri="s3://b/packed/", mode="Pipe", compression="Gzip")
    assert epochs(host) == [b"abcde"]


def test_an_object_that_is_too_long_for_a_record_is_not_held(full, tmp_path, monkeypatch):
    monkeypatch.setattr(recordio, "LENGTH_MASK", 100)
    (host,) = laid_out(tmp_path, mode="Pipe", record_wrapper="RecordIO")
    failed = threading.Event()
    feeder = host.streams["train"].feeder(host.root / "input" / "data", "train", lambda _: failed.set())
    feeder.start()
    reader = os.open(feeder.fifo(0), os.O_RDONLY)
    assert failed.wait(60)
    feeder.close()
    os.close(reader)
    assert isinstance(feeder.failure, ClientError)
    assert str(feeder.failure).startswith("s3://b/digits/part-0.csv is too long for a record")


def test_a_job_that_fails_leaves_no_data_and_its_results_on_s3(full, capsys):
    assert train("-p", "nonsense=1", output="s3://b/out/x") == 1
    assert set(full.below("b", "out/x/")) == {"job.json", "output.tar.gz", "train.log"}
    told = json.loads(full.objects["b", "out/x/job.json"])
    assert (told["status"], told["exit_code"]) == ("Failed", 1)
    assert "jobs/x: results, which go to s3://b/out/x" in capsys.readouterr().err
    full.denied.add("digits/part-3.csv")
    train()
    assert not list(Path("job").iterdir())


def test_results_go_to_s3_also_where_the_data_break_off(full, capsys):
    full.denied.add("digits/part-3.csv")
    assert train("--input-mode", "Pipe", output="s3://b/out/x") == 1
    assert json.loads(full.objects["b", "out/x/job.json"])["status"] == "Failed"
    assert "algodock: s3://b/digits/part-3.csv can't be read" in capsys.readouterr().err
    before = dict(full.below("b", "out/x/"))
    assert "no object" in train(uri="s3://b/nothing", output="s3://b/again/x")
    assert full.below("b", "out/x/") == before
    assert not full.below("b", "again/")


@pytest.mark.parametrize("option", ["--output", "--checkpoints"])
def test_an_address_without_a_bucket_is_told_before_the_job(full, option):
    assert "names no bucket" in str(train(option, "s3:///x"))
    assert not full.gets("digits/part-1.csv")


@pytest.mark.parametrize(("mode", "code"), [("File", 130), ("Pipe", 0)])
@pytest.mark.parametrize("known", [("-p", "feature_dim=2"), ()], ids=["", "with feature_dim to find"])
def test_a_store_that_falls_silent_does_not_hold_up_who_wants_to_stop(full, mode, code, known):
    silent = "digits/part-0.csv"
    full.silent.add(silent)
    asked = ["train", "kmeans", "--train", "s3://b/digits", "-p", "k=2", "--output", "job", *known]
    program = [Path(sys.executable).with_name("algodock"), *asked, "--input-mode", mode]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = Path("job", "train.log")
    while not full.gets(silent) or (mode == "Pipe" and known and "number of center" not in _text(log)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=50)  # seconds; the store is waited for longer than that
    assert process.returncode == (code if known else 130), told
    assert "Traceback" not in told
    assert not [path for path in Path("job").rglob("*") if path.suffix == ".csv"]


def _text(path):
    return path.read_text() if path.exists() else ""


class Runtime:
    """One host that gets a signal, or fails, or neither, and is asked to stop then."""

    def __init__(self, sign, code):
        self.sign, self.code, self.stopped = sign, code, threading.Event()

    def host_names(self, count):
        return ["a"]

    def start(self, algorithm, hosts, environment):
        return [self]

    def lines(self):
        yield "a line\n"
        if self.sign:
            signal.pthread_kill(threading.main_thread().ident, self.sign)
            assert self.stopped.wait(60)

    def stop(self):
        self.stopped.set()

    kill = close = stop

    def wait(self):
        return self.code


@pytest.mark.parametrize(
    ("sign", "code", "expected"),
    [
        (None, 0, "Completed"),
        (None, 3, "Failed"),
        (signal.SIGINT, 0, "Stopped"),
        (signal.SIGINT, -15, "Stopped"),
    ],
)
def test_a_description_tells_how_a_job_ended(full, tmp_path, sign, code, expected):
    spec = JobSpec(
        manifest.load("kmeans"), tmp_path / "job", {"feature_dim": "2"}, [ChannelSource("train", "s3://b/d")]
    )
    assert training.train(spec, Runtime(sign, code), io.StringIO()) == code
    assert (described()["status"], described()["exit_code"]) == (expected, code)


def test_whoever_stops_the_hosts_can_say_so(full, tmp_path):
    spec = JobSpec(
        manifest.load("kmeans"), tmp_path / "job", {"feature_dim": "2"}, [ChannelSource("train", "s3://b/d")]
    )
    training.train(spec, Runtime(None, 1), io.StringIO(), lambda: True)
    assert described()["status"] == "Stopped"


def described():
    return json.loads(Path("job", "job.json").read_text())


def test_rows_to_predict_may_be_on_s3(full, monkeypatch, capsysbinary):
    class Endpoint:
        def __init__(self, *_, **__):
            pass

        __enter__ = wait = lambda self: self

        def __exit__(self, *_):
            pass

        def ask(self, part, content_type, accept):
            return content_type.encode() + b": " + part, content_type

    monkeypatch.setattr(endpoints, "Endpoint", Endpoint)
    model = io.BytesIO()
    with tarfile.open(fileobj=model, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("model"))
    full.put(
        "b",
        {"jobs/x.tar.gz": model.getvalue(), "jobs/x.tar.gz.old": b"", "rows.csv.gz": gzip.compress(b"1,2\n")},
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "s3://b/jobs/x.tar.gz", "s3://b/rows.csv.gz", "--algorithm", "kmeans"])
    assert ended.value.code == 0
    assert capsysbinary.readouterr().out == b"text/csv: 1,2\n"


def test_a_prefix_with_nothing_ends_the_job(full):
    assert train(uri="s3://b/nothing") == (
        "algodock: s3://b/nothing holds no object; accepted: an object, or a prefix that some begin with"
    )
