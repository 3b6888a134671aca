import dataclasses
import io
import json
import logging

import numpy as np
import pytest

from common import content_types
from common.batches import Batch
from common.content_types import CSV, JSON, JSON_LINES, RECORDIO_PROTOBUF, MediaType
from common.failures import ClientError
from common.formats import encode_batch
from serve import app, models, settings

ROW = {
    CSV: b"3,4,0.1\n",
    JSON: b'{"instances": [{"features": [3, 4, 0.1]}]}',
    JSON_LINES: b'{"features": [3, 4, 0.1]}\n',
    RECORDIO_PROTOBUF: encode_batch(Batch(np.array([[3, 4, 0.1]], np.float32))),
}
ITEM = b'{"distance_to_cluster": 0.10000000149011612, "closest_cluster": 1.0}'
ANSWER = {
    CSV: b"1.0,0.10000000149011612\n",
    JSON: b'{"predictions": [' + ITEM + b"]}",
    JSON_LINES: ITEM + b"\n",
}


def invoke(client, body, content_type=JSON, accept=None, **headers):
    if accept is not None:
        headers["Accept"] = accept
    if content_type is not None:
        headers["Content-Type"] = content_type
    return client.post("/invocations", data=body, headers=headers)


def test_ping_is_empty(client):
    response = client().get("/ping")
    assert (response.status_code, response.data) == (200, b"")
    assert "Content-Type" not in response.headers


@pytest.mark.parametrize("accept", ROW)
@pytest.mark.parametrize("content_type", ROW)
def test_every_format_both_ways(client, content_type, accept):
    response = invoke(client(), ROW[content_type], content_type, accept)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == accept
    if accept != RECORDIO_PROTOBUF:
        assert response.data == ANSWER[accept]
    else:
        assert response.data.startswith(b"\x0a\x23\xd7\xce")


def test_defaults(client, manifest):
    response = invoke(client(), ROW[JSON], None)
    assert (response.status_code, response.data) == (200, ANSWER[JSON])
    wanted = client(SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="application/JSONLines")
    assert invoke(wanted, ROW[JSON], accept="*/*").data == ANSWER[JSON_LINES]
    assert invoke(wanted, ROW[JSON], accept=None).data == ANSWER[JSON_LINES]
    assert invoke(wanted, ROW[JSON], accept="text/csv").data == ANSWER[CSV]
    with pytest.raises(
        ClientError, match="DEFAULT_INVOCATIONS_ACCEPT is 'text/html'; accepted: application/"
    ):
        client(SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/html")


def test_an_algorithm_may_answer_alike(manifest):
    found = dataclasses.replace(
        manifest, inference=dataclasses.replace(manifest.inference, answers_alike=True)
    )
    types = app.Types.of(found, None)
    assert types.accept(None, RECORDIO_PROTOBUF).name == RECORDIO_PROTOBUF
    assert types.accept("*/*", CSV).name == CSV
    assert types.accept(JSON, CSV).name == JSON
    assert app.Types.of(found, JSON_LINES).accept(None, CSV).name == JSON_LINES


def test_an_algorithm_may_ignore_what_is_accepted(manifest):
    found = dataclasses.replace(
        manifest, inference=dataclasses.replace(manifest.inference, ignores_accept=True)
    )
    types = app.Types.of(found, JSON_LINES)
    for header in (None, "*/*", JSON, "text/html"):
        assert types.accept(header, CSV).name == CSV


def test_parameters_and_case(client):
    answer = invoke(client(), b"9,3,4,0.1", "Text/CSV; label_size=1; charset=UTF-8", "text/CSV;q=0.5, x/y")
    assert (answer.status_code, answer.data) == (200, ANSWER[CSV])
    answer = invoke(client(), ROW[CSV], CSV, "application/json; verbose=true")
    assert answer.headers["Content-Type"] == JSON
    assert len(answer.json["predictions"][0]["distances"]) == 2


def test_headers_of_the_platform_are_taken(client):
    names = ("Custom-Attributes", "Target-Model", "Target-Variant", "Inference-Id", "Anything-Else")
    headers = {f"X-Amzn-SageMaker-{name}": "x" * 1024 for name in names}
    assert invoke(client(), ROW[JSON], **headers).status_code == 200


def test_rows_stay_in_order(client):
    body = b"".join(b"%d,0,0\n" % index for index in range(1000))
    rows = invoke(client(), body, CSV).json["predictions"]
    assert [row["distance_to_cluster"] for row in rows[:3]] == [0, 1, 2]
    assert len(rows) == 1000


@pytest.mark.parametrize("content_type", [CSV, "image/png", None])
def test_an_empty_request_is_204(client, content_type):
    response = invoke(client(), b"", content_type)
    assert (response.status_code, response.data) == (204, b"")


def test_blank_lines_are_204_and_no_instances_an_empty_list(client):
    assert invoke(client(), b"\n \n", JSON_LINES).status_code == 204
    response = invoke(client(), b'{"instances": []}')
    assert (response.status_code, response.data) == (200, b'{"predictions": []}')


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "text"),
    [
        (b"1,2", CSV, None, 400, "unable to evaluate payload provided: "),
        (b"{}", JSON, None, 400, 'unable to evaluate payload provided: the key "instances" is missing'),
        (
            b"1,2,3",
            CSV,
            "image/png",
            406,
            "Accept type image/png is not supported; accepted: application/json,",
        ),
        (
            b"1,2,3",
            "application/octet-stream",
            None,
            415,
            "content-type application/octet-stream not supported",
        ),
        (b"4001,0,0", CSV, None, 400, "unable to evaluate payload provided: row 1 can't be answered"),
        (b"4002,0,0", CSV, None, 500, "internal error: ValueError; the endpoint's log has more"),
        (b"4003,0,0", CSV, None, 507, "there is not enough memory"),
    ],
)
def test_refusals(client, caplog, body, content_type, accept, status, text):
    endpoint = client()
    with caplog.at_level(logging.INFO, "algodock"):
        logging.getLogger("algodock").propagate = True
        response = invoke(endpoint, body, content_type, accept)
    assert response.status_code == status
    assert response.text.startswith(text)
    assert "\n" not in response.text
    assert "Traceback" not in response.text
    assert "secret" not in response.text
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"POST /invocations {status}: {response.text}"]
    # and the endpoint lives on
    assert invoke(endpoint, ROW[JSON]).status_code == 200


