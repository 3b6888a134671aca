"""The classifier: features and steps against plain Python, jobs in every form of input, early stopping."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from common import instances, job, manifest
from common.channels import open_channels
from common.cluster import Cluster
from common.content_types import parse
from common.failures import ClientError
from common.formats import recordio
from common.metrics import Metrics, set_up_logging
from common.stopping import Stop
from common.training import Run
from containers.blazingtext import (
    augmented,
    classification,
    corpus,
    example_kernels,
    fasttext_file,
    predict,
    tokens,
)
from containers.blazingtext.classifier import HogwildClassifier
from containers.blazingtext.codec import Request
from containers.blazingtext.examples import Examples, Grammar
from containers.blazingtext.labelling import Labeller
from containers.blazingtext.torch_classifier import TorchClassifier
from containers.blazingtext.vocabulary import Counter

LINES = gzip.decompress((Path(__file__).parents[2] / "data" / "subjectivity.txt.gz").read_bytes()).splitlines(
    keepends=True
)
TRAIN, TEST, FEW = b"".join(LINES[:4000]), b"".join(LINES[4000:]), b"".join(LINES[:400])
JOB = {"mode": "supervised", "buckets": 20_000, "min_count": 2, "learning_rate": 0.3, "vector_dim": 16}


def values(log: str, name: str) -> list[float]:
    """A metric as SageMaker finds it."""
    regex = next(metric.regex for metric in manifest.load("blazingtext").metrics if metric.name == name)
    return [float(found) for found in re.findall(regex, log)]


@pytest.fixture
def trained(tmp_path) -> Callable[..., tuple[fasttext_file.FastText, str]]:
    """Trains in this process: the model and the log."""
    made = 0

    def train(
        channels: dict[str, bytes], device: str = "cpu", threads: int = 1, **changes: object
    ) -> tuple[fasttext_file.FastText, str]:
        nonlocal made
        made += 1
        run = prepared(tmp_path / f"ml-{made}", channels, None, **changes)
        run.devices, run.threads = (device,), threads
        log = io.StringIO()
        set_up_logging(stream=log)
        classification.train(run)
        set_up_logging()
        return fasttext_file.read(run.job.model / "model.bin"), log.getvalue()

    return train


def prepared(root: Path, channels: dict[str, bytes], content_type: str | None, **changes: object) -> Run:
    config = root / "input" / "config"
    config.mkdir(parents=True)
    for name, content in channels.items():
        (root / "input" / "data" / name).mkdir(parents=True)
        (root / "input" / "data" / name / "file").write_bytes(content)
    told = {"ContentType": content_type} if content_type else {}
    (config / "inputdataconfig.json").write_text(json.dumps(dict.fromkeys(channels, told)))
    hyperparameters = {key: str(value) for key, value in {**JOB, **changes}.items()}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    described, found = job.read(root), manifest.load("blazingtext")
    resolved, stop = found.declaration().resolve(described.hyperparameters), Stop()
    opened, metrics = open_channels(described, found, stop), Metrics(found.metrics_name, "algo-1")
    return Run(described, found, resolved, opened, Cluster(described.hosts), metrics, stop, ("cpu",), 1, 0)


def accuracy(model: Path | fasttext_file.FastText, text: bytes = TEST) -> float:
    """Of how many lines the likeliest label is theirs, asked as a client does."""
    predictor = predict.load(model) if isinstance(model, Path) else Labeller(model)
    split = [line.decode().split(" ", 1) for line in text.splitlines()]
    found = predictor.predict(Request([words for _, words in split], [1] * len(split)), {})
    return float(
        np.mean([answer["label"] == [label] for answer, (label, _) in zip(found, split, strict=True)])
    )


# --- the maths ---


def hash_of(word: bytes) -> int:
    """fastText's hash, signed."""
    code = 2166136261
    for letter in word:
        code = (code ^ (letter | (0xFFFFFF00 if letter >= 128 else 0))) * 16777619 % (1 << 32)
    return code - (1 << 32) if code >= 1 << 31 else code


def features_of(line: bytes, known: dict[bytes, int], ngrams: int, buckets: int) -> list[int]:
    """Words' numbers, then ~bucket of each n-gram, in plain Python."""
    words = [word for word in line.split() if not word.startswith(b"__label__")] + [b"</s>"]
    found = [known[word] for word in words if word in known]
    for start in range(len(words)):
        code = hash_of(words[start])
        for word in words[start + 1 : start + ngrams]:
            code = (code * 116049371 + hash_of(word)) % (1 << 64)
            found.append(~(code % (1 << 64) % buckets))
    return found


