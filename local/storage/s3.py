"""S3 itself: one client, what lies below a prefix, the bytes of an object, and errors in a sentence.

Credentials, region and endpoint are boto3's: AWS_PROFILE, AWS_ENDPOINT_URL_S3 and so on.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.failures import ClientError

THREADS = 16
CHUNK = 1 << 20
_ATTEMPTS = 5
_PAUSE = 0.1  # seconds before a broken connection is made anew; doubled each time
_MULTIPART = 64 << 20  # bytes from which an object goes up in parts
_CONNECTIONS = 256  # many more than threads: streams that were begun early wait for their turn
_lock = threading.Lock()

# Refusals that look like those of credentials, and aren't.
_REASONS = {
    "InvalidObjectState": ("it is archived", "objects that are restored: aws s3api restore-object"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "a clock that is at most 15 minutes off"),
}


@dataclass(frozen=True)
class S3Object:
    """One object; size and ETag are None where it wasn't listed."""

    bucket: str
    key: str
    size: int | None = None
    etag: str | None = None

    @property
    def uri(self) -> str:
        """Its address."""
        return f"s3://{self.bucket}/{self.key}"


def is_s3(uri: str) -> bool:
    """Whether ``uri`` is on S3."""
    return uri.startswith("s3://")


def parse(uri: str) -> S3Object:
    """The bucket and the key of an address. Raises ClientError when it names no bucket."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise ClientError(f"{uri} names no bucket; accepted: s3://bucket/prefix")
    return S3Object(bucket, key)


def client() -> Any:
    """The client that all threads share."""
    with _lock:  # boto3 makes one at a time
        return _made()


@functools.cache
def _made() -> Any:
    try:
        import boto3  # only where S3 is used
        from botocore.config import Config
    except ImportError:
        raise ClientError("s3:// needs boto3: pip install boto3") from None
    retries: dict[str, Any] = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = _ATTEMPTS
    settings = Config(retries=retries, connect_timeout=10, read_timeout=60, max_pool_connections=_CONNECTIONS)
    return boto3.session.Session().client("s3", config=settings)


@contextmanager
def told(uri: str, verb: str = "read") -> Iterator[Any]:
    """Yields the client; what it raises becomes a ClientError that names ``uri``."""
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.exceptions import ClientError as ServiceError
    except ImportError:
        raise ClientError("s3:// needs boto3: pip install boto3") from None
    try:
        yield client()
    except ServiceError as error:
        raise ClientError(_refusal(error, uri, verb)) from None
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise ClientError(_mishap(error, uri, verb)) from None


def listed(uri: str) -> list[S3Object]:
    """What lies below a prefix, by key; the markers of empty folders don't count.

    A prefix is S3's, the beginning of a key: ``s3://b/data`` has ``data/1`` and ``data-2/1``. Raises
    ClientError.
    """
    place = parse(uri)
    with told(uri) as s3:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.key)
        found = [
            S3Object(place.bucket, item["Key"], item["Size"], item.get("ETag"))
            for page in pages
            for item in page.get("Contents", [])
            if not item["Key"].endswith("/")
        ]
    return sorted(found, key=lambda one: one.key.encode())


def objects(uri: str) -> list[S3Object]:
    """What lies below a prefix that mustn't be empty. Raises ClientError."""
    found = listed(uri)
    if not found:
        raise ClientError(f"{uri} holds no object; accepted: an object, or a prefix that some begin with")
    return found


def forget() -> None:
    """Lets the next use make a client anew, as after a change of the environment."""
    _made.cache_clear()


