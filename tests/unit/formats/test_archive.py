"""Zips of a model's files, and the graphs in them."""

import json
import zipfile

import numpy as np
import pytest

from common.failures import ClientError
from common.formats import archive, ndarray

ARRAYS = {"arg:w": np.arange(6, dtype=np.float32).reshape(2, 3)}
MEMBERS = {"meta.json": b'{"k": 3}', "params": ndarray.dumps(ARRAYS)}


def read(path):
    with archive.opened(path, "a test") as opened:
        return opened.json("meta.json"), opened.arrays("params")


@pytest.fixture
def path(tmp_path):
    archive.write(tmp_path / "model_algo-1", MEMBERS)
    return tmp_path / "model_algo-1"


def test_members_come_back_and_equal_members_are_equal_bytes(path, tmp_path):
    with archive.opened(path, "a test") as opened:
        assert opened.members == ["meta.json", "params"]
        assert opened.json("meta.json") == {"k": 3}
        assert np.array_equal(opened.arrays("params")["arg:w"], ARRAYS["arg:w"])
    archive.write(tmp_path / "again", MEMBERS)
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "model_algo-1 holds no meta.json"),
        ({"meta.json": b"[1]"}, "meta.json in model_algo-1 is not a JSON object"),
        ({"meta.json": b"[" * 100_000}, "is not a JSON object"),
        ({"meta.json": b"{}"}, "holds no params"),
        ({"meta.json": b"{}", "params": ndarray.dumps([ARRAYS["arg:w"]])}, "arrays without names"),
        ({"meta.json": b"{}", "params": b"x"}, "NDArray"),
    ],
)
def test_what_is_missing_or_wrong_is_told(tmp_path, members, message):
    archive.write(tmp_path / "model_algo-1", members)
    with pytest.raises(ClientError, match=message):
        read(tmp_path / "model_algo-1")


def test_no_file_no_zip_and_a_damaged_one(path, tmp_path):
    with (
        pytest.raises(ClientError, match="there is no model_algo-2"),
        archive.opened(tmp_path / "model_algo-2", ""),
    ):
        pass
    whole = path.read_bytes()
    at = whole.index(MEMBERS["params"]) + 40
    for broken in (b"", b"PK", whole[:-30], whole[:at] + b"!" + whole[at + 1 :]):
        path.write_bytes(broken)
        with pytest.raises(ClientError, match="model_algo-1 is not a test's zip archive"):
            read(path)


def test_a_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "model_algo-1", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("meta.json", b" " * (17 << 20))
    with pytest.raises(ClientError, match="at most"):
        read(tmp_path / "model_algo-1")


def test_a_graph_is_mxnets_json():
    graph = archive.Graph()
    data, weight = graph.variable("data"), graph.variable("w", __shape__=(2, 3))
    product = graph.operator("FullyConnected", "fc", [data, weight], num_hidden=2, no_bias=True)
    symbol = json.loads(graph.dumps(product))
    assert symbol["nodes"][2] == {
        "op": "FullyConnected",
        "name": "fc",
        "inputs": [[0, 0, 0], [1, 0, 0]],
        "attrs": {"num_hidden": "2", "no_bias": "True"},
    }
    assert (symbol["arg_nodes"], symbol["heads"]) == ([0, 1], [[2, 0, 0]])
    assert symbol["node_row_ptr"] == [0, 1, 2, 3]


def test_a_graph_tells_what_an_operator_writes_to_and_how_many_outputs_it_has():
    graph = archive.Graph()
    made = graph.operator("BatchNorm", "bn", [graph.variable(name) for name in "abcde"])
    symbol = json.loads(graph.dumps(graph.operator("Flatten", "flat", [made])))
    assert symbol["nodes"][5]["inputs"] == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 1], [4, 0, 1]]
    assert symbol["node_row_ptr"] == [0, 1, 2, 3, 4, 5, 8, 9]
