"""docker-compose.yml: a job on two hosts, and its endpoint."""

from __future__ import annotations

import json

import pytest

from common import manifest

pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _several_hosts(algorithm: str) -> None:
    if not manifest.load(algorithm).training.multi_host:
        pytest.skip("it trains on one host")


def codes(run, compose) -> list[int]:
    """The hosts' exit codes."""
    names = compose("ps", "--all", "--quiet", "algo-1", "algo-2").stdout.split()
    return [json.loads(run("docker", "inspect", name).stdout)[0]["State"]["ExitCode"] for name in names]


def test_two_hosts_train_one_model_and_it_is_served(run, image, compose, job, case, port, answering):
    job.lay_out(case)

    log = compose("up", "--no-color", "algo-1", "algo-2").stdout

    assert codes(run, compose) == [0, 0], log
    assert job.model
    assert "host=algo-1" in log or '"Host": "algo-1"' in log

    chosen = port()
    compose("up", "--detach", "endpoint", PORT=str(chosen))

    answering(chosen).answers(case)


def test_one_hosts_failure_is_the_jobs(run, image, compose, job, case):
    job.lay_out(case, **case.wrong)

    log = compose("up", "--no-color", "algo-1", "algo-2").stdout

    assert codes(run, compose) == [1, 1], log
    for host in ("algo-1", "algo-2"):
        assert next(iter(case.wrong)) in (job.root / "output" / host / "failure").read_text()
    assert not job.model
