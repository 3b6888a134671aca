"""Pushing images: what Docker and ECR are told."""

import base64

import boto3
import pytest
from botocore.stub import Stubber

from common.failures import ClientError
from local import pushing

HOST = "111122223333.dkr.ecr.eu-west-1.example"


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A `docker` that notes what it is told."""
    program = tmp_path / "docker"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n[ "$1" = login ] && cat >> {tmp_path}/told\nexit 0\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "told"


@pytest.fixture
def ecr(monkeypatch):
    client = boto3.client(
        "ecr", region_name="eu-west-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    monkeypatch.setattr(pushing, "_client", lambda region: client)
    with Stubber(client) as stub:
        yield stub


def test_another_registry_is_pushed_to_as_it_is(docker):
    assert pushing.push("kmeans", "cpu", "localhost:5000/mine/") == "localhost:5000/mine/algodock/kmeans:cpu"
    assert docker.read_text() == (
        "tag algodock/kmeans:cpu localhost:5000/mine/algodock/kmeans:cpu\n"
        "push localhost:5000/mine/algodock/kmeans:cpu\n"
    )


def asked(ecr):
    token = base64.b64encode(b"AWS:secret").decode()
    ecr.add_response("get_authorization_token", {"authorizationData": [{"authorizationToken": token}]})


def test_ecr_is_logged_in_to_and_gets_a_repository(docker, ecr):
    ecr.add_response(
        "create_repository", {}, {"registryId": "111122223333", "repositoryName": "algodock/knn"}
    )
    asked(ecr)
    assert pushing.push("knn", "gpu", HOST) == f"{HOST}/algodock/knn:gpu"
    told = docker.read_text()
    assert told.startswith(f"login --username AWS --password-stdin {HOST}\nsecret")
    assert told.endswith(f"push {HOST}/algodock/knn:gpu\n")
    assert "secret" not in told.splitlines()[0]
    ecr.assert_no_pending_responses()


@pytest.mark.parametrize("told", ["RepositoryAlreadyExistsException", "AccessDeniedException"])
def test_a_repository_that_is_there_is_used(docker, ecr, told):
    ecr.add_client_error("create_repository", told)
    asked(ecr)
    assert pushing.push("knn", "cpu", f"{HOST}/team") == f"{HOST}/team/algodock/knn:cpu"


def test_faults_are_told(docker, ecr, monkeypatch):
    ecr.add_client_error("create_repository", "LimitExceededException", "too many")
    with pytest.raises(ClientError, match=r"repository algodock/knn can't be made: .*too many"):
        pushing.push("knn", "cpu", HOST)
    with pytest.raises(ClientError, match="unknown"):
        pushing.push("nothing", "cpu", HOST)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClientError, match="docker isn't installed"):
        pushing.push("knn", "cpu", "localhost:5000")
