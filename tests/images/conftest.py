"""Real images in a real Docker engine: jobs and endpoints as containers (docs/docker.md)."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.batches import Batch
from common.formats import encode_batch, recordio
from common.formats.record_pb2 import Record
from common.images import records as image_records

ROOT = Path(__file__).resolve().parents[2]
# Which images to build and try; "all" stands for every one below.
IMAGES = os.environ.get("ALGODOCK_IMAGES", "kmeans").replace(",", " ").split()
FEATURES = 4
CLASSES = 3
BATCH = 500  # rows; the data's length, and a batch's


def rows(count: int = BATCH, labelled: bool = True, seed: int = 0) -> bytes:
    """CSV rows of three far-apart classes, the label first."""
    source = random.Random(seed)
    lines = []
    for _ in range(count):
        label = source.randrange(CLASSES)
        values = [f"{source.gauss(10 * label, 1):.3f}" for _ in range(FEATURES)]
        lines.append(",".join([str(label), *values] if labelled else values))
    return "".join(f"{line}\n" for line in lines).encode()


def points(count: int = BATCH, seed: int = 0) -> bytes:
    """The same without labels."""
    return rows(count, labelled=False, seed=seed)


def records(count: int = BATCH, seed: int = 0) -> bytes:
    """RecordIO records of the first class, labelled 1, and of the others, labelled 0."""
    matrix = np.loadtxt(rows(count, seed=seed).splitlines(), np.float32, delimiter=",", ndmin=2)
    return encode_batch(Batch(matrix[:, 1:].copy(), (matrix[:, 0] == 0).astype(np.float32)))


def instances(count: int = BATCH, seed: int = 0) -> bytes:
    """A JSON request of points."""
    return json.dumps(
        {"instances": [{"features": [*map(float, line.split(b","))]} for line in points(count, seed).split()]}
    ).encode()


def documents(count: int = BATCH, seed: int = 0) -> bytes:
    """CSV rows of word counts: three topics, each with a word of its own."""
    source = random.Random(seed)
    lines = []
    for _ in range(count):
        topic = source.randrange(CLASSES)
        lines.append(
            ",".join(str(source.randint(5, 9) * (w == topic) + source.randint(0, 1)) for w in range(FEATURES))
        )
    return "".join(f"{line}\n" for line in lines).encode()


def document_records(count: int = BATCH, seed: int = 0) -> bytes:
    """The same as RecordIO records."""
    return encode_batch(
        Batch(np.loadtxt(documents(count, seed).splitlines(), np.float32, delimiter=",", ndmin=2))
    )


def pairs(count: int = BATCH, seed: int = 0) -> bytes:
    """CSV rows of three accounts, each with addresses of its own."""
    source = random.Random(seed)
    names = [source.randrange(CLASSES) for _ in range(count)]
    return "".join(f"account-{n},10.{n}.0.{source.randrange(4)}\n" for n in names).encode()


def classes(count: int = BATCH, seed: int = 0) -> list[str]:
    """The class of each row."""
    return [line[:1] for line in rows(count, seed=seed).decode().splitlines()]


def sentences(count: int = BATCH, seed: int = 0) -> bytes:
    """Labelled lines of text, each class with words of its own."""
    source = random.Random(seed)
    lines = []
    for kind in classes(count, seed):
        words = [f"word-{kind}", *(f"{source.choice('abcd')}-{kind}" for _ in range(6))]
        lines.append(f"__label__{kind} {' '.join(words)}\n")
    return "".join(lines).encode()


def words(count: int = BATCH, seed: int = 0) -> bytes:
    """A JSON request of words."""
    return json.dumps({"instances": [f"word-{kind}" for kind in classes(count, seed)]}).encode()


def series(count: int = BATCH, seed: int = 0, form: str = "lines") -> bytes:
    """Hourly series with a day's rhythm."""
    source = random.Random(seed)
    found = [
        {
            "start": "2026-01-01 00:00:00",
            "target": [10 * int(kind) + hour % 24 + source.random() for hour in range(60)],
        }
        for kind in classes(count, seed)
    ]
    if form == "request":
        return json.dumps({"instances": found}).encode()
    return "".join(f"{json.dumps(one)}\n" for one in found).encode()


def series_request(count: int = BATCH, seed: int = 0) -> bytes:
    """A JSON request for forecasts."""
    return series(count, seed, "request")


