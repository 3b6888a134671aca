"""Jobs: what is learned, checkpoints and when they end training, each setting's effect, mistakes, stops."""

from __future__ import annotations

import gzip
import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from common.failures import ClientError
from common.stopping import Stop
from containers.seq2seq import artifact, convert, train
from containers.seq2seq.beam import translate
from containers.seq2seq.bleu import corpus_bleu
from containers.seq2seq.preparing import prepared
from tests.containers.seq2seq.tasks import (
    MANIFEST,
    SMALL,
    prepared_run,
    record,
    records,
    trained,
    turned,
    vocabularies,
)

SOUNDS = Path(__file__).parents[2] / "data" / "pronunciations.tsv.gz"


def metric(log: str, name: str) -> list[float]:
    """All values of a metric, as SageMaker finds them."""
    regex = next(metric.regex for metric in MANIFEST.metrics if metric.name == name)
    return [float(value) for value in re.findall(regex, log)]


def weights(root: Path) -> np.ndarray:
    network = artifact.read(root / "model").network
    return np.concatenate([weight.detach().numpy().ravel() for weight in network.parameters()])


def checkpoints(log: str) -> int:
    return len(re.findall(r"Checkpoint \[\d+\]\tUpdates=", log))


# --- the real thing ---


@pytest.fixture
def seq2seq(training_job):
    """A job on one thread."""

    def make(**values):
        job = training_job("seq2seq", **{**SMALL, **values})
        job.environment["ALGODOCK_NUM_THREADS"] = "1"
        job.channel("train", records(turned(64))).channel("validation", records(turned(20, 1)))
        return job.channel("vocab", vocabularies())

    return make


