"""The real `train` on a real corpus: File and Pipe mode, two hosts, what the log says, mistakes, a stop."""

from __future__ import annotations

import json
import re
import signal
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common import manifest
from common.batches import CSR, Batch, to_csr
from common.channels.channel import Channel
from common.cluster import Cluster
from common.failures import ClientError
from common.formats import encode_batch, ndarray
from common.job import ChannelConfig, Hosts
from common.optimizers import Settings
from containers.ntm import auxiliary, predict, topics, train
from containers.ntm.data import Corpus
from containers.ntm.engine import Engine
from containers.ntm.export import model_of
from containers.ntm.hyperparameters import DECLARATION
from containers.ntm.model import Network

MANIFEST = manifest.load("ntm")
CSV = "text/csv;label_size=0"


def speeches() -> tuple[CSR, list[str], list[str]]:
    """Passages of addresses on the State of the Union, mixed, with the years they are from, and the words."""
    with np.load(Path(__file__).parents[2] / "data" / "state_of_the_union.npz") as data:
        words = [str(word) for word in data["vocabulary"]]
        rows = CSR(
            data["counts"].astype(np.float32),
            data["words"].astype(np.int64),
            data["indptr"].astype(np.int64),
            (len(data["labels"]), len(words)),
        )
        labels = [str(label) for label in data["labels"]]
    order = np.random.default_rng(0).permutation(len(rows))
    return rows.take(order), [labels[row] for row in order], words


SPEECHES, _, WORDS = speeches()
# A small corpus of the commonest words for what needs no meaning.
COMMON = np.argsort(-np.bincount(SPEECHES.indices, SPEECHES.values), kind="stable")[:30]
FEW = SPEECHES[:300].dense()[:, COMMON]
FEW = FEW[FEW.sum(1) > 0]
JOB = {"feature_dim": 30, "num_topics": 3, "mini_batch_size": 32, "epochs": 2}


def csv(rows: np.ndarray) -> bytes:
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows.tolist()).encode()


def records(rows: np.ndarray, sparse: bool = True) -> bytes:
    return encode_batch(Batch(to_csr(rows) if sparse else rows))


@pytest.fixture
def ntm(training_job):
    """A job on one thread: so many run at once."""

    def make(**values):
        job = training_job("ntm", **{**JOB, **values})
        job.environment["ALGODOCK_NUM_THREADS"] = "1"
        return job

    return make


def metric(log: str, name: str) -> float:
    """A metric as SageMaker finds it: the last one that its regex matches."""
    regex = next(metric.regex for metric in MANIFEST.metrics if metric.name == name)
    return float(re.findall(regex, log)[-1])


def parameters(finished, name: str = "model_algo-1") -> dict[str, np.ndarray]:
    with zipfile.ZipFile(finished.model / name) as archive:
        return ndarray.load(archive.read("params"))


