"""A local endpoint: a model unpacked, the very same `serve` started on it, requests sent."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from common import manifest
from common.failures import AlgorithmError, ClientError
from common.manifest import Manifest
from local.jobs import free_port, unpack_model
from local.runtimes.process import program

STOP_SECONDS = 30  # what SageMaker allows an endpoint after SIGTERM


@contextmanager
def unpacked(place: str, algorithm: str | None) -> Iterator[tuple[Manifest, Path]]:
    """The algorithm of a trained model, and a folder that stands for its endpoint's /opt/ml.

    Raises ClientError when neither ``algorithm`` nor the place tells whose model it is.
    """
    with tempfile.TemporaryDirectory(prefix="algodock-") as scratch:
        root = Path(scratch)
        told = unpack_model(place, root / "model")
        if algorithm is None and told is None:
            raise ClientError(f"{place} doesn't tell its algorithm; accepted: --algorithm NAME beside it")
        yield manifest.load(str(algorithm or told)), root


class Gone(AlgorithmError):
    """The endpoint doesn't answer any more."""


class Answer(NamedTuple):
    """What an endpoint answers to a request."""

    body: bytes
    content_type: str


class Endpoint:
    """`serve` as a child process on a port of its own; when none is given a free one, for this machine only.

    Its log goes to this process's output when ``verbose``, else to a file that tells why it didn't come up.
    """

    def __init__(
        self,
        algorithm: Manifest,
        root: Path,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        verbose: bool = False,
    ) -> None:
        self.port = _free(port) if port else free_port()
        self._log = None if verbose else (root / "serve.log").open("w+")
        self._process = subprocess.Popen(
            program("serve"),
            env={
                **os.environ,
                "ALGORITHM": algorithm.name,
                "OPT_ML": str(root),
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                "ALGODOCK_LOCAL_ONLY": "" if port else "1",
                **(environment or {}),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, seconds: float = 120) -> Endpoint:
        """Waits until /ping answers 200.

        Raises ClientError when the model can't be loaded, AlgorithmError with the log's last line when no
        answer comes.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                status, answer = self._request("GET", "/ping", b"", {})
                if status == 200:
                    return self
                # It answers once it has tried; it won't try again.
                raise ClientError(answer.body.decode(errors="replace").strip())
            time.sleep(0.05)
        reason = "see its log"
        if self._log:
            self._log.seek(0)
            reason = (self._log.read().strip().splitlines() or ["it printed nothing"])[-1]
        raise AlgorithmError(f"the endpoint did not come up: {reason}")

    def join(self) -> int:
        """Waits for the server to end; an interrupt stops it in good order."""
        try:
            return self._process.wait()
        except KeyboardInterrupt:
            return self.stop()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL when it takes longer than SageMaker waits."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self._process.kill()
        if self._log:
            self._log.close()
        return self._process.wait()

    def ask(self, body: bytes, content_type: str, accept: str | None = None) -> Answer:
        """POST /invocations.

        Raises ClientError with the endpoint's words for a status that isn't 2xx, Gone where none comes.
        """
        headers = {"Content-Type": content_type, **({"Accept": accept} if accept else {})}
        try:
            status, answer = self._request("POST", "/invocations", body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise Gone(f"the endpoint has ended or doesn't answer: {error}") from None
        if status >= 300:
            text = answer.body.decode(errors="replace").strip()
            raise ClientError(f"the endpoint answered {status}: {text}")
        return answer

    def execution_parameters(self) -> dict[str, Any]:
        """What the container asks of batch transform, by the platform's names; nothing where it doesn't."""
        status, answer = self._request("GET", "/execution-parameters", b"", {})
        try:
            told = json.loads(answer.body) if status == 200 else {}
        except ValueError:
            told = {}
        return told if isinstance(told, dict) else {}

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Answer]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, Answer(answer.read(), answer.getheader("Content-Type", ""))
        finally:
            connection.close()


def _free(port: int) -> int:
    """The same. Raises ClientError when it is taken: what answers there would be thought to be ours."""
    try:
        with socket.socket() as probe:
            # As gunicorn does, for connections of an endpoint that has just ended.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "there are 1 to 65535"
        raise ClientError(f"port {port} can't be used: {reason}; accepted: a free one after --port") from None
    return port
