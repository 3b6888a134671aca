"""`algodock ui`: the page served until it is interrupted."""

from __future__ import annotations

import socket
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from common.failures import ClientError
from local.ui.app import create
from local.ui.endpoints import Endpoints
from local.ui.store import Store


class _Quiet(WSGIRequestHandler):
    """Pages ask every few seconds; a line for each would hide all others."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def run(folder: Path, host: str, port: int) -> int:
    """Prints the address and serves; what was started ends with it. Raises ClientError for a taken port."""
    with _listening(host, port) as listening:
        endpoints = Endpoints()
        app = create(Store(folder), endpoints, host)
        server = make_server(
            host,
            listening.getsockname()[1],
            app,
            threaded=True,
            request_handler=_Quiet,
            fd=listening.fileno(),
        )
        shown = f"[{host}]" if ":" in host else host
        print(f"jobs below {folder} are shown on http://{shown}:{server.port} (Ctrl-C stops it)", flush=True)
        try:
            server.serve_forever()  # until it is interrupted
        finally:
            endpoints.close()
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "there are 0 to 65535"
        raise ClientError(
            f"{host}, port {port} can't be used: {reason}; accepted: a free one after --port, an address of "
            "this machine after --host"
        ) from None