def test_speeches_are_better_told_by_topics_than_by_one_list_of_words(ntm):
    parts = {"train": SPEECHES[:1400], "validation": SPEECHES[1400:1600], "test": SPEECHES[1600:]}
    job = ntm(feature_dim=len(WORDS), num_topics=10, mini_batch_size=64, epochs=40)
    for name, rows in parts.items():
        job.channel(name, encode_batch(Batch(rows)))
    job.channel("auxiliary", {"vocab.txt": "\n".join(WORDS).encode()}, "text/plain")
    finished = job.run().succeeded()
    log = finished.log

    counts = np.bincount(parts["train"].indices, parts["train"].values, len(WORDS)) + 0.1
    chances = np.log(counts / counts.sum())
    test = parts["test"].dense()
    unigrams = float(-(test @ chances / test.sum(1)).mean())
    assert metric(log, "test:total_loss") < unigrams - 0.2
    assert metric(log, "tu") > 0.7
    assert metric(log, "wetc") > 0.1
    assert metric(log, "train:progress") == 100
    assert metric(log, "train:throughput") > 0

    # The parts of each loss add up, validation's is told each epoch, and the best one is the model's.
    values = re.findall(r"Loss \(name: value\) (\w+): (\S+)\n", log)
    for at in range(0, len(values), 4):
        total, kld, recons, logppx = (float(value) for _, value in values[at : at + 4])
        assert total == logppx == pytest.approx(kld + recons, rel=1e-6)
    scores = [float(score) for score in re.findall(r"#validation_score \(\d+\): (\S+)\n", log)]
    best = int(np.argmin(scores))
    assert f"Best model based on early stopping at epoch {best + 1}. Best loss: {min(scores)}\n" in log
    assert metric(log, "validation:total_loss") == min(scores)
    for line in (
        "Number of GPUs being used: 0",
        "# Starting training for epoch 3",
        "# Finished training epoch 3 on 1400 examples from 22 batches, each of size 64.",
        "Metrics for Training:",
        "Finished scoring on 200 examples from 4 batches, each of size 64.",
        "Metrics for Inference:",
        f"Vocab file vocab.txt is expected at {finished.root / 'input/data/auxiliary'}",
        f"Serializing model to {finished.model / 'model_algo-1'}",
        "Create Store: local",
    ):
        assert f"] {line}\n" in log, line
    assert re.search(r"\] Timing: train: \d+\.\d\ds, val: \d+\.\d\ds, epoch: \d+\.\d\ds\n", log)
    assert re.search(r"#progress_metric: host=algo-1, completed 2.5 % of epochs\n", log)
    assert log.count('"Meta": "training_data_iter"') == len(scores)
    for name in ("initialize.time", "update.time", "early_stop.time", "model.score.time", "finalize.time",
                 "model.serialize.time", "epochs", "setuptime", "totaltime"):  # fmt: skip
        assert f'"{name}": {{"sum"' in log

    # The topics that the log lists are the columns of the projection, and 20 words long.
    arrays = parameters(finished)
    projection = arrays["arg:projection_weight"]
    assert (projection.shape, projection.dtype) == ((len(WORDS), 10), np.float32)
    listed = re.findall(r"\] \[-?[01]\.\d\d, [01]\.\d\d\] (.*)\n", log)
    assert [line.split() for line in listed] == [
        [WORDS[word] for word in words] for words in topics.top_words(projection)
    ]
    weights = predict.load(finished.model).predict(parts["test"], {})["topic_weights"]
    assert weights.max(1).mean() > 0.3  # speeches have topics of their own
    with zipfile.ZipFile(finished.model / "model_algo-1") as archive:
        assert sorted(archive.namelist()) == ["meta.json", "params", "symbol.json"]
        assert json.loads(archive.read("meta.json"))["num_topics"] == 10


def test_same_model_from_every_form_of_the_same_rows(ntm):
    def trained(data: bytes, content_type: str | None, mode: str = "File") -> bytes:
        job = ntm(epochs=1).channel("train", data, content_type, mode)
        finished = job.channel("validation", data, content_type, mode).run().succeeded()
        assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]
        return (finished.model / "model_algo-1").read_bytes()

    expected = trained(records(FEW), None)
    labelled = csv(np.column_stack([np.arange(len(FEW)), FEW]))
    assert trained(labelled, "text/csv") == expected
    assert trained(csv(FEW), CSV, "Pipe") == expected
    assert trained(records(FEW, sparse=False), "application/x-recordio-protobuf", "FastFile") == expected


def test_a_pipe_feeds_each_epoch_and_bad_epochs_end_it(ntm):
    job = ntm(epochs=40, num_patience_epochs=2, tolerance=0.1, sub_sample=0.5, optimizer="adam")
    log = job.channel("train", records(FEW), mode="Pipe").run().succeeded().log
    assert "Vocab file is not provided" in log
    assert "Test data is not provided." in log
    # Half of the documents, others each time.
    drawn = [int(count) for count in re.findall(r"on (\d+) examples", log)]
    assert all(0.3 * len(FEW) < count < 0.7 * len(FEW) for count in drawn)
    assert len(set(drawn)) > 1
    # Two epochs to look back on, and three bad ones more.
    assert len(drawn) == 5
    assert re.findall(r"Bad count:(\d)", log) == ["1", "2", "3"]
    assert "Bad epochs exceeded patience. Stopping training early!" in log
    assert "Early stop condition met. Stopping training." in log
    assert "#progress_metric: host=algo-1, completed 100 % epochs" in log
    assert metric(log, "train:progress") == 100
    losses = [float(loss) for loss in re.findall(r"train total_loss <loss>=(\S+)", log)]
    assert f"early stopping at epoch {int(np.argmin(losses)) + 1}. Best loss: {min(losses)}" in log
    assert re.search(r"Topics from epoch:final \(num_topics:3\) \[, tu [01]\.\d\d\]:\n\[.*\] \d+ \d+", log)


