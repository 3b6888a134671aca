"""An S3 in memory: buckets, objects and lists in pages; with refusals and broken connections on demand."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 3  # keys of a list's page


class S3Server:
    """``objects`` by bucket and key; every bucket that has one exists.

    ``denied`` keys answer 403, ``refused`` ones so with a code of their own. ``drops`` says after how many
    bytes the next answers for a key break off; those of ``silent`` keys don't go on after the first.
    Without ``ranges`` each answer is the whole. ``requests`` are those that came: method, key, Range and
    If-Match; ``on_put`` hears of each key put.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.denied: set[str] = set()
        self.refused: dict[str, str] = {}
        self.silent: set[str] = set()
        self.ranges = True
        self.drops: dict[str, list[int]] = defaultdict(list)
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.on_put: Callable[[str], object] = lambda key: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.ended = threading.Event()
        self._server.store = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> S3Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What makes boto3 find the server."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def put(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Adds objects by key."""
        self.objects |= {(bucket, key): body for key, body in objects.items()}

    def below(self, bucket: str, prefix: str) -> dict[str, bytes]:
        """The objects whose keys begin so, by what follows."""
        return {
            key.removeprefix(prefix): body
            for (owner, key), body in self.objects.items()
            if owner == bucket and key.startswith(prefix)
        }

    def gets(self, key: str) -> list[tuple[str | None, str | None]]:
        """Range and If-Match of each time that an object was read."""
        return [
            (span, match) for method, asked, span, match in self.requests if (method, asked) == ("GET", key)
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        bucket, key, query = self._asked()
        if key in self._store.denied or query.get("prefix", [""])[0] in self._store.denied:
            self._refuse(403, "AccessDenied")
        elif key in self._store.refused:
            self._refuse(403, self._store.refused[key])
        elif bucket not in {owner for owner, _ in self._store.objects}:
            self._refuse(404, "NoSuchBucket")
        elif "list-type" in query:
            self._list(bucket, query)
        elif (bucket, key) not in self._store.objects:
            self._refuse(404, "NoSuchKey")
        else:
            self._give(key, self._store.objects[bucket, key])

    def do_PUT(self) -> None:
        bucket, key, _ = self._asked()
        body = self._body()
        if key in self._store.denied:
            self._refuse(403, "AccessDenied")
            return
        self._store.objects[bucket, key] = body
        self._store.on_put(key)
        self._answer(200, b"", {"ETag": _etag(body)})

    def do_DELETE(self) -> None:
        bucket, key, _ = self._asked()
        self._store.objects.pop((bucket, key), None)
        self._answer(204, b"")

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def _store(self) -> S3Server:
        return self.server.store  # type: ignore[attr-defined,no-any-return]

    def _asked(self) -> tuple[str, str, dict[str, list[str]]]:
        split = urlsplit(self.path)
        bucket, _, key = unquote(split.path).lstrip("/").partition("/")
        self._store.requests.append((self.command, key, self.headers["Range"], self.headers["If-Match"]))
        return bucket, key, parse_qs(split.query, keep_blank_values=True)

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return body
        whole = b""
        while True:
            size, _, body = body.partition(b"\r\n")
            count = int(size.split(b";")[0], 16)
            if not count:
                return whole
            whole += body[:count]
            body = body[count + 2 :]

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", [""])[0]
        keys = sorted(key for owner, key in self._store.objects if owner == bucket and key.startswith(prefix))
        left = [key for key in keys if key > after]
        page = left[:PAGE]
        entries = "".join(
            f"<Contents><Key>{quote(key)}</Key><Size>{len(self._store.objects[bucket, key])}</Size>"
            f"<ETag>{escape(_etag(self._store.objects[bucket, key]))}</ETag></Contents>"
            for key in page
        )
        more = len(left) > PAGE
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self._answer(
            200,
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{entries}</ListBucketResult>".encode(),
        )

    def _give(self, key: str, whole: bytes) -> None:
        etag = _etag(whole)
        if self.headers["If-Match"] not in (None, etag):
            self._refuse(412, "PreconditionFailed")
            return
        body, headers = whole, {"ETag": etag}
        span = self.headers["Range"] if self._store.ranges else None
        if span:
            start, _, end = span.removeprefix("bytes=").partition("-")
            stop = min(int(end) + 1 if end else len(whole), len(whole))
            body = whole[int(start) : stop]
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(whole)}"
        drops = self._store.drops[key]
        drop = drops.pop(0) if drops else None
        self._answer(206 if span else 200, body, headers, drop, key in self._store.silent)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        drop: int | None = None,
        silent: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if silent:
                self.wfile.write(body[:1])
                self._store.ended.wait()
                return
            self.wfile.write(body[:drop])
        except OSError:
            self.close_connection = True  # whoever asked has enough
        if drop is not None:
            self.close_connection = True


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'