@pytest.mark.parametrize("ngrams", [1, 2, 3, 50])
def test_features_are_fasttexts(ngrams, monkeypatch):
    text = FEW + "__label__subjective é naïve 日本 __label__two film\n".encode()
    known = {word: number for number, word in enumerate(sorted(set(text.split()))) if number % 3}
    known = {word: number for number, word in enumerate(known)}
    # Blocks that end within lines.
    monkeypatch.setattr(tokens, "PIECE", 97)
    blocks = tokens.read(io.BytesIO(text), "the test", parse("text/plain"))

    def numbering(block):
        return np.array([known.get(token, -1) for token in block], np.int32)

    found = list(Grammar(ngrams, 1000).examples(blocks, numbering))
    assert len(found) > 100
    lists = [
        block.features[start:stop].tolist()
        for block in found
        for start, stop in zip(block.bounds, block.bounds[1:], strict=False)
    ]
    assert lists == [features_of(line, known, ngrams, 1000) for line in text.splitlines()]
    assert sum(block.tokens for block in found) == len(text.split()) + text.count(b"\n")


def test_lines_of_every_kind():
    text = (
        b"__label__a __label__b the film\n"
        b"\n"
        b"only words here\n"
        b"__label__a\n"
        b"the __label__b\0film \xff\xfe\n"
        b"film </s> __label__a the\n"
        b"__label__ x __label\n"
        b"__label__b the end"
    )
    names = [b"</s>", b"the", b"film", b"__label__a", b"__label__b"]

    def numbering(block):
        return np.array([names.index(token) if token in names else -1 for token in block], np.int32)

    found, rest = Grammar(1, 0, words=3).examples([tokens.split(text)], numbering)
    assert (len(rest), rest.features.tolist(), rest.labels.tolist()) == (1, [1], [4])
    lists = [
        (
            found.features[found.bounds[n] : found.bounds[n + 1]].tolist(),
            found.labels[found.label_bounds[n] : found.label_bounds[n + 1]].tolist(),
        )
        for n in range(len(found))
    ]
    assert lists == [
        ([1, 2, 0], [3, 4]),
        ([0], [3]),
        ([1, 2, 0], [4]),
        ([1, 0], [3]),
        ([0], [-1]),
    ]
    assert [len(part) for part in (found[1:3], found[2:2], found[-2:])] == [2, 0, 2]
    assert found[1:3].features.tolist() == [0, 1, 2, 0]
    assert found[1:3].labels[found[1:3].label_bounds[1] :].tolist() == [4]


def some_examples(random: np.random.Generator, count: int = 30, rows: int = 20) -> Examples:
    sizes, label_sizes = random.integers(0, 9, count), random.integers(1, 3, count)
    return Examples(
        random.integers(0, rows, sizes.sum()).astype(np.int32),
        np.concatenate([[0], np.cumsum(sizes)]),
        random.integers(0, 4, label_sizes.sum()).astype(np.int32),
        np.concatenate([[0], np.cumsum(label_sizes)]),
        100,
    )


def test_steps_are_those_of_gradient_descent():
    random = np.random.default_rng(0)
    examples = some_examples(random)
    examples.label_bounds[:] = np.arange(len(examples) + 1)  # one label each
    ours = HogwildClassifier(20, 4, 10, 5)
    inputs, outputs = (torch.tensor(matrix, dtype=torch.float64) for matrix in ours.weights())
    assert np.abs(inputs.numpy()).max() <= 0.1
    outputs += torch.from_numpy(random.normal(size=outputs.shape))
    ours.weights()[1][:] = outputs.numpy()
    for _ in range(3):
        ours.learn(examples, 0.5, 0.2, 1)
        for number in range(len(examples)):
            rate = 0.5 - 0.3 * number / len(examples)
            rows = examples.features[examples.bounds[number] : examples.bounds[number + 1]]
            if not len(rows):
                continue
            table, layer = inputs.requires_grad_(), outputs.requires_grad_()
            scores = table[torch.from_numpy(rows.astype(np.int64))].mean(0) @ layer.T
            loss = torch.nn.functional.cross_entropy(
                scores[None], torch.tensor([int(examples.labels[number])])
            )
            gradients = torch.autograd.grad(loss, (table, layer))
            # fastText divides a row's gradient by the number of features, as the mean does.
            inputs = (table - rate * gradients[0]).detach()
            outputs = (layer - rate * gradients[1]).detach()
    for matrix, other in zip(ours.weights(), (inputs, outputs), strict=True):
        np.testing.assert_allclose(matrix, other.numpy(), atol=1e-5)
    # Hits, as plain numpy counts them.
    table, layer = ours.weights()
    hits = 0
    for number in range(len(examples)):
        rows = examples.features[examples.bounds[number] : examples.bounds[number + 1]]
        if len(rows):
            best = int((layer @ table[rows].mean(0)).argmax())
            hits += best == examples.labels[number]
    assert ours.hits(examples) == hits


