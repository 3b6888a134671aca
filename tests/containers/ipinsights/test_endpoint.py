"""The real `serve`: every body in and out, unknown entities, mistakes, damaged artifacts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.content_types import parse
from common.cores import Cores
from common.failures import ClientError
from common.formats import ndarray
from containers.ipinsights import artifact
from containers.ipinsights.codec import PairsCodec
from containers.ipinsights.learning import Learner, Settings
from containers.ipinsights.model import Model, Shape
from containers.ipinsights.predict import load
from containers.ipinsights.reading import decode_bytes

CSV, JSON, LINES = "text/csv", "application/json", "application/jsonlines"
ROWS = [("user_7", "203.0.113.9"), ("user_8", "198.51.100.4"), ('Grüße, "x"', "10.0.0.1"), ("17", "0.0.0.0")]
DENSE = [{"data": {"features": {"values": list(row)}}} for row in ROWS[:2]] + [
    {"features": list(row)} for row in ROWS[2:]
]
TABLE = 'user_7, 203.0.113.9\nuser_8,198.51.100.4 \r\n"Grüße, ""x""",10.0.0.1\n17,0.0.0.0'


def learnt(layers: int = 1) -> Model:
    pairs = decode_bytes(TABLE.encode(), "the test", parse(CSV))
    assert pairs is not None
    with Cores(1) as cores:
        learner = Learner(Shape(1000, 6, layers, 3), Settings(0.05, 0, 1, 1), cores)
        for step in range(20):
            learner.learn(pairs[:3], np.uint64(step))
        return learner.model()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ml")
    (folder / "model").mkdir()
    artifact.write(folder / "model" / "model_algo-1", learnt())
    return folder


def test_every_body_in_and_out(endpoint, root):
    pairs = decode_bytes(TABLE.encode(), "the test", parse(CSV))
    entities, addresses = learnt().vectors(pairs)
    scores = learnt().scores(pairs).astype(float).tolist()
    items = [{"dot_product": score} for score in scores]
    verbose = [
        {"dot_product": s, "entity_embedding": e, "ip_embedding": a}
        for s, e, a in zip(
            scores, entities.astype(float).tolist(), addresses.astype(float).tolist(), strict=True
        )
    ]
    served = endpoint("ipinsights", root)
    bodies = [
        (TABLE.encode(), CSV),
        (TABLE.encode("utf-16"), "text/csv; charset=utf-16"),
        (json.dumps({"instances": DENSE}), JSON),
        (
            json.dumps(
                {"instances": [*DENSE[:3], {"features": [17, " 0.0.0.0"]}]}, ensure_ascii=False
            ).encode(),
            JSON,
        ),
        ("\n\n".join(map(json.dumps, DENSE)), LINES),
    ]
    for body, content_type in bodies:
        answer = served.invoke(body, content_type)
        assert (answer.status, answer.content_type, answer.json()) == (200, JSON, {"predictions": items})
        for spelled in ("verbose=True", " verbose=true", 'Verbose="True"'):
            answer = served.invoke(body, content_type, f"application/json;{spelled}")
            assert answer.json() == {"predictions": verbose}
        assert list(answer.json()["predictions"][0]) == ["dot_product", "entity_embedding", "ip_embedding"]
        for accept, expected in ((LINES, items), (f"{LINES}; verbose=True", verbose)):
            lines = served.invoke(body, content_type, accept).body.splitlines()
            assert [json.loads(line) for line in lines] == expected
        table = served.invoke(body, content_type, CSV).body.decode().splitlines()
        assert [float(line) for line in table] == scores
    assert served.invoke(b'{"instances": []}', JSON).json() == {"predictions": []}
    assert served.invoke(b"\n", CSV).status == 204
    for body, content_type, accept, status in (
        (b"a,1.2.3\n", CSV, JSON, 400),
        (b"a\n", CSV, JSON, 400),
        (b'{"instances": [{"features": ["a", "::1"]}]}', JSON, JSON, 400),
        (b"a,1.2.3.4\n", CSV, "application/json;verbose=maybe", 400),
        (b"a,1.2.3.4\n", "application/x-recordio-protobuf", JSON, 415),
        (b"a,1.2.3.4\n", CSV, "application/x-recordio-protobuf", 406),
    ):
        refused = served.invoke(body, content_type, accept)
        assert refused.status == status, refused.body
        assert b"Traceback" not in refused.body
    assert served.invoke(b"a,1.2.3.4\n").status == 200


def test_entities_that_were_never_seen_are_answered_the_same_each_time(root):
    model = load(root / "model")
    strangers = decode_bytes(b"nobody,1.2.3.4\nno one,1.2.3.4\nnobody,4.3.2.1\n", "the test", parse(CSV))
    first, again = (model.predict(strangers, {"verbose": "True"}) for _ in range(2))
    assert first["dot_product"].tolist() == again["dot_product"].tolist()
    assert first["entity_embedding"][0].tolist() == first["entity_embedding"][2].tolist()
    assert first["entity_embedding"][0].tolist() != first["entity_embedding"][1].tolist()
    assert first["ip_embedding"][0].tolist() == first["ip_embedding"][1].tolist()
    assert np.abs(first["dot_product"]).max() < 0.2


