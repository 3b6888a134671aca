"""`algodock train --runtime docker`: the same job in the algorithm's image."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]

ALGODOCK = Path(sys.executable).parent / "algodock"
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits-train.csv"


@pytest.fixture(scope="session")
def algorithm() -> str:
    """One algorithm tells: what differs between them is tried by the other tests."""
    return "kmeans"


@pytest.mark.parametrize(("hosts", "mode"), [(1, "File"), (2, "File"), (2, "Pipe")])
def test_trains_in_containers_and_leaves_none_behind(run, image, tmp_path, hosts, mode):
    before = run("docker", "ps", "-aq").stdout.split(), run("docker", "network", "ls", "-q").stdout.split()
    run(
        *(ALGODOCK, "train", "kmeans", "--runtime", "docker", "--train", DIGITS, "-p", "k=10"),
        *("--hosts", hosts, "--input-mode", mode, "--output", tmp_path / "out"),
    )
    assert (tmp_path / "out" / "model.tar.gz").stat().st_size > 1000
    after = run("docker", "ps", "-aq").stdout.split(), run("docker", "network", "ls", "-q").stdout.split()
    assert after == before


def test_tells_why_a_job_failed(run, image, tmp_path):
    done = run(
        *(ALGODOCK, "train", "kmeans", "--runtime", "docker", "--train", DIGITS, "-p", "k=0"),
        *("--output", tmp_path / "out"),
        check=False,
    )
    assert done.returncode == 1
    assert "the job failed: ClientError: hyperparameter k is '0'" in done.stdout