def test_content_encoding_is_refused(client):
    response = invoke(client(), ROW[JSON], **{"Content-Encoding": "gzip"})
    assert (response.status_code, response.text) == (
        415,
        "content-encoding gzip not supported; accepted: identity",
    )
    assert invoke(client(), ROW[JSON], **{"Content-Encoding": "identity"}).status_code == 200


def test_payload_limit(client):
    small = client(MAX_CONTENT_LENGTH="20")
    assert invoke(small, b"1.0000000000,2,3.000", CSV).status_code == 200
    response = invoke(small, b"1.0000000000,2,3.0000", CSV)
    assert (response.status_code, response.text) == (
        413,
        "the payload is larger than 20 bytes, which is all that one may hold",
    )
    large = client(SAGEMAKER_MAX_PAYLOAD_IN_MB="7")
    body = b"1.%s,2,3\n" % (b"0" * 1000) * 6300
    assert invoke(client(), body, CSV).status_code == 413
    assert invoke(large, body, CSV, CSV).status_code == 200


def test_a_body_without_length(client):
    small = client(MAX_CONTENT_LENGTH="20")
    for body, status in ((b"1,2,3", 200), (b"1,2,3" * 100, 413), (b"", 204)):
        response = small.post(
            "/invocations",
            input_stream=io.BytesIO(body),
            content_type=CSV,
            headers={"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert response.status_code == status


def test_a_body_that_breaks_off(client):
    response = client().post(
        "/invocations",
        input_stream=io.BytesIO(b"1,2"),
        content_type=CSV,
        environ_overrides={"CONTENT_LENGTH": "5"},
    )
    assert (response.status_code, response.text) == (400, "the payload ends after 3 of 5 bytes")


def test_execution_parameters(client):
    response = client(SAGEMAKER_MODEL_SERVER_WORKERS="4").get("/execution-parameters")
    assert response.json == {
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }
    asked = client(
        SAGEMAKER_BATCH="true",
        SAGEMAKER_MAX_CONCURRENT_TRANSFORMS="2",
        SAGEMAKER_BATCH_STRATEGY="SINGLE_RECORD",
        SAGEMAKER_MAX_PAYLOAD_IN_MB="20",
    ).get("/execution-parameters")
    assert asked.json == {
        "MaxConcurrentTransforms": 2,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 20,
    }


def test_other_routes_and_methods(client):
    endpoint = client()
    missing = endpoint.get("/elsewhere%0Aand%0Aon")
    assert (missing.status_code, missing.text) == (404, "GET /elsewhere and on: Not Found")
    assert endpoint.get("/models").status_code == 404
    wrong = endpoint.get("/invocations")
    assert (wrong.status_code, wrong.text) == (405, "GET /invocations: Method Not Allowed")
    assert "POST" in wrong.headers["Allow"]


def test_a_model_that_cannot_be_loaded(manifest, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(models.LoadError) as caught:
        models.load(manifest, tmp_path / "model")
    endpoint = app.single(app.Types.of(manifest, None), settings.read({}, 2), caught.value).test_client()
    for response in (endpoint.get("/ping"), invoke(endpoint, ROW[JSON])):
        assert response.status_code == 500
        assert response.text == "Unable to load model: the model's folder has no centers.json"
    assert endpoint.get("/execution-parameters").status_code == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "model holds no model that can be read"), ("[[1], [2, 3]]", "holds no model that can be read")],
)
def test_a_broken_model_is_one_sentence(manifest, tmp_path, text, message):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "centers.json").write_text(text)
    with pytest.raises(models.LoadError, match=message) as caught:
        models.load(manifest, tmp_path / "model")
    assert caught.value.status == 500


