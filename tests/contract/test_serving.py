"""An endpoint as SageMaker meets it: the `serve` program with a real model, over a socket."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.batches import Batch
from common.formats import encode_batch, ndarray, record_pb2

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
RECORDS = "application/x-recordio-protobuf"

# Squared distances and their roots are exact in floats, so bodies can be compared to the letter.
CENTERS = np.array([[0, 0, 0], [16, 0, 0], [0, 16, 0], [0, 0, 16]], np.float32)
ROWS = np.array([[0.5, 18, 0], [16, 0, 4.5]], np.float32)

REQUESTS = {
    "csv": (CSV, b"0.5,18,0\n16,0,4.5\n"),
    "csv with labels": ("text/CSV; label_size=1; charset=utf-8", b"1,0.5,18,0\n0,16,0,4.5"),
    "json": (
        "application/JSON",
        b'{"instances":[{"features":[0.5,18,0]},{"data":{"features":{"values":[16.0,0,4.5]}}}]}',
    ),
    "sparse json": (
        JSON,
        b'{"instances":[{"data":{"features":{"keys":[1,0],"shape":[3],"values":[18,0.5]}}},'
        b'{"data":{"features":{"keys":[0,2],"shape":[3],"values":[16,4.5]}},"configuration":{}}]}',
    ),
    "json lines": (
        JSON_LINES,
        b'{"features":[0.5,18,0.0]}\n{"data":{"features":{"keys":[0,2],"shape":[3],"values":[16,4.5]}}}\n',
    ),
    "records": (RECORDS, encode_batch(Batch(ROWS))),
}

FIRST = '{"distance_to_cluster": 2.0615527629852295, "closest_cluster": 2.0}'
SECOND = '{"distance_to_cluster": 4.5, "closest_cluster": 1.0}'
ANSWERS = {
    JSON: f'{{"predictions": [{FIRST}, {SECOND}]}}',
    JSON_LINES: f"{FIRST}\n{SECOND}\n",
    CSV: "2.0,2.0615527629852295\n1.0,4.5\n",
}


class Endpoint:
    def __init__(self, root, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = root / f"log-{self.port}"
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("serve"))],
            env={
                **os.environ,
                "ALGORITHM": "kmeans",
                "OPT_ML": str(root),
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                **environment,
            },
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.ask("GET", "/ping")
                return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def ask(self, method, path, body=None, **headers):
        """Status, body and content type; of header names, - is written _."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {key.replace("_", "-"): text for key, text in headers.items()})
        response = connection.getresponse()
        found = response.status, response.read(), response.headers.get("Content-Type")
        connection.close()
        return found

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ml")
    (folder / "model").mkdir()
    ndarray.save(folder / "model" / "model_algo-1", [CENTERS])
    # The SDK's local mode leaves these beside the model.
    (folder / "model" / "model.tar.gz").write_bytes(b"not read")
    (folder / "model" / "predict.py").write_text("raise SystemExit('executed')")
    return folder


@pytest.fixture(scope="module")
def endpoint(root):
    server = Endpoint(root)
    yield server
    assert server.end() == 0


def test_ping(endpoint):
    assert endpoint.ask("GET", "/ping") == (200, b"", None)


def test_execution_parameters(endpoint):
    status, body, kind = endpoint.ask("GET", "/execution-parameters")
    assert (status, kind) == (200, JSON)
    parameters = json.loads(body)
    assert parameters.keys() == {"MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"}
    assert (parameters["BatchStrategy"], parameters["MaxPayloadInMB"]) == ("MULTI_RECORD", 6)
    assert parameters["MaxConcurrentTransforms"] >= 1


@pytest.mark.parametrize("accept", ANSWERS)
@pytest.mark.parametrize("name", REQUESTS)
def test_bodies_to_the_letter(endpoint, name, accept):
    content_type, body = REQUESTS[name]
    found = endpoint.ask("POST", "/invocations", body, Content_Type=content_type, Accept=accept)
    assert found == (200, ANSWERS[accept].encode(), accept)


@pytest.mark.parametrize("name", REQUESTS)
def test_records_answer_each_row(endpoint, name):
    content_type, body = REQUESTS[name]
    status, answer, kind = endpoint.ask(
        "POST", "/invocations", body, Content_Type=content_type, Accept=RECORDS
    )
    assert (status, kind) == (200, RECORDS)
    labels = []
    while answer:
        size = int.from_bytes(answer[4:8], "little")
        record = record_pb2.Record.FromString(answer[8 : 8 + size])
        assert not record.features
        labels.append({key: list(value.float32_tensor.values) for key, value in record.label.items()})
        answer = answer[8 + (size + 3) // 4 * 4 :]
    assert labels == [
        {"closest_cluster": [2.0], "distance_to_cluster": [2.0615527629852295]},
        {"closest_cluster": [1.0], "distance_to_cluster": [4.5]},
    ]


def test_without_headers_it_is_json(endpoint):
    assert endpoint.ask("POST", "/invocations", REQUESTS["json"][1])[1].decode() == ANSWERS[JSON]
    found = endpoint.ask("POST", "/invocations", REQUESTS["csv"][1], Content_Type=CSV)
    assert found == (200, ANSWERS[JSON].encode(), JSON)


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b"", {}, 204, ""),
        (b"1,2", {"Content_Type": CSV}, 400, "unable to evaluate payload provided: "),
        (b"1,2,x", {"Content_Type": CSV}, 400, "unable to evaluate payload provided: "),
        (b'{"instances":[{"features":[1,2,NaN]}]}', {}, 400, "unable to evaluate payload provided: "),
        (b"[" * 100_000, {}, 400, "unable to evaluate payload provided: the payload is nested too deeply"),
        (b"junk", {"Content_Type": RECORDS}, 400, "unable to evaluate payload provided: "),
        (
            b"1,2,3",
            {"Content_Type": CSV, "Accept": "image/png"},
            406,
            "Accept type image/png is not supported",
        ),
        (b"x", {"Content_Type": "image/png"}, 415, "content-type image/png not supported"),
        (b"1" * 6_291_457, {"Content_Type": CSV}, 413, "the payload is larger than 6291456 bytes"),
    ],
)
def test_refusals(endpoint, body, headers, status, text):
    found = endpoint.ask("POST", "/invocations", body, **headers)
    assert found[0] == status
    assert found[1].decode().startswith(text)
    assert b"\n" not in found[1]
    assert endpoint.ask("GET", "/ping")[0] == 200