def chunks(item: S3Object, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """An object's bytes from ``start`` to ``stop``, as they come.

    A connection that breaks is made anew where it broke. Raises ClientError for an object that can't be
    read or is changed meanwhile.
    """
    from botocore.exceptions import BotoCoreError, HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    done, broken = start, 0
    etag = item.etag if start or stop is not None else None
    while True:
        asked = {"IfMatch": etag} if etag else {}
        if done or stop is not None:
            asked["Range"] = f"bytes={done}-{'' if stop is None else stop - 1}"
        with told(item.uri) as s3:
            found = s3.get_object(Bucket=item.bucket, Key=item.key, **asked)
        if "Range" in asked and found["ResponseMetadata"]["HTTPStatusCode"] != 206:
            raise ClientError(f"{item.uri} came whole in place of a part; accepted: a store that knows Range")
        etag = found.get("ETag")
        with closing(found["Body"]) as body:
            while True:
                try:
                    chunk = body.read(CHUNK)
                except (HTTPClientError, IncompleteReadError, HTTPError) as error:
                    broken += 1
                    if broken == _ATTEMPTS:
                        raise ClientError(_mishap(error, item.uri, "read")) from None
                    break
                except BotoCoreError as error:  # bytes that aren't what was stored
                    raise ClientError(_mishap(error, item.uri, "read")) from None
                if not chunk:
                    return
                broken = 0
                done += len(chunk)
                yield chunk
        time.sleep(_PAUSE * 2**broken)


def put(path: Path, uri: str, more: Callable[[int], None] | None = None) -> None:
    """Copies a file to an object; ``more`` hears of bytes that are sent, less where they are sent again.

    Raises ClientError, and OSError for the file.
    """
    place, large = parse(uri), path.stat().st_size >= _MULTIPART
    with told(uri, "written") as s3:
        from boto3.s3.transfer import ProgressCallbackInvoker, TransferConfig, create_transfer_manager

        settings = TransferConfig(
            multipart_threshold=_MULTIPART, multipart_chunksize=_MULTIPART, use_threads=large
        )
        heard = [ProgressCallbackInvoker(more)] if more else []
        # Not upload_fileobj, which holds the parts in memory.
        with create_transfer_manager(s3, settings) as manager:
            manager.upload(str(path), place.bucket, place.key, subscribers=heard).result()


def delete(uri: str) -> None:
    """Removes an object, if it is there. Raises ClientError."""
    place = parse(uri)
    with told(uri, "removed") as s3:
        s3.delete_object(Bucket=place.bucket, Key=place.key)


def _refusal(error: Any, uri: str, verb: str) -> str:
    """What the service answered."""
    code, bucket = error.response["Error"]["Code"], parse(uri).bucket
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "NoSuchBucket":
        return f"{uri} can't be {verb}: there is no bucket {bucket}; accepted: a bucket that exists"
    if code in ("NoSuchKey", "404"):
        return f"{uri} does not exist; accepted: an object that exists"
    if code in ("PreconditionFailed", "412"):
        return f"{uri} changed while it was read; accepted: objects that stay as they are during a job"
    if code in _REASONS:
        why, accepted = _REASONS[code]
        return f"{uri} can't be {verb}: {why}; accepted: {accepted}"
    if status == 403:
        why = "access is denied" if code in ("AccessDenied", "403") else f"S3 answers {code}"
        actions = {"written": "s3:PutObject", "removed": "s3:DeleteObject"}
        needed = actions.get(verb, "s3:ListBucket and s3:GetObject")
        return f"{uri} can't be {verb}: {why}; accepted: credentials that are allowed {needed} there"
    return f"{uri} can't be {verb}: {error}"


def _mishap(error: Exception, uri: str, verb: str) -> str:
    """What kept the service from answering, or from being asked."""
    from botocore import exceptions
    from urllib3.exceptions import HTTPError

    broken = (exceptions.HTTPClientError, exceptions.IncompleteReadError, HTTPError)
    unreachable = (exceptions.ConnectionError, *broken)
    unknown = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)
    if isinstance(error, unknown):
        return (
            f"{uri} can't be {verb}: there are no AWS credentials; accepted: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE) or a role"
        )
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{uri} can't be {verb}: {error}; accepted: AWS_PROFILE with a profile that exists"
    if isinstance(error, unreachable):
        return (
            f"{uri} can't be {verb}: {client().meta.endpoint_url} doesn't answer, or breaks off; accepted: "
            "an endpoint that can be reached (AWS_ENDPOINT_URL_S3 where it isn't AWS's)"
        )
    return f"{uri} can't be {verb}: {' '.join(str(error).split())}"
