"""The real `train` on real pairs: what the log says, what is learned, mistakes, a stop."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common import manifest
from common.channels.channel import Channel
from common.cluster import Cluster
from common.content_types import parse
from common.failures import ClientError
from common.job import ChannelConfig, Hosts
from common.optimizers import Settings
from containers.object2vec import artifact, pairs, pretrained, reading, train
from containers.object2vec.engine import Engine, Options
from containers.object2vec.model import EncoderPlan, Network, Plan
from containers.object2vec.negatives import Negatives
from containers.object2vec.pairs import Pairs, Ragged, as_they_are
from containers.object2vec.reading import Rules

MANIFEST = manifest.load("object2vec")
DATA = Path(__file__).parents[2] / "data"
LINES = "application/jsonlines"


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def reviews() -> tuple[list[dict], int]:
    """Sentences about films, each with the kind that it is said to be; label 1 where that is true."""
    with gzip.open(DATA / "subjectivity.txt.gz", "rt") as file:
        rows = [line.split() for line in file]
    vocabulary: dict[str, int] = {}
    random = np.random.default_rng(0)
    found = []
    for kind, *words in rows:
        said = int(random.integers(0, 2))
        tokens = [vocabulary.setdefault(word, len(vocabulary)) for word in words]
        found.append({"label": int(said == (kind == "__label__subjective")), "in0": tokens, "in1": [said]})
    return found, len(vocabulary)


REVIEWS, WORDS = reviews()


def metrics(log: str, name: str) -> list[float]:
    """A metric's values as SageMaker finds them."""
    regex = next(metric.regex for metric in MANIFEST.metrics if metric.name == name)
    return [float(value) for value in re.findall(regex, log)]


@pytest.fixture
def object2vec(training_job):
    """A job on one thread: so many run at once."""

    def make(**values):
        job = training_job(
            "object2vec", **{"enc_dim": 8, "mlp_dim": 8, "enc0_token_embedding_dim": 8, **values}
        )
        job.environment["ALGODOCK_NUM_THREADS"] = "1"
        return job

    return make


def test_sentences_and_what_is_said_of_them(object2vec):
    job = object2vec(
        enc0_network="pooled_embedding", enc0_max_seq_len=40, enc0_vocab_size=WORDS, enc_dim=32,
        enc0_token_embedding_dim=32, enc1_network="pooled_embedding", enc1_max_seq_len=1, enc1_vocab_size=2,
        enc1_token_embedding_dim=8, mlp_dim=32, mlp_layers=1, mlp_activation="tanh", mini_batch_size=64,
        learning_rate=0.01, epochs=9, early_stopping_patience=1, num_classes=2, bucket_width=10,
        token_embedding_storage_type="dense", _tuning_objective_metric="validation:accuracy",
        _kvstore="device", _num_gpus="auto", _num_kv_servers="auto",
    )  # fmt: skip
    job.channel("train", lines(REVIEWS[:3500]), LINES, distribution="ShardedByS3Key")
    job.channel("validation", {"a.jsonl": lines(REVIEWS[3500:3800]), "b/c": lines(REVIEWS[3800:4000])})
    finished = job.channel("test", lines(REVIEWS[4000:]), LINES).run().succeeded()
    log = finished.log

    # A linear model tells the kinds with an accuracy of 0.89, and a guess has 0.5.
    assert metrics(log, "test:accuracy")[-1] > 0.86
    assert metrics(log, "test:cross_entropy")[-1] < 0.4
    epochs = len(metrics(log, "train:cross_entropy"))
    assert 2 <= epochs < 9
    for name in ("train:accuracy", "validation:accuracy", "validation:cross_entropy", "train:throughput"):
        assert len(metrics(log, name)) == epochs, name
    assert metrics(log, "train:progress")[-1] == 100
    assert not metrics(log, "train:mean_squared_error")
    # Stopped after an epoch that gained too little, and the best is kept.
    losses = metrics(log, "validation:cross_entropy")
    assert min(losses[:-1]) - losses[-1] < 0.01
    best = int(np.argmin(losses))
    assert f"Best model: epoch {best + 1}, loss {losses[best]}" in log
    assert "#quality_metric: host=algo-1, epoch=0, validation cross_entropy <loss>=" in log
    assert re.search(r"#test_score \(algo-1\) : \('accuracy', 0\.[89]\d*\)", log)
    assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]

    # What was saved is what was validated last as the best.
    model = artifact.read(finished.model)
    engine = Engine(
        model.network.requires_grad_(True), model.tables, Options("sgd", Settings(), cluster=HOST)
    )
    rules = Rules((WORDS, 2), (40, 1), 2)
    data = decoded(lines(REVIEWS[3500:4000]), rules)
    assert engine.score([data]).mean == pytest.approx(losses[best], rel=1e-4)


