"""A job laid out as SageMaker's agent would, and packed."""

import dataclasses
import json
import os
import tarfile

import pytest

from common import manifest
from common.failures import ClientError
from local.jobs import ChannelSource, Ending, JobSpec, content_type_of, lay_out, pack, unpack_model
from local.training import with_feature_dim


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.csv", "b.csv", "deep/c.csv"):
        (folder / name).write_text("0,1,2\n")
    return folder


def spec(tmp_path, data, **rest):
    return JobSpec(
        manifest=manifest.load("kmeans"),
        output=tmp_path / "out",
        hyperparameters={"k": "2"},
        channels=[ChannelSource("train", str(data))],
        **rest,
    )


def config(host, name):
    return json.loads((host.root / "input" / "config" / f"{name}.json").read_text())


def test_the_folder_is_that_of_the_contract(tmp_path, data):
    (host,) = lay_out(spec(tmp_path, data, checkpoints=True), ["algo-1"])
    assert config(host, "hyperparameters") == {"k": "2"}
    assert config(host, "inputdataconfig") == {
        "train": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
            "ContentType": "text/csv",
        }
    }
    assert config(host, "resourceconfig")["current_host"] == "algo-1"
    assert config(host, "checkpointconfig") == {"LocalPath": "/opt/ml/checkpoints"}
    assert (host.root / "input" / "data" / "train" / "deep" / "c.csv").read_text() == "0,1,2\n"


def test_another_job_in_the_same_folder_goes_on_from_checkpoints_that_are_kept_there(tmp_path, data):
    job = spec(tmp_path, data, checkpoints=True, host_count=2)
    for host in lay_out(job, ["a", "b"]):
        (host.root / "checkpoints" / "epoch-1").write_text("learned")
        (host.root / "model" / "old").write_text("model")
    for host in lay_out(job, ["a", "b"]):
        assert (host.root / "checkpoints" / "epoch-1").read_text() == "learned"
        assert not list((host.root / "model").iterdir())
    (host,) = lay_out(spec(tmp_path, data), ["a"])
    assert not list((host.root / "checkpoints").iterdir())
    assert [root.name for root in (tmp_path / "out" / "ml").iterdir()] == ["algo-1"]


def test_links_are_the_files_that_they_lead_to(tmp_path, data):
    """Data stores keep files under names of their own, and lay links to them."""
    folder, stored = tmp_path / "linked", tmp_path / "stored"
    folder.mkdir()
    data.rename(stored)
    (folder / "first.csv").symlink_to("../stored/a.csv")
    (folder / "more").symlink_to("../stored/deep")
    (stored / "deep" / "round").symlink_to("..")
    (host,) = lay_out(spec(tmp_path, folder), ["algo-1"])
    train = host.root / "input" / "data" / "train"
    found = {str(path.relative_to(train)): path.read_text() for path in train.rglob("*") if path.is_file()}
    assert found.keys() == {"first.csv", "more/c.csv", "more/round/a.csv", "more/round/b.csv"}
    assert set(found.values()) == {"0,1,2\n"}


def test_a_link_has_its_own_name(tmp_path, data):
    (tmp_path / "link.csv").symlink_to((data / "a.csv").rename(data / "5f3e"))
    (host,) = lay_out(spec(tmp_path, tmp_path / "link.csv"), ["algo-1"])
    assert config(host, "inputdataconfig")["train"]["ContentType"] == "text/csv"
    assert [path.name for path in (host.root / "input" / "data" / "train").iterdir()] == ["link.csv"]


def test_a_pipe_and_a_folder_that_may_not_be_looked_into_hold_no_file(tmp_path, data, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ClientError, match=r"channel train: no file at .*pipe"):
        lay_out(spec(tmp_path, tmp_path / "pipe"), ["algo-1"])
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).endswith("deep")
    )  # root may look into any
    (host,) = lay_out(spec(tmp_path, data), ["algo-1"])
    assert {path.name for path in (host.root / "input" / "data" / "train").iterdir()} == {"a.csv", "b.csv"}


def test_what_tools_leave_beside_data_tells_no_content_type(tmp_path, data):
    (data / ".ipynb_checkpoints").mkdir()
    (data / ".ipynb_checkpoints" / "a.txt").write_text("notes")
    (host,) = lay_out(spec(tmp_path, data), ["algo-1"])
    assert config(host, "inputdataconfig")["train"]["ContentType"] == "text/csv"


