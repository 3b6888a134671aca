"""Augmented manifests: as `algodock train` feeds them, and as a channel reads them."""

from __future__ import annotations

import json

import pytest

from common.channels.channel import Channel
from common.failures import ClientError
from common.formats import recordio
from common.job import ChannelConfig
from common.manifest import ChannelSpec
from local.feeder import Feeder
from local.manifests import AugmentedManifest


@pytest.fixture
def manifest(tmp_path):
    lines = [
        {"source": "wört", "label": 1, "text-ref": "a.txt"},
        {"source": "b", "label": [1, 2], "text-ref": "a.txt"},
    ]
    (tmp_path / "a.txt").write_bytes(b"content")
    path = tmp_path / "data.manifest"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_attributes_come_in_their_order(manifest):
    stream = b"".join(AugmentedManifest(manifest, ["label", "source", "text-ref"]))
    expected = [b"1", "wört".encode(), b"content", b"[1, 2]", b"b", b"content"]
    assert stream == b"".join(map(recordio.frame, expected))


def test_a_channel_gives_the_records_of_a_sample_together(manifest, tmp_path):
    spec = ChannelSpec("train", "", ("application/jsonlines",))
    config = ChannelConfig("train", "Pipe", record_wrapper="RecordIO")
    with Feeder(tmp_path / "data", "train", [AugmentedManifest(manifest, ["source", "label"])]):
        channel = Channel(config, spec, tmp_path / "data")
        assert channel.wrapped
        decoder = lambda stream, name: iter([list(recordio.payloads(stream, name))])  # noqa: E731
        for _ in range(2):
            (rows,) = channel.read(decoder, lambda blocks: blocks[0], None, unwrap=False)
            assert rows == ["wört".encode(), b"1", b"b", b"[1, 2]"]


def test_what_is_wrong_is_told(manifest, tmp_path):
    with pytest.raises(ClientError, match=r"line 1 of data\.manifest has no attribute class"):
        list(AugmentedManifest(manifest, ["class"]))
    manifest.write_text('{"x-ref": "wört"}')
    with pytest.raises(ClientError, match="wört can't be read: No such file"):
        list(AugmentedManifest(manifest, ["x-ref"]))
    manifest.write_text("{")
    with pytest.raises(ClientError, match=r"line 1 of data\.manifest is not JSON"):
        list(AugmentedManifest(manifest, ["x"]))
