"""What an image is: small, alone with its algorithm, labelled; and what it does: train and serve."""

from __future__ import annotations

import json
import time

import pytest

from common import manifest

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]

MEGABYTE = 1_000_000
LOCKED_DOWN = ["--user", "1000:1000", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]


@pytest.fixture(scope="session")
def inspected(run, image: str) -> dict:
    return json.loads(run("docker", "image", "inspect", image).stdout)[0]


def test_carries_the_labels_that_sagemaker_reads(inspected):
    labels = inspected["Config"]["Labels"]

    assert labels["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"
    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert "8080/tcp" in inspected["Config"]["ExposedPorts"]


def test_is_under_500_megabytes_unless_it_needs_torch(inspected, algorithm: str):
    packages = manifest.load(algorithm).packages.get("cpu", ())

    if any(package.startswith("torch") for package in packages):
        pytest.skip("torch alone takes more")
    assert inspected["Size"] < 500 * MEGABYTE


def test_holds_one_algorithm_and_no_tools(run, image: str, algorithm: str):
    listing = "ls -d /opt/algodock/containers/*/manifest.toml /opt/ml/models; command -v pip gcc cc strip"
    found = run("docker", "run", "--rm", image, "sh", "-c", f"{listing}; true").stdout.split()
    described = manifest.load(algorithm)
    # A program of a user's own may bring a requirements.txt.
    tools = ["/usr/local/bin/pip"] if any(p.startswith("pip") for p in described.packages["cpu"]) else []

    assert found == [
        f"/opt/algodock/containers/{described.folder}/manifest.toml",
        "/opt/ml/models",
        *tools,
    ]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="root"),
        pytest.param(["--user", "1000:1000"], id="user"),
        pytest.param([*LOCKED_DOWN, "--network", "none"], id="locked-down"),
    ],
)
def test_trains_without_compiling_anything(image, job, case, options):
    job.lay_out(case)
    for folder in ("model", "output"):
        (job.root / folder).chmod(0o777)

    container = job.train(image, "-e", "NUMBA_DEBUG_CACHE=1", *options)

    assert container.wait() == 0, container.log
    assert not job.failure
    assert job.model
    assert "data saved" not in container.log


def test_no_variant_compiles_anything(image, job, case):
    if not case.variants:
        pytest.skip("it has one way through its kernels")
    for variant in case.variants:
        container = job.lay_out(case, **variant).train(image, "-e", "NUMBA_DEBUG_CACHE=1")

        assert container.wait() == 0, container.log
        assert "data saved" not in container.log


def test_trains_by_default(run, image, job, case):
    job.lay_out(case)

    run("docker", "run", "--rm", "-v", f"{job.root}:/opt/ml", image)

    assert job.model


def test_trains_from_pipes(image, job, case, algorithm):
    train = manifest.load(algorithm).channel("train")
    if "Pipe" not in train.input_modes:
        pytest.skip("it reads files only")
    if not case.data() or case.content_type not in (train.pipe_content_types or (case.content_type,)):
        pytest.skip("its data can't be piped as they are")
    container = job.lay_out(case, "Pipe").train(image)
    job.feed(container, case)

    assert container.wait() == 0, container.log
    assert job.model


def test_says_what_the_user_did_wrong(image, job, case):
    name = next(iter(case.wrong))

    container = job.lay_out(case, **case.wrong).train(image)

    assert container.wait() == 1
    assert job.failure.startswith("ClientError: ")
    assert name in job.failure
    assert "Traceback" not in container.log
    assert not job.model


def test_docker_stop_keeps_what_is_trained(image, job, case):
    if case.endless:
        container = job.lay_out(case, **case.endless).train(image)
    else:
        container = job.lay_out(case, "Pipe").train(image)
        job.feed(container, case, endless=True)
    deadline = time.monotonic() + 60
    # A FIFO holds 64 KiB, or at most a MiB: what is beyond was read.
    while not (job.fed > 2 * MEGABYTE or (case.endless and "GPUs being used" in container.log)):
        assert time.monotonic() < deadline, container.log
        time.sleep(0.5)
    time.sleep(4)
    assert container.running, container.log

    assert container.stop(60) == 0, container.log
    assert not job.failure
    assert job.model


@pytest.mark.parametrize(
    "options", [pytest.param([], id="root"), pytest.param(LOCKED_DOWN, id="locked-down")]
)
def test_serves(image, trained, endpoint, case, options):
    served = endpoint(image, trained.root, "-e", "SAGEMAKER_MODEL_SERVER_WORKERS=1", *options)

    assert served.request("GET", "/ping")[0] == 200
    served.answers(case)
    # AWS's XGBoost answers 415 to rows that it can't read, the others 400.
    assert served.request("POST", "/invocations", b"a,b,c,d\n", Content_Type="text/csv")[0] in (400, 415)
    assert served.request("POST", "/invocations", b"1", Content_Type="text/nonsense")[0] == 415
    assert served.container.stop(30) == 0, served.log


def test_serves_on_the_port_that_sagemaker_names(image, trained, endpoint, case):
    served = endpoint(image, trained.root, "-e", "SAGEMAKER_BIND_TO_PORT=9123", inside=9123)

    served.answers(case)


def test_serves_many_models(image, trained, endpoint, algorithm, case):
    if not manifest.load(algorithm).inference.multi_model:
        pytest.skip("one model an endpoint")
    served = endpoint(image, trained.root, "-e", "SAGEMAKER_MULTI_MODEL=true")
    wanted = json.dumps({"model_name": "first", "url": "/opt/ml/model"}).encode()

    assert served.request("POST", "/models", wanted, Content_Type="application/json")[0] == 200
    status, answer = served.request(
        "POST",
        "/models/first/invoke",
        case.requests(1),
        Content_Type=case.request_type,
        Accept=case.accept,
    )

    assert status == 200, answer
    assert answer if case.alone else json.loads(answer)
