"""`algodock tune` with its data on S3: fetched once for all trials, or streamed; jobs are played."""

import json
import signal

import pytest

from local import cli
from local.jobs import lay_out
from local.tuning import running

OBJECTS = {f"rows/{name}": f"{name},1,2\n".encode() for name in ("10.csv", "9.csv", "deep/a.csv")}
LIST = json.dumps([{"prefix": "s3://b/rows/"}, "deep/a.csv", "10.csv"]).encode()


@pytest.fixture
def full(store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    store.put("b", OBJECTS | {"list": LIST})
    handler = signal.getsignal(signal.SIGTERM)  # the command sets its own
    yield store
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def laid_out(monkeypatch):
    """The hosts of each trial."""
    found = []

    def train(spec, runtime, log, stopped):
        found.append(lay_out(spec, [f"h{rank}" for rank in range(spec.host_count)]))
        log.write("#quality_metric: host=algo-1, test msd <loss>=1\n")
        return 0

    monkeypatch.setattr(running, "train", train)
    return found


def tune(*options):
    asked = ["tune", "kmeans", "-p", "k=2", "-p", "feature_dim=2", "--output", "tuned"]
    asked += ["--metric", r"mine=test msd <loss>=(\S+)", "--direction", "Minimize"]
    limits = ["--range", "mini_batch_size=100:500", "--strategy", "Random", "--max-jobs", "3"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*asked, *limits, *options])
    return ended.value.code


def names(host, channel):
    folder = host.root / "input" / "data" / channel
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_objects_are_fetched_once(full, laid_out, tmp_path):
    options = ("--train", "s3://b/rows", "--test", "s3://b/list", "--data-type", "test=ManifestFile")
    assert tune(*options, "--hosts", "2", "--distribution", "ShardedByS3Key") == 0
    assert len(laid_out) == 3
    for first, second in laid_out:
        # As keys are ordered, not as numbers or folders are.
        assert (names(first, "train"), names(second, "train")) == (["10.csv", "deep/a.csv"], ["9.csv"])
        # As the manifest has it.
        assert (names(first, "test"), names(second, "test")) == (["deep/a.csv"], ["10.csv"])
    assert [len(full.gets(key)) for key in OBJECTS] == [2, 1, 2]
    assert not (tmp_path / "tuned" / ".s3").exists()


def test_a_tuning_that_is_done_fetches_nothing(full, laid_out):
    assert tune("--train", "s3://b/rows") == 0
    before = len(full.requests)
    assert tune("--train", "s3://b/rows") == 0
    assert len(full.requests) == before


def test_objects_are_streamed(full, laid_out, tmp_path):
    options = ("--input-mode", "Pipe", "--compression", "Gzip", "--record-wrapper", "RecordIO")
    assert tune("--train", "s3://b/rows", *options, "--shuffle-seed", "7") == 0
    assert not any(full.gets(key) for key in OBJECTS)
    for (host,) in laid_out:
        stream = host.streams["train"]
        assert [str(source) for source in stream.sources] == [f"s3://b/{key}" for key in OBJECTS]
        assert (stream.inflate, stream.record_wrapper, stream.shuffle_seed) == (True, True, 7)


def test_lines_are_streamed_of_a_manifest_that_is_fetched_once(full, laid_out):
    full.put("b", {"lines": b'{"a": "1", "b": 2}\n'})
    assert tune("--train", "s3://b/lines", "--attributes", "b,a") == 0
    assert len(full.gets("lines")) == 1
    assert len([list(line) for (host,) in laid_out for line in host.streams["train"].sources]) == 3


def test_what_cannot_be_is_told_before_anything_is_fetched(full, laid_out):
    told = tune("--train", "s3://b/rows", "--compression", "Gzip")
    assert "a compression or a record wrapper in File mode; accepted: with --input-mode Pipe" in told
    assert not full.requests


def test_data_that_are_refused_end_the_tuning(full, laid_out, tmp_path):
    full.denied.add("rows/9.csv")
    assert "s3://b/rows/9.csv can't be read" in tune("--train", "s3://b/rows")
    assert not (tmp_path / "tuned" / ".s3").exists()
