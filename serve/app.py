"""The endpoint's routes: Flask round the models."""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from common import content_types
from common.content_types import MediaType
from common.failures import ClientError, one_of
from common.manifest import Manifest
from serve.codecs import CONTENT_TYPES, StandardCodec
from serve.models import Known, LoadError, Model, Registry, Unknown
from serve.settings import MEBIBYTE, Settings

log = logging.getLogger("algodock.serve")

PAGE = 100  # models in one page of /models, as in AWS's server
_MODEL_NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,1024}")
# Of a body that is too large this much is read and dropped, so that the client gets to read why.
_DRAINED = 16


class Refusal(Exception):
    """A response other than 200: its status and one line of text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        # One line, whatever a client put into the text.
        self.text = " ".join(text.split())


@dataclass(frozen=True, slots=True)
class Types:
    """What of media types an algorithm takes and answers."""

    content_types: tuple[str, ...]
    accepts: tuple[str, ...]
    default_content_type: MediaType
    default_accept: str

    @classmethod
    def of(cls, manifest: Manifest, standard: bool, default_accept: str | None) -> Types:
        """The manifest's, and those that the standard codec adds where the algorithm has none of its own."""
        spec = manifest.inference
        added = CONTENT_TYPES if standard else ()
        return cls(
            _names((*spec.content_types, *added)),
            _names((*spec.accepts, *added)),
            content_types.parse(spec.default_content_type),
            default_accept or spec.default_accept,
        )

    def content_type(self, header: str | None) -> MediaType:
        """A request's Content-Type, or the default for none. Raises Refusal 415."""
        if header is None or not header.strip():
            return self.default_content_type
        found = content_types.parse(header)
        if found.name not in self.content_types:
            raise Refusal(
                415, f"content-type {found.name} not supported; accepted: {one_of(self.content_types)}"
            )
        return found

    def accept(self, header: str | None) -> MediaType:
        """The best answer to an Accept header. Raises Refusal 406."""
        found = content_types.negotiate(header, self.accepts, self.default_accept)
        if found is None:
            raise Refusal(406, f"Accept type {header} is not supported; accepted: {one_of(self.accepts)}")
        return found


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(content_types.parse(name).name for name in names if name != "*/*"))


class Invocations:
    """Answers request bodies; what /invocations and /models/{name}/invoke share."""

    def __init__(self, types: Types, max_payload: int) -> None:
        self._max_payload = max_payload
        # Clients repeat the same two headers in every request. What they lead to is never changed.
        self._content_type = functools.lru_cache(256)(types.content_type)
        self._accept = functools.lru_cache(256)(types.accept)

    def __call__(self, model: Callable[[], Model], body: bytes) -> Response:
        """The response of ``model`` to the current request. Raises Refusal."""
        if not body:
            return _empty(204)
        headers = request.environ
        coding = headers.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise Refusal(415, f"content-encoding {coding} not supported; accepted: identity")
        content_type = self._content_type(headers.get("CONTENT_TYPE"))
        accept = self._accept(headers.get("HTTP_ACCEPT"))
        try:
            answer = model().answer(body, content_type, accept)
        except ClientError as error:
            if error.status != 400:
                raise Refusal(error.status, str(error)) from None
            raise Refusal(400, f"unable to evaluate payload provided: {error}") from None
        except MemoryError:
            raise Refusal(507, "there is not enough memory to answer; send fewer rows at once") from None
        if answer is None:
            return _empty(204)
        return Response(answer, content_type=accept.name)

    def body(self) -> bytes:
        """The current request's body. Raises Refusal 413 when there is too much of it."""
        limit = self._max_payload
        length = request.environ.get("CONTENT_LENGTH")
        stream = request.environ["wsgi.input"]
        if length:
            # gunicorn has checked that it is a number, and ends the stream there.
            size = int(length)
            body: bytes = stream.read(size) if size <= limit else b""
        else:
            body = stream.read(limit + 1) if "HTTP_TRANSFER_ENCODING" in request.environ else b""
            size = len(body)
        if size > limit:
            _drain(stream, limit * _DRAINED)
            raise Refusal(413, f"the payload is larger than {limit} bytes, which is all that one may hold")
        if length and len(body) < size:
            raise Refusal(400, f"the payload ends after {len(body)} of {size} bytes")
        return body


def _drain(stream: Any, most: int) -> None:
    while most > 0 and (dropped := stream.read(MEBIBYTE)):
        most -= len(dropped)


def single(manifest: Manifest, settings: Settings, loaded: Model | LoadError) -> Flask:
    """The endpoint of one model, or of the reason why there is none."""
    standard = isinstance(loaded, LoadError) or isinstance(loaded.codec, StandardCodec)
    app, invocations = _application(manifest, settings, standard)

    def model() -> Model:
        if isinstance(loaded, LoadError):
            raise Refusal(500, f"Unable to load model: {loaded}")
        return loaded

    @app.get("/ping")
    def ping() -> Response:
        model()
        return _empty(200)

    @app.post("/invocations")
    def invoke() -> Response:
        return invocations(model, invocations.body())

    return app


