"""One CSV row through a k-means endpoint, against a Flask app that answers a constant.

Both run under the same gunicorn settings (`serve.server.Server`) and are asked in turns, many short ones, so
that whatever else the machine does meets both. The clients are loops over sockets in two processes. Prints
the median latency of one client, the requests a second at 32, and the ratio of the rates::

    python -m bench.endpoint [--clients 32] [--seconds 0.8] [--rounds 11] [--model FOLDER]

Without ``--model`` it makes a k-means model of ten centers of 50 features by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PEER = "--constant-peer"
FEATURES = 50


def peer() -> None:
    """The other side of the comparison: Flask, gunicorn, and an answer that costs nothing."""
    from flask import Flask, Response

    from common.instances import threads
    from common.metrics import set_up_logging
    from serve import settings
    from serve.server import Server

    set_up_logging("warning")
    app = Flask("constant", static_folder=None)
    answer = json.dumps({"predictions": [{"distance_to_cluster": 4.5, "closest_cluster": 2.0}]})

    @app.get("/ping")
    def ping() -> Response:
        return Response(status=200)

    @app.post("/invocations")
    def invoke() -> Response:
        return Response(answer, content_type="application/json")

    Server(settings.read(os.environ, threads()), lambda: app).run()


@contextlib.contextmanager
def endpoint(command: list[str], root: Path) -> Iterator[int]:
    """Runs a server on a free port until the block ends; the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "OPT_ML": str(root),
        "ALGORITHM": os.environ.get("ALGORITHM", "kmeans"),
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not _pings(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{command} doesn't answer:\n{log.read().decode()}")
                time.sleep(0.1)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _pings(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def request(body: bytes) -> bytes:
    """The bytes of one request."""
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def latency(port: int, message: bytes, count: int) -> float:
    """The median seconds that one client waits for an answer."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            start = time.perf_counter()
            connection.sendall(message)
            _whole(connection)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def _whole(connection: socket.socket) -> None:
    received = b""
    while not _ends(received):
        part = connection.recv(65536)
        if not part:
            raise ConnectionError(f"closed after {received!r}")
        received += part


def _ends(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(received.decode())
    return len(body) >= int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])


def rate(port: int, message: bytes, clients: int, seconds: float, processes: int) -> float:
    """Requests a second that ``clients`` connections get answered, each with one request under way."""
    context = multiprocessing.get_context("fork")
    shares = [clients // processes + (index < clients % processes) for index in range(processes)]
    with context.Pool(processes) as pool:
        counts = pool.starmap(_load, [(port, message, share, seconds) for share in shares if share], 1)
    return sum(count / spent for count, spent in counts)


def _load(port: int, message: bytes, clients: int, seconds: float) -> tuple[int, float]:
    """One process of clients: a loop over sockets, so that it costs little beside the server."""
    selector = selectors.DefaultSelector()
    received: dict[socket.socket, bytes] = {}
    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        received[connection] = b""
        # One after the other, lest the process that wakes first take them all.
        connection.sendall(message)
        _whole(connection)
    for connection in received:
        connection.sendall(message)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for key, _ in selector.select(1):
            connection = key.fileobj  # type: ignore[assignment]
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("the server closed a connection")
            so_far = received[connection] + part
            if _ends(so_far):
                count += 1
                so_far = b""
                connection.sendall(message)
            received[connection] = so_far
    spent = time.perf_counter() - start
    for connection in received:
        connection.close()
    return count, spent


def make_model(folder: Path) -> None:
    """A k-means artifact of ten centers."""
    import numpy as np

    from common.formats import ndarray

    centers = np.random.default_rng(0).normal(size=(10, FEATURES)).astype(np.float32)
    folder.mkdir(parents=True)
    ndarray.save(folder / "model_algo-1", [centers])


def main() -> None:
    """The program; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench.endpoint")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--processes", type=int, default=2, help="processes that the clients share")
    parser.add_argument("--model", type=Path, help="the folder that stands for /opt/ml")
    parser.add_argument("--program", nargs="+", default=[sys.executable, "-m", "serve.server"])
    parser.add_argument("--row", help="the request's body")
    chosen = parser.parse_args()
    row = chosen.row or ",".join(f"{index / 7 - 3:.4f}" for index in range(FEATURES))
    message = request(row.encode() + b"\n")
    with tempfile.TemporaryDirectory() as scratch:
        root = chosen.model or Path(scratch)
        if chosen.model is None:
            make_model(root / "model")
        with (
            endpoint(chosen.program, root) as ours,
            endpoint([sys.executable, "-m", "bench.endpoint", PEER], root) as theirs,
        ):
            latencies: dict[int, list[float]] = {ours: [], theirs: []}
            rates: dict[int, list[float]] = {ours: [], theirs: []}
            for port in (ours, theirs):
                latency(port, message, 200)  # threads start, caches fill
            for _ in range(chosen.rounds):
                for port in (ours, theirs):
                    latencies[port].append(latency(port, message, 300))
                    rates[port].append(rate(port, message, chosen.clients, chosen.seconds, chosen.processes))
    for name, port in (("endpoint", ours), ("constant", theirs)):
        print(
            f"{name}: median latency {statistics.median(latencies[port]) * 1e3:.2f} ms, "
            f"{statistics.median(rates[port]):.0f} requests/s at {chosen.clients} clients"
        )
    ratios = sorted(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))
    print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; at least 0.7)")


if __name__ == "__main__":
    if PEER in sys.argv:
        peer()
    else:
        main()