def test_a_target_of_several_labels_is_drawn_evenly():
    examples = Examples(
        np.zeros(1, np.int32), np.array([0, 1]), np.array([0, 2, 3], np.int32), np.array([0, 3]), 3
    )
    counts = np.zeros(4, int)
    for key in range(600):
        classifier = HogwildClassifier(1, 4, 2, 0)
        classifier.weights()[0][0] = 1
        classifier.learn(examples, 0.1, 0.1, key)
        counts[int(classifier.weights()[1][:, 0].argmax())] += 1
    assert counts[1] == 0
    assert counts[[0, 2, 3]].min() > 150


def test_a_device_learns_nearly_the_same():
    random = np.random.default_rng(3)
    examples = some_examples(random, 600)
    # A rule to learn: the label is the first feature's.
    for number in range(len(examples)):
        if examples.bounds[number] < examples.bounds[number + 1]:
            label = examples.features[examples.bounds[number]] % 4
            examples.labels[examples.label_bounds[number] : examples.label_bounds[number + 1]] = label
    size = 20, 4, 10, 5
    cpu, device = HogwildClassifier(*size), TorchClassifier(*size, "cpu")
    for matrix, other in zip(cpu.weights(), device.weights(), strict=True):
        assert (matrix == other).all()
    for epoch in range(20):
        for classifier in (cpu, device):
            classifier.learn(examples, 0.3, 0.3, epoch)
    with_features = int(np.count_nonzero(np.diff(examples.bounds)))
    assert cpu.hits(examples) > 0.5 * with_features
    assert device.hits(examples) > 0.9 * cpu.hits(examples)
    # One that leaves out nothing and steps alone does the same but for the bound of its steps.
    one = examples[7:8]
    cpu.weights()[0][:], cpu.weights()[1][:] = device.weights()
    cpu.learn(one, 1e-3, 1e-3, 0)
    device.learn(one, 1e-3, 1e-3, 0)
    for matrix, other in zip(cpu.weights(), device.weights(), strict=True):
        np.testing.assert_allclose(matrix, other, atol=1e-4)
    device.keep()
    kept = [matrix.copy() for matrix in device.weights()]
    device.learn(examples, 0.3, 0.3, 1)
    device.restore()
    for matrix, other in zip(kept, device.weights(), strict=True):
        assert (matrix == other).all()


# --- jobs ---


def test_sentences_are_told_apart_better_than_by_counting_words(training_job):
    job = training_job("blazingtext", **JOB, epochs=10)
    finished = job.channel("train", TRAIN, "text/plain").channel("validation", TEST).run().succeeded()
    log = finished.log
    (found,), (train,) = values(log, "validation:accuracy"), values(log, "train:accuracy")
    # TF-IDF of words and pairs with a logistic regression reaches 0.900 from the same 4,000 sentences.
    assert found > 0.885
    assert train > found
    assert "Number of train examples: 4000" in log
    assert "Number of validation examples: 1000" in log
    assert "Running single machine CPU BlazingText training using supervised mode." in log
    assert re.search(r"##### Alpha: 0\.\d{4}  Progress: \d+\.\d\d%  Million Words/sec: \d+\.\d\d #####", log)
    assert "##### Alpha: 0.0000  Progress: 100.00%" in log
    assert re.search(r"Average throughput in Million words/sec: \d+\.\d\d\n", log)
    assert re.search(r"Total training time in seconds: \d+\.\d\d\n", log)
    assert "Training finished!" in log
    assert "End of epoch" not in log
    assert [path.name for path in finished.model.iterdir()] == ["model.bin"]
    assert accuracy(finished.model) == pytest.approx(found, abs=5e-4)


