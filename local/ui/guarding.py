"""Keeps the page to its user: no other site's names, no other site's forms, and nothing active from disk."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import Request, Response

LOCAL = ("localhost", "127.0.0.1", "::1")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A page from disk shows itself and does nothing.
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


def refusal(request: Request, host: str) -> str | None:
    """Why a request is refused, None where it isn't. ``host`` is the address that is listened on.

    A foreign name that leads here (DNS rebinding) is seen by the Host header, its port may be a tunnel's; a
    form or a script of another site by what browsers say of where a request comes from.
    """
    name = _name(f"//{request.host}")
    if name is None or not _known(name, host):
        return f"the host {request.host} is not known here; open the address that algodock ui printed"
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    same = origin == f"http://{request.host}" if origin is not None else site == "same-origin"
    return None if same else "the request comes from another site, or doesn't say that it comes from this one"


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _known(name: str, host: str) -> bool:
    if name in (*LOCAL, host.lower()):
        return True
    try:
        # Who listens on every address is asked by any; names are what a foreign site could turn.
        return ipaddress.ip_address(host).is_unspecified and bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def protect(response: Response) -> Response:
    """Sets the headers that tell a browser the same; a policy that is there already stays."""
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-cache")
    return response
