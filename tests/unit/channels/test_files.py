"""File and FastFile mode: which files, in which order, and what is wrong with them."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from common.failures import ClientError
from tests.unit.channels.conftest import encode, numbers


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_folders_are_walked_in_sorted_order(make, data):
    for number, name in enumerate(["a/z", "b", "b.d/c/e", "b.d/f", "c"]):
        write(data / "train" / name, encode([number]))
    assert numbers(make().epoch(None)) == [0, 1, 2, 3, 4]
    assert numbers(make("FastFile").epoch(None)) == [0, 1, 2, 3, 4]


def test_hidden_files_markers_and_empty_files_are_skipped(make, data):
    for name in [".hidden", "_SUCCESS", ".amazon.manifest", "_temporary/0/part", ".git/x", "sub/_SUCCESS"]:
        write(data / "train" / name, b"not data")
    write(data / "train" / "empty", b"")
    write(data / "train" / "sub" / "rows", encode([7]))
    assert numbers(make().epoch(None)) == [7]


def test_links_to_files_and_folders_are_followed_but_not_round_in_circles(make, data, tmp_path):
    write(tmp_path / "elsewhere" / "rows", encode([1]))
    write(data / "train" / "b", encode([2]))
    (data / "train" / "a").symlink_to(tmp_path / "elsewhere" / "rows")
    (data / "train" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(data / "train")
    assert numbers(make().epoch(None)) == [1, 2, 1]


def test_a_dangling_link_is_named(make, data):
    (data / "train").mkdir()
    (data / "train" / "gone").symlink_to(data / "nowhere")
    with pytest.raises(ClientError, match="channel train, file gone can't be read: No such file"):
        numbers(make().epoch(None))


def test_an_unreadable_file_is_named(make, data, monkeypatch):
    write(data / "train" / "sub" / "rows", encode([1]))
    opened = os.open

    def refuse(path, *arguments, **settings):
        if str(path).endswith("rows"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **settings)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ClientError, match="channel train, file sub/rows can't be read: Permission denied"):
        numbers(make().epoch(None))


def test_a_fifo_among_the_files_is_refused_rather_than_waited_for(make, data):
    write(data / "train" / "rows", encode([1]))
    os.mkfifo(data / "train" / "strange")
    with pytest.raises(ClientError, match="file strange is neither a file nor a folder"):
        numbers(make().epoch(None))


def test_a_single_file_may_stand_for_the_folder(make, data):
    write(data / "train", encode([1, 2]))
    channel = make()
    channel.check()
    assert numbers(channel.epoch(None)) == [1, 2]


def test_an_empty_folder_gives_no_batches(make, data):
    (data / "train").mkdir()
    assert list(make().epoch(10)) == []


def test_a_file_name_that_is_not_text_is_shown_all_the_same(make, data):
    (data / "train").mkdir()
    with open(os.fsencode(data / "train") + b"/\xff", "wb") as file:
        file.write(b"123")
    with pytest.raises(ClientError, match="file \ufffd: the data end in the middle of record 0"):
        numbers(make().epoch(None))


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.csv"])
def test_gzip_is_known_by_its_bytes(make, data, name):
    rows = np.arange(300_000)
    write(data / "train" / name, gzip.compress(encode(rows), 1))
    write(data / "train" / "plain.gz", encode([5]))
    assert sorted(numbers(make().epoch(None))) == sorted([*rows, 5])


def test_gzip_members_in_a_row_are_one_file(make, data):
    members = gzip.compress(encode([1])) + gzip.compress(b"") + gzip.compress(encode([2])) + bytes(9)
    write(data / "train" / "rows", members)
    assert numbers(make().epoch(None)) == [1, 2]


@pytest.mark.parametrize("keep", [2, 9, 30, -1])
def test_truncated_gzip_is_named(make, data, keep):
    write(data / "train" / "rows.gz", gzip.compress(encode(range(1000)))[:keep])
    with pytest.raises(ClientError, match=r"file rows.gz: the gzip data end early"):
        numbers(make().epoch(None))


def test_damaged_gzip_is_named(make, data):
    packed = bytearray(gzip.compress(np.random.default_rng(0).bytes(4000)))
    packed[-6] ^= 1
    write(data / "train" / "rows.gz", bytes(packed))
    with pytest.raises(ClientError, match=r"file rows.gz: the gzip data are damaged"):
        numbers(make().epoch(None))


def test_a_gzip_bomb_is_inflated_in_pieces(make, data):
    write(data / "train" / "bomb", gzip.compress(bytes(1 << 26), 1))
    tracemalloc.start()
    try:
        rows = sum(len(batch) for batch in make().epoch(None))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 1 << 24
    assert peak < 1 << 23


def test_an_unreadable_folder_is_named(make, data, monkeypatch):
    write(data / "train" / "sub" / "rows", encode([1]))
    listed = os.listdir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ClientError, match="channel train, folder sub/ can't be read: Permission denied"):
        numbers(make().epoch(None))
