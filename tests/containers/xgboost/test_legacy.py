"""Old models answer as they did where they were made; nothing in a file is executed."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from common.failures import ClientError
from containers.xgboost import artifact, predict

MODELS = Path(__file__).parent / "models"
NAMES = sorted(path.name for path in MODELS.iterdir() if path.suffix in (".pkl", ".bin"))


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_version_that_made_it(name, tmp_path):
    (tmp_path / "xgboost-model").write_bytes((MODELS / name).read_bytes())
    model = predict.load(tmp_path)
    answers = model.predict(np.load(MODELS / "rows.npy"), {})["score"]
    np.testing.assert_allclose(answers, np.load(MODELS / f"{name}.npy"), rtol=1e-6)


class Malice:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def refused(path, data):
    (path / "xgboost-model").write_bytes(data)
    with pytest.raises(ClientError) as caught:
        artifact.load_all(path, first_only=False)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_pickle_runs_nothing(tmp_path, protocol):
    import os

    mark = tmp_path / "executed"
    for malice in (Malice(os.system, f"touch {mark}"), Malice(eval, f"open({str(mark)!r}, 'w')")):
        message = refused(tmp_path, pickle.dumps({"handle": malice}, protocol))
        assert "refused" in message
        assert not mark.exists()
    assert "refused" in refused(tmp_path, pickle.dumps(Malice(getattr, "x", "upper"), protocol))


def test_pickles_that_are_no_booster(tmp_path):
    assert "no booster" in refused(tmp_path, pickle.dumps({"handle": b"x"}))
    assert "refused" in refused(tmp_path, pickle.dumps(np.arange(3)))
    whole = (MODELS / "1.2.1-forest.pkl").read_bytes()
    for size in (2, 60, len(whole) // 2, len(whole) - 1):
        assert "xgboost-model" in refused(tmp_path, whole[:size])
    # The memo's place 2 billion, which takes 32 GB.
    assert "beyond its own size" in refused(tmp_path, b"\x80\x02K\x01r\xff\xff\xff\x7f.")
    # 1 TB claimed in twenty bytes.
    assert "can't be read" in refused(tmp_path, b"\x80\x02cbuiltins\nbytearray\n(\x8a\x06\0\0\0\0\0\x01tR.")


def binary(nodes, features=2, classes=0):
    """A model of one tree, built by hand: (parent, left, right, split, value) a node."""
    header = struct.pack("<fIiiiII", 0.5, features, classes, 0, 0, 1, 2).ljust(136, b"\0")
    names = b"".join(struct.pack("<Q", len(n)) + n for n in (b"reg:squarederror", b"gbtree"))
    trees = struct.pack("<ii", 1, 1).ljust(160, b"\0")
    tree = struct.pack("<iiiiii", 1, len(nodes), 0, 0, features, 0).ljust(148, b"\0")
    body = b"".join(struct.pack("<iiiIf", *node) for node in nodes) + bytes(16 * len(nodes))
    return b"binf" + header + names + trees + tree + body + struct.pack("<i", 0)


GOOD = [(-1, 1, 2, 1 | 1 << 31, 0.25), (0, -1, -1, 0, 10.0), (0, -1, -1, 0, 20.0)]


def test_a_model_made_by_hand(tmp_path):
    (tmp_path / "any-name").write_bytes(binary(GOOD))
    rows = np.array([[9, 0.1], [9, 0.3], [9, np.nan]], np.float32)
    np.testing.assert_allclose(predict.load(tmp_path).predict(rows, {})["score"], [10.5, 20.5, 10.5])


def test_a_tree_that_goes_round_in_circles_is_refused(tmp_path):
    circle = [(-1, 1, 2, 1, 0.25), (0, 0, 2, 1, 0.5), (0, -1, -1, 0, 20.0)]
    twins = [(-1, 1, 1, 1, 0.25), (0, -1, -1, 0, 1.0), (0, -1, -1, 0, 20.0)]
    outside = [(-1, 1, 7, 1, 0.25), (0, -1, -1, 0, 1.0), (0, -1, -1, 0, 20.0)]
    feature = [(-1, 1, 2, 5, 0.25), (0, -1, -1, 0, 1.0), (0, -1, -1, 0, 20.0)]
    for nodes in (circle, twins, outside, feature):
        assert "is no tree" in refused(tmp_path, binary(nodes))


def test_every_cut_of_a_binary_model_is_refused(tmp_path):
    whole = binary(GOOD)
    for size in range(5, len(whole) - 1, 7):
        assert "xgboost-model" in refused(tmp_path, whole[:size])


def test_stray_files_do_no_harm(tmp_path):
    (tmp_path / "xgboost-model").write_bytes(binary(GOOD))
    for name in ("model.tar.gz", "output.tar.gz", ".sagemaker", "failure", "notes.json"):
        (tmp_path / name).write_bytes(b'{"a": 1}' if name.endswith("json") else b"\x1f\x8b stray")
    (tmp_path / "data").mkdir()
    assert len(artifact.load_all(tmp_path, first_only=False)) == 1
    with pytest.raises(ClientError, match="no XGBoost model"):
        artifact.load_all(tmp_path / "data", first_only=False)