HOST = Cluster(Hosts())


def test_scores_with_pretrained_tokens(object2vec):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(12, 4)).astype(np.float32)
    words = [f"w{number}" for number in range(12)]
    # One word has no vector, one vector no word; a word of GloVe's has blanks in it.
    words[3] = ". . ."
    text = "".join(f"{w} {' '.join(map(str, v))}\n" for w, v in zip(words[1:], vectors[1:], strict=True))
    files = {"glove.txt": f"other 1 2 3 4\n{text}".encode(), "vocab.json": json.dumps(
        {word: number for number, word in enumerate(words)}).encode()}  # fmt: skip
    chosen = random.integers(1, 12, (300, 2))
    rows = [{"in0": [int(a)], "in1": [int(b), int(b)], "label": 100 + float(vectors[a] @ vectors[b]), "x": 1}
            for a, b in chosen]  # fmt: skip
    job = object2vec(
        enc0_network="pooled_embedding", enc0_max_seq_len=5, enc0_vocab_size=12, enc0_token_embedding_dim=4,
        enc0_pretrained_embedding_file="glove.txt", enc0_vocab_file="vocab.json", epochs=3, num_classes=5,
        output_layer="mean_squared_error", learning_rate=0.05, tied_token_embedding_weight="true",
        comparator_list="hadamard", mlp_layers=0, enc0_layers=2,
    )  # fmt: skip
    job.channel("train", lines(rows), LINES, "FastFile").channel("auxiliary", files)
    finished = job.run().succeeded()
    log = finished.log
    assert "Pretrained token embeddings of glove.txt: 1 words have none" in log
    for name in ("num_classes", "enc0_layers"):
        assert f"hyperparameter {name} has no effect" in log
    assert "Test data is not provided." in log
    losses = metrics(log, "train:mean_squared_error")
    assert len(losses) == 3
    assert losses[-1] < losses[0] < 50  # scores begin at their mean
    assert not metrics(log, "train:accuracy")
    (table,) = artifact.read(finished.model).tables
    np.testing.assert_array_equal(table.numpy()[1:], vectors[1:])  # frozen


def test_a_stop_keeps_the_best_so_far(object2vec):
    job = object2vec(
        enc0_max_seq_len=40, enc0_vocab_size=WORDS, enc0_layers=1, epochs=100, early_stopping_patience=5,
        early_stopping_tolerance=1e-6, enc1_network="enc0",
    )  # fmt: skip
    process = job.channel("train", lines(REVIEWS)).channel("validation", lines(REVIEWS[:100])).start()
    for line in process.stdout:
        if "epoch=0, validation" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    assert "Best model: epoch 1" in log
    assert artifact.read(job.root / "model").longest == (40, 40)


def test_mistakes_are_told_together_and_early(object2vec):
    job = object2vec(
        enc0_network="cnn", enc0_max_seq_len=0, comparator_list="sum", mini_batch_size=0, optimiser="sgd"
    )
    job.channel("train", lines(REVIEWS[:9])).run().failed(
        "enc0_network is 'cnn'; accepted: hcnn, bilstm or pooled_embedding",
        "enc0_max_seq_len is '0'; accepted: an integer of at least 1 and at most 5000",
        "comparator_list is 'sum'",
        "mini_batch_size is '0'",
        "optimiser is unknown; did you mean optimizer?",
        "enc0_vocab_size is missing",
    )