def test_hostile_sizes_allocate_nothing(endpoint):
    body = b'{"instances":[{"data":{"features":{"keys":[0],"shape":[1000000000000],"values":[1]}}}]}'
    assert endpoint.ask("POST", "/invocations", body)[0] == 400
    record = record_pb2.Record()
    tensor = record.features["values"].float32_tensor
    tensor.values.append(1)
    tensor.keys.append(10**15)
    tensor.shape.append(10**16)
    payload = record.SerializeToString()
    framed = b"\x0a\x23\xd7\xce" + len(payload).to_bytes(4, "little") + payload + b"\0" * (-len(payload) % 4)
    assert endpoint.ask("POST", "/invocations", framed, Content_Type=RECORDS)[0] == 400


def test_batch_transform(root):
    server = Endpoint(
        root,
        SAGEMAKER_BATCH="true",
        SAGEMAKER_MAX_PAYLOAD_IN_MB="20",
        SAGEMAKER_BATCH_STRATEGY="MULTI_RECORD",
        SAGEMAKER_MAX_CONCURRENT_TRANSFORMS="3",
    )
    parameters = json.loads(server.ask("GET", "/execution-parameters")[1])
    assert parameters == {
        "MaxConcurrentTransforms": 3,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 20,
    }
    rows = b"16.%s,0,4.5\n" % (b"0" * 1000) * 8000  # more than an ordinary endpoint takes
    status, body, _ = server.ask("POST", "/invocations", rows, Content_Type=CSV, Accept=CSV)
    assert status == 200
    assert body == b"1.0,4.5\n" * 8000
    assert server.end() == 0


def test_multi_model(root):
    for index in range(3):
        folder = root / "models" / f"m{index}" / "model"
        folder.mkdir(parents=True)
        ndarray.save(folder / "model_algo-1", [CENTERS + index])
    server = Endpoint(root, SAGEMAKER_MULTI_MODEL="true", ALGODOCK_MAX_MODELS="2")
    for index in range(3):
        asked = json.dumps({"model_name": f"m{index}", "url": f"/opt/ml/models/m{index}/model"})
        assert server.ask("POST", "/models", asked)[0] == 200
        assert server.ask("POST", "/models", asked)[0] == 409
    for index in (0, 1, 2, 0):
        found = server.ask(
            "POST", f"/models/m{index}/invoke", f"{index},{index},{index}", Content_Type=CSV, Accept=CSV
        )
        assert found == (200, b"0.0,0.0\n", CSV)
    page = json.loads(server.ask("GET", "/models?limit=2")[1])
    assert [model["modelName"] for model in page["models"]] == ["m0", "m1"]
    page = json.loads(server.ask("GET", f"/models?limit=2&next_page_token={page['nextPageToken']}")[1])
    assert page == {"models": [{"modelName": "m2", "modelUrl": "/opt/ml/models/m2/model"}]}
    assert server.ask("DELETE", "/models/m0")[0] == 200
    for method, path in (
        ("GET", "/models/m0"),
        ("DELETE", "/models/m0"),
        ("POST", "/models/m0/invoke"),
    ):
        assert server.ask(method, path)[0] == 404
    assert server.end() == 0


def test_xgboost_takes_json_too(training_job):
    rows = b"".join(b"%d,%d,%d\n" % (row % 2, row % 2 * 5, row) for row in range(40))
    job = training_job("xgboost", num_round=2, objective="binary:logistic")
    server = Endpoint(job.channel("train", rows, "text/csv").run().succeeded().root, ALGORITHM="xgboost")

    def ask(body, kind):
        return server.ask("POST", "/invocations", body, Content_Type=kind)

    expected = ask(b"5,1\n0,2\n", CSV)
    assert expected[0] == 200
    wrapped = b'{"instances":[{"features":[5,1]},{"data":{"features":{"values":[0,2]}}}]}'
    assert ask(wrapped, JSON) == expected
    assert ask(b'{"features":[5,1]}\n{"features":[0,2]}\n', JSON_LINES) == expected
    sparse = b'{"instances":[{"data":{"features":{"keys":[1],"shape":[2],"values":[2]}}}]}'
    assert ask(sparse, JSON) == ask(b",2\n", CSV)
    assert ask(b'{"instances":[{"features":["a",1]}]}', JSON)[0] == 400
    assert server.end() == 0