def in_json(text: bytes, several: bool = False) -> list[tuple[str, object]]:
    """Sentences with their label as a number."""
    split = [line.decode().split(" ", 1) for line in text.splitlines()]
    return [(words, ([int("sub" in label)] if several else int("sub" in label))) for label, words in split]


def test_every_form_of_the_same_sentences_gives_the_same_bytes(training_job, tmp_path, monkeypatch):
    numbered = FEW.replace(b"__label__objective", b"__label__0").replace(
        b"__label__subjective", b"__label__1"
    )
    pairs = in_json(FEW)
    lines = "".join(
        json.dumps({"label": label, "source": text, "id": 3}) + "\n" for text, label in pairs
    ).encode()
    records = b"".join(recordio.frame(part.encode()) for text, label in pairs for part in (text, str(label)))

    def in_files(data: bytes, content_type: str | None = None) -> bytes:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        run = prepared(folder, {"train": data, "validation": data}, content_type, epochs=2)
        classification.train(run)
        return (run.job.model / "model.bin").read_bytes()

    def in_pipes(data: bytes, content_type: str, wrapper: str = "None") -> bytes:
        job = training_job("blazingtext", **JOB, epochs=2)
        job.environment["ALGODOCK_NUM_THREADS"] = "1"
        for name in ("train", "validation"):
            job.channel(name, data, content_type, "Pipe", wrapper=wrapper)
        finished = job.run().succeeded()
        assert values(finished.log, "train:accuracy") == values(finished.log, "validation:accuracy") != []
        return (finished.model / "model.bin").read_bytes()

    expected = in_files(numbered)
    assert in_files(gzip.compress(numbered), "text/plain") == expected
    assert in_files(lines, "application/jsonlines") == expected
    # Where memory is short, files are read anew in each pass.
    with monkeypatch.context() as patched:
        patched.setattr(instances, "available_memory", lambda: 1000)
        assert in_files(numbered) == expected
    assert in_pipes(numbered, "text/plain") == expected
    assert in_pipes(records, "application/jsonlines", "RecordIO") == expected


def test_each_hyperparameter_does_what_it_says(trained):
    plain, _ = trained({"train": FEW}, epochs=3)
    assert plain.arguments == fasttext_file.Arguments(
        16, 5, 3, 2, 5, 2, fasttext_file.Loss.SOFTMAX, fasttext_file.Kind.SUPERVISED, 20_000, 0, 0, 100, 1e-4
    )
    assert plain.inputs.count == plain.vocabulary.words + 20_000
    assert plain.inputs.values.shape[1] == 16
    words = [word for word in FEW.split() if not word.startswith(b"__label__")]
    counts = {word: words.count(word) for word in set(words)}
    assert plain.vocabulary.words == sum(count >= 2 for count in counts.values()) + 1
    assert plain.vocabulary.tokens == len(FEW.split()) + 400
    again, _ = trained({"train": FEW}, epochs=3)
    assert (again.inputs.values == plain.inputs.values).all()

    def differs(**changes: object) -> fasttext_file.FastText:
        other, _ = trained({"train": FEW}, **{"epochs": 3, **changes})
        same = other.inputs.values.shape == plain.inputs.values.shape
        assert not same or not np.array_equal(other.inputs.values, plain.inputs.values)
        return other

    assert differs(vector_dim=5).inputs.values.shape[1] == 5
    assert differs(min_count=1).vocabulary.words == len(counts) + 1
    assert differs(min_count=0).vocabulary.words == len(counts) + 1
    assert differs(buckets=7).inputs.count == plain.vocabulary.words + 7
    alone = differs(word_ngrams=1)
    assert (alone.arguments.bucket, alone.inputs.count) == (0, alone.vocabulary.words)
    assert len(differs(word_ngrams=3).inputs.numbers) > len(plain.inputs.numbers) > len(alone.inputs.numbers)
    assert accuracy(differs(epochs=15), FEW) > accuracy(plain, FEW)
    assert accuracy(differs(learning_rate=1e-5), FEW) < accuracy(plain, FEW)
    seeded, _ = trained({"train": FEW}, epochs=3, _seed=1)
    assert (seeded.inputs.values == plain.inputs.values).all()


def test_rows_that_nothing_taught_are_zero(trained):
    model, _ = trained({"train": FEW})
    seen = np.zeros(20_000, np.uint8)
    for block in Grammar(2, 20_000).examples([tokens.split(FEW)], Counter(labelled=True).add):
        example_kernels.mark(block.features, seen)
    assert (
        model.inputs.numbers[model.vocabulary.words :] - model.vocabulary.words
    ).tolist() == np.flatnonzero(seen).tolist()