def test_words_are_spoken(seq2seq, tmp_path):
    """Letters to sounds: three of four sounds are right after a few seconds; the commonest one is 7 %."""
    with gzip.open(SOUNDS, "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    parts = {"train": rows[:6000], "val": rows[6000:6400], "test": rows[6400:6600]}
    for name, part in parts.items():
        (tmp_path / f"{name}.letters").write_text("".join(f"{' '.join(word)}\n" for word, _ in part))
        (tmp_path / f"{name}.sounds").write_text("".join(f"{sounds}\n" for _, sounds in part))
    train, val = (
        [str(tmp_path / f"{part}.{side}") for side in ("letters", "sounds")] for part in ("train", "val")
    )
    data = tmp_path / "data"
    list(convert.convert([*train, str(data), "--validation", *val], "convert"))

    job = seq2seq(
        rnn_num_hidden=64, num_embed_source=32, num_embed_target=32, rnn_attention_type="dot", batch_size=64,
        learning_rate=0.01, max_num_batches=-1, max_num_epochs=2, checkpoint_frequency_num_batches=95,
        bleu_sample_size=50, beam_size=3,
    )  # fmt: skip
    for name, file in (("train", "train.rec"), ("validation", "val.rec")):
        (job.root / "input" / "data" / name / "data").write_bytes((data / name / file).read_bytes())
    for file in (data / "vocab").iterdir():
        (job.root / "input" / "data" / "vocab" / file.name).write_bytes(file.read_bytes())
    finished = job.run().succeeded()
    log = finished.log

    assert metric(log, "validation:accuracy")[-1] > 0.75
    assert metric(log, "validation:perplexity")[-1] < 2.5
    assert metric(log, "validation:bleu")[-1] > 0.35
    assert len(metric(log, "train:perplexity")) == checkpoints(log) >= 2
    assert min(metric(log, "train:throughput")) > 0
    for line in (
        "WARNING",  # no GPU
        "No GPU is present: seq2seq trains on the CPU, slowly",
        "Epoch[1] Batch [50]\tSpeed: ",
        "Checkpoint [1]\tUpdates=95 Epoch=0 Samples=",
        "Checkpoint [1]\tValidation-perplexity=",
        "completed 100.0 % of epochs",
        "Training finished. Best checkpoint: ",
    ):
        assert line in log
    assert sorted(path.name for path in finished.model.iterdir()) == sorted(MANIFEST.artifact)

    model = artifact.read(finished.model)
    words = {number: word for word, number in model.target.items()}
    sources = [np.array([model.source[letter] for letter in word]) for word, _ in parts["test"]]
    said = [[words[id] for id in answer.ids.tolist()] for answer in translate(model.network, sources)]
    assert corpus_bleu(said, [sounds.split() for _, sounds in parts["test"]]) > 0.35


def test_a_stop_keeps_the_best_so_far(seq2seq):
    job = seq2seq(max_num_batches=-1, checkpoint_frequency_num_batches=20)
    process = job.start()
    assert process.stdout is not None
    log = ""
    while "improved" not in log:
        log += process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log + rest
    assert "Training finished. Best checkpoint: " in rest
    assert artifact.read(job.root / "model").network.config.rnn_num_hidden == 8


def test_the_guides_instances_are_gpus_and_one_machine(seq2seq):
    job = seq2seq()
    job.resources = {"current_host": "algo-1", "hosts": ["algo-1"], "current_instance_type": "ml.m5.large"}
    job.run().failed("seq2seq doesn't run on instance type ml.m5.large; accepted: ml.p2.*, ml.p3.*")


def test_mistakes_end_a_job(seq2seq):
    job = seq2seq()
    (job.root / "input" / "data" / "vocab" / "vocab.trg.json").unlink()
    job.run().failed("Vocab files not present", "vocab.trg.json")


# --- in this process ---


def test_equal_seeds_give_equal_models(tmp_path):
    found = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = prepared_run(tmp_path / place, embed_dropout_source=0.3)
        run.seed = seed
        trained(run)
        found.append((tmp_path / place / "model" / "params.best").read_bytes())
    assert found[0] == found[1]
    assert found[0] != found[2]


BASE = {
    "num_layers_encoder": 2,
    "num_layers_decoder": 2,
    "rnn_residual_connections": "true",
    "max_num_batches": 3,
}
CNN = {"encoder_type": "cnn", "decoder_type": "cnn", "max_num_batches": 3}


@pytest.mark.parametrize(
    ("base", "values"),
    [
        (BASE, {"batch_size": 8}),
        ({**BASE, "bucket_width": 3}, {"bucketing_enabled": "false"}),
        (BASE, {"bucket_width": 3}),
        (BASE, {"clip_gradient": 0.001}),
        (BASE, {"embed_dropout_source": 0.5}),
        (BASE, {"embed_dropout_target": 0.5}),
        (BASE, {"rnn_decoder_hidden_dropout": 0.5}),
        (BASE, {"learning_rate": 0.01}),
        *((BASE, {"lr_scheduler_type": f"fixed_rate_inv_{kind}"}) for kind in ("t", "sqrt_t")),
        (BASE, {"max_num_batches": 2}),
        (BASE, {"max_seq_len_source": 3}),
        (BASE, {"max_seq_len_target": 3}),
        (BASE, {"num_embed_source": 5}),
        (BASE, {"num_embed_target": 5}),
        (BASE, {"num_layers_decoder": 3}),
        (BASE, {"num_layers_encoder": 3}),
        (BASE, {"optimizer_type": "sgd", "learning_rate": 0.1}),
        (BASE, {"optimizer_type": "rmsprop"}),
        (BASE, {"rnn_attention_in_upper_layers": "false"}),
        (BASE, {"rnn_attention_num_hidden": 5}),
        *((BASE, {"rnn_attention_type": kind}) for kind in ("dot", "fixed", "bilinear")),
        (BASE, {"rnn_cell_type": "gru"}),
        *((BASE, {"rnn_decoder_state_init": kind}) for kind in ("avg", "zero")),
        (BASE, {"rnn_first_residual_layer": 3}),
        (BASE, {"rnn_num_hidden": 10}),
        (BASE, {"rnn_residual_connections": "false"}),
        (BASE, {"weight_decay": 0.1}),
        (BASE, {"weight_init_scale": 1}),
        (BASE, {"weight_init_type": "uniform", "weight_init_scale": 0.1}),
        *((BASE, {"xavier_factor_type": kind}) for kind in ("out", "avg")),
        (BASE, {"encoder_type": "cnn", "rnn_num_hidden": 8}),
        *((CNN, {"cnn_activation_type": kind}) for kind in ("relu", "softrelu", "sigmoid", "tanh")),
        (CNN, {"cnn_hidden_dropout": 0.5}),
        (CNN, {"cnn_kernel_width_decoder": 3}),
        (CNN, {"cnn_kernel_width_encoder": 5}),
        (CNN, {"cnn_num_hidden": 10}),
    ],
)
def test_each_hyperparameter_changes_what_is_learned(base, values, tmp_path):
    key = json.dumps(base)
    if key not in LEARNED:
        LEARNED[key] = learned(tmp_path / "base", **base)
    found = learned(tmp_path / "changed", **{**base, **values})
    assert np.isfinite(found).all()
    assert len(found) != len(LEARNED[key]) or not np.allclose(found, LEARNED[key], rtol=1e-6, atol=0)


LEARNED: dict[str, np.ndarray] = {}  # what the settings to compare with have learned


def learned(root: Path, **values: object) -> np.ndarray:
    """All weights after a few updates."""
    work = prepared(prepared_run(root, **values))
    assert work is not None
    train._epochs(work)
    return work.learner.state().numpy()


def test_momentum_needs_a_second_update(tmp_path):
    sgd = {"optimizer_type": "sgd", "learning_rate": 0.1, "max_num_batches": 2}
    found = [learned(tmp_path / str(momentum), momentum=momentum, **sgd) for momentum in (None, 0, 0.9)]
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


def test_plateaus_lower_the_rate(tmp_path):
    values = {"learning_rate": 1e-9, "plateau_reduce_lr_factor": 0.1, "plateau_reduce_lr_threshold": 2}
    log = trained(
        prepared_run(
            tmp_path, max_num_batches=10, checkpoint_frequency_num_batches=1, checkpoint_threshold=9,
            optimized_metric="accuracy", **values,
        )
    )  # fmt: skip
    assert re.findall(r"Lowering learning rate: (\S+) -> (\S+)", log)[:2] == [
        ("1.00e-09", "1.00e-10"), ("1.00e-10", "1.00e-11"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["perplexity", "accuracy", "bleu"])
def test_training_ends_when_nothing_gets_better(name, tmp_path):
    log = trained(
        prepared_run(
            tmp_path, optimized_metric=name, learning_rate=1e-12, max_num_batches=-1, checkpoint_threshold=2,
            checkpoint_frequency_num_batches=1, optimizer_type="sgd",
        )
    )  # fmt: skip
    assert checkpoints(log) <= 4
    assert "Maximum number of not improved checkpoints (2) reached: 2" in log
    best = re.search(rf"Best checkpoint: (\d+). Best validation {name}: (\S+)", log)
    assert best is not None
    assert metric(log, f"validation:{name}")[-1] == pytest.approx(float(best[2]), abs=1e-6)


def test_min_num_epochs_keeps_training_on(tmp_path):
    values = {"learning_rate": 1e-12, "checkpoint_frequency_num_batches": 1, "optimizer_type": "sgd"}
    log = trained(
        prepared_run(
            tmp_path,
            max_num_batches=-1,
            checkpoint_threshold=1,
            min_num_epochs=2,
            max_num_epochs=None,
            **values,
        )
    )
    assert "# Starting training for epoch 1" in log
    assert "# Starting training for epoch 2" not in log


def test_max_num_epochs_goes_on_without_anything_better(tmp_path):
    values = {"learning_rate": 1e-12, "checkpoint_frequency_num_batches": 1, "optimizer_type": "sgd"}
    log = trained(
        prepared_run(tmp_path, max_num_batches=-1, checkpoint_threshold=1, max_num_epochs=3, **values)
    )
    assert "completed 100.0 % of epochs" in log
    assert checkpoints(log) == 3 * len(prepared_epoch(tmp_path))


def prepared_epoch(root: Path) -> list[object]:
    work = prepared(prepared_run(root))
    assert work is not None
    return list(work.train.epoch())


def test_max_num_batches_ends_training_and_the_rest_is_validated_too(tmp_path):
    log = trained(prepared_run(tmp_path, max_num_batches=5, checkpoint_frequency_num_batches=3))
    assert re.findall(r"Updates=(\d+)", log) == ["3", "5"]
    assert "Maximum # of updates (5) reached." in log


def test_without_a_checkpoint_there_is_a_model(tmp_path):
    log = trained(prepared_run(tmp_path, max_num_batches=2, checkpoint_frequency_num_batches=1000))
    assert checkpoints(log) == 1
    assert len(weights(tmp_path))


def test_the_best_checkpoint_is_the_model(tmp_path, monkeypatch):
    """Scores that get worse: the model is that of the first checkpoint."""
    scores = iter([{"perplexity": value, "accuracy": 0.1} for value in (2.0, 3.0, 4.0)])
    monkeypatch.setattr(train, "_validated", lambda work: next(scores))
    log = trained(prepared_run(tmp_path / "all", max_num_batches=9))
    assert "Best checkpoint: 1. Best validation perplexity: 2.000000" in log
    assert metric(log, "validation:perplexity") == [2.0, 3.0, 4.0, 2.0]
    monkeypatch.undo()
    trained(prepared_run(tmp_path / "first", max_num_batches=3))
    assert np.array_equal(weights(tmp_path / "all"), weights(tmp_path / "first"))


@pytest.mark.parametrize(
    ("values", "decoded"),
    [
        ({}, 0),
        ({"bleu_sample_size": 7}, 7),
        ({"bleu_sample_size": -1}, 20),
        ({"bleu_sample_size": 500}, 20),
        ({"optimized_metric": "bleu"}, 20),
        ({"optimized_metric": "bleu", "bleu_sample_size": 5}, 5),
    ],
)
def test_bleu_is_measured_on_as_many_pairs_as_asked(values, decoded, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        train.beam, "translate", lambda network, sources: seen.extend(sources) or translate(network, sources)
    )
    log = trained(prepared_run(tmp_path, max_num_batches=3, **values))
    assert len(seen) == decoded
    assert bool(metric(log, "validation:bleu")) == bool(decoded)


def test_the_beam_is_as_wide_as_asked(tmp_path):
    trained(prepared_run(tmp_path, beam_size=3))
    assert json.loads((tmp_path / "model" / "config").read_text())["beam_size"] == 3


def test_training_metric_is_what_is_told_of_training_data(tmp_path):
    told = {}
    for name in ("perplexity", "accuracy"):
        log = trained(prepared_run(tmp_path / name, training_metric=name))
        told[name] = (metric(log, "train:perplexity"), metric(log, "train:accuracy"))
        assert len(metric(log, "validation:accuracy")) == len(metric(log, "validation:perplexity")) == 3
    assert len(told["perplexity"][0]) == 2
    assert told["perplexity"][1] == []
    assert told["accuracy"][0] == []
    assert max(told["accuracy"][1]) > 0


def test_several_devices_learn_as_one(tmp_path):
    found = []
    for devices in (("cpu",), ("cpu", "cpu", "cpu")):
        root = tmp_path / str(len(devices))
        trained(prepared_run(root, devices=devices, optimizer_type="sgd", learning_rate=0.5))
        found.append(weights(root))
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-5)


def test_lengths_of_the_training_data_bound_answers(tmp_path):
    folder = tmp_path / "input" / "data" / "train"
    folder.mkdir(parents=True)
    (folder / "train.rec").write_bytes(records([([4], [5]), ([4, 4], [5] * 6)] * 8))
    for name, data in (("validation", {"v": records(turned(5))}), ("vocab", vocabularies())):
        (tmp_path / "input" / "data" / name).mkdir()
        for file, content in data.items():
            (tmp_path / "input" / "data" / name / file).write_bytes(content)
    trained(prepared_run(tmp_path))
    config = json.loads((tmp_path / "model" / "config").read_text())
    assert (config["length_ratio_mean"], config["length_ratio_std"]) == (2, 1)


@pytest.mark.parametrize(
    ("channel", "data", "message"),
    [
        ("train", b"", "channel train has no records; accepted: at least one pair"),
        ("validation", b"", "channel validation has no records"),
        ("validation", record(source=[4], target=[40]), "record 1 of .*its target has the id 40; .* 0 to 11"),
        ("train", record(source=[4]), "record 1 of .*has no feature target"),
    ],
)
def test_wrong_data_are_told(channel, data, message, tmp_path):
    run = prepared_run(tmp_path)
    for path in (tmp_path / "input" / "data" / channel).iterdir():
        path.write_bytes(data)
    with pytest.raises(ClientError, match=message):
        trained(run)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "channel vocab, file vocab.src.json is not a JSON object"),
        (b'{"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 4}', "the id 4; accepted: integers from 0 to 3"),
    ],
)
def test_wrong_vocabularies_are_told(text, message, tmp_path):
    run = prepared_run(tmp_path)
    (tmp_path / "input" / "data" / "vocab" / "vocab.src.json").write_bytes(text)
    with pytest.raises(ClientError, match=message):
        trained(run)