def test_options_in_clients_spellings(ntm):
    job = ntm(
        batch_norm="True",
        encoder_layers="[9, 6]",
        encoder_layers_activation="tanh",
        clip_gradient="Inf",
        optimizer="adam",
        num_patience_epochs=100,
        weight_decay=0.01,
        _tuning_objective_metric="validation:total_loss",
        _kvstore="auto_gpu",
        _num_gpus="auto",
    )
    vectors = "".join(f"{WORDS[word]} {number} 1\n" for number, word in enumerate(COMMON[:-1]))
    vocabulary = "\r\n".join(WORDS[word] for word in COMMON) + "\r\n"
    job.channel(
        "auxiliary", {"vocab.txt": vocabulary.encode(), "glove.6B.50d.txt": vectors.encode()}, "text/plain"
    )
    finished = job.channel("train", records(FEW)).run().succeeded()
    assert [parameters(finished)[f"arg:encoder_{n}_weight"].shape for n in (0, 1)] == [(9, 30), (6, 9)]
    assert "1 out of 30 in vocabulary do not have embeddings! Default vector used" in finished.log
    assert 0 < metric(finished.log, "wetc") < 1
    assert "patience losses" not in finished.log
    assert "has no effect" not in finished.log


def test_a_learning_rate_says_nothing_to_adadelta():
    (sentence,) = DECLARATION.without_effect(DECLARATION.resolve({**JOB, "learning_rate": 0.1}))
    assert "learning_rate has no effect: it applies when optimizer is sgd, adam" in sentence


# --- each hyperparameter's effect, without a job ---


def learned(**values: object) -> dict[str, torch.Tensor]:
    """The network after an epoch."""
    given = {**JOB, **values}
    resolved = DECLARATION.resolve({name: str(value) for name, value in given.items()})
    run = SimpleNamespace(
        hyperparameters=resolved, seed=0, devices=("cpu",), cluster=Cluster(Hosts()), threads=1
    )
    engine = train._engine(run)
    engine.learn([to_csr(FEW[:32]), to_csr(FEW[32:64])])
    return dict(engine.network.named_parameters())


BASE = learned()


@pytest.mark.parametrize(
    "values",
    [
        {"batch_norm": "true"},
        {"clip_gradient": 0.001},
        {"encoder_layers": "8"},
        {"encoder_layers_activation": "relu"},
        {"learning_rate": 0.1, "optimizer": "adam"},
        {"num_topics": 4},
        *({"optimizer": name} for name in ("sgd", "adam", "adagrad", "rmsprop")),
        {"rescale_gradient": 0.5},
        {"weight_decay": 0.01},
    ],
)
def test_each_hyperparameter_changes_what_is_learned(values):
    found = learned(**values)
    same = [
        name
        for name, parameter in found.items()
        if name in BASE and BASE[name].shape == parameter.shape and torch.equal(BASE[name], parameter)
    ]
    assert not same
    assert all(torch.isfinite(parameter).all() for parameter in found.values())


def test_infinity_is_no_limit_and_auto_layers_follow_the_topics():
    for spelled in ("Infinity", "inf", 1e30):
        assert torch.equal(learned(clip_gradient=spelled)["word_weight"], BASE["word_weight"])
    assert BASE["word_weight"].shape == (30, 9)
    assert BASE["mean.weight"].shape == (3, 6)


def test_bars_are_found_again():
    """As SageMaker's ntm_synthetic: documents of a few topics, each a row or a column of a grid of words."""
    random = np.random.default_rng(0)
    grid = np.arange(25).reshape(5, 5)
    bars = np.zeros((10, 25))
    for number, words in enumerate([*grid, *grid.T]):
        bars[number, words] = 0.2
    rows = np.stack(
        [random.multinomial(100, mixture @ bars) for mixture in random.dirichlet([0.1] * 10, 2000)]
    ).astype(np.float32)
    torch.manual_seed(0)
    engine = Engine(
        Network(25, 10, [30, 20], "sigmoid"), "adam", Settings(0.01),
        devices=("cpu",), cluster=Cluster(Hosts()), seed=0, threads=1,
    )  # fmt: skip
    sparse = to_csr(rows)
    for _ in range(30):
        engine.learn(sparse[start : start + 100] for start in range(0, len(rows), 100))
    top = topics.top_words(model_of(engine.network).projection.weight, 5)
    found = {frozenset(words.tolist()) for words in top}
    assert len(found & {frozenset(np.flatnonzero(bar).tolist()) for bar in bars}) >= 8


