"""What tests of `algodock` share."""

import pytest

from local.storage import s3
from tests.unit.local.s3_server import S3Server


@pytest.fixture
def store(monkeypatch):
    """An empty S3 that boto3 finds."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with S3Server() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        s3.forget()
        yield made
    s3.forget()