def test_a_device_reaches_the_same_accuracy(trained):
    channels = {"train": FEW, "validation": TEST}
    _, log = trained(channels, epochs=5)
    _, other = trained(channels, device="cpu:0", epochs=5)
    assert values(other, "validation:accuracy")[0] > values(log, "validation:accuracy")[0] - 0.05


def test_early_stopping_keeps_the_best_weights(trained, monkeypatch):
    accuracies = iter([0.5, 0.922196, 0.6, 0.9, 0.9, 0.922196, 0.3])
    measured: list[np.ndarray] = []
    real = classification.accuracy

    def told(work, corpus):
        if "Training finished!" in finished or len(measured) == 7:
            return real(work, corpus)
        measured.append(work.classifier.weights()[0].copy())
        return next(accuracies), 10

    finished = ""
    monkeypatch.setattr(classification, "accuracy", told)
    options = {"early_stopping": "True", "epochs": 50, "min_epochs": 7, "patience": 2}
    model, log = trained({"train": FEW, "validation": FEW}, **options)
    # After seven epochs, the first that may end it: patience had been over before.
    assert len(measured) == 7
    assert (model.inputs.values == measured[1]).all()
    assert "-------------- End of epoch: 1\nUsing" not in log
    told_lines = [line.split("] ", 1)[1] for line in log.splitlines() if "###" not in line]
    start = told_lines.index("-------------- End of epoch: 2")
    assert told_lines[start + 1 : start + 3] == [
        "Validation accuracy: 0.922196",
        "Validation accuracy improved! Storing best weights...",
    ]
    assert told_lines[start + 3 : start + 6] == [
        "-------------- End of epoch: 3",
        "Validation accuracy: 0.6",
        "Validation accuracy has not improved for last 1 epochs.",
    ]
    assert told_lines.count("Validation accuracy improved! Storing best weights...") == 2
    assert "Reached patience. Terminating training." in told_lines
    assert "-------------- End of epoch: 8" not in told_lines


def test_early_stopping_ends_a_job_that_no_longer_gains(trained):
    options = {"early_stopping": "true", "epochs": 200, "min_epochs": 2, "patience": 3, "learning_rate": 1}
    model, log = trained({"train": FEW, "validation": TEST}, **options)
    found = [float(value) for value in re.findall(r"Validation accuracy: (\S+)", log)]
    assert 5 <= len(found) < 200
    assert max(found) not in found[-3:]
    assert values(log, "validation:accuracy") == [pytest.approx(max(found), abs=5e-5)]
    assert accuracy(model) == pytest.approx(max(found), abs=5e-5)
    assert log.count("Using 1 threads for prediction!") == len(found) + 2


def test_labels_that_training_did_not_see_count_as_missed(trained):
    validation = b"__label__new one film\n__label__objective film\n__label__new __label__objective film\n"
    train = b"__label__objective film film\n" * 5 + b"__label__subjective plot\n" * 2
    _, log = trained({"train": train, "validation": validation}, epochs=20)
    assert values(log, "validation:accuracy") == [0.6667]
    assert "Number of validation examples: 3" in log


def test_odd_lines_are_learnt_from(trained):
    text = (
        b"__label__a __label__b the film\n__label__b __label__a\n\n\nno label\n__label__a\0x\xff\xc3 \xf0\n"
        b"__label__\xff the\r\n__label__a \t\v\f \n__label__b the end </s> __label__c gone\nlast __label__a"
    )
    model, log = trained({"train": text}, min_count=1, epochs=2)
    labels = list(model.vocabulary)[model.vocabulary.words :]
    assert sorted(labels) == [b"__label__a", b"__label__b", b"__label__c", b"__label__\xff"]
    assert "Number of train examples: 8" in log
    assert (model.outputs[labels.index(b"__label__\xff")] != 0).any()


def test_one_label_only(trained):
    model, log = trained({"train": b"__label__a the film\n" * 3}, min_count=1)
    assert values(log, "train:accuracy") == [1]
    (answer,) = Labeller(model).predict(Request(["the film"], [7]), {})
    assert answer["label"] == ["__label__a"]
    assert answer["prob"] == pytest.approx([1.00001])


