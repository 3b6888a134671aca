"""The real `serve`: every body in and out, odd requests, damaged models."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext

import numpy as np
import pytest

from common.content_types import JSON, JSON_LINES, RECORDIO_PROTOBUF, MediaType
from common.failures import ClientError
from common.formats import record_pb2, recordio
from containers.seq2seq import artifact
from containers.seq2seq.beam import translate
from containers.seq2seq.codec import Answer, TextCodec
from containers.seq2seq.config import EOS, UNK
from containers.seq2seq.predict import load
from tests.containers.seq2seq.networks import SOURCES, TARGETS, network, vocabulary

SENTENCES = ["s4 s9 s22", "s7", "s10 never-seen  s11\ts12 ", "", " ".join(["s5"] * 30)]
IDS = [[4, 9, 22], [7], [10, UNK, 11, 12], [], [5] * 30]


def made():
    tiny = network(seed=2, scale=1.0, beam_size=3)
    tiny.output.bias.data[EOS] += 1.0
    return tiny


@pytest.fixture
def folder(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    target = vocabulary(TARGETS, "t")
    artifact.write(lambda name: nullcontext(model / name), made(), vocabulary(SOURCES, "s"), target)
    return tmp_path


def expected():
    answers = translate(made(), [np.array(ids, np.int64) for ids in IDS], attention=True)
    assert len({len(answer.ids) for answer in answers}) > 2
    return answers


def text(ids) -> str:
    return " ".join("<unk>" if id == UNK else f"t{id}" for id in ids)


def record(ids, configuration: str = "", tensor: str = "int32_tensor", key: str = "source") -> bytes:
    made = record_pb2.Record(configuration=configuration)
    value = getattr(made.features[key], tensor)
    value.SetInParent()
    value.values.extend(ids)
    made.features["target"].SetInParent()
    return recordio.frame(made.SerializeToString(deterministic=True))


def targets(body: bytes) -> list[list[int]]:
    found = []
    for payload in recordio.payloads(io.BytesIO(body), "the answer"):
        answer = record_pb2.Record.FromString(payload)
        assert list(answer.features) == ["target"]
        assert not answer.label
        found.append(list(answer.features["target"].int32_tensor.values))
    return found


def test_every_body_in_and_out(endpoint, folder):
    served = endpoint("seq2seq", folder)
    wanted = expected()
    asked = {"attention_matrix": "true"}
    instances = [{"data": sentence} for sentence in SENTENCES]
    bodies = {
        JSON: json.dumps({"instances": instances}),
        JSON_LINES: "".join(json.dumps({"source": sentence}) + "\n" for sentence in SENTENCES),
        RECORDIO_PROTOBUF: b"".join(map(record, IDS)),
    }
    texts = [{"target": text(answer.ids)} for answer in wanted]
    for content_type, body in bodies.items():
        for accept in (JSON, JSON_LINES, RECORDIO_PROTOBUF, None):
            response = served.invoke(body, content_type, accept)
            assert response.status == 200, response.body
            kind = accept or content_type
            assert response.content_type == kind
            if kind == JSON:
                assert response.json() == {"predictions": texts}
            elif kind == JSON_LINES:
                assert [json.loads(line) for line in response.body.splitlines()] == texts
            else:
                assert targets(response.body) == [answer.ids.tolist() for answer in wanted]
    # The attention matrix is asked for by instance.
    for flag in ("true", True):
        instances[2]["configuration"] = instances[3]["configuration"] = {"attention_matrix": flag}
        instances[1]["configuration"] = {"attention_matrix": "false"}
        found = served.invoke(json.dumps({"instances": instances}), JSON).json()["predictions"]
        assert ["matrix" in answer for answer in found] == [False, False, True, True, False]
        np.testing.assert_allclose(found[2]["matrix"], wanted[2].attention, atol=1e-5)
        assert found[3] == {"target": "", "matrix": []}
    line = json.dumps({"source": SENTENCES[0], "configuration": asked})
    found = served.invoke(line, JSON_LINES).json()
    np.testing.assert_allclose(found["matrix"], wanted[0].attention, atol=1e-5)
    found = served.invoke(record(IDS[0], json.dumps(asked)), RECORDIO_PROTOBUF, JSON).json()
    np.testing.assert_allclose(found["predictions"][0]["matrix"], wanted[0].attention, atol=1e-5)
    refused = served.invoke("a,b", "text/csv")
    assert refused.status == 415
    assert served.invoke("", JSON).status == 204
    assert served.invoke("\n \n", JSON_LINES).status == 204
    assert served.invoke('{"instances": []}', JSON).json() == {"predictions": []}
    wrong = served.invoke('{"instances": [{"source": "s4"}]}', JSON)
    assert wrong.status == 400
    assert wrong.body.startswith(
        b"unable to evaluate payload provided: instances[0] has no text under 'data'"
    )


def test_several_processes_answer(endpoint, folder):
    served = endpoint(
        "seq2seq", folder, SAGEMAKER_MODEL_SERVER_WORKERS="2", SAGEMAKER_MODEL_SERVER_TIMEOUT="20"
    )
    wanted = [text(answer.ids) for answer in expected()]
    for _ in range(6):
        body = json.dumps({"instances": [{"data": sentence} for sentence in SENTENCES]})
        assert [answer["target"] for answer in served.invoke(body, JSON).json()["predictions"]] == wanted


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b'{"instances": [{"data": 5}]}', JSON,
         r"instances\[0\] has no text under 'data'; accepted: {\"data\""),
        (b'{"instances": [["s4"]]}', JSON, r"instances\[0\] has no text"),
        (b'{"data": "s4"}', JSON, "the payload is not accepted"),
        (b'{"instances": [', JSON, "the payload is not JSON"),
        (b"[" * 100_000, JSON, "nested too deeply"),
        (b"\xff\xfe{", JSON, "byte 0 of the payload is not utf-8"),
        (b'{"source": "a"}\n{"data": "a"}', JSON_LINES, "line 2 has no text under 'source'"),
        (b'{"instances": [{"data": "a", "configuration": {"attention_matrix": "yes"}}]}', JSON,
         r"the configuration of instances\[0\] is .* accepted: {\"attention_matrix\": \"true\"}"),
        (b'{"instances": [{"data": "a", "configuration": "true"}]}', JSON, "the configuration of"),
        (b"garbage, not records", RECORDIO_PROTOBUF, "does not begin with the RecordIO magic number"),
        (record([4])[:-3], RECORDIO_PROTOBUF, "ends in the middle of record 1"),
        (recordio.frame(b"\xff\xff\xff"), RECORDIO_PROTOBUF, "record 1 of the payload is not an aialgs"),
        (record([4]) + record([4], key="values"), RECORDIO_PROTOBUF,
         "record 2 of the payload has no int32_tensor under 'source'"),
        (record([4.0], tensor="float32_tensor"), RECORDIO_PROTOBUF, "has no int32_tensor under 'source'"),
        (record([4], "{"), RECORDIO_PROTOBUF, "the configuration of record 1 of the payload is not JSON"),
        (record([4], '{"attention_matrix": 1}'), RECORDIO_PROTOBUF, "the configuration of record 1"),
    ],
)  # fmt: skip
def test_requests_that_are_none(body, content_type, message):
    with pytest.raises(ClientError, match=message):
        TextCodec().decode(body, MediaType(content_type))


@pytest.mark.parametrize("id", [-1, SOURCES, 2**31 - 1, -(2**31)])
def test_ids_of_no_word(folder, id):
    predictor = load(folder / "model")
    request = TextCodec().decode(record([4]) + record([5, id]), MediaType(RECORDIO_PROTOBUF))
    with pytest.raises(ClientError, match=f"record 2 of the payload has the id {id}; accepted: .*0 to 22"):
        predictor.predict(request, {})


def test_words_that_can_not_be_written(folder):
    words = {**vocabulary(TARGETS - 1, "t"), "\ud800": TARGETS - 1}
    (folder / "model" / "vocab.trg.json").write_text(json.dumps(words))
    predictor = load(folder / "model")
    request = TextCodec().decode(b'{"source": "\\ud800 s4"}\n' * 3, MediaType(JSON_LINES))
    assert TextCodec().encode(predictor.predict(request, {}), MediaType(JSON))
    answer = [Answer([predictor._words[TARGETS - 1]], np.array([TARGETS - 1]), None)]
    assert TextCodec().encode(answer, MediaType(JSON)) == b'{"predictions":[{"target":"?"}]}'


def test_a_damaged_model_is_told(endpoint, folder, tmp_path):
    (folder / "model" / "params.best").write_bytes(b"nothing")
    with pytest.raises(ClientError, match=r"params\.best in the model folder: the NDArray file ends early"):
        load(folder / "model")