def sequences(count: int = BATCH, seed: int = 0, form: str = "lines") -> bytes:
    """Labelled pairs of token sequences: 1 where both are of one class."""
    source = random.Random(seed)
    found = []
    for kind in classes(count, seed):
        other = source.randrange(CLASSES)
        tokens = [4 * int(kind) + source.randrange(4) for _ in range(source.randint(1, 6))]
        found.append({"label": int(int(kind) == other), "in0": tokens, "in1": [4 * other]})
    if form == "request":
        return json.dumps({"instances": found}).encode()
    return "".join(f"{json.dumps(one)}\n" for one in found).encode()


def sequences_request(count: int = BATCH, seed: int = 0) -> bytes:
    """A JSON request for scores."""
    return sequences(count, seed, "request")


VOCABULARY = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "0": 4, "1": 5, "2": 6}


def translations(count: int = BATCH, seed: int = 0) -> bytes:
    """RecordIO records of sentences of one repeated token, and the same as their translation."""
    framed = []
    for kind in classes(count, seed):
        record = Record()
        for side in ("source", "target"):
            record.features[side].int32_tensor.values.extend([VOCABULARY[kind]] * (3 + int(kind)))
        framed.append(recordio.frame(record.SerializeToString(deterministic=True)))
    return b"".join(framed)


def texts(count: int = BATCH, seed: int = 0) -> bytes:
    """A JSON request for translations."""
    return json.dumps(
        {"instances": [{"data": " ".join([kind] * (3 + int(kind)))} for kind in classes(count, seed)]}
    ).encode()


def picture(kind: int = 0, side: int = 64, form: str = "JPEG") -> bytes:
    """A square on noise, of a colour for each class; as a PNG, its mask."""
    pixels = np.random.default_rng(kind).integers(0, 60, (side, side, 3), np.uint8)
    pixels[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4, kind] = 255
    file = io.BytesIO()
    image = (
        Image.fromarray(pixels) if form == "JPEG" else Image.fromarray((pixels.max(2) == 255) * np.uint8(1))
    )
    image.save(file, form)
    return file.getvalue()


def one_picture(count: int = 1, seed: int = 0) -> bytes:
    """A request: whatever is asked for, a picture."""
    return picture(seed % CLASSES)


def pictures(count: int = 12, seed: int = 0) -> bytes:
    """Image records, a class each."""
    return b"".join(
        recordio.frame(image_records.pack(np.float32([n % CLASSES]), picture(n % CLASSES), n))
        for n in range(count)
    )


def boxes(count: int = 12, seed: int = 0) -> bytes:
    """Image records with a box each."""
    return b"".join(
        recordio.frame(
            image_records.pack(
                np.float32([2, 5, n % CLASSES, 0.25, 0.25, 0.75, 0.75]), picture(n % CLASSES), n
            )
        )
        for n in range(count)
    )


@dataclass(frozen=True)
class Case:
    """How an algorithm is tried."""

    hyperparameters: dict[str, Any]
    wrong: dict[str, Any]  # a user's mistake
    data: Callable[..., bytes] = rows  # of the channel train, which may be repeated without an end
    content_type: str = "text/csv"
    requests: Callable[..., bytes] = points
    request_type: str = "text/csv"
    accept: str = "application/json"
    file: str = "rows"  # of the data
    alone: bool = False  # a request is one picture, and the whole answer about it
    root: str | None = "predictions"  # None: the answer is a bare list
    answer: str | None = None  # what of an answer is the same for all rows of a class
    # What makes a File job so long that it must be stopped; None: it gets an endless Pipe.
    endless: dict[str, Any] | None = None
    side: dict[str, dict[str, bytes]] = field(default_factory=dict)  # files of other channels
    variants: tuple[dict[str, Any], ...] = ()  # hyperparameters that lead through other kernels

    def items(self, answer: bytes | str) -> list[Any]:
        """What an answer says of each row."""
        if self.alone:
            return [answer]
        found = json.loads(answer)
        items: list[Any] = found[self.root] if self.root else found
        return items


