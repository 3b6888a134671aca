"""Opening a job's channels: what is missing, unknown, or there in the other mode."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from common.channels import open_channels
from common.failures import ClientError
from common.job import ChannelConfig, Hosts, Job
from common.manifest import ChannelSpec, InferenceSpec, Manifest, Rules

CSV = ("text/csv",)
RULES = Rules(("cpu",))
MANIFEST = Manifest(
    name="kmeans",
    folder="kmeans",
    title="",
    summary="",
    metrics_name="",
    channels=(ChannelSpec("train", "", CSV, required=True), ChannelSpec("test", "", CSV)),
    metrics=(),
    training=RULES,
    inference=InferenceSpec(RULES, CSV, CSV, "text/csv", "text/csv"),
    artifact=(),
)


def job(root: Path, *channels: ChannelConfig, hosts: Hosts | None = None) -> Job:
    (root / "input" / "data").mkdir(parents=True, exist_ok=True)
    return Job(root, {}, {channel.name: channel for channel in channels}, hosts or Hosts(), None)


def test_channels_by_name(tmp_path):
    given = job(tmp_path, ChannelConfig("train"), ChannelConfig("test", "Pipe"))
    (given.data / "train").mkdir()
    opened = open_channels(given, MANIFEST)
    assert list(opened) == ["train", "test"]


def test_an_unknown_channel(tmp_path):
    with pytest.raises(ClientError, match="channel training is unknown to kmeans; accepted: train or test"):
        open_channels(job(tmp_path, ChannelConfig("training")), MANIFEST)


def test_a_missing_channel(tmp_path):
    message = "channel train is missing: kmeans requires train; the job has test"
    with pytest.raises(ClientError, match=message):
        open_channels(job(tmp_path, ChannelConfig("test")), MANIFEST)
    with pytest.raises(ClientError, match="the job has none"):
        open_channels(job(tmp_path), MANIFEST)


def failure(given: Job) -> str:
    with pytest.raises(ClientError) as caught:
        open_channels(given, MANIFEST)
    return str(caught.value)


def test_file_mode_without_a_folder(tmp_path):
    given = job(tmp_path, ChannelConfig("train"))
    folder = given.data / "train"
    assert failure(given) == f"channel train: its input mode is File, but there is no folder {folder}"
    os.mkfifo(given.data / "train_0")
    assert failure(given) == (
        f"channel train: its input mode is File, but there is no folder {folder} but the FIFO {folder}_0, "
        "as in Pipe mode"
    )


def test_pipe_mode_with_a_folder(tmp_path):
    given = job(tmp_path, ChannelConfig("train", "Pipe"))
    folder = given.data / "train"
    folder.mkdir()
    assert failure(given) == (
        f"channel train: its input mode is Pipe, but there is no FIFO {folder}_0 but {folder}, "
        "as in File mode"
    )
    (given.data / "train_0").write_text("1,2")
    assert failure(given) == f"channel train: its input mode is Pipe, but {folder}_0 is not a FIFO"


def test_a_host_without_data(tmp_path):
    hosts = Hosts("algo-2", ("algo-1", "algo-2"))
    given = job(tmp_path, ChannelConfig("train", distribution="ShardedByS3Key"), hosts=hosts)
    assert list(open_channels(given, MANIFEST)["train"].epoch(10)) == []
    replicated = job(tmp_path, ChannelConfig("train"), hosts=hosts)
    assert "no folder" in failure(replicated)


@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_a_folder_that_cant_be_looked_into(tmp_path, mode):
    # Too long a path stands for another user's folder, into which these tests' root may look.
    given = job(tmp_path, ChannelConfig("train", mode))
    given = replace(given, root=tmp_path / ("x" * 300))
    assert failure(given).endswith("can't be read: File name too long")
