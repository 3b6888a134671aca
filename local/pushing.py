"""Pushes an image that was built here to a registry: ``python -m local.pushing kmeans cpu REPOSITORY``.

For ECR it logs Docker in with the caller's AWS credentials and makes the repository where there is none and
they allow it; at any other registry whoever calls has logged in.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
from typing import Any

from common import manifest
from common.failures import ClientError

ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.")


def push(algorithm: str, device: str, repository: str) -> str:
    """Pushes ``algodock/ALGORITHM:DEVICE`` below the repository; its name there. Raises ClientError."""
    ours = f"algodock/{manifest.load(algorithm).name}"
    host, _, prefix = repository.rstrip("/").partition("/")
    name = f"{prefix}/{ours}" if prefix else ours
    found = ECR.match(host)
    if found:
        client = _client(found["region"])
        _make(client, found["account"], name)
        _log_in(client, host)
    there = f"{host}/{name}:{device}"
    _docker("tag", f"{ours}:{device}", there)
    _docker("push", there)
    return there


def _client(region: str) -> Any:
    try:
        import boto3
    except ImportError:
        raise ClientError(
            "boto3 isn't installed, by which ECR is asked; accepted: pip install boto3"
        ) from None
    return boto3.client("ecr", region_name=region)


def _make(client: Any, account: str, name: str) -> None:
    from botocore.exceptions import BotoCoreError
    from botocore.exceptions import ClientError as Refused

    try:
        client.create_repository(registryId=account, repositoryName=name)
    except Refused as error:
        # Who may not make one may still push: if there is none, Docker tells.
        code = error.response["Error"]["Code"]
        if code not in ("RepositoryAlreadyExistsException", "AccessDeniedException"):
            raise ClientError(f"repository {name} can't be made: {error}") from None
    except BotoCoreError as error:
        raise ClientError(f"ECR can't be asked: {error}") from None


def _log_in(client: Any, host: str) -> None:
    from botocore.exceptions import BotoCoreError
    from botocore.exceptions import ClientError as Refused

    try:
        (told,) = client.get_authorization_token()["authorizationData"]
    except (Refused, BotoCoreError) as error:
        raise ClientError(f"ECR gives no token: {error}") from None
    user, _, password = base64.b64decode(told["authorizationToken"]).decode().partition(":")
    _docker("login", "--username", user, "--password-stdin", host, given=password)


def _docker(*words: str, given: str | None = None) -> None:
    try:
        done = subprocess.run(["docker", *words], input=given, text=True)
    except FileNotFoundError:
        raise ClientError("docker isn't installed; accepted: a machine with Docker") from None
    if done.returncode:
        raise ClientError(f"docker {words[0]} failed (exit code {done.returncode})")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m local.pushing")
    parser.add_argument("algorithm")
    parser.add_argument("device", choices=("cpu", "gpu"))
    parser.add_argument("repository", help="a registry, with a prefix if you like: HOST[/PREFIX]")
    chosen = parser.parse_args()
    try:
        print(push(chosen.algorithm, chosen.device, chosen.repository))
    except ClientError as error:
        raise SystemExit(f"push: {error}") from None


if __name__ == "__main__":
    main()
