"""The model's files: written, read, edited, damaged and forged."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import faiss
import numpy as np
import pytest

from common.failures import ClientError
from containers.knn import artifact, index_file
from containers.knn.model import KNN, IndexSettings, Preparation, new_index
from containers.knn.predict import load
from containers.knn.projection import KINDS

ROWS = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
LABELS = (np.arange(300) % 3).astype(np.float32)
SETTINGS = {
    "flat": IndexSettings(),
    "inner": IndexSettings(metric="INNER_PRODUCT"),
    "lists": IndexSettings("faiss.IVFFlat", lists=5),
    "sparse lists": IndexSettings("faiss.IVFFlat", lists=200),
    "codes": IndexSettings("faiss.IVFPQ", lists=3, sub_vectors=2),
}


def write(
    folder: Path, chosen: IndexSettings = SETTINGS["flat"], preparation: Preparation | None = None
) -> KNN:
    preparation = preparation or Preparation(8, 8)
    rows = preparation.reduce(ROWS[:, : preparation.input_dim])
    index = new_index(preparation.dimension, chosen)
    index.train(rows)
    index.add(rows)
    knn = KNN(index, LABELS, 4, "classifier", preparation)
    folder.mkdir(exist_ok=True)
    for name in artifact.NAMES:
        artifact.write(knn, name, folder / name)
    return knn


def edit(folder: Path, **changes: object) -> None:
    path = folder / artifact.METADATA
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def indexes(tmp_path_factory) -> dict[str, bytes]:
    """A serialized index of each kind."""
    made = {}
    for name, chosen in SETTINGS.items():
        folder = tmp_path_factory.mktemp("indexes") / name
        write(folder, chosen)
        made[name] = (folder / artifact.INDEX).read_bytes()
    return made


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_is_written_is_read(tmp_path, kind):
    knn = write(tmp_path, SETTINGS[kind])
    np.testing.assert_array_equal(load(tmp_path).predict(ROWS, {})["predicted_label"], knn.predict(ROWS))


def test_the_files_are_what_the_documents_say(tmp_path):
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(artifact.NAMES)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "model_algo-1.labels", "<f4"), LABELS)
    assert faiss.read_index(str(tmp_path / "model_algo-1")).ntotal == 300
    assert json.loads((tmp_path / "model_algo-1.json").read_text()) == {
        "k": 4,
        "predictor_type": "classifier",
        "dimension_reduction": {"type": None, "seed": None, "target_dim": None, "input_dim": 8},
        "normalize": False,
        "version": "1.0",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_projection_is_rebuilt_from_its_seed(tmp_path, kind):
    knn = write(tmp_path, preparation=Preparation(8, 5, KINDS[kind](8, 5, 11)))
    assert json.loads((tmp_path / artifact.METADATA).read_text())["dimension_reduction"] == {
        "type": kind,
        "seed": 11,
        "target_dim": 5,
        "input_dim": 8,
    }
    predictor = load(tmp_path)
    assert predictor.feature_dim == 8
    np.testing.assert_array_equal(predictor.predict(ROWS, {})["predicted_label"], knn.predict(ROWS))


def test_rows_narrower_than_the_index_are_padded(tmp_path):
    write(tmp_path, preparation=Preparation(7, 8))
    predictor = load(tmp_path)
    assert predictor.feature_dim == 7
    answer = predictor.predict(ROWS[:, :7], {"verbose": "true"})
    np.testing.assert_allclose(answer["distances"][:, 0], 0, atol=1e-4)


def test_edits_of_k_and_predictor_type_take_effect(tmp_path):
    write(tmp_path)
    edit(tmp_path, k=9)
    assert load(tmp_path).predict(ROWS[:2], {"verbose": "true"})["distances"].shape == (2, 9)
    edit(tmp_path, k=3, predictor_type="regressor")
    answer = load(tmp_path).predict(ROWS[:5], {"verbose": "True"})
    assert list(answer) == ["predicted_label", "distances", "labels"]
    np.testing.assert_allclose(answer["predicted_label"], answer["labels"].mean(axis=1), rtol=1e-6)


def test_an_artifact_without_what_we_add_is_read(tmp_path):
    """Metadata may hold no reduction at all."""
    write(tmp_path)
    (tmp_path / artifact.METADATA).write_text('{"k": 2, "predictor_type": "classifier", "normalize": false}')
    assert load(tmp_path).feature_dim == 8


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"k": 0}, ["k is 0", "from 1 to 300"]),
        ({"k": 301}, ["k is 301", "from 1 to 300"]),
        ({"k": True}, ["k is true"]),
        ({"k": "5"}, ['k is "5"']),
        ({"predictor_type": "guess"}, ["classifier or regressor"]),
        ({"predictor_type": ["classifier"]}, ["classifier or regressor"]),
        ({"normalize": "False"}, ["normalize", "true or false"]),
        ({"version": "9.0"}, ["version", "1.0"]),
        ({"dimension_reduction": 3}, ["dimension_reduction", "an object"]),
        ({"dimension_reduction": {"type": "pca"}}, ["sign, fjlt or null", "pca"]),
        ({"dimension_reduction": {"type": {}}}, ["dimension_reduction.type"]),
        ({"dimension_reduction": {"input_dim": 9}}, ["input_dim is 9", "from 1 to 8"]),
        (
            {"dimension_reduction": {"type": "sign", "seed": 0, "target_dim": 7, "input_dim": 9}},
            ["target_dim is 7"],
        ),
        (
            {"dimension_reduction": {"type": "sign", "seed": -1, "target_dim": 8, "input_dim": 9}},
            ["seed is -1"],
        ),
        (
            {"dimension_reduction": {"type": "fjlt", "seed": 0, "target_dim": 8, "input_dim": 1 << 40}},
            ["input_dim"],
        ),
    ],
)
def test_metadata_that_is_wrong_is_refused(tmp_path, changes, parts):
    write(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ClientError) as caught:
        load(tmp_path)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{'normalize': False}", "[" * 100_000])
def test_metadata_that_is_no_object_is_refused(tmp_path, content):
    write(tmp_path)
    (tmp_path / artifact.METADATA).write_text(content)
    with pytest.raises(ClientError, match=r"model_algo-1\.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", artifact.NAMES)
def test_a_missing_file_is_named(tmp_path, name):
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ClientError, match=f"no file {name}$"):
        load(tmp_path)


def test_labels_must_match_the_index_and_be_numbers(tmp_path):
    write(tmp_path)
    path = tmp_path / artifact.LABELS
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ClientError, match="1196 bytes and the index 300 rows"):
        load(tmp_path)
    path.write_bytes(np.full(300, np.nan, "<f4").tobytes())
    with pytest.raises(ClientError, match="not finite"):
        load(tmp_path)


# --- the index's file ---


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ClientError) as caught:
        index_file.read(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_index_that_is_cut_short_or_goes_on_is_refused(tmp_path, indexes, kind):
    content = indexes[kind]
    for size in (0, 1, 3, 4, 20, 37, 45, 60, 100, len(content) // 2, len(content) - 1):
        assert "model" in refused(tmp_path / "model", content[:size])
    assert "1 bytes follow" in refused(tmp_path / "model", content + b"\0")


def test_other_index_types_never_reach_faiss(tmp_path):
    for number, index in enumerate(
        (
            faiss.IndexHNSWFlat(8, 4),
            faiss.IndexPQ(8, 2, 8),
            faiss.IndexIDMap(faiss.IndexFlatL2(8)),
            faiss.IndexLSH(8, 16),
        )
    ):
        path = tmp_path / str(number)
        faiss.write_index(index, str(path))
        assert "accepted: faiss.Flat, faiss.IVFFlat and faiss.IVFPQ" in refused(path, path.read_bytes())


def test_lists_in_another_file_are_not_opened(tmp_path, indexes):
    content = indexes["lists"]
    assert content.count(b"ilar") == 1
    assert "accepted: lists in the file itself" in refused(tmp_path / "m", content.replace(b"ilar", b"ilod"))


def test_lengths_that_lie_are_refused(tmp_path, indexes):
    flat = indexes["flat"]
    rows = struct.pack("<q", 300)
    assert flat[8:16] == rows
    assert "number of values" in refused(tmp_path / "m", flat[:8] + struct.pack("<q", 1 << 40) + flat[16:])
    assert "number of values" in refused(tmp_path / "m", flat[:8] + struct.pack("<q", 299) + flat[16:])
    assert "rows of" in refused(tmp_path / "m", flat[:8] + struct.pack("<q", -1) + flat[16:])
    assert "rows of" in refused(tmp_path / "m", flat[:4] + struct.pack("<i", 0) + flat[8:])
    lists = indexes["lists"]
    at = lists.index(b"full") + 12
    huge = lists[:at] + struct.pack("<Q", (1 << 64) - 1) + lists[at + 8 :]
    assert "longer than the file" in refused(tmp_path / "m", huge)


def test_rows_in_lists_must_be_rows_there_are(tmp_path, indexes):
    lists = indexes["lists"]
    for row in (300, -1, 1 << 40):
        assert "a row that there isn't" in refused(tmp_path / "m", lists[:-8] + struct.pack("<q", row))


def test_a_direct_map_is_refused(tmp_path):
    index = new_index(8, SETTINGS["lists"])
    index.train(ROWS)
    index.add(ROWS)
    index.make_direct_map()
    faiss.write_index(index, str(tmp_path / "m"))
    assert "direct map" in refused(tmp_path / "m", (tmp_path / "m").read_bytes())


@pytest.mark.parametrize("seed", range(200))
def test_damaged_bytes_are_refused_or_answer(tmp_path, indexes, seed):
    """Whatever passes can be searched: no crash, no place beyond the labels."""
    random = np.random.default_rng(seed)
    content = bytearray(indexes[sorted(indexes)[seed % len(indexes)]])
    for _ in range(random.integers(1, 5)):
        # Headers lie at the start; those of lists anywhere.
        at = random.integers(401 if random.random() < 0.5 else len(content)) % len(content)
        content[at] = random.integers(256)
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        index = index_file.read(path)
    except ClientError:
        return
    places = index.search(ROWS[:3, : index.d], 4)[1]
    assert places.max() < index.ntotal == 300
