"""The endpoint's routes: Flask round the models."""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

from flask import Flask, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from common import content_types
from common.content_types import MediaType
from common.failures import ClientError, one_of
from common.manifest import Manifest
from serve.models import Known, LoadError, Model, Registry, Unknown
from serve.settings import MEBIBYTE, Settings

log = logging.getLogger("algodock.serve")

PAGE = 100  # models in one page of /models, as in AWS's server
_MODEL_NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,1024}")
# Of a body that is too large this much is read and dropped, so that the client gets to read why.
_DRAINED = 16
_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

Environ = dict[str, Any]


class Refusal(Exception):
    """A response other than 200: its status and one line of text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Types:
    """What of media types an algorithm takes and answers."""

    content_types: tuple[str, ...]
    accepts: tuple[str, ...]
    default_content_type: MediaType
    default_accept: MediaType
    alike: bool  # what asks for no type is answered with its own
    always: bool  # and so is what asks for another

    @classmethod
    def of(cls, manifest: Manifest, default_accept: str | None) -> Types:
        """The manifest's. Raises ClientError when ``default_accept``, the environment's, is none of them."""
        spec = manifest.inference
        accepts = _names(spec.accepts)
        default = content_types.parse(default_accept or spec.default_accept)
        if default.name not in accepts:
            raise ClientError(
                f"the environment variable SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is '{default_accept}'; "
                f"accepted: {one_of(accepts)}"
            )
        return cls(
            _names(spec.content_types),
            accepts,
            content_types.parse(spec.default_content_type),
            default,
            spec.answers_alike and default_accept is None,
            spec.ignores_accept,
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

    def accept(self, header: str | None, content_type: str) -> MediaType:
        """The best answer to an Accept header of a request of ``content_type``. Raises Refusal 406."""
        if self.always:
            return MediaType(content_type)
        alike = self.alike and content_type in self.accepts
        default = MediaType(content_type) if alike else self.default_accept
        found = content_types.negotiate(header, self.accepts, default)
        if found is None:
            raise Refusal(406, f"Accept type {header} is not supported; accepted: {one_of(self.accepts)}")
        return found


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(content_types.parse(name).name for name in names if name != "*/*"))


class Answer(NamedTuple):
    """A response: Flask's own class costs more than answering a row does."""

    status: int
    body: bytes
    content_type: str | None

    def response(self) -> Response:
        """The same as Flask has it."""
        response = Response(self.body, self.status, content_type=self.content_type)
        if self.content_type is None:
            del response.headers["Content-Type"]  # Flask says text/html of nothing
        return response


EMPTY = Answer(204, b"", None)


class Invocations:
    """Answers request bodies; what /invocations and /models/{name}/invoke share."""

    def __init__(self, types: Types, max_payload: int) -> None:
        self._max_payload = max_payload
        # Clients repeat the same two headers in every request. What they lead to is never changed.
        self._content_type = functools.lru_cache(256)(types.content_type)
        self._accept = functools.lru_cache(256)(types.accept)

    def __call__(self, model: Callable[[], Model], environ: Environ, body: bytes) -> Answer:
        """The answer of ``model`` to a request with that body. Raises Refusal."""
        if not body:
            return EMPTY
        coding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise Refusal(415, f"content-encoding {coding} not supported; accepted: identity")
        content_type = self._content_type(environ.get("CONTENT_TYPE"))
        accept = self._accept(environ.get("HTTP_ACCEPT"), content_type.name)
        try:
            answer = model().answer(body, content_type, accept)
        except ClientError as error:
            if error.status != 400:
                raise Refusal(error.status, str(error)) from None
            raise Refusal(400, f"unable to evaluate payload provided: {error}") from None
        except MemoryError:
            raise Refusal(507, "there is not enough memory to answer; send fewer rows at once") from None
        return EMPTY if answer is None else Answer(200, answer, accept.name)

    def body(self, environ: Environ) -> bytes:
        """A request's body. Raises Refusal 413 when there is too much of it, 400 when it can't be read."""
        try:
            return self._body(environ)
        except (OSError, ParseException) as error:  # the client left or sent nonsense
            damaged = isinstance(error, ParseException)
            cause = "its chunks are damaged" if damaged else "it ends early or stops coming"
            raise Refusal(400, f"the payload can't be read to its end: {cause}") from None

    def _body(self, environ: Environ) -> bytes:
        limit = self._max_payload
        length = environ.get("CONTENT_LENGTH")
        stream = environ["wsgi.input"]
        if length:
            # gunicorn has checked that it is a number, and ends the stream there.
            size = int(length)
            body: bytes = stream.read(size) if size <= limit else b""
        else:
            body = stream.read(limit + 1) if "HTTP_TRANSFER_ENCODING" in environ else b""
            size = len(body)
        if size > limit:
            _drain(stream, limit * _DRAINED)
            raise Refusal(413, f"the payload is larger than {limit} bytes, which is all that one may hold")
        if length and len(body) < size:
            raise Refusal(400, f"the payload ends after {len(body)} of {size} bytes")
        return body


