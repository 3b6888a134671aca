"""Word vectors by the real `train`: modes, files, pipes, hosts, what is written and printed, mistakes."""

from __future__ import annotations

import gzip
import json
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common import manifest
from common.failures import ClientError
from common.job import Hosts
from containers.blazingtext import fasttext_file, similarity, train
from containers.blazingtext.fasttext_file import Kind

SENTENCES = re.sub(
    rb"__label__\S+ ",
    b"",
    gzip.decompress((Path(__file__).parents[2] / "data" / "subjectivity.txt.gz").read_bytes()),
)
SHORT = b"\n".join(SENTENCES.split(b"\n")[:800]) + b"\n"
ONE = {"ALGODOCK_NUM_THREADS": "1"}
SMALL = {"vector_dim": 12, "epochs": 1}


def vectors(folder: Path) -> tuple[list[bytes], np.ndarray]:
    """Words and vectors of vectors.txt, as any reader of word2vec's text form finds them."""
    head, *lines = (folder / "vectors.txt").read_bytes().splitlines()
    count, dim = map(int, head.split())
    words, numbers = zip(*(line.split(b" ", 1) for line in lines), strict=True)
    values = np.array([part.split() for part in numbers], np.float32)
    assert values.shape == (count, dim)
    return list(words), values


def test_batch_skipgram_finds_words_that_are_alike(training_job):
    job = training_job("blazingtext", mode="batch_skipgram", vector_dim=50, epochs=10, learning_rate=0.1)
    finished = job.channel("train", SENTENCES, "text/plain").run().succeeded()
    assert {path.name for path in finished.model.iterdir()} == {"vectors.txt", "vectors.bin", "eval.json"}
    log, found = finished.log, json.loads((finished.model / "eval.json").read_text())
    assert set(found) == {*similarity.SETS, "mean_rho"}
    assert found["EN-WS-353-ALL.txt"]["not_found"] == 262
    assert found["EN-WS-353-ALL.txt"]["spearmans_rho"] > 0.15  # 0.3 on average; 0 without learning
    regex = next(m.regex for m in manifest.load("blazingtext").metrics if m.name == "train:mean_rho")
    assert re.findall(regex, log) == [str(found["mean_rho"])]
    assert "Running single machine CPU BlazingText training using batch_skipgram mode." in log
    assert "Read 0M words" in log
    words, values = vectors(finished.model)
    assert f"Number of words:  {len(words)}\n" in log
    counts = {word: SENTENCES.split().count(word) for word in words[:3]}
    assert words[0] in (b"the", b",", b".")
    assert counts[words[0]] >= counts[words[1]]
    progress = re.findall(
        r"##### Alpha: (\d\.\d{4})  Progress: (\S+)%  Million Words/sec: \d+\.\d\d #####\n", log
    )
    rates = [float(rate) for rate, _ in progress]
    assert rates == sorted(rates, reverse=True)
    assert progress[-1] == ("0.0000", "100.00")
    assert "Training finished!" in log
    assert re.search(r"Average throughput in Million words/sec: \d+\.\d\d\n", log)
    assert re.search(r"Total training time in seconds: \d+\.\d\d\n", log)
    assert "Evaluating word embeddings....\n" in log
    assert f"Vectors read from: {finished.model}/vectors.txt\n" in log
    binary = fasttext_file.read(finished.model / "vectors.bin")
    assert binary.arguments.kind == Kind.SKIPGRAM
    assert list(binary.vocabulary) == words
    np.testing.assert_allclose(binary.inputs.values[: len(words)], values, rtol=1e-4, atol=1e-6)
    assert binary.outputs.any()


def test_subwords_from_several_files_with_and_without_gzip(training_job):
    half = len(SHORT) // 2
    files = {"a.txt": SHORT[:half], "b.csv": gzip.compress(SHORT[half:])}
    settings = {**SMALL, "min_char": 2, "max_char": 4, "buckets": 5000, "evaluation": "False"}
    job = training_job("blazingtext", mode="cbow", subwords="True", **settings)
    finished = job.channel("train", files).run().succeeded()
    assert {path.name for path in finished.model.iterdir()} == {"vectors.txt", "vectors.bin"}
    assert "#mean_rho" not in finished.log
    binary = fasttext_file.read(finished.model / "vectors.bin")
    arguments = binary.arguments
    assert (arguments.kind, arguments.bucket) == (Kind.CBOW, 5000)
    assert (arguments.min_char, arguments.max_char) == (2, 4)
    assert binary.inputs.count == binary.vocabulary.words + 5000
    words, values = vectors(finished.model)
    from containers.blazingtext import predict
    from containers.blazingtext.codec import Request

    model = predict.load(finished.model)
    asked = [word.decode() for word in words[:20]]
    answers = model.predict(Request([*asked, "unseenword"], [1] * 21), {})
    found = np.array([answer["vector"] for answer in answers])
    np.testing.assert_allclose(found[:20], values[:20], rtol=1e-3, atol=1e-5)
    assert found[20].any()


def test_a_pipe_gives_the_model_of_a_file_and_one_thread_the_same_each_time(training_job):
    models = []
    for mode in ("File", "FastFile", "Pipe"):
        job = training_job("blazingtext", mode="skipgram", **{**SMALL, "epochs": 2}, evaluation="false")
        job.environment |= ONE
        finished = job.channel("train", SHORT, "text/plain", mode).run().succeeded()
        models.append([(finished.model / name).read_bytes() for name in ("vectors.txt", "vectors.bin")])
    assert models[0] == models[1] == models[2]