@pytest.mark.parametrize(
    ("body", "content_type", "problem"),
    [
        ("{", JSON, "the payload is not JSON"),
        ("[]", JSON, 'accepted: {"instances": [...]}'),
        ('{"instances": 3}', JSON, "the payload is not accepted"),
        ('{"instances": [["a", "1.2.3.4"]]}', JSON, "instances[0] is not accepted; accepted: {"),
        ('{"instances": [{"features": ["a"]}]}', JSON, "instances[0] has 1 values"),
        ('{"instances": [{"features": ["a", "1.2.3.4", 3]}]}', JSON, "instances[0] has 3 values"),
        ('{"instances": [{"data": {"features": ["a", "1.2.3.4"]}}]}', JSON, "instances[0] is not accepted"),
        ('{"instances": [{"data": {"features": {"values": "a"}}}]}', JSON, "instances[0] is not accepted"),
        ('{"instances": [{"features": [null, "1.2.3.4"]}]}', JSON, "the entity of instances[0] is null"),
        ('{"instances": [{"features": ["a", true]}]}', JSON, "the address of instances[0] is true"),
        ('{"instances": [{"features": ["a", NaN]}]}', JSON, "NaN is not JSON"),
        ('{"instances": [{"features": [" ", "1.2.3.4"]}]}', JSON, "the entity of instances[0] is empty"),
        ('{"instances": [{"features": ["a", "1.2.3.4\\n5.6.7.8"]}, {"features": ["b", "1.2.3.4"]}]}', JSON,
         "the address of instances[0] is '1.2.3.4\\n5.6.7.8'"),
        ('{"instances": [{"features": ["a", "1.2.3.4"]}, {"features": ["b", 1.5]}]}', JSON,
         "the address of instances[1] is '1.5'; an IPv4 address such as 192.0.2.7 is accepted"),
        ('{"features": ["a", "fe80::1"]}', LINES, "the address of line 1 is 'fe80::1'"),
        ('{"features": ["a", "1.2.3.4"]}\n\n{"features": ["a"]}', LINES, "line 3 has 1 values"),
        ('{"features": ["a", "1.2.3.4"]}\n{"features": ["a"', LINES, "line 2 is not JSON"),
        ('{"features": ["a", "1.2.3.4"]},{"features": ["b", "1.2.3.4"]}\n"c"', LINES, "line 1 is not JSON"),
        ("[1\n2]", LINES, "line 1 is not JSON"),
        ("[" * 100_000, LINES, "line 1 is nested too deeply"),
        ("user,ip", CSV, "line 1 of the payload holds 'ip'"),
    ],
)  # fmt: skip
def test_mistakes_in_requests(body, content_type, problem):
    with pytest.raises(ClientError) as fault:
        PairsCodec().decode(body.encode(), parse(content_type))
    assert problem in str(fault.value)
    assert "\n" not in str(fault.value)


def test_json_and_csv_name_the_same_entities():
    generator = np.random.default_rng(0)
    rows = [
        ("".join(map(chr, generator.integers(33, 0x700, 5))).replace('"', ""), f"10.0.{n % 256}.{n % 99}")
        for n in range(2000)
    ]
    table = "".join(f'"{entity}",{address}\n' for entity, address in rows)
    lines = "\n".join(json.dumps({"features": row}) for row in rows)
    one, other = (
        PairsCodec().decode(table.encode(), parse(CSV)),
        PairsCodec().decode(lines.encode(), parse(LINES)),
    )
    np.testing.assert_array_equal(one.entities, other.entities)
    np.testing.assert_array_equal(one.addresses, other.addresses)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_an_artifact_is_what_was_written(tmp_path, layers):
    model = learnt(layers)
    artifact.write(tmp_path / "model_algo-1", model)
    found = artifact.read(tmp_path)
    assert found.shape == model.shape
    for name in ("rows", "entities", "prefixes", "layers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(model, name))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (None, "has no file model_algo-1"),
        (b"PK\3\4", "ends early"),
        ([np.zeros(3, np.float32)], "is no model of IP Insights"),
        ({"description": np.zeros(5, np.int64)}, "not that of a model that is read"),
        ({"description": np.array([1, 1000, 3, 1, 0])}, "vector_dim in model_algo-1 is 3"),
        ({"description": np.array([1, 1 << 40, 6, 1, 0])}, "num_entity_vectors in model_algo-1"),
        ({"description": np.array([1, 1000, 6, 1, -1])}, "the seed in model_algo-1 is -1"),
        ({"description": np.array([1, 1000, 4096, 100, 0])}, "has the shape"),
        ({"entity_rows": np.array([1, 2, 2])}, "not different numbers from 0 to 999"),
        ({"entity_rows": np.array([1, 2, 1000])}, "not different numbers from 0 to 999"),
        ({"entity_rows": np.float32([1, 2, 3])}, "not a list of 64-bit integers"),
        ({"entity_vectors": np.zeros((2, 6), np.float32)}, "has the shape (2, 6); accepted: (3, 6)"),
        ({"entity_vectors": np.full((3, 6), np.nan, np.float32)}, "not all finite"),
        ({"prefix_vectors": np.zeros((9, 2), np.float32)}, "prefix_vectors in model_algo-1 has the shape"),
        ({"encoder_layers": np.zeros((7, 6))}, "encoder_layers in model_algo-1"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, change, problem):
    path = tmp_path / "model_algo-1"
    artifact.write(path, learnt())
    if change is None:
        path.unlink()
    elif isinstance(change, bytes):
        path.write_bytes(change)
    elif isinstance(change, list):
        ndarray.save(path, change)
    else:
        ndarray.save(path, {**ndarray.load(path), **change})
    with pytest.raises(ClientError) as refused:
        load(tmp_path)
    assert problem in str(refused.value)


def test_a_file_without_an_array_is_refused(tmp_path):
    path = tmp_path / "model_algo-1"
    artifact.write(path, learnt())
    arrays = ndarray.load(path)
    for name in ("prefix_vectors", "entity_vectors", "encoder_layers"):
        ndarray.save(path, {key: array for key, array in arrays.items() if key != name})
        with pytest.raises(ClientError, match=f"{name} in model_algo-1"):
            load(tmp_path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ClientError, match="ends early"):
        load(tmp_path)