class Endpoint(Flask):
    """Flask, with the one route that is asked all the time answered before Flask's own machinery starts.

    It would take longer than reading a row, answering it and writing the answer take together.
    """

    def __init__(self) -> None:
        super().__init__("serve", static_folder=None)
        # A model's name is all that stands between two slashes.
        self.url_map.merge_slashes = False
        self._invoke: Callable[[Environ], Answer] | None = None

    def invocations(self, answer: Callable[[Environ], Answer]) -> None:
        """Makes ``answer`` what POST /invocations does."""
        self._invoke = answer
        # For all that isn't a POST: what is allowed. And for //invocations, which Flask takes to be the same.
        self.add_url_rule(
            "/invocations", "invocations", lambda: answer(request.environ).response(), methods=["POST"]
        )

    def wsgi_app(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Called for each request."""
        if (
            environ["PATH_INFO"] != "/invocations"
            or environ["REQUEST_METHOD"] != "POST"
            or self._invoke is None
        ):
            return super().wsgi_app(environ, start_response)
        try:
            answer = self._invoke(environ)
        except Exception as error:
            answer = _failed(error, "POST", "/invocations")
        headers = [("Content-Length", str(len(answer.body)))]
        if answer.content_type is not None:
            headers.append(("Content-Type", answer.content_type))
        start_response(_STATUS[answer.status], headers)
        return [answer.body]


def _drain(stream: Any, most: int) -> None:
    while most > 0 and (dropped := stream.read(MEBIBYTE)):
        most -= len(dropped)


def single(types: Types, settings: Settings, loaded: Model | LoadError) -> Endpoint:
    """The endpoint of one model, or of the reason why there is none."""
    app, invocations = _application(types, settings)

    def model() -> Model:
        if isinstance(loaded, LoadError):
            raise Refusal(500, f"Unable to load model: {loaded}")
        return loaded

    @app.get("/ping")
    def ping() -> Response:
        model()
        return Answer(200, b"", None).response()

    app.invocations(lambda environ: invocations(model, environ, invocations.body(environ)))
    return app


def many(types: Types, settings: Settings, registry: Registry) -> Endpoint:
    """The endpoint of models that come and go."""
    app, invocations = _application(types, settings)

    @app.get("/ping")
    def ping() -> Response:
        return Answer(200, b"", None).response()

    @app.post("/models")
    def add() -> Response:
        name, url = _load_request(invocations.body(request.environ))
        try:
            registry.add(name, url)
        except Known:
            raise Refusal(409, f"model {name} is already loaded") from None
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

    def answer(name: str, environ: Environ) -> Answer:
        body = invocations.body(environ)
        with registry.using(name) as model:
            return invocations(lambda: model, environ, body)

    @app.post("/models/<name>/invoke")
    def invoke(name: str) -> Response:
        return answer(name, request.environ).response()

    def targeted(environ: Environ) -> Answer:
        # The platform turns this header into the route above. Local clients send it as it is.
        name = environ.get("HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL")
        if not name:
            raise Refusal(400, "the header X-Amzn-SageMaker-Target-Model is missing; it names a loaded model")
        return answer(name, environ)

    app.invocations(targeted)
    return app


def _application(types: Types, settings: Settings) -> tuple[Endpoint, Invocations]:
    """What both kinds of endpoint have: execution parameters, and a line of text for every refusal."""
    app = Endpoint()
    parameters = {
        "MaxConcurrentTransforms": settings.max_concurrent,
        "BatchStrategy": settings.batch_strategy,
        "MaxPayloadInMB": max(1, settings.max_payload // MEBIBYTE),
    }

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return _json(parameters)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        response = _failed(error, request.method, request.path).response()
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response

    return app, Invocations(types, settings.max_payload)


def _failed(error: Exception, method: str, path: str) -> Answer:
    """Whatever went wrong as an answer, and as one line of the log."""
    fault = None
    match error:
        case Refusal():
            status, text = error.status, str(error)
        case Unknown():
            status, text = 404, f"model {error} is not loaded"
        case LoadError():
            status, text = error.status, f"Unable to load model: {error}"
        case HTTPException():
            status, text = error.code or 500, f"{method} {path}: {error.name}"
        case _:
            fault = error
            status, text = 500, f"internal error: {type(error).__name__}; the endpoint's log has more"
    # One line each, whatever a client put into them.
    path, text = " ".join(path.split()), " ".join(text.split())
    level = logging.ERROR if fault else logging.WARNING
    log.log(level, "%s %s %s: %s", method, path, status, text, exc_info=fault)
    return Answer(status, text.encode(), "text/plain; charset=utf-8")


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
