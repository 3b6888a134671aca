"""The `serve` program as a process, with an algorithm as small as these tests need."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serve.server import scratch

PROGRAM = Path(__file__).parent / "program.py"
ROW = ("POST", "/invocations", "3,4,0.1", {"Content-Type": "text/csv", "Accept": "text/csv"})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Endpoint:
    def __init__(self, root, log, **environment):
        self.port = free_port()
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env={
                **os.environ,
                "ALGORITHM": "nearest",
                "OPT_ML": str(root),
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
                **environment,
            },
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method, path, body=None, headers=None, connection=None):
        connection = connection or self.connection()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()

    def wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                return self.ask("GET", "/ping")
            time.sleep(0.05)
        raise AssertionError(f"no endpoint: {self.log.read_text()}")

    def end(self, number=signal.SIGTERM, within=60):
        self.process.send_signal(number)
        return self.process.wait(within)

    def workers(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


@pytest.fixture
def endpoint(tmp_path, make_model):
    """Starts an endpoint; all end with the test."""
    started = []

    def start(wait=True, **environment):
        if not (tmp_path / "model").exists():
            make_model(tmp_path / "model")
        found = Endpoint(tmp_path, tmp_path / f"log-{len(started)}", **environment)
        started.append(found)
        if wait:
            assert found.wait()[0] == 200
        return found

    yield start
    for found in started:
        if found.process.poll() is None:
            found.process.kill()
            found.process.wait()


def test_serves_on_one_connection_until_sigterm(endpoint):
    server = endpoint()
    connection = server.connection()
    for _ in range(5):
        assert server.ask(*ROW, connection) == (200, "1.0,0.10000000149011612\n")
    assert server.ask("POST", "/invocations", "4002,0,0", ROW[3], connection)[0] == 500
    assert server.ask(*ROW, connection)[0] == 200
    deadline = time.monotonic() + 60
    while len(workers := server.workers()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2
    assert server.end() == 0
    log = server.log.read_text()
    assert log.count("loaded\n") == 1  # before the fork, for all
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.parametrize("alone", ["", "1"], ids=["every address", "this machine only"])
def test_who_may_ask(endpoint, alone):
    server = endpoint(ALGODOCK_LOCAL_ONLY=alone)
    # An address of this machine that isn't 127.0.0.1 stands for those that others reach.
    with socket.socket() as probe:
        probe.settimeout(5)
        assert (probe.connect_ex(("127.0.0.2", server.port)) == 0) == (not alone)


def test_sigint_ends_it_cleanly(endpoint):
    server = endpoint()
    assert server.end(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_processes_start(endpoint, number):
    """A process that has not begun yet when all should end does end."""
    server = endpoint(wait=False, TEST_PAUSE_AFTER_FORK="1.5")
    deadline = time.monotonic() + 60
    while len(server.workers()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.end(number) == 0


def test_sigterm_lets_answers_under_way_finish(endpoint):
    server = endpoint()
    answers = []
    slow = threading.Thread(
        target=lambda: answers.append(server.ask("POST", "/invocations", "4004,1.5,0", ROW[3]))
    )
    slow.start()
    time.sleep(0.5)
    assert server.end() == 0
    slow.join()
    assert answers[0][0] == 200


def test_sigterm_while_the_model_is_loaded(endpoint, tmp_path, make_model):
    (make_model(tmp_path / "model") / "slow").write_text("60")
    server = endpoint(wait=False)
    deadline = time.monotonic() + 60
    while "loaded" not in server.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.end(within=30) == 0
    assert "Traceback" not in server.log.read_text()


def test_several_at_once(endpoint):
    servers = [endpoint(), endpoint()]
    assert all(server.ask(*ROW)[0] == 200 for server in servers)
    assert servers[0].end() == 0
    assert servers[1].ask(*ROW)[0] == 200


def test_a_model_that_cannot_be_loaded(endpoint, tmp_path):
    (tmp_path / "model").mkdir()
    server = endpoint(wait=False)
    assert server.wait() == (500, "Unable to load model: the model's folder has no centers.json")
    assert "ERROR" in server.log.read_text()
    assert server.ask(*ROW)[0] == 500
    assert server.end() == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SAGEMAKER_BIND_TO_PORT": "x"}, "ClientError: the environment variable SAGEMAKER_BIND_TO_PORT"),
        ({"ALGORITHM": "nearst"}, "ClientError: algorithm nearst is unknown; accepted: nearest"),
        (
            {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "x/y"},
            "ClientError: the environment variable SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is 'x/y'; accepted",
        ),
    ],
)
def test_a_wrong_environment_ends_it_with_a_sentence(endpoint, environment, message):
    server = endpoint(wait=False, **environment)
    assert server.process.wait(60) == 1
    assert message in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_a_payload_that_is_too_large_is_told_so(endpoint):
    server = endpoint(MAX_CONTENT_LENGTH="100000")
    connection = server.connection()
    status, text = server.ask(
        "POST", "/invocations", b"1" * 1_000_000, {"Content-Type": "text/csv"}, connection
    )
    assert (status, text) == (413, "the payload is larger than 100000 bytes, which is all that one may hold")
    assert server.ask(*ROW, connection)[0] == 200
    chunks = iter([b"1,2,", b"3\n"] * 3)
    status, text = server.ask("POST", "/invocations", chunks, ROW[3], connection)
    assert (status, text.count("\n")) == (200, 3)


def test_many_clients(endpoint):
    server = endpoint()
    statuses = []

    def work():
        connection = server.connection()
        statuses.extend(server.ask(*ROW, connection)[0] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 320


def test_models_come_and_go(endpoint, tmp_path, make_model):
    before = set(Path(scratch()).glob("algodock-models-*"))
    for name in "ab":
        make_model(tmp_path / "models" / name / "model", [[ord(name), 0, 0]])
    server = endpoint(SAGEMAKER_MULTI_MODEL="true", ALGODOCK_MAX_MODELS="1")
    for name in "ab":
        asked = json.dumps({"model_name": name, "url": f"/opt/ml/models/{name}/model"})
        assert server.ask("POST", "/models", asked)[0] == 200
        assert server.ask("POST", "/models", asked)[0] == 409
    assert server.ask("POST", "/models/a/invoke", "97,0,1", ROW[3]) == (200, "0.0,1.0\n")
    # What was loaded is known still when a process is replaced.
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while server.workers() in ([], [worker]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.ask("POST", "/models/b/invoke", "98,0,1", ROW[3]) == (200, "0.0,1.0\n")
    assert len(json.loads(server.ask("GET", "/models")[1])["models"]) == 2
    assert server.ask("DELETE", "/models/a")[0] == 200
    assert server.ask("GET", "/models/a")[0] == 404
    assert server.end() == 0
    assert set(Path(scratch()).glob("algodock-models-*")) <= before


def test_with_threads_of_openmp_each_process_loads_its_own_model(endpoint):
    # A process that has run them can't be forked: its children would wait for them for ever.
    server = endpoint(OMP_NUM_THREADS="2")
    deadline = time.monotonic() + 60
    while server.log.read_text().count("loaded\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.ask(*ROW)[0] == 200
    assert server.end() == 0
    assert server.log.read_text().count("loaded\n") == 2


def test_a_model_that_takes_longer_to_load_than_an_answer_may(endpoint, tmp_path, make_model):
    (make_model(tmp_path / "model") / "slow").write_text("7")
    server = endpoint(
        OMP_NUM_THREADS="2", SAGEMAKER_MODEL_SERVER_WORKERS="1", SAGEMAKER_MODEL_SERVER_TIMEOUT="4"
    )
    assert server.ask(*ROW)[0] == 200
    assert server.log.read_text().count("loaded\n") == 1


def test_a_port_that_is_taken(endpoint):
    first = endpoint()
    second = endpoint(wait=False, SAGEMAKER_BIND_TO_PORT=str(first.port))
    assert second.process.wait(60) == 1
    assert str(first.port) in second.log.read_text()
    assert first.ask(*ROW)[0] == 200


def test_a_stop_during_start_is_not_to_be_caught():
    code = """
