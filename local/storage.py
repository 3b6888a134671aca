"""Where data comes from and results go: paths of this machine, and s3:// through boto3."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.failures import ClientError


def is_s3(uri: str) -> bool:
    """Whether ``uri`` is on S3."""
    return uri.startswith("s3://")


def local_copy(uri: str, scratch: Path) -> Path:
    """A path with the content of ``uri``: itself when it is local, else a download below ``scratch``.

    Raises ClientError when nothing is there.
    """
    if is_s3(uri):
        return _download(uri, scratch / "s3" / hashlib.sha256(uri.encode()).hexdigest()[:16])
    path = Path(uri.removeprefix("file://")).expanduser()
    if not path.exists():
        raise ClientError(f"{uri} does not exist; accepted: a file, a folder or s3://bucket/prefix")
    return path.resolve()


def contents(uri: str, base: Path) -> bytes:
    """The bytes of one object or file, whose path may be relative to ``base``.

    Raises ClientError when it can't be read.
    """
    if is_s3(uri):
        return _download_one(uri)
    path = base / Path(uri.removeprefix("file://")).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClientError(f"{uri} can't be read: {error.strerror}") from None


def upload(folder: Path, names: list[Path], uri: str) -> None:
    """Copies the files ``names`` of ``folder`` below the s3:// address ``uri``."""
    bucket, prefix = _parts(uri)
    client = _client()
    for name in names:
        key = "/".join(part for part in (prefix.rstrip("/"), str(name.relative_to(folder))) if part)
        client.upload_file(str(name), bucket, key)


def _client() -> Any:
    try:
        import boto3  # only where S3 is used
    except ImportError:
        raise ClientError("s3:// needs boto3: pip install boto3") from None
    return boto3.client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3"))


def _parts(uri: str) -> tuple[str, str]:
    split = urlsplit(uri)
    if not split.netloc:
        raise ClientError(f"{uri} names no bucket; accepted: s3://bucket/prefix")
    return split.netloc, split.path.lstrip("/")


def _download_one(uri: str) -> bytes:
    from botocore.exceptions import BotoCoreError
    from botocore.exceptions import ClientError as ServiceError

    bucket, key = _parts(uri)
    try:
        body: bytes = _client().get_object(Bucket=bucket, Key=key)["Body"].read()
    except (BotoCoreError, ServiceError) as error:
        raise ClientError(f"{uri} can't be read: {error}") from None
    return body


def _download(uri: str, folder: Path) -> Path:
    from botocore.exceptions import BotoCoreError
    from botocore.exceptions import ClientError as ServiceError

    bucket, prefix = _parts(uri)
    client = _client()
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        keys = [key for key in keys if not key.endswith("/")]
        if not keys:
            raise ClientError(f"{uri} holds no object")
        # The folders below the prefix are kept, as SageMaker keeps them.
        base = (
            prefix if prefix.endswith("/") or not prefix else prefix.rsplit("/", 1)[0] + "/" * ("/" in prefix)
        )
        for key in keys:
            target = (folder / key.removeprefix(base)).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise ClientError(f"the object s3://{bucket}/{key} has a name that leaves its folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(target))
    except (BotoCoreError, ServiceError) as error:
        raise ClientError(f"{uri} can't be read: {error}") from None
    return folder / keys[0].removeprefix(base) if keys == [prefix] else folder
