"""Channels over a decoder so simple that only the bytes' way is tested: records are int32, a feature each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import common.channels.channel
from common.batches import Batch
from common.channels import Channel
from common.failures import ClientError
from common.job import ChannelConfig
from common.manifest import ChannelSpec

BLOCK = 1 << 16


def encode(numbers: Any) -> bytes:
    return np.asarray(numbers, "<i4").tobytes()


def numbers(batches: Iterator[Batch]) -> list[int]:
    return [int(value) for batch in batches for value in batch.features[:, 0]]


def decode(stream, name, media_type, layout):
    buffer = bytearray(BLOCK)
    kept = record = 0
    while count := stream.readinto(memoryview(buffer)[kept:]):
        whole = (kept + count) // 4 * 4
        values = np.frombuffer(bytes(buffer[:whole]), "<i4").astype(np.float32)
        if whole:
            labels = values if layout.label_size else None
            yield Batch(values[:, None], labels)
        record += whole // 4
        kept = kept + count - whole
        buffer[:kept] = buffer[whole : whole + kept]
    if kept:
        raise ClientError(f"{name}: the data end in the middle of record {record}")


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    descriptors, threads = _descriptors(), threading.active_count()
    yield
    assert _descriptors() == descriptors
    assert threading.active_count() == threads


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def make(data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Channel]:
    """``make(mode, ...)`` is a channel ``train`` below ``data``."""
    monkeypatch.setattr(common.channels.channel, "decode", decode)

    def channel(mode: str = "File", **settings: Any) -> Channel:
        of_config = {"content_type", "distribution", "record_wrapper"}
        of_channel = {"rank", "hosts", "stop"}
        config = ChannelConfig(
            "train", mode, **{key: value for key, value in settings.items() if key in of_config}
        )
        spec = ChannelSpec(
            "train",
            "rows",
            settings.get("content_types", ("text/csv", "application/x-recordio-protobuf")),
            **{
                key: value
                for key, value in settings.items()
                if key not in of_config | of_channel | {"content_types"}
            },
        )
        return Channel(
            config, spec, data, **{key: value for key, value in settings.items() if key in of_channel}
        )

    return channel