def test_no_model_at_all(manifest, tmp_path):
    with pytest.raises(models.LoadError, match=r"folder .* is missing"):
        models.load(manifest, tmp_path / "model")


class Shouting:
    """A codec of an algorithm's own."""

    def __init__(self, environment):
        self.mark = environment.get("MARK", "!")

    def decode(self, body, content_type):
        assert isinstance(content_type, MediaType)
        if body == b"odd":
            raise ClientError("odd bodies are not decoded", 415)
        return None if body == b"empty" else np.ones((1, 3), np.float32)

    def encode(self, columns, accept):
        return f"{sorted(columns)}{self.mark}".encode()


def test_a_codec_of_the_algorithm(manifest, monkeypatch, make_model, tmp_path):
    monkeypatch.setattr(manifest.module("predict"), "codec", Shouting, raising=False)
    loaded = models.load(manifest, make_model(tmp_path / "model"), {"MARK": "?"})
    endpoint = app.single(app.Types.of(manifest, None), settings.read({}, 2), loaded).test_client()
    answer = invoke(endpoint, b"x", CSV, CSV)
    assert (answer.status_code, answer.text) == (200, "['closest_cluster', 'distance_to_cluster']?")
    assert invoke(endpoint, b"empty", CSV).status_code == 204
    odd = invoke(endpoint, b"odd", CSV)
    assert (odd.status_code, odd.text) == (415, "odd bodies are not decoded")


def test_only_what_the_manifest_lists_is_taken_and_answered(manifest, make_model, tmp_path):
    inference = dataclasses.replace(manifest.inference, content_types=(JSON,), accepts=(JSON, CSV))
    narrow = dataclasses.replace(manifest, inference=inference)
    loaded = models.load(narrow, make_model(tmp_path / "model"))
    endpoint = app.single(app.Types.of(narrow, None), settings.read({}, 2), loaded).test_client()
    assert invoke(endpoint, ROW[JSON], JSON, CSV).status_code == 200
    assert invoke(endpoint, ROW[CSV], CSV).status_code == 415
    assert invoke(endpoint, ROW[JSON], JSON, JSON_LINES).status_code == 406


def test_a_codec_may_leave_types_to_the_standard_one(manifest, monkeypatch, make_model, tmp_path):
    class Half(Shouting):
        standard = (JSON_LINES,)

        def encode(self, columns, accept):
            return str(columns["closest_cluster"].tolist()).encode()

    monkeypatch.setattr(manifest.module("predict"), "codec", Half, raising=False)
    loaded = models.load(manifest, make_model(tmp_path / "model"))
    lines = b'{"features":[3,4,0]}\n{"features":[0,0,0]}\n'
    assert loaded.answer(lines, MediaType(JSON_LINES), MediaType(CSV)) == b"[1.0, 0.0]"
    assert loaded.answer(b"x", MediaType(CSV), MediaType(CSV)) == b"[0.0]"


def test_types_without_slashes_are_understood(client):
    assert invoke(client(), ROW[CSV], "csv").status_code == 200
    assert json.loads(invoke(client(), ROW[CSV], "csv", "json").data)
    assert content_types.parse("csv").name == CSV


def test_two_slashes_are_one(client):
    def post(content_type):
        return client().post(
            data=ROW[CSV],
            headers={"Content-Type": content_type, "Accept": CSV},
            environ_overrides={"PATH_INFO": "//invocations"},
        )

    assert post(CSV).data == ANSWER[CSV]
    assert post("text/html").status_code == 415


def test_a_number_too_long_to_be_one(client):
    response = invoke(client(), ROW[CSV], f"text/csv; label_size={'9' * 5000}")
    assert response.status_code == 400
    assert response.text.endswith("label_size is a whole number from 0 to 999999999")