def test_a_line_that_is_no_pair_ends_the_job(object2vec):
    job = object2vec(enc0_max_seq_len=5, enc0_vocab_size=9)
    data = {
        "one": b'{"label": 1, "in0": [1], "in1": [2]}\n',
        "two": b'\n{"label": 1, "in0": [9], "in1": [2]}\n',
    }
    job.channel("train", data).run().failed(
        "in0 of line 2 of channel train, file two has the token 9; accepted: a list of one token id or more, "
        "integers from 0 to 8"
    )


# --- without a job ---


RULES = Rules((10, 6), (4, 2), 3)


def decoded(data: bytes, rules: Rules = RULES) -> Pairs:
    return pairs.join(list(reading._decoded(io.BytesIO(data), "the file", parse(LINES), rules)))


def test_pairs_are_read_and_cut():
    found = decoded(
        b'{"label": 2, "in0": [0, 9, 1, 2, 3, 4], "in1": [5]}\n\n'
        b'{"in1": [1, 2, 3], "x": [], "in0": [7], "label": 0.0}'
    )
    assert found.sides[0].tokens.tolist() == [0, 9, 1, 2, 7]
    assert found.sides[0].starts.tolist() == [0, 4, 5]
    assert found.sides[1].tokens.tolist() == [5, 1, 2]
    assert found.labels.tolist() == [2, 0]
    assert found.labels.dtype == np.float32
    assert found.sides[0].tokens.dtype == np.int32


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"in0": [1], "in1": [1]}', "label of line 2 of the file is missing; accepted: an integer"),
        ('{"label": 3, "in0": [1], "in1": [1]}', "label of line 2 of the file is 3; accepted: an integer"),
        ('{"label": -1, "in0": [1], "in1": [1]}', "label of line 2 of the file is -1"),
        ('{"label": 0.5, "in0": [1], "in1": [1]}', "label of line 2 of the file is 0.5"),
        ('{"label": true, "in0": [1], "in1": [1]}', "label of line 2 of the file is true"),
        ('{"label": "1", "in0": [1], "in1": [1]}', 'label of line 2 of the file is "1"'),
        ('{"label": NaN, "in0": [1], "in1": [1]}', "label of line 2 of the file is nan"),
        ('{"label": [1], "in0": [1], "in1": [1]}', "label of line 2 of the file is [1]"),
        (f'{{"label": {10**400}, "in0": [1], "in1": [1]}}', "label of line 2 of the file is 1000"),
        ('{"label": 1, "in1": [1]}', "in0 of line 2 of the file is missing; accepted: a list of one token"),
        ('{"label": 1, "in0": null, "in1": [1]}', "in0 of line 2 of the file is missing"),
        ('{"label": 1, "in0": 5, "in1": [1]}', "in0 of line 2 of the file is 5; accepted"),
        ('{"label": 1, "in0": [], "in1": [1]}', "in0 of line 2 of the file is empty"),
        ('{"label": 1, "in0": [10], "in1": [1]}', "in0 of line 2 of the file has the token 10; accepted"),
        ('{"label": 1, "in0": [1], "in1": [6]}', "in1 of line 2 of the file has the token 6; accepted"),
        ('{"label": 1, "in0": [1, -1], "in1": [1]}', "has the token -1"),
        ('{"label": 1, "in0": [1.0], "in1": [1]}', "has the token 1.0"),
        ('{"label": 1, "in0": [true], "in1": [1]}', "has the token true"),
        ('{"label": 1, "in0": ["1"], "in1": [1]}', 'has the token "1"'),
        ('{"label": 1, "in0": [[1]], "in1": [1]}', "has the token [1]"),
        ('{"label": 1, "in0": [1e400], "in1": [1]}', "has the token inf"),
        ("[1, 2]", "line 2 of the file is '[1, 2]'; accepted: a JSON object"),
        ('{"label": 1, "in0": [1], "in1"', "line 2 of the file is not JSON"),
        ("\xff\x00", "line 2 of the file"),
    ],
)  # fmt: skip
def test_what_can_not_be_learned_from(line, said):
    with pytest.raises(ClientError) as fault:
        decoded(b'{"label": 1, "in0": [1], "in1": [1]}\n' + line.encode("latin-1"))
    assert said in str(fault.value)


