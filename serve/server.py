"""The ``serve`` program: gunicorn round the app, the model loaded before it forks."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from common import job, manifest
from common.failures import ClientError
from common.instances import threads
from common.metrics import set_up_logging
from serve import settings
from serve.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

    from common.manifest import Manifest
    from serve.models import Registry

log = logging.getLogger("algodock.serve")

# Answering is brief and mostly holds the interpreter's lock, so threads don't add speed. They keep a client
# that sends slowly, or a long answer, from holding up the others of its process, /ping among them.
THREADS = 8
# With many models one process has them all (serve/models.py), and only threads can answer side by side.
MULTI_MODEL_THREADS = 16
# SageMaker kills what still runs 30 seconds after SIGTERM.
GRACE = 25
# Longer than load balancers keep idle connections, so that it is they who close them.
KEEPALIVE = 75


class Log(Logger):
    """gunicorn's own lines in the form of all others."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        self.error_log = logging.getLogger("algodock.gunicorn")


class Server(BaseApplication):
    """gunicorn with an endpoint's settings, and nothing from its own files and variables."""

    def __init__(self, chosen: Settings, application: Any, registry: Registry | None = None) -> None:
        self._settings = chosen
        self._application = application
        self._registry = registry
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for name, value in {
            "bind": f"0.0.0.0:{self._settings.port}",
            "workers": 1 if self._settings.multi_model else self._settings.workers,
            "worker_class": "gthread",
            "threads": MULTI_MODEL_THREADS if self._settings.multi_model else THREADS,
            "timeout": self._settings.timeout,
            "graceful_timeout": GRACE,
            "keepalive": KEEPALIVE,
            "preload_app": True,
            # Heartbeats are a file's time; /opt/ml may be read-only, and a disk may be slow.
            "worker_tmp_dir": scratch(),
            "logger_class": Log,
            "proc_name": "serve",
            # A process that replaces one that died takes up the models that that one knew.
            "post_fork": self._forked,
            "on_exit": self._ended,
            # Several endpoints at once must not meet at one socket in the user's home.
            "control_socket_disable": True,
            # Custom attributes are up to 1,024 characters, custom Accepts long as they may be.
            "limit_request_field_size": 16380,
        }.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Called by gunicorn, before it forks."""
        # What is in memory by now stays: no collection walks it, so its pages stay shared between processes.
        gc.collect()
        gc.freeze()
        return self._application

    def _forked(self, arbiter: Any, worker: Any) -> None:
        if self._registry is not None:
            self._registry.restore()

    def _ended(self, arbiter: Any) -> None:
        if self._registry is not None:
            self._registry.forget()


def scratch() -> str:
    """Where small files of a running endpoint go: in memory if possible, since /tmp may be read-only too."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


def application(found: Manifest, chosen: Settings, root: Path) -> tuple[Flask, Registry | None]:
    """The endpoint's app with its model, or with the registry of its models."""
    from serve import app, models

    if chosen.multi_model:
        # The name is this process's: endpoints may run side by side.
        state = Path(scratch()) / f"algodock-models-{os.getpid()}.json"
        registry = models.Registry(found, root, chosen.model_memory, chosen.max_models, state)
        return app.many(found, chosen, registry), registry
    loaded: models.Model | models.LoadError
    try:
        loaded = models.load(found, root / "model")
    except models.LoadError as error:
        log.error("Unable to load model: %s", error)
        loaded = error
    return app.single(found, chosen, loaded), None


def main() -> None:
    """The program. Serves until SIGTERM or SIGINT; exits with 1 when the environment is wrong."""
    # As PID 1 a process has no default handlers; gunicorn sets its own when the model is loaded.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    set_up_logging()
    try:
        chosen = settings.read(os.environ)
        found = manifest.current()
        # Processes share the cores; a pool of threads in each would only make them wait for each other.
        # Read by OpenMP and BLAS when numpy and the algorithm's library are imported, hence before those.
        if not chosen.multi_model:
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads() // chosen.workers)))
        endpoint, registry = application(found, chosen, job.root())
    except ClientError as error:
        log.error("ClientError: %s", error)
        sys.exit(1)
    Server(chosen, endpoint, registry).run()


def _stop(number: int, frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
