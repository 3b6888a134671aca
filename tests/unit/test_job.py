"""/opt/ml as an object, with every file absent, present and broken."""

import json
import os

import pytest

from common import job
from common.failures import ClientError


def write(root, name, value):
    path = root / "input" / "config" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def test_an_empty_folder_is_a_job_of_one_host(tmp_path):
    found = job.read(tmp_path)
    assert found.hyperparameters == {}
    assert found.channels == {}
    assert (found.hosts.current, found.hosts.names, found.hosts.rank) == ("algo-1", ("algo-1",), 0)
    assert found.checkpoints is None


def test_channels_are_found_where_no_config_names_them(tmp_path):
    (tmp_path / "input" / "data" / "train").mkdir(parents=True)
    os.mkfifo(tmp_path / "input" / "data" / "test_0")
    (tmp_path / "input" / "data" / "gone").symlink_to("nowhere")
    modes = {channel.name: channel.input_mode for channel in job.read(tmp_path).channels.values()}
    assert modes == {"train": "File", "test": "Pipe"}


def test_config_files_are_read(tmp_path):
    write(
        tmp_path, "inputdataconfig.json", {"train": {"TrainingInputMode": "Pipe", "ContentType": "text/csv"}}
    )
    write(tmp_path, "resourceconfig.json", {"current_host": "algo-2", "hosts": ["algo-2", "algo-1"]})
    write(tmp_path, "checkpointconfig.json", {"LocalPath": "/opt/ml/checkpoints"})
    found = job.read(tmp_path)
    assert found.channels["train"].input_mode == "Pipe"
    assert found.channels["train"].content_type == "text/csv"
    assert found.channels["train"].distribution == "FullyReplicated"
    assert found.hosts.rank == 1
    assert found.checkpoints == tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hyperparameters.json", "{", "hyperparameters.json is not JSON"),
        ("hyperparameters.json", "[]", "hyperparameters.json holds list; accepted: a JSON object"),
        ("hyperparameters.json", "[" * 100000, "hyperparameters.json is not JSON"),
        ("inputdataconfig.json", {"train": 3}, "channel train is not an object"),
        ("inputdataconfig.json", {"../x": {}}, "channel name '../x' is not accepted"),
        ("inputdataconfig.json", {"train": {"TrainingInputMode": "pipe"}}, "File, FastFile or Pipe"),
        ("inputdataconfig.json", {"train": {"S3DistributionType": "x"}}, "FullyReplicated or ShardedByS3Key"),
        ("inputdataconfig.json", {"train": {"ContentType": 5}}, "ContentType of channel train is 5"),
        ("inputdataconfig.json", {"train": {"ContentType": ["text/csv"]}}, "one content type as a string"),
        ("resourceconfig.json", {"hosts": ["a", "a"], "current_host": "a"}, "names a host twice: a, a"),
        ("resourceconfig.json", {"hosts": "algo-1"}, "'hosts' is not a list"),
        ("resourceconfig.json", {"hosts": ["a"], "current_host": "b"}, "current_host 'b' is not among"),
        ("checkpointconfig.json", {"LocalPath": 5}, "LocalPath is 5; accepted: a string"),
        (
            "resourceconfig.json",
            {"hosts": ["a"], "current_host": "a", "current_instance_type": 5},
            "current_instance_type is 5; accepted: a string",
        ),
    ],
)
def test_a_broken_config_file_is_named(tmp_path, name, value, message):
    write(tmp_path, name, value)
    with pytest.raises(ClientError) as caught:
        job.read(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", [None, ""])
def test_no_place_for_checkpoints_is_none(tmp_path, path):
    write(tmp_path, "checkpointconfig.json", {"LocalPath": path})
    assert job.read(tmp_path).checkpoints is None
    write(tmp_path, "checkpointconfig.json", {"LocalPath": path, "S3Uri": "s3://b/c"})
    assert job.read(tmp_path).checkpoints == tmp_path / "checkpoints"


def test_a_byte_order_mark_is_passed_over(tmp_path):
    write(tmp_path, "hyperparameters.json", '\ufeff{"k": "3"}')
    assert job.read(tmp_path).hyperparameters == {"k": "3"}


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "model"
    with job.written(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"

    def fail():
        with job.written(path) as temporary:
            temporary.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["model"]