def test_labels_of_scores_and_of_observed_pairs():
    row = b'{"label": %s, "in0": [1], "in1": [1]}\n'
    scores, positive = Rules((9, 9), (1, 1), None), Rules((9, 9), (1, 1), 2, True)
    assert decoded(row % b"-2.5" + row % b"7", scores).labels.tolist() == [-2.5, 7]
    with pytest.raises(ClientError, match=r"label of line 1 .* is 1e\+18; accepted: a number from -1e\+17"):
        decoded(row % b"1e18", scores)
    assert decoded(row % b"1" + b'{"in0": [1], "in1": [1]}\n', positive).labels.tolist() == [1, 1]
    with pytest.raises(
        ClientError, match=r"label of line 1 .* is 0; accepted: 1 or none where negative_samp"
    ):
        decoded(row % b"0", positive)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("train", {"content_type": "text/csv"}, "content type 'text/csv' is not accepted"),
        ("train", {"input_mode": "Pipe"}, "input mode Pipe is not accepted"),
        ("auxiliary", {"input_mode": "Pipe"}, "input mode Pipe is not accepted"),
    ],
)
def test_channels_that_are_set_up_wrongly(tmp_path, name, settings, said):
    with pytest.raises(ClientError, match=said):
        Channel(ChannelConfig(name, **settings), MANIFEST.channel(name), tmp_path)


def test_a_channel_without_pairs(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "data").write_bytes(b"\n \n")
    channel = Channel(ChannelConfig("train"), MANIFEST.channel("train"), tmp_path)
    values = SimpleNamespace(requested=False)
    run = SimpleNamespace(channels={"train": channel}, hyperparameters=VALUES, stop=values)
    with pytest.raises(ClientError, match="channel train has no pair; accepted: at least one"):
        train._read(run, "train")


VALUES = {
    "enc0_vocab_size": 9, "enc0_max_seq_len": 2, "enc1_network": "enc0", "output_layer": "softmax",
    "num_classes": 2, "negative_sampling_rate": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"v.json": b'{"a": 0}'}, "channel auxiliary has no file e.txt"),
        ({"e.txt": b"a 1 2\n"}, "channel auxiliary has no file v.json"),
        ({"e.txt": b"a 1 2\n", "v.json": b'{"a": 3}'}, "the id of 'a' is 3; accepted: 0 to 2"),
        ({"e.txt": b"a 1 2\n", "v.json": b'{"a": "0"}'}, "the id of 'a' is 0"),
        ({"e.txt": b"a 1 2\n", "v.json": b"[]"}, "is no JSON object"),
        ({"e.txt": b"a 1 2\n", "v.json": b"{"}, "file v.json is not JSON"),
        ({"e.txt": b"2 2\na 1 2\n", "v.json": b'{"a": 0}'}, "file e.txt, line 1: not a word and 2 finite"),
        ({"e.txt": b"b 1 2\na 1 2\n", "v.json": b'{"a 1": 0, "c": 1}'}, "no word of v.json is in e.txt"),
        ({"e.txt": b"b 1 2\na 1\n", "v.json": b'{"a": 1}'}, "line 2: not a word and 2 finite numbers"),
        ({"e.txt": b"b 1 2\na 1 x\n", "v.json": b'{"a": 0}'}, "line 2: not a word and 2 finite numbers"),
        ({"e.txt": b"b 1 2\na 1 inf\n", "v.json": b'{"a": 0}'}, "line 2: not a word and 2 finite numbers"),
        ({"e.txt": b"\x00\xff", "v.json": b'{"a": 0}'}, "line 1: not a word and 2 finite numbers"),
    ],
)
def test_pretrained_files_that_are_none(tmp_path, files, said):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    channel = SimpleNamespace(folder=tmp_path)
    with pytest.raises(ClientError) as fault:
        pretrained.read(channel, "e.txt", "v.json", np.zeros((3, 2), np.float32))
    assert said in str(fault.value)