# --- several hosts ---


def two_hosts(ntm, data: list[bytes | None], distribution: str, **values: object):
    jobs = []
    for content in data:
        job = ntm(**values)
        job.channel("train", {} if content is None else content, distribution=distribution)
        job.channel("validation", records(FEW[:50]))
        words = "\n".join(WORDS[word] for word in COMMON)
        job.channel("auxiliary", {"vocab.txt": words.encode()}, "text/plain")
        jobs.append(job)
    ended = [one.succeeded() for one in jobs[0].run_with(jobs[1])]
    logs = [one.log for one in ended]
    first, second = ((one.model / f"model_algo-{n}").read_bytes() for n, one in enumerate(ended, 1))
    assert first == second
    assert metric(logs[0], "validation:total_loss") == metric(logs[1], "validation:total_loss")
    assert metric(logs[0], "wetc") == metric(logs[1], "wetc")
    return logs, ended[0]


def test_two_hosts_share_replicated_documents(ntm):
    logs, _ = two_hosts(ntm, [records(FEW)] * 2, "FullyReplicated")
    counts = [int(re.search(r"epoch 1 on (\d+) examples", log)[1]) for log in logs]
    assert sum(counts) == len(FEW)
    assert abs(counts[0] - counts[1]) <= 1
    assert "Create Store: dist_sync" in logs[0]


def test_two_hosts_of_which_one_has_no_documents(ntm):
    logs, finished = two_hosts(ntm, [None, records(FEW)], "ShardedByS3Key", batch_norm=True)
    assert "epoch 1 on 0 examples from 0 batches" in logs[0]
    assert np.isfinite(parameters(finished)["arg:encoder_0_weight"]).all()


# --- channels, without a job ---


def corpus(tmp_path, data: bytes, content_type: str | None = CSV, width: int = 3, **options) -> Corpus:
    (tmp_path / "train").mkdir(exist_ok=True)
    (tmp_path / "train" / "data").write_bytes(data)
    channel = Channel(ChannelConfig("train", content_type=content_type), MANIFEST.channel("train"), tmp_path)
    return Corpus(channel, width, 2, **options)


def test_documents_without_words_are_left_out_and_kept_ones_shuffled(tmp_path):
    data = b"1,0,0\n0,0,0\n0,2,0\n0,0,3\n0,0,0\n4,0,0\n5,0,0\n"
    made = corpus(tmp_path, data, generator=np.random.default_rng(0))

    def passed() -> list[list[float]]:
        batches = list(made.epoch())
        assert [len(batch) for batch in batches] == [2, 2, 1]
        return [row for batch in batches for row in batch.dense().tolist()]

    first = passed()
    assert first == [[1, 0, 0], [0, 2, 0], [0, 0, 3], [4, 0, 0], [5, 0, 0]]
    (tmp_path / "train" / "data").unlink()  # they are in memory now
    orders = [passed() for _ in range(5)]
    assert all(sorted(order) == sorted(first) for order in orders)
    assert any(order != first for order in orders)


def test_documents_that_do_not_fit_are_read_again(tmp_path):
    made = corpus(tmp_path, b"1,0,0\n0,2,0\n", keep=8)
    assert sum(map(len, made.epoch())) == 2
    (tmp_path / "train" / "data").write_bytes(b"1,0,0\n0,2,0\n0,0,3\n")
    assert sum(map(len, made.epoch())) == 3


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"1,2,3\n0,-2,1\n", r"channel train: feature 1 \(counted from 0\) of row 2 is -2"),
        (b"1,2,3\n4,nan,6\n", r"channel train: feature 1 \(counted from 0\) of row 2 is nan"),
        (b"1,2,3\n1,2\n", "row 2|line 2"),
        (b"1,2\n3,4\n", "2 columns; 3 are expected"),
        (b"\x00\xff\xfe garbage", "channel train"),
    ],
)
def test_documents_that_can_not_be_learned_from(tmp_path, data, part):
    with pytest.raises(ClientError, match=part):
        list(corpus(tmp_path, data).epoch())