def test_missing_vocabularies_are_told_in_the_images_words(tmp_path):
    run = prepared_run(tmp_path)
    for path in (tmp_path / "input" / "data" / "vocab").iterdir():
        path.unlink()
    message = "Vocab files not present: channel vocab has no vocab.src.json and no vocab.trg.json; accepted"
    with pytest.raises(ClientError, match=message):
        trained(run)


def test_a_diverging_training_is_told(tmp_path):
    run = prepared_run(
        tmp_path, optimizer_type="sgd", learning_rate=3e38, clip_gradient=-1, max_num_batches=-1
    )
    with pytest.raises(ClientError, match="training diverged; accepted: a smaller learning_rate"):
        trained(run)
    assert not (tmp_path / "model").exists()


class Later(Stop):
    """Asks to stop at the ``count``-th time that somebody looks."""

    def __init__(self, count: int) -> None:
        self._left = count

    @property
    def requested(self) -> bool:
        self._left -= 1
        return self._left <= 0


def test_a_stop_at_any_time_leaves_a_whole_model_or_none(tmp_path):
    models = 0
    for count in (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40):
        root = tmp_path / str(count)
        log = trained(prepared_run(root, stop=Later(count), max_num_batches=12, bleu_sample_size=5))
        made = (root / "model").exists()
        assert made != ("no model" in log)
        if made:
            models += 1
            assert artifact.read(root / "model")
    assert models >= 3


def test_a_stop_before_the_first_checkpoint_keeps_what_was_learned(tmp_path):
    run = prepared_run(tmp_path, max_num_batches=-1, checkpoint_frequency_num_batches=1000, max_num_epochs=9)
    work = prepared(run)
    assert work is not None
    begin = work.learner.state()

    def learn(batch: object) -> np.ndarray:
        run.stop.requested = work.learner.updates == 4
        return original(batch)

    original = work.learner.learn
    work.learner.learn = learn  # type: ignore[method-assign,assignment]
    train._epochs(work)
    assert work.learner.updates == 5
    train._finish(work)
    assert not torch.equal(begin, work.learner.state())
    assert np.array_equal(weights(tmp_path), work.learner.state().numpy())
