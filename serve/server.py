"""The ``serve`` program: gunicorn round the app, the model loaded before it forks where that is possible."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from common import job, manifest
from common.failures import ClientError
from common.instances import gpus_present, threads
from common.metrics import set_up_logging
from serve import settings
from serve.settings import Settings

if TYPE_CHECKING:
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
# What ends a process. gunicorn passes SIGINT on as SIGQUIT.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Log(Logger):
    """gunicorn's own lines in the form of all others."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        self.error_log = logging.getLogger("algodock.gunicorn")

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Called by gunicorn for what it didn't foresee, such as a client that falls silent (`_ready`)."""
        if isinstance(sys.exc_info()[1], BlockingIOError):
            self.warning("a connection was closed: its client sent or read nothing for too long")
        else:
            super().exception(msg, *args, **kwargs)


class Master(Arbiter):
    """gunicorn's first process, which starts the others."""

    def spawn_worker(self) -> Any:
        """Called by gunicorn. A new process begins with its master's handlers, which in it do nothing: what
        should end it waits until it has some of its own (`_forked`), or the master would wait for it in vain.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Server(BaseApplication):
    """gunicorn with an endpoint's settings, and nothing from its own files and variables.

    ``early`` makes the app before the processes fork, so that they share its memory.
    """

    def __init__(
        self,
        chosen: Settings,
        application: Callable[[], Any],
        early: bool = True,
        registry: Registry | None = None,
    ) -> None:
        self._settings = chosen
        self._application = application
        self._early = early
        self._registry = registry
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for name, value in {
            "bind": f"{'127.0.0.1' if self._settings.alone else '0.0.0.0'}:{self._settings.port}",
            "workers": 1 if self._settings.multi_model else self._settings.workers,
            "worker_class": "gthread",
            "threads": MULTI_MODEL_THREADS if self._settings.multi_model else THREADS,
            "timeout": self._settings.timeout,
            "graceful_timeout": GRACE,
            "keepalive": KEEPALIVE,
            "preload_app": self._early,
            # Heartbeats are a file's time; /opt/ml may be read-only, and a disk may be slow.
            "worker_tmp_dir": scratch(),
            "logger_class": Log,
            "proc_name": "serve",
            "when_ready": self._ready,
            "post_fork": self._forked,
            "on_exit": self._ended,
            # Several endpoints at once must not meet at one socket in the user's home.
            "control_socket_disable": True,
            # Custom attributes are up to 1,024 characters, custom Accepts long as they may be.
            "limit_request_field_size": 16380,
        }.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def run(self) -> None:
        """Serves until a signal ends it."""
        Master(self).run()

    def load(self) -> Any:
        """Called by gunicorn."""
        application = self._application()
        # What is in memory by now stays: no collection walks it, so its pages stay shared between processes.
        gc.collect()
        gc.freeze()
        return application

    def _ready(self, arbiter: Any) -> None:
        # A client that sends or reads nothing would have a thread for as long as it likes, and a few of them
        # all threads. The system gives each connection what its listener has.
        patience = struct.pack("ll", self._settings.timeout, 0)
        for listener in arbiter.LISTENERS:
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux tells of no connection before its request comes
                listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, KEEPALIVE)

    def _forked(self, arbiter: Any, worker: Any) -> None:
        for number in ENDING:
            signal.signal(number, _stop)  # until gunicorn sets those that let answers finish
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        # A process that replaces one that died takes up the models that that one knew.
        if self._registry is not None:
            self._registry.restore()
        if not self._early:
            threading.Thread(target=_beat, args=(worker,), daemon=True).start()

    def _ended(self, arbiter: Any) -> None:
        if self._registry is not None:
            self._registry.forget()


def _beat(worker: Any) -> None:
    """Tells gunicorn that a process lives while it loads its model, which may take minutes."""
    while not worker.booted:
        worker.notify()
        time.sleep(1)


def scratch() -> str:
    """Where small files of a running endpoint go: in memory if possible, since /tmp may be read-only too."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


def main() -> None:
    """The program. Serves until SIGTERM or SIGINT; exits with 1 when the environment is wrong."""
    # As PID 1 a process has no default handlers; gunicorn sets its own when the model is loaded.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    set_up_logging()
    try:
        found = manifest.current()
        # One GPU's memory holds one copy of a model.
        gpu = "gpu" in found.inference.rules.devices and gpus_present() > 0
        one = gpu or found.inference.processes == "one"
        chosen = settings.read(os.environ, 1 if one else threads())
        _share_cores(chosen)
        # A process that has used a GPU or several OpenMP threads must not be forked: the GPU refuses the
        # child, and libgomp waits for threads that the child hasn't got, for ever. Then each process loads
        # the model by itself. With as many processes as cores, which is the default, they share it.
        early = not gpu and os.environ["OMP_NUM_THREADS"] == "1"
        server = _server(found, chosen, early)
    except ClientError as error:
        log.error("ClientError: %s", error)
        sys.exit(1)
    server.run()


def _share_cores(chosen: Settings) -> None:
    """Divides the cores between processes. OpenMP and BLAS read it when numpy and the algorithm's library are
    imported, which is why nothing above imports those."""
    # Many models are asked side by side by threads; AWS's images too give each one core then.
    share = 1 if chosen.multi_model else max(1, threads() // chosen.workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(share))


def _server(found: Manifest, chosen: Settings, early: bool) -> Server:
    from serve import app, models

    types = app.Types.of(found, chosen.default_accept)
    root = job.root()
    if chosen.multi_model:
        # A name of its own: endpoints may run side by side, and in containers all have the same number.
        handle, state = tempfile.mkstemp(".json", "algodock-models-", scratch())
        os.close(handle)
        registry = models.Registry(found, root, chosen.model_memory, chosen.max_models, Path(state))
        return Server(chosen, lambda: app.many(types, chosen, registry), registry=registry)

    def application() -> Any:
        loaded: models.Model | models.LoadError
        try:
            loaded = models.load(found, root / "model")
        except models.LoadError as error:
            log.error("Unable to load model: %s", error)
            loaded = error
        return app.single(types, chosen, loaded)

    if early:
        # Here rather than when gunicorn asks, for it opens the port and takes over signals before.
        endpoint = application()
        return Server(chosen, lambda: endpoint)
    return Server(chosen, application, early=False)


def _stop(number: int, frame: object) -> None:
    # Not SystemExit: where the signal comes during an import, whatever is being imported may catch that.
    os._exit(0)