import os, signal
import serve.server as server
def stopped_while_it_is_imported():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        pass
    os._exit(7)
server.manifest.current = stopped_while_it_is_imported
server.main()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


POST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nConnection: close\r\n"


def said(server, request):
    """What the endpoint answers to these bytes, after which the client says no more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b"")).decode()


@pytest.mark.parametrize(
    ("chunks", "told"),
    [
        (b"6\r\n3,4", "it ends early or stops coming"),
        (b"x\r\n3,4", "its chunks are damaged"),
        (b"4;\r\x01\r\n3,4\n\r\n0\r\n\r\n", "its chunks are damaged"),
    ],
)
def test_damaged_chunks_are_the_clients_fault(endpoint, chunks, told):
    server = endpoint()
    answer = said(server, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith("HTTP/1.1 400 ")
    assert answer.endswith(f"can't be read to its end: {told}")
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("count", "begun"), [(60, b""), (8, b"POST /inv"), (8, POST + b"Content-Length: 60\r\n\r\n3,")]
)
def test_silent_clients_dont_hold_up_others_for_ever(endpoint, count, begun):
    server = endpoint(SAGEMAKER_MODEL_SERVER_WORKERS="1", SAGEMAKER_MODEL_SERVER_TIMEOUT="5")
    with contextlib.ExitStack() as silent:
        for _ in range(count):
            client = silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(begun)
        assert server.ask(*ROW)[0] == 200
    assert "Traceback" not in server.log.read_text()