def test_diverging_is_told(tmp_path):
    engine = SimpleNamespace(state=lambda: [torch.tensor([float("nan")])])
    with pytest.raises(ClientError, match="training diverged; accepted: a smaller learning_rate"):
        train._finish(SimpleNamespace(run=None, engine=engine, best=[]))


def test_convolutions_tell_kinds_of_sentences():
    rules = Rules((WORDS, 2), (40, 1), 2)
    found = decoded(lines([{**row, "label": int(row["label"] == row["in1"][0])} for row in REVIEWS]), rules)
    torch.manual_seed(0)
    one, other = EncoderPlan("hcnn", 2, 3, 32), EncoderPlan("pooled_embedding", 1, 3, 8)
    network = Network(Plan((one, other), 32, ("hadamard", "concat", "abs_diff"), 1, 32, "tanh", 2))
    tables = [torch.randn(size, dim) / 10 for size, dim in ((WORDS, 32), (2, 8))]
    engine = Engine(network, tables, Options("adam", Settings(0.003), cluster=HOST))
    train_rows, generator = found[:4000], np.random.default_rng(0)
    for _ in range(2):
        for batch in pairs.batches(train_rows, as_they_are(train_rows), 64, generator):
            engine.learn(batch)
    assert engine.score([found[4000:]]).accuracy > 0.8


@pytest.mark.slow
def test_requests_to_a_web_server_and_negatives(tmp_path):
    """Browsers and the addresses they come from: pairs that were seen later against made up ones."""
    rows = [line.split(",") for line in (DATA / "apache_access.csv").read_text().splitlines()]
    browsers: dict[str, int] = {}
    parts: dict[str, int] = {}
    first = [[browsers.setdefault(browser, len(browsers))] for browser, _ in rows]
    # An address is its prefixes.
    prefixes = [[".".join(ip.split(".")[:n]) for n in (1, 2, 3, 4)] for _, ip in rows]
    second = [[parts.setdefault(part, len(parts)) for part in one] for one in prefixes]
    seen = {row[0] for row in first[:8000]}
    later = [n for n in range(8000, len(rows)) if first[n][0] in seen]
    known = Pairs((Ragged.of(first[:8000]), Ragged.of(second[:8000])), np.ones(8000, np.float32))
    negatives = Negatives(known, 3)
    one, other = (EncoderPlan("pooled_embedding", 1, 3, 16) for _ in range(2))
    torch.manual_seed(0)
    network = Network(Plan((one, other), 16, ("hadamard", "concat", "abs_diff"), 1, 16, "tanh", 2))
    tables = [torch.randn(size, 16) / 10 for size in (len(browsers), len(parts))]
    engine = Engine(network, tables, Options("adam", Settings(0.005), cluster=HOST))
    generator = np.random.default_rng(0)
    for _ in range(4):
        for batch in pairs.batches(known, negatives.matches(generator), 256, generator):
            engine.learn(batch)
    others = generator.permutation(later)
    chances = []
    for addresses in (later, others):
        asked = Pairs(
            (Ragged.of([first[n] for n in later]), Ragged.of([second[n] for n in addresses])),
            np.ones(len(later), np.float32),
        )
        # The loss of a pair that is said to be real rises as its chance falls.
        chances.append(np.array([-engine.score([asked[n : n + 1]]).loss for n in range(0, len(later), 4)]))
    real, made = chances
    area = float((real[:, None] > made[None]).mean() + (real[:, None] == made[None]).mean() / 2)
    assert area > 0.75