@pytest.mark.parametrize(
    ("channels", "changes", "problem"),
    [
        ({"train": b"the film\nthe plot\n"}, {}, "channel train has no labelled sentence"),
        ({"train": b"\n\n"}, {}, "channel train has no labelled sentence"),
        ({"train": b"__label__a film\n", "validation": b"film\n"}, {"min_count": 1}, "validation has no"),
        ({"train": b"__label__a film\n"}, {"min_count": 9, "word_ngrams": 1}, "comes up min_count = 9 times"),
        ({"train": FEW}, {"early_stopping": "true"}, "there is no channel validation"),
        ({"train": FEW}, {}, "there are 20000 buckets, "),
        ({"train": FEW}, {"learning_rate": 1e30}, "training diverged"),
    ],
)  # fmt: skip
def test_mistakes(channels, changes, problem, tmp_path, monkeypatch):
    if "buckets" in problem:
        monkeypatch.setattr(corpus, "_MOST_ROWS", 20_100)
    run = prepared(tmp_path, channels, None, **changes)
    with pytest.raises(ClientError, match=problem):
        classification.train(run)
    assert not (tmp_path / "model").exists() or not list((tmp_path / "model").iterdir())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"[]", "accepted: a JSON object"),
        (b'{"source": "a"', "line 1 of x is not JSON"),
        (b'{"source": "a"}', 'line 1 of x lacks "source" or "label"'),
        (b'{"source": 3, "label": 1}', "\"source\" of line 1 of x is '3'"),
        (b'{"source": "a", "label": 1.5}', "the label of line 1 of x is '1.5'"),
        (b'{"source": "a", "label": true}', "the label of line 1 of x is 'True'"),
        (b'{"source": "a", "label": null}', "the label of line 1 of x is 'None'"),
        (b'{"source": "a", "label": ""}', "the label of line 1 of x is ''"),
        (b'{"source": "a", "label": ["a", "b c"]}', "the label of line 1 of x is 'b c'"),
    ],
)
def test_mistakes_in_objects(line, problem):
    with pytest.raises(ClientError) as fault:
        list(augmented.read_objects(io.BytesIO(line), "x", parse("application/jsonlines")))
    assert problem in str(fault.value)


def test_labels_of_every_form():
    objects = [
        {"source": "a\nb", "label": 1},
        {"source": "c </s> d", "label": "sport"},
        {"source": "e", "label": ["__label__sport", 2]},
        {"source": "f", "label": []},
    ]
    text = "\n".join(json.dumps(found) for found in objects).encode()
    (found,) = augmented.read_objects(io.BytesIO(text), "x", parse("application/jsonlines"))
    expected = b"__label__1 a b </s> __label__sport c </s> d </s> __label__sport __label__2 e </s> f </s>"
    assert list(found) == expected.split()
    records = b"".join(
        map(recordio.frame, [b"a", b"1", b"b", b"sport", b"c", b'["x", 2]', b"d", b'"quoted"'])
    )
    (found,) = augmented.read_records(io.BytesIO(records), "x")
    expected = b"__label__1 a </s> __label__sport b </s> __label__x __label__2 c </s> __label__quoted d </s>"
    assert list(found) == expected.split()
    for broken, problem in (
        (recordio.frame(b"a"), "sample 1 of x has a text and no label"),
        (recordio.frame(b"a") + recordio.frame(b"b c"), "the label of sample 1 of x is 'b c'"),
        (recordio.frame(b"a") + recordio.frame(b"{}"), "the label of sample 1 of x is '{}'"),
        (b"not RecordIO", "RecordIO magic number"),
        (records[:-3], "ends in the middle of record 8"),
    ):
        with pytest.raises(ClientError, match=problem):
            list(augmented.read_records(io.BytesIO(broken), "x"))


def test_a_request_to_stop_saves_what_was_learnt(training_job):
    job = training_job("blazingtext", **JOB, epochs=100_000, early_stopping="True", patience=100_000)
    process = job.channel("train", FEW).channel("validation", FEW).start()
    for line in process.stdout:
        if "End of epoch: 5" in line:
            process.send_signal(signal.SIGTERM)
            break
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    assert accuracy(job.root / "model", FEW) > 0.6
    assert "#train_accuracy" not in log


def test_many_threads_learn_at_once(trained):
    _, log = trained({"train": TRAIN, "validation": TEST}, threads=4, epochs=5)
    assert values(log, "validation:accuracy")[0] > 0.87
    assert "Using 4 threads for prediction!" in log
