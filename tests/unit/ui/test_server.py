"""The command from its first line to Ctrl-C."""

from __future__ import annotations

import errno
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from common.failures import ClientError
from local.ui import server
from tests.unit.ui.browser import until


@contextmanager
def running(folder):
    """`algodock ui`, and the address that it prints."""
    command = [sys.executable, "-m", "local.cli", "ui", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.stdout.read()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_it_ends_with_every_endpoint_that_it_started(trained, number, code):
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("elsewhere the system tells no child of its parent's end")
    with running(trained) as (process, address):
        assert "clusters" in urllib.request.urlopen(address).read().decode()
        asked = urllib.request.Request(
            f"{address}/jobs/clusters/try/start?part=1", b"", {"Origin": address}, method="POST"
        )
        assert "endpoint" in urllib.request.urlopen(asked).read().decode()
        page = f"{address}/jobs/clusters/try?part=1"
        until(lambda: "is ready" in urllib.request.urlopen(page).read().decode(), 60)
        port = int(re.search(r":(\d+)/invocations", urllib.request.urlopen(page).read().decode())[1])
        process.send_signal(number)
        assert process.wait(60) == code
        until(lambda: number == signal.SIGINT or refused(port), 60)
        assert refused(port)


def refused(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_a_taken_port_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ClientError, match="--port"):
        server.run(tmp_path, "127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ClientError, match="--host"):
        server.run(tmp_path, "192.0.2.1", 0)
    with pytest.raises(ClientError, match="65535"):
        server.run(tmp_path, "127.0.0.1", 70_000)