UNLABELLED = "text/csv;label_size=0"
CASES = {
    "kmeans": Case(
        {"k": CLASSES, "feature_dim": FEATURES},
        {"k": 0},
        points,
        UNLABELLED,
        answer="closest_cluster",
    ),
    "pca": Case(
        {"feature_dim": FEATURES, "num_components": 2, "mini_batch_size": BATCH},
        {"num_components": 0},
        points,
        UNLABELLED,
        root="projections",
    ),
    "knn": Case(
        {"feature_dim": FEATURES, "k": 5, "sample_size": 300, "predictor_type": "classifier"},
        {"k": 0},
        answer="predicted_label",
    ),
    "linear-learner": Case(
        {
            "predictor_type": "multiclass_classifier",
            "num_classes": CLASSES,
            "feature_dim": FEATURES,
            "mini_batch_size": 100,
            "epochs": 2,
        },
        {"epochs": 0},
        answer="predicted_label",
    ),
    "xgboost": Case(
        {"objective": "multi:softmax", "num_class": CLASSES, "num_round": 5},
        {"num_round": 0},
        answer="score",
        endless={"num_round": 1_000_000},
    ),
    "factorization-machines": Case(
        {
            "feature_dim": FEATURES,
            "num_factors": 2,
            "predictor_type": "binary_classifier",
            "mini_batch_size": 50,
            "epochs": 30,
            "linear_lr": 0.05,
        },
        {"num_factors": 0},
        records,
        "application/x-recordio-protobuf",
        instances,
        "application/json",
        answer="predicted_label",
    ),
    "randomcutforest": Case(
        {"feature_dim": FEATURES, "num_trees": 50, "num_samples_per_tree": 10},
        {"num_trees": 1},
        points,
        UNLABELLED,
        root="scores",
    ),
    "lda": Case(
        {"feature_dim": FEATURES, "num_topics": 2, "mini_batch_size": BATCH},
        {"num_topics": 0},
        document_records,  # CSV isn't piped
        "application/x-recordio-protobuf",
        documents,
    ),
    "ntm": Case(
        {"feature_dim": FEATURES, "num_topics": 2, "epochs": 2},
        {"num_topics": 1},
        documents,
        UNLABELLED,
        documents,
    ),
    "ipinsights": Case(
        {"num_entity_vectors": 100, "vector_dim": 8, "epochs": 2, "mini_batch_size": 100},
        {"vector_dim": 1},
        pairs,
        requests=pairs,
    ),
    "blazingtext": Case(
        {"mode": "batch_skipgram", "vector_dim": 8, "min_count": 1, "epochs": 2},
        {"mode": "word2vec"},
        sentences,
        "text/plain",
        words,
        "application/json",
        root=None,
        answer="vector",
        endless={"epochs": 1_000_000},
        variants=(
            {"mode": "supervised"},
            {"mode": "cbow"},
            {"mode": "skipgram", "subwords": True, "buckets": 1000},
        ),
    ),
    "forecasting-deepar": Case(
        {"time_freq": "H", "prediction_length": 6, "context_length": 12, "epochs": 2, "num_cells": 8},
        {"time_freq": "Y"},
        series,
        "application/jsonlines",
        series_request,
        "application/json",
        endless={"epochs": 100_000},
    ),
    "object2vec": Case(
        {
            "enc0_max_seq_len": 6,
            "enc0_vocab_size": 12,
            "enc_dim": 8,
            "enc0_token_embedding_dim": 8,
            "mlp_dim": 8,
            "epochs": 2,
        },
        {"enc_dim": 1},
        sequences,
        "application/jsonlines",
        sequences_request,
        "application/json",
        endless={"epochs": 100, "mini_batch_size": 1, "early_stopping_patience": 5},
        variants=({"enc0_network": "bilstm"}, {"enc0_network": "pooled_embedding"}),
    ),
    "seq2seq": Case(
        {
            "rnn_num_hidden": 16,
            "num_embed_source": 16,
            "num_embed_target": 16,
            "max_seq_len_source": 10,
            "max_seq_len_target": 10,
            "checkpoint_frequency_num_batches": 10,
            "max_num_batches": 20,
        },
        {"rnn_num_hidden": 1},
        translations,
        "application/x-recordio-protobuf",
        texts,
        "application/json",
        endless={"max_num_batches": 1_000_000, "checkpoint_threshold": 1000},
        side={
            "validation": {"val.rec": translations(50, 1)},
            "vocab": {
                "vocab.src.json": json.dumps(VOCABULARY).encode(),
                "vocab.trg.json": json.dumps(VOCABULARY).encode(),
            },
        },
        variants=(
            {"encoder_type": "cnn", "decoder_type": "cnn", "cnn_num_hidden": 16},
            {"optimizer_type": "sgd", "momentum": 0.9},
            {"optimizer_type": "sgd"},
            {"optimizer_type": "rmsprop"},
        ),
    ),
    "rl": Case(
        {"environment": "Taxi-v3", "episodes": 100},
        {"episodes": 0},
        lambda count=1, seed=0: b"",  # no data: an environment
        requests=lambda count=1, seed=0: json.dumps({"instances": list(range(count))}).encode(),
        request_type="application/json",
        endless={"environment": "Blackjack-v1", "episodes": 1_000_000_000},
    ),
    "image-classification": Case(
        {
            "num_classes": CLASSES,
            "num_training_samples": 12,
            "num_layers": 20,
            "image_shape": "3,64,64",
            "mini_batch_size": 4,
            "epochs": 1,
        },
        {"num_layers": 19},
        pictures,
        "application/x-recordio",
        one_picture,
        "image/jpeg",
        file="train.rec",
        alone=True,
        endless={"epochs": 1_000_000},
        side={"validation": {"validation.rec": pictures(6)}},
    ),
    "object-detection": Case(
        {
            "num_classes": CLASSES,
            "num_training_samples": 4,
            "base_network": "resnet-50",
            "use_pretrained_model": 0,
            "mini_batch_size": 2,
            "epochs": 1,
        },
        {"num_classes": 0},
        partial(boxes, 4),
        "application/x-recordio",
        one_picture,
        "image/jpeg",
        file="train.rec",
        alone=True,
        endless={"epochs": 1_000_000},
        side={"validation": {"validation.rec": boxes(2)}},
    ),
    "semantic-segmentation": Case(
        {
            "num_classes": 2,
            "num_training_samples": 1,
            "use_pretrained_model": False,
            "crop_size": 48,
            "base_size": 64,
            "mini_batch_size": 1,
            "epochs": 1,
        },
        {"num_classes": 1},
        picture,
        "image/jpeg",
        one_picture,
        "image/jpeg",
        "image/png",
        file="a.jpg",
        alone=True,
        endless={"epochs": 1_000_000},
        side={
            "train_annotation": {"a.png": picture(form="PNG")},
            "validation": {"a.jpg": picture()},
            "validation_annotation": {"a.png": picture(form="PNG")},
        },
    ),
}