def test_sharding_divides_files(tmp_path, data):
    hosts = lay_out(spec(tmp_path, data, host_count=2, distribution="ShardedByS3Key"), ["a", "b"])
    names = [
        sorted(path.name for path in (host.root / "input" / "data" / "train").rglob("*.csv"))
        for host in hosts
    ]
    assert names == [["a.csv", "c.csv"], ["b.csv"]]


def test_pipe_mode_has_streams_and_no_folder(tmp_path, data):
    (host,) = lay_out(spec(tmp_path, data, input_mode="Pipe"), ["algo-1"])
    assert [path.name for path in host.streams["train"].sources] == ["a.csv", "b.csv", "c.csv"]
    assert not (host.root / "input" / "data" / "train").exists()


def test_a_channel_beside_train_is_laid_out_as_it_can_be(tmp_path, data):
    kmeans = manifest.load("kmeans")
    train, test = kmeans.channels
    narrow = dataclasses.replace(test, input_modes=("File",), distributions=("FullyReplicated",))
    job = JobSpec(
        manifest=dataclasses.replace(kmeans, channels=(train, narrow)),
        output=tmp_path / "out",
        hyperparameters={},
        channels=[ChannelSource("train", str(data)), ChannelSource("test", str(data))],
        input_mode="Pipe",
        distribution="ShardedByS3Key",
        host_count=2,
    )
    for host in lay_out(job, ["a", "b"]):
        channels = config(host, "inputdataconfig")
        assert channels["train"]["TrainingInputMode"] == "Pipe"
        assert channels["train"]["S3DistributionType"] == "ShardedByS3Key"
        assert channels["test"]["TrainingInputMode"] == "File"
        assert channels["test"]["S3DistributionType"] == "FullyReplicated"
        assert list(host.streams) == ["train"]
        assert len(list((host.root / "input" / "data" / "test").rglob("*.csv"))) == 3


def test_hosts_merge_and_the_first_wins(tmp_path, data):
    job = spec(tmp_path, data, host_count=2)
    first, second = lay_out(job, ["a", "b"])
    (first.root / "model" / "model").write_text("first")
    (second.root / "model" / "model").write_text("second")
    (second.root / "model" / "part-2").write_text("second")
    (second.root / "model" / ".x.sagemaker-ignore").write_text("half")
    made = pack(job, [first, second], Ending(0))
    assert [path.name for path in made] == ["model.tar.gz"]
    with tarfile.open(made[0]) as archive:
        assert sorted(archive.getnames()) == ["model", "part-2"]
        assert archive.extractfile("model").read() == b"first"
    assert unpack_model(str(job.output), tmp_path / "m" / "model") == "kmeans"
    assert (tmp_path / "m" / "model" / "model").read_text() == "first"


def test_feature_dim_is_found_as_the_sdk_does(tmp_path, data):
    assert with_feature_dim(spec(tmp_path, data)).hyperparameters["feature_dim"] == "2"


def test_rows_where_only_records_are_taken_are_told_how_they_become_some(tmp_path, data):
    made = dataclasses.replace(spec(tmp_path, data), manifest=manifest.load("factorization-machines"))
    with pytest.raises(ClientError, match=r"a\.csv is text/csv by its ending; .* algodock convert makes"):
        lay_out(made, ["algo-1"])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000])
def test_a_damaged_description_is_told(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    (tmp_path / "model.tar.gz").touch()
    with pytest.raises(ClientError, match=r"job\.json is damaged; accepted: what algodock train wrote"):
        unpack_model(str(tmp_path), tmp_path / "scratch" / "model")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "text/csv"),
        ("a.csv.gz", "text/csv"),
        ("a.pbr", "application/x-recordio-protobuf"),
        ("a.bin", None),
    ],
)
def test_endings_tell_content_types(tmp_path, name, expected):
    (tmp_path / name).touch()
    assert content_type_of(tmp_path / name) == expected
    assert content_type_of(tmp_path) == expected


@pytest.mark.parametrize("rest", [{"input_mode": "Stream"}, {"host_count": 0}])
def test_what_cannot_be_run_is_refused(tmp_path, data, rest):
    with pytest.raises(ClientError, match="accepted:"):
        spec(tmp_path, data, **rest)