def test_truncated_records(tmp_path):
    with pytest.raises(ClientError, match="ends"):
        list(corpus(tmp_path, records(FEW)[:-30], None, 30).epoch())


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({}, "channel auxiliary has no file vocab.txt"),
        ({"vocab.txt": b"a\nb\n"}, "it has 2 lines, and feature_dim is 3"),
        ({"vocab.txt": b"a\nb\nc\nd"}, "it has 4 lines"),
        ({"vocab.txt": b""}, "it has 0 lines"),
        ({"vocab.txt": b"a\n\xff\nc"}, "byte 2 is not UTF-8"),
        ({"vocab.txt": b"a\nb\nc", "x.txt": b"", "y.vec": b""}, "2 files beside vocab.txt: x.txt, y.vec"),
    ],
)
def test_vocabularies_that_are_none(tmp_path, files, part):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ClientError, match=part):
        auxiliary.read(SimpleNamespace(folder=tmp_path), 3)


def test_a_vocabulary_of_any_words(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\ufeffcaf\u00e9\nnew york\n\u2028x\n".encode())
    (tmp_path / "_SUCCESS.txt").write_bytes(b"")
    read = auxiliary.read(SimpleNamespace(folder=tmp_path), 3)
    assert read.words == ["caf\u00e9", "new york", "\u2028x"]
    assert read.vectors is None


@pytest.mark.parametrize(
    ("name", "settings", "part"),
    [
        ("auxiliary", {"content_type": "text/csv"}, "content type 'text/csv' is not accepted"),
        ("auxiliary", {"input_mode": "Pipe"}, "input mode Pipe is not accepted"),
        ("validation", {"distribution": "ShardedByS3Key"}, "ShardedByS3Key is not accepted"),
        ("auxiliary", {"distribution": "ShardedByS3Key"}, "ShardedByS3Key is not accepted"),
    ],
)
def test_channels_that_are_set_up_wrongly(tmp_path, name, settings, part):
    with pytest.raises(ClientError, match=part):
        Channel(ChannelConfig(name, **settings), MANIFEST.channel(name), tmp_path)


# --- mistakes and stops ---


def test_mistakes_in_hyperparameters_are_told_together(ntm):
    job = ntm(
        feature_dim=0, num_topics=1, sub_sample=0, encoder_layers="[5, 0]", clip_gradient=0, optimizer="ftrl",
        encoder_layers_activation="softplus", mini_batch_size=10001, tolerance=0.2, num_topic=3,
    )  # fmt: skip
    job.channel("train", csv(FEW), CSV).run().failed(
        "feature_dim is '0'; accepted: an integer of at least 1 and at most 1000000",
        "num_topics is '1'",
        "sub_sample is '0'; accepted: a number above 0 and at most 1",
        "encoder_layers is '[5, 0]'; accepted: a list of integers of at least 1, or auto",
        "clip_gradient is '0'; accepted: a number of at least 0.001, or inf",
        "optimizer is 'ftrl'",
        "encoder_layers_activation is 'softplus'",
        "mini_batch_size is '10001'",
        "tolerance is '0.2'",
        "num_topic is unknown; did you mean num_topics?",
    )


@pytest.mark.parametrize("written", ["auto,5", "[]", "x", "1.5", "[[1]]", "[true"])
def test_layers_that_are_none(written):
    with pytest.raises(ClientError, match="accepted: a list of integers"):
        DECLARATION.resolve({**JOB, "encoder_layers": written})


@pytest.mark.parametrize("channel", ["train", "validation"])
def test_a_channel_without_words(ntm, channel):
    job = ntm().channel("train", records(FEW)).channel(channel, csv(np.zeros((5, 30))), CSV)
    job.run().failed(f"channel {channel} has no document with words")


def test_diverging(ntm):
    job = ntm(optimizer="sgd", learning_rate=1, encoder_layers_activation="relu")
    job.channel("train", records(FEW * 1e6)).run().failed("training diverged", "smaller learning_rate")


def test_a_stop_keeps_what_was_learnt(ntm):
    job = ntm(epochs=1_000_000, num_patience_epochs=1_000_001)
    process = job.channel("train", records(FEW)).channel("validation", records(FEW[:50])).start()
    for line in process.stdout:
        if "epoch 3" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    assert "Best model based on early stopping at epoch" in log
    assert predict.load(job.root / "model").feature_dim == 30


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_learns_what_the_cpu_does():
    found = []
    rows = to_csr(FEW)
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        engine = Engine(
            Network(30, 3, [9, 6], "sigmoid"), "adadelta", Settings(),
            devices=(device,), cluster=Cluster(Hosts()), seed=0, threads=1,
        )  # fmt: skip
        found += [engine.learn([rows[:100], rows[100:200]]).means, engine.score([rows[200:]]).means]
    for mine, other in zip(found[:2], found[2:], strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