def call(*command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command and returns it with both of its outputs in ``stdout``."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}"
    return done


@cache
def missing() -> str:
    """Why there is no Docker engine, or nothing."""
    if not shutil.which("docker"):
        return "no docker command is installed"
    answer = call("docker", "version", "--format", "{{.Server.Version}}", check=False)
    return "" if answer.returncode == 0 else f"no Docker engine answers: {answer.stdout.strip()[-200:]}"


@cache
def compose_command() -> list[str]:
    """Version 2 of compose if there is one, else version 1."""
    if call("docker", "compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


@cache
def built(algorithm: str) -> str:
    """Builds the CPU image of an algorithm, exactly as people do, and returns its name."""
    # The environment these tests run in is set up already.
    call("make", "-o", ".venv/ready", "image", f"ALGORITHM={algorithm}", "DEVICES=cpu", cwd=ROOT)
    return f"algodock/{algorithm}:cpu"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "algorithm" in metafunc.fixturenames:
        names = list(CASES) if IMAGES == ["all"] else IMAGES
        metafunc.parametrize("algorithm", names, scope="session")


@pytest.fixture(autouse=True)
def engine() -> None:
    if missing():
        pytest.skip(missing())


@pytest.fixture(scope="session", name="run")
def _run() -> Callable[..., subprocess.CompletedProcess[str]]:
    return call


@pytest.fixture(scope="session")
def case(algorithm: str) -> Case:
    return CASES[algorithm]


@pytest.fixture(scope="session")
def image(algorithm: str) -> str:
    if missing():
        pytest.skip(missing())
    return built(algorithm)


@dataclass
class Container:
    """A container that was started."""

    name: str

    def wait(self, seconds: float = 120) -> int:
        """The exit code, once it ends."""
        return int(call("docker", "wait", self.name, timeout=seconds).stdout)

    def stop(self, seconds: int) -> int:
        """How SageMaker ends a job: SIGTERM, then SIGKILL after so many seconds. Returns the exit code."""
        call("docker", "stop", "-t", str(seconds), self.name)
        return self.wait()

    @property
    def running(self) -> bool:
        return call("docker", "inspect", "-f", "{{.State.Running}}", self.name).stdout.strip() == "true"

    @property
    def log(self) -> str:
        return call("docker", "logs", self.name).stdout


@dataclass
class Endpoint:
    """An endpoint on a port of this machine."""

    port: int
    container: Container | None = None

    @property
    def log(self) -> str:
        return self.container.log if self.container else ""

    def wait(self, seconds: float = 60) -> Endpoint:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/ping")[0] == 200:
                    return self
            if self.container and not self.container.running:
                break
            time.sleep(0.1)
        raise AssertionError(f"the endpoint did not come up: {self.log}")

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answers(self, case: Case, count: int = 20) -> list[Any]:
        """Sends rows and returns as many answers; each class of rows has an answer of its own."""
        body = case.requests(count, seed=1)
        status, content = self.request(
            "POST", "/invocations", body, Content_Type=case.request_type, Accept=case.accept
        )
        assert status == 200, content
        found = case.items(content)
        assert len(found) == (1 if case.alone else count)
        if case.answer:
            labels = classes(count, seed=1)
            given = {(label, str(item[case.answer])) for label, item in zip(labels, found, strict=True)}
            assert len(given) == CLASSES, given
        return found


@dataclass
class Job:
    """A folder that stands for /opt/ml, and containers that get it."""

    root: Path
    start: Callable[..., Container]
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    channels: dict[str, dict[str, str]] = field(default_factory=dict)
    fed: int = 0  # bytes that an endless Pipe has taken

    def lay_out(self, case: Case, mode: str = "File", /, **hyperparameters: Any) -> Job:
        """Writes what SageMaker's agent would: the config files, and a File channel's data."""
        self.hyperparameters = {**case.hyperparameters, **hyperparameters}
        self.channels = {"train": {"TrainingInputMode": mode, "ContentType": case.content_type}}
        for folder in ("input/config", "input/data", "model", "output"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        if mode == "File":
            (self.root / "input" / "data" / "train").mkdir(exist_ok=True)
            (self.root / "input" / "data" / "train" / case.file).write_bytes(case.data())
        for name, files in case.side.items():
            self.channels[name] = {"TrainingInputMode": "File"}
            folder = self.root / "input" / "data" / name
            folder.mkdir(exist_ok=True)
            for file, content in files.items():
                (folder / file).write_bytes(content)
        config = self.root / "input" / "config"
        config.joinpath("inputdataconfig.json").write_text(json.dumps(self.channels))
        config.joinpath("hyperparameters.json").write_text(
            json.dumps({name: str(value) for name, value in self.hyperparameters.items()})
        )
        return self

    def train(self, image: str, *options: str) -> Container:
        return self.start(image, "-v", f"{self.root}:/opt/ml", *options, program="train")

    def feed(self, container: Container, case: Case, endless: bool = False) -> None:
        """Plays SageMaker's agent in Pipe mode: one FIFO an epoch, or a first epoch without an end."""
        threading.Thread(target=self._feed, args=(container, case, endless), daemon=True).start()

    def _feed(self, container: Container, case: Case, endless: bool) -> None:
        data = case.data()
        for epoch in range(100):
            path = self.root / "input" / "data" / f"train_{epoch}"
            os.mkfifo(path)
            path.chmod(0o666)
            with suppress(BrokenPipeError), open(path, "wb", buffering=0) as fifo:
                fifo.write(data)
                while endless:
                    time.sleep(0.01)
                    fifo.write(data)
                    self.fed += len(data)
            path.unlink()

    @property
    def failure(self) -> str:
        path = self.root / "output" / "failure"
        return path.read_text() if path.exists() else ""

    @property
    def model(self) -> set[str]:
        return {path.name for path in (self.root / "model").iterdir()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def containers() -> Iterator[Callable[..., Container]]:
    """Starts containers, and removes them afterwards."""
    started: list[Container] = []

    def start(image: str, *options: str, program: str) -> Container:
        name = call("docker", "run", "--detach", *options, image, program).stdout.strip()
        started.append(Container(name))
        return started[-1]

    yield start
    for container in started:
        call("docker", "rm", "--force", container.name)


@pytest.fixture
def job(containers: Callable[..., Container]) -> Iterator[Job]:
    """An empty job, in a folder that containers of any user may write."""
    with tempfile.TemporaryDirectory(prefix="algodock-") as folder:
        Path(folder).chmod(0o777)
        yield Job(Path(folder), containers)


@pytest.fixture
def compose(job: Job, algorithm: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """The project's docker-compose.yml on the job's folder, by version 2 of compose or version 1."""
    command = compose_command()
    if not command:
        pytest.skip("neither docker compose nor docker-compose is installed")
    project = f"algodock-test-{os.getpid()}"

    def do(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {"ALGORITHM": algorithm, "ML": str(job.root), "COMPOSE_PROJECT_NAME": project}
        return call(*command, *arguments, cwd=ROOT, env={**os.environ, **settings, **environment})

    yield do
    do("--profile", "endpoint", "down", "--volumes")


@pytest.fixture
def trained(image: str, case: Case, job: Job) -> Job:
    """A job that has trained."""
    container = job.lay_out(case).train(image)
    assert container.wait() == 0, container.log
    return job


@pytest.fixture
def endpoint(containers: Callable[..., Container]) -> Callable[..., Endpoint]:
    """Starts endpoints: ``endpoint(image, job.root)``."""

    def start(image: str, root: Path, *options: str, inside: int = 8080) -> Endpoint:
        port = free_port()
        container = containers(
            image, "-v", f"{root}:/opt/ml", "-p", f"127.0.0.1:{port}:{inside}", *options, program="serve"
        )
        return Endpoint(port, container).wait()

    return start


@pytest.fixture(scope="session")
def port() -> Callable[[], int]:
    return free_port


@pytest.fixture
def answering() -> Callable[[int], Endpoint]:
    """An endpoint that something else started on this port."""
    return lambda port: Endpoint(port).wait()


@cache
def environment(version: int) -> Path | str:
    """Python with the SageMaker SDK of that major version, or why there is none.

    It outlives the tests: the SDK is heavy.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "algodock"
    folder = Path(os.environ.get("ALGODOCK_SDK_ENVS", default)) / f"sagemaker-{version}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    call(sys.executable, "-m", "venv", folder)
    wanted = f"sagemaker>={version},<{version + 1}"
    done = call(python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", wanted, check=False)
    if done.returncode:
        return f"the SageMaker SDK v{version} can't be installed: {done.stdout[-500:]}"
    (folder / "ready").touch()
    return python


@pytest.fixture
def sdk(job: Job, image: str, case: Case) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Runs tests/images/sdk_v<version>.py on the image, and returns what it found."""

    def drive(version: int) -> dict[str, Any]:
        python = environment(version)
        if isinstance(python, str):
            pytest.skip(python)
        if case.side:
            pytest.skip("the scripts give one channel")
        if not (
            shutil.which("docker-compose")
            or call("docker", "compose", "version", check=False).returncode == 0
        ):
            pytest.skip(
                "the SDK's local mode needs docker compose or docker-compose, and neither is installed"
            )
        settings = {
            "image": image,
            "folder": str(job.root),
            "content_type": case.content_type,
            "hyperparameters": case.hyperparameters,
            "rows": case.requests(20, seed=1).decode(),
            "request_type": case.request_type,
            "records": case.requests in (points, documents),
            "port": free_port(),
        }
        # Neither the developer's account nor telemetry: local mode needs none.
        config = job.root / "sdk.yaml"
        config.write_text(
            "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"
        )
        (job.root / "data").mkdir()
        (job.root / "data" / "rows").write_bytes(case.data())
        script = Path(__file__).with_name(f"sdk_v{version}.py")
        log = call(
            python,
            script,
            json.dumps(settings),
            env={
                **os.environ,
                "AWS_ACCESS_KEY_ID": "none",
                "AWS_SECRET_ACCESS_KEY": "none",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
            },
            timeout=300,
        ).stdout
        return {"log": log, **json.loads((job.root / "found.json").read_text())}

    yield drive
    # The SDK leaves its containers behind, and not the compose file to take them down with.
    place = '{{.ID}} {{.Label "com.docker.compose.project.working_dir"}}'
    for line in call("docker", "ps", "--all", "--format", place).stdout.splitlines():
        name, _, folder = line.partition(" ")
        if folder.startswith(str(job.root)):
            call("docker", "rm", "--force", name)