def many(manifest: Manifest, settings: Settings, registry: Registry) -> Flask:
    """The endpoint of models that come and go."""
    standard = not hasattr(manifest.module("predict"), "codec")
    app, invocations = _application(manifest, settings, standard)

    @app.get("/ping")
    def ping() -> Response:
        return _empty(200)

    @app.post("/models")
    def add() -> Response:
        name, url = _load_request(invocations.body())
        try:
            registry.add(name, url)
        except Known:
            raise Refusal(409, f"model {name} is already loaded") from None
        except LoadError as error:
            raise Refusal(error.status, f"Unable to load model: {error}") from None
        return _json({"status": f'Model "{name}" registered'})

    @app.get("/models")
    def listed() -> Response:
        limit = request.args.get("limit", "") or str(PAGE)
        if not limit.isascii() or not limit.isdigit() or int(limit[:9]) == 0:
            raise Refusal(400, f"limit is '{limit[:40]}'; accepted: a whole number from 1")
        models, following = registry.page(request.args.get("next_page_token", ""), min(int(limit[:9]), PAGE))
        found: dict[str, Any] = {"models": models}
        if following is not None:
            found["nextPageToken"] = following
        return _json(found)

    @app.get("/models/<name>")
    def described(name: str) -> Response:
        return _json(registry.describe(name))

    @app.delete("/models/<name>")
    def remove(name: str) -> Response:
        registry.remove(name, settings.timeout)
        return _json({"status": f'Model "{name}" unregistered'})

    def answer(name: str) -> Response:
        body = invocations.body()
        with registry.using(name) as model:
            return invocations(lambda: model, body)

    @app.post("/models/<name>/invoke")
    def invoke(name: str) -> Response:
        return answer(name)

    @app.post("/invocations")
    def invoke_target() -> Response:
        # The platform turns this header into the route above. Local clients send it as it is.
        name = request.headers.get("X-Amzn-SageMaker-Target-Model", "")
        if not name:
            raise Refusal(400, "the header X-Amzn-SageMaker-Target-Model is missing; it names a loaded model")
        return answer(name)

    @app.errorhandler(Unknown)
    def unknown(error: Unknown) -> Response:
        return _refused(Refusal(404, f"model {error} is not loaded"))

    @app.errorhandler(LoadError)
    def unloadable(error: LoadError) -> Response:
        return _refused(Refusal(error.status, f"Unable to load model: {error}"))

    return app


def _application(manifest: Manifest, settings: Settings, standard: bool) -> tuple[Flask, Invocations]:
    """What both kinds of endpoint have: execution parameters, and a line of text for every refusal."""
    app = Flask("serve", static_folder=None)
    # Model names hold what they like, and a slash more or less is another route.
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    types = Types.of(manifest, standard, settings.default_accept)
    parameters = {
        "MaxConcurrentTransforms": settings.max_concurrent,
        "BatchStrategy": settings.batch_strategy,
        "MaxPayloadInMB": max(1, settings.max_payload // MEBIBYTE),
    }

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return _json(parameters)

    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _fault)
    return app, Invocations(types, settings.max_payload)


def _load_request(body: bytes) -> tuple[str, str]:
    try:
        asked = json.loads(body)
        name, url = asked["model_name"], asked["url"]
    except (ValueError, TypeError, KeyError, RecursionError):
        name = url = None
    if not isinstance(name, str) or not isinstance(url, str):
        raise Refusal(400, 'the payload is not accepted; accepted: {"model_name": "...", "url": "..."}')
    if not _MODEL_NAME.fullmatch(name):
        raise Refusal(400, "model_name is not accepted; accepted: 1 to 1024 characters, none of them a slash")
    return name, url


def _json(value: Any) -> Response:
    return Response(json.dumps(value), content_type=content_types.JSON)


def _empty(status: int) -> Response:
    response = Response(status=status)
    del response.headers["Content-Type"]  # Flask says text/html of nothing
    return response


def _refused(refusal: Refusal, fault: Exception | None = None) -> Response:
    level = logging.WARNING if fault is None else logging.ERROR
    log.log(level, "%s %s %s: %s", request.method, request.path, refusal.status, refusal.text, exc_info=fault)
    return Response(refusal.text, refusal.status, content_type="text/plain; charset=utf-8")


def _http(error: HTTPException) -> Response:
    refusal = Refusal(error.code or 500, f"{request.method} {request.path}: {error.name}")
    response = _refused(refusal)
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _fault(error: Exception) -> Response:
    refusal = Refusal(500, f"internal error: {type(error).__name__}; the endpoint's log has more")
    return _refused(refusal, error)
