"""The real `serve`: every body in and out, either side's embeddings, mistakes, damaged artifacts."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch

from common.content_types import parse
from common.failures import ClientError
from common.formats import ndarray
from containers.object2vec import artifact
from containers.object2vec.artifact import Model
from containers.object2vec.codec import PairsCodec
from containers.object2vec.model import EncoderPlan, Network, Plan
from containers.object2vec.predict import load
from containers.object2vec.ragged import Sequences

JSON, LINES = "application/json", "application/jsonlines"
ROWS = [{"in0": [5, 12, 7], "in1": [3], "label": 1}, {"in0": [8], "in1": [2, 2, 9]}, {"in0": [0], "in1": [0]}]


def made(classes: int | None = 3, kinds: tuple[str, str] = ("hcnn", "bilstm"), tied: bool = False) -> Model:
    torch.manual_seed(0)
    plans = tuple(EncoderPlan(kind, 2, 3, 4) for kind in kinds)
    network = Network(Plan(plans, 6, ("abs_diff", "concat"), 1, 5, "relu", classes))
    return Model(network, [torch.randn(15, 4), torch.randn(10, 4)][: 1 if tied else 2], (2, 3))


def expected(model: Model, rows: list[dict], longest: tuple[int, int] = (2, 3)) -> dict[str, list]:
    """What the model should answer, an instance at a time."""
    found: dict[str, list] = {"scores": [], "in0": [], "in1": []}
    with torch.no_grad():
        for row in rows:
            vectors = []
            for side, key in enumerate(("in0", "in1")):
                tokens = torch.tensor(row[key][: longest[side]])
                of = Sequences(
                    model.tables[side % len(model.tables)], tokens, torch.tensor([0, len(tokens)]),
                    np.array([len(tokens)]),
                )  # fmt: skip
                vectors.append(model.network.encode(side, of))
                found[key].append(vectors[-1][0].tolist())
            scores = model.network.compare(*vectors)[0]
            found["scores"].append((torch.softmax(scores, 0) if len(scores) > 1 else scores).tolist())
    return found


def close(answers: list[dict], name: str, values: list) -> None:
    assert [list(answer) for answer in answers] == [[name]] * len(values)
    for answer, value in zip(answers, values, strict=True):
        assert answer[name] == pytest.approx(value, rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ml")
    (folder / "model").mkdir()
    artifact.write(folder / "model" / "model_algo-1", made())
    return folder


def bodies(rows: list[dict]) -> list[tuple[bytes, str]]:
    text = json.dumps({"instances": rows})
    return [
        (text.encode(), JSON),
        (text.encode("utf-16"), f"{JSON}; charset=utf-16"),
        ("\n\n".join(map(json.dumps, rows)).encode(), LINES),
    ]


def test_every_body_in_and_out(endpoint, root):
    served = endpoint("object2vec", root, INFERENCE_PREFERRED_MODE="embedding")
    first, second = ([{key: row[key], "x": 0} for row in ROWS] for key in ("in0", "in1"))
    for longest, parameter in (
        ((2, 3), ""),
        ((3, 1), "; infer_max_seqlens=3,1"),
        ((1, 5000), ';Infer_Max_SeqLens="1, 5000"'),
    ):
        values = expected(made(), ROWS, longest)
        for rows, name, found in ((ROWS, "scores", values["scores"]), (first, "embeddings", values["in0"]),
                                  (second, "embeddings", values["in1"])):  # fmt: skip
            for body, content_type in bodies(rows):
                answer = served.invoke(body, content_type + parameter)
                assert (answer.status, answer.content_type) == (200, JSON), answer.body
                assert list(answer.json()) == ["predictions"]
                close(answer.json()["predictions"], name, found)
                text = served.invoke(body, content_type + parameter, LINES)
                assert text.content_type == LINES
                close([json.loads(line) for line in text.body.splitlines()], name, found)
    assert served.invoke(b'{"instances": []}', JSON).json() == {"predictions": []}
    assert served.invoke(b"\n", LINES).status == 204
    for body, content_type, accept, status in (
        (b'{"instances": [{"in0": [15]}]}', JSON, JSON, 400),
        (b'{"instances": [{"in0": []}]}', JSON, JSON, 400),
        (b"{", JSON, JSON, 400),
        (b"[" * 100_000, JSON, JSON, 400),
        (b"1,2", "text/csv", JSON, 415),
        (b'{"instances": [{"in0": [1]}]}', JSON, "text/csv", 406),
    ):
        refused = served.invoke(body, content_type, accept)
        assert refused.status == status, refused.body
        assert b"Traceback" not in refused.body
    assert served.invoke(b'{"in0": [1]}', LINES).status == 200


@pytest.mark.parametrize(
    ("kinds", "classes", "tied"),
    [
        (("pooled_embedding", "hcnn"), None, True),
        (("hcnn", "pooled_embedding"), 2, False),
        (("bilstm", "bilstm"), 2, True),
    ],
)
def test_an_artifact_answers_as_what_was_written(tmp_path, kinds, classes, tied):
    model = made(classes, kinds, tied)
    artifact.write(tmp_path / "model_algo-1", model)
    written = (tmp_path / "model_algo-1").read_bytes()
    artifact.write(tmp_path / "model_algo-1", made(classes, kinds, tied))
    assert (tmp_path / "model_algo-1").read_bytes() == written
    values = expected(model, ROWS)
    # So many that they go through the network in parts.
    asked = PairsCodec("predictions").decode(json.dumps({"instances": ROWS * 700}).encode(), parse(JSON))
    scores = load(tmp_path).predict(asked, {})["scores"]
    np.testing.assert_allclose(scores, values["scores"] * 700, rtol=1e-4, atol=1e-6)
    assert scores.shape == (2100, classes or 1)


@pytest.mark.parametrize(
    ("body", "content_type", "problem"),
    [
        ("{", JSON, "the payload is not JSON"),
        ("[]", JSON, 'accepted: {"instances": [{"in0": [5, 12], "in1": [3]}, ...]}'),
        ('{"instances": 3}', JSON, "the payload is not accepted"),
        ('{"instances": [3]}', JSON, "instances[0] is not accepted"),
        ('{"instances": [{"in0": [1]}, {"x": [1]}]}', JSON, "instances[1] is not accepted"),
        ('{"instances": [{"in0": [1]}, {"in1": [1]}]}', JSON,
         "instances[1] has in1, and those before have in0; accepted: the same keys"),
        ('{"in0": [1], "in1": [1]}\n\n{"in0": [1], "in1": null}', LINES, "line 3 has in0, and those before"),
        ('{"in0": [1]}\n{"in0": [1]', LINES, "line 2 is not JSON"),
        ('{"in0": [15]}', LINES, "in0 of line 1 has the token 15; accepted: a list of one token id or more"),
        ('{"in0": [1], "in1": [10]}', LINES, "in1 of line 1 has the token 10"),
        ('{"in0": [-1]}', LINES, "has the token -1"),
        ('{"in0": [1.5]}', LINES, "has the token 1.5"),
        ('{"in0": [NaN]}', LINES, "has the token nan"),
        ('{"in0": [true]}', LINES, "has the token true"),
        ('{"in0": []}', LINES, "in0 of line 1 is empty"),
        ('{"in0": "abc"}', LINES, 'in0 of line 1 is "abc"'),
        ('{"in0": [99999999999999999999999]}', LINES, "has the token 1e+23"),
        *(('{"in0": [1]}', f"{LINES}; infer_max_seqlens={text}", "infer_max_seqlens=")
          for text in ("5", "0,5", "5,5001", "a,b", "1,2,3", "-1,2", "1.5,2")),
    ],
)  # fmt: skip
def test_mistakes_in_requests(root, body, content_type, problem):
    with pytest.raises(ClientError) as fault:
        load(root / "model").predict(PairsCodec("predictions").decode(body.encode(), parse(content_type)), {})
    assert problem in str(fault.value)
    assert "\n" not in str(fault.value)


def test_the_preferred_mode_is_one_of_two(monkeypatch, root):
    for mode in ("", "embedding", "classification"):
        monkeypatch.setenv("INFERENCE_PREFERRED_MODE", mode)
        assert load(root / "model").feature_dim is None
    monkeypatch.setenv("INFERENCE_PREFERRED_MODE", "fast")
    with pytest.raises(ClientError, match="INFERENCE_PREFERRED_MODE is 'fast'; accepted: classification or"):
        load(root / "model")


def members(folder) -> tuple[dict, dict]:
    artifact.write(folder / "model_algo-1", made())
    with zipfile.ZipFile(folder / "model_algo-1") as archive:
        return json.loads(archive.read("meta.json")), ndarray.load(archive.read("params"))


def rewrite(folder, meta, arrays) -> None:
    with zipfile.ZipFile(folder / "model_algo-1", "w") as archive:
        archive.writestr("params", ndarray.dumps(arrays))
        archive.writestr("meta.json", json.dumps(meta))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("head.0.weight", None, "has no head.0.weight of 5x18 32-bit floats"),
        ("head.0.weight", np.zeros((5, 17), np.float32), "has no head.0.weight of 5x18"),
        ("head.0.weight", np.zeros((5, 18)), "has no head.0.weight of 5x18 32-bit floats"),
        ("token_embedding_1", np.zeros((9, 4), np.float32), "has no token_embedding_1 of 10x4"),
        ("token_embedding_0", np.full((15, 4), np.nan, np.float32), "not finite numbers"),
    ],
)
def test_arrays_that_are_no_model(tmp_path, name, value, problem):
    meta, arrays = members(tmp_path)
    rewrite(tmp_path, meta, {k: a for k, a in {**arrays, name: value}.items() if a is not None})
    with pytest.raises(ClientError, match=problem):
        load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"plan": None},
        {"max_seq_len": [0, 5]},
        {"max_seq_len": 5},
        {"vocab_size": []},
        {"vocab_size": [10, 10, 10]},
        {"vocab_size": [1 << 40, 10]},
        *({"plan": {key: value}} for key, value in (
            ("encoders", []), ("encoders", [{}, {}]), ("enc_dim", 10**9), ("enc_dim", "6"),
            ("comparators", []), ("comparators", ["sum"]), ("comparators", [["concat"]]), ("mlp_layers", -1),
            ("mlp_dim", True),
            ("activation", "gelu"), ("classes", 1))),
    ],
)  # fmt: skip
def test_other_descriptions(tmp_path, change):
    meta, arrays = members(tmp_path)
    plan = change.get("plan", {})
    changed = {**meta, **change, "plan": None if plan is None else {**meta["plan"], **plan}}
    rewrite(tmp_path, changed, arrays)
    with pytest.raises(
        ClientError, match=r"meta\.json in model_algo-1 does not describe an Object2Vec model"
    ):
        load(tmp_path)


def test_a_description_of_a_larger_network_takes_no_memory(tmp_path):
    meta, arrays = members(tmp_path)
    meta["plan"].update(enc_dim=10_000, mlp_dim=10_000, mlp_layers=10)
    rewrite(tmp_path, meta, arrays)
    with pytest.raises(ClientError, match="32-bit floats"):
        load(tmp_path)


def test_files_that_are_no_model(tmp_path):
    with pytest.raises(ClientError, match="no model_algo-1"):
        load(tmp_path)
    members(tmp_path)
    whole = (tmp_path / "model_algo-1").read_bytes()
    for content in (b"", b"garbage", whole[: len(whole) // 2], whole[:-30]):
        (tmp_path / "model_algo-1").write_bytes(content)
        with pytest.raises(ClientError):
            load(tmp_path)
