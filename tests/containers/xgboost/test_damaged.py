"""Damaged models are refused in a sentence; none takes the process with it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from common.failures import ClientError
from containers.xgboost import artifact, predict, saving
from containers.xgboost.library import xgb

RNG = np.random.default_rng(0)
ROWS = RNG.random((80, 4)).astype(np.float32)
ROWS[:, 0] = np.arange(80) % 5
LABELS = np.arange(80) % 3
KINDS = {
    "gbtree": {"num_parallel_tree": 2},
    "pruned": {"gamma": 0.3, "eta": 1, "tree_method": "exact", "max_depth": 5},
    "dart": {"booster": "dart", "rate_drop": 0.5},
    "gblinear": {"booster": "gblinear"},
    "classes": {"objective": "multi:softprob", "num_class": 3},
    "categories": {"max_cat_to_onehot": 1},
    "outputs": {"multi_strategy": "multi_output_tree"},
}


def trained(kind):
    types = ["c" if kind == "categories" else "q", "q", "q", "q"]
    labels = RNG.random((80, 2)) if kind == "outputs" else LABELS
    matrix = xgb.DMatrix(
        ROWS, labels, feature_names=list("abcd"), feature_types=types, enable_categorical=True
    )
    booster = xgb.train({"max_depth": 3, "nthread": 1, "verbosity": 0, **KINDS[kind]}, matrix, 3)
    booster.set_attr(best_iteration="1", note="x")
    return booster


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(ClientError) as caught:
        artifact.load(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_models_answer_to_the_bit(tmp_path, kind):
    booster = trained(kind)
    wanted = booster.inplace_predict(ROWS) if kind != "gblinear" else None
    for data in (bytes(booster.save_raw("ubj")), bytes(booster.save_raw("json")), pickle.dumps(booster)):
        (tmp_path / "model").write_bytes(data)
        loaded = artifact.load(tmp_path / "model")
        assert loaded.attributes() == booster.attributes()
        assert loaded.feature_names == booster.feature_names
        assert bytes(loaded.save_raw("ubj")) == bytes(booster.save_raw("ubj"))
        if wanted is not None:
            np.testing.assert_array_equal(loaded.inplace_predict(ROWS), wanted)


def test_lengths_that_are_not_there(tmp_path):
    whole = bytes(trained("gbtree").save_raw("ubj"))
    for at in (136, 152, 344, 456):
        assert "accepted" in refused(tmp_path / "xgboost-model", whole[:at] + b"\xff" * 8 + whole[at + 8 :])
    for size in range(1, len(whole), 101):
        assert "Unable to load model" in refused(tmp_path / "xgboost-model", whole[:size])
    assert "nested" in refused(tmp_path / "xgboost-model", b"{L" + bytes(7) + b"\x01a" + b"[" * 5000)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("left_children", 0, 0, "tree 1 of the model is no tree"),
        ("right_children", 0, 10**6, "tree 1 of the model is no tree"),
        ("left_children", 1, 2, "is no tree"),
        ("parents", 2, 10**6, "is no tree"),
        ("split_indices", 0, 4, "is no tree"),
        ("left_children", 0, "x", "no array of numbers"),
        ("split_type", 0, 1, "splits by categories that it doesn't have"),
        ("id", None, 77, "tree 1"),
        ("sum_hessian", None, [], "tree 1"),
        ("categories_nodes", None, [3], "categories"),
    ],
)
def test_trees_that_are_none(tmp_path, name, place, value, message):
    model = json.loads(bytes(trained("gbtree").save_raw("json")))
    tree = model["learner"]["gradient_booster"]["model"]["trees"][1]
    if place is None:
        tree[name] = value
    else:
        tree[name][place] = value
    found = refused(tmp_path / "xgboost-model", json.dumps(model).encode())
    assert message in found
    assert found.count("Unable to load model") == 1


def test_the_librarys_own_words_have_no_places_in_its_sources(tmp_path):
    model = json.loads(bytes(trained("gbtree").save_raw("json")))
    model["learner"]["objective"]["name"] = "reg:none"
    found = refused(tmp_path / "xgboost-model", json.dumps(model).encode())
    assert "reg:none" in found
    assert ".cc" not in found
    assert "/" not in found.split("reg:none")[0]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    whole = bytes(trained("gbtree").save_raw("ubj"))
    (tmp_path / "xgboost-checkpoint.0").write_bytes(whole)
    (tmp_path / "xgboost-checkpoint.1").write_bytes(whole[:136] + b"\xff" * 8 + whole[144:])
    assert saving.newest(tmp_path) == (0, whole)


MUTATIONS = """
import pathlib, random, sys
from common.failures import ClientError
from containers.xgboost import predict
folder, chance, refused = pathlib.Path(sys.argv[1]), random.Random(0), 0
import numpy as np
rows = np.zeros((3, 4), np.float32)
for source in sorted(folder.iterdir()):
    whole, served = source.read_bytes(), folder / "served" / source.name
    served.mkdir(parents=True, exist_ok=True)
    for _ in range(12):
        data = bytearray(whole)
        at = chance.randrange(len(data))
        data[at : at + chance.choice((1, 4, 8))] = chance.choice((b"\\0", b"\\xff", b"\\x03")) * 8
        (served / "xgboost-model").write_bytes(data)
        try:
            predict.load(served).predict(rows, {})
        except ClientError:
            refused += 1
print(refused)
"""


def test_no_damage_ends_the_process(tmp_path):
    for kind in KINDS:
        (tmp_path / kind).write_bytes(bytes(trained(kind).save_raw("ubj")))
    done = subprocess.run(
        [sys.executable, "-c", MUTATIONS, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 40


def test_a_served_model_that_is_damaged(tmp_path):
    whole = bytes(trained("gbtree").save_raw("ubj"))
    (tmp_path / "xgboost-model").write_bytes(whole[:136] + b"\xff" * 8 + whole[144:])
    with pytest.raises(ClientError, match="Unable to load model: xgboost-model: "):
        predict.load(tmp_path)