def test_text_that_has_no_room_in_memory_is_read_again(training_job, monkeypatch, tmp_path):
    from common.channels import Channel
    from common.job import ChannelConfig
    from containers.blazingtext import text

    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a").write_bytes(SENTENCES)
    spec = manifest.load("blazingtext").channel("train")

    def blocks() -> list[list[int]]:
        channel = Channel(ChannelConfig("train"), spec, tmp_path)
        read = text.Text(channel, 5)
        return [block.numbers().tolist() for block in read.blocks()]

    kept = blocks()
    monkeypatch.setattr(text.instances, "available_memory", lambda: 1 << 16)
    assert blocks() == kept
    assert len(kept) > 3


def test_hosts_divide_the_text_and_the_first_writes_the_model(training_job):
    jobs = []
    for _ in range(2):
        job = training_job("blazingtext", mode="batch_skipgram", vector_dim=50, epochs=10, learning_rate=0.1)
        jobs.append(job.channel("train", SENTENCES, "text/plain"))
    first, second = jobs[0].run_with(jobs[1])
    first.succeeded()
    second.succeeded()
    assert not second.model.exists() or not list(second.model.iterdir())
    assert "Running distributed CPU BlazingText training using batch_skipgram on 2 hosts." in first.log
    assert re.search(r"\] Alpha: 0\.\d{4}  Progress: \S+%  Million Words/sec: \d+\.\d\d\n", first.log)
    assert "#####" not in first.log
    assert "#mean_rho" not in second.log
    found = json.loads((first.model / "eval.json").read_text())
    assert found["EN-WS-353-ALL.txt"]["spearmans_rho"] > 0.15


def test_a_request_to_stop_keeps_what_was_learnt(training_job):
    job = training_job("blazingtext", mode="skipgram", vector_dim=20, epochs=100_000)
    process = job.channel("train", SHORT, "text/plain").start()
    time.sleep(0.1)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Number of words" in line:
            process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, lines
    words, values = vectors(job.root / "model")
    assert np.isfinite(values).all()
    assert len(words) > 100


@pytest.mark.parametrize(
    ("settings", "resources", "parts"),
    [
        ({"mode": "glove"}, None, ["mode is 'glove'", "batch_skipgram, skipgram, cbow or supervised"]),
        ({}, None, ["hyperparameter mode is missing"]),
        (
            {"mode": "cbow", "subwords": "true", "min_char": 7},
            None,
            ["min_char is 7", "max_char, which is 6"],
        ),
        (
            {"mode": "batch_skipgram"},
            {"current_host": "algo-1", "hosts": ["algo-1"], "current_instance_type": "ml.p3.2xlarge"},
            ["batch_skipgram is not supported on GPU. Please select a CPU instance or use cbow/skipgram"],
        ),
        ({"mode": "skipgram", "min_count": 2000}, None, ["come up min_count = 2000 times"]),
    ],
)
def test_mistakes_are_told(training_job, settings, resources, parts):
    job = training_job("blazingtext", **settings).channel("train", b"a b c\n", "text/plain")
    job.resources = resources
    job.run().failed(*parts)


def test_only_batch_skipgram_has_several_hosts(training_job):
    jobs = [training_job("blazingtext", mode="cbow").channel("train", SHORT) for _ in range(2)]
    for finished in jobs[0].run_with(jobs[1]):
        finished.failed("Only batch_skipgram is available when training on multiple CPU instances")


@pytest.mark.parametrize(
    ("mode", "hosts", "instance", "part"),
    [
        ("batch_skipgram", 2, "ml.p3.2xlarge", "Please use a single GPU instance or change to multiple CPU"),
        ("supervised", 1, "ml.p3.8xlarge", "supervised trains on one GPU"),
        ("batch_skipgram", 1, "ml.g5.xlarge", "batch_skipgram is not supported on GPU"),
        ("batch_skipgram", 2, "ml.c5.xlarge", None),
        ("cbow", 1, "ml.p3.8xlarge", None),
        ("supervised", 1, "local_gpu", None),
    ],
)
def test_what_a_mode_may_run_on(mode, hosts, instance, part):
    names = tuple(f"algo-{number}" for number in range(hosts))
    run = SimpleNamespace(job=SimpleNamespace(hosts=Hosts("algo-0", names, instance)))
    if part is None:
        train._check_instances(run, mode)
        return
    with pytest.raises(ClientError, match=part):
        train._check_instances(run, mode)


@pytest.mark.parametrize(
    ("data", "content_type", "parts"),
    [
        (b"", "text/plain", ["channel train", "no words"]),
        (b'{"source": "a b", "label": 1}\n', "application/jsonlines", ["is for supervised mode"]),
        (gzip.compress(SHORT, mtime=0)[:2000], "text/plain", ["truncated"]),
    ],
)
def test_what_is_no_text_is_told(training_job, data, content_type, parts):
    training_job("blazingtext", mode="cbow").channel("train", data, content_type).run().failed(*parts)


def test_word_modes_have_no_validation(training_job):
    job = training_job("blazingtext", mode="cbow", buckets=10).channel("train", SHORT)
    job.channel("validation", SHORT).run().failed("channel validation is for supervised mode")
