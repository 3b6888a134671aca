"""Jobs through the real `train`; those without hosts and signals within the test's process."""

import io
import json
import re
import signal
import tarfile
import time

import numpy as np
import pytest
import torch

from common.formats import ndarray, recordio
from common.images import records
from containers.image_classification import artifact, predict
from tests.containers.image_classification.pictures import DIGITS, hot, manifest, png, rec

TRAIN, VALIDATION = range(160), range(240, 300)
REC = "application/x-recordio"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def job(training_job):
    """A job of little digits; 20 layers, 28 x 28."""

    def make(**hyperparameters):
        defaults = {
            "num_classes": 10,
            "num_training_samples": len(TRAIN),
            "num_layers": 20,
            "image_shape": "3,28,28",
            "mini_batch_size": 40,
            "epochs": 2,
            "learning_rate": 0.05,
        }
        made = training_job("image-classification", **{**defaults, **hyperparameters})
        # Tests run side by side: threads that wait for each other would take longer than one alone.
        made.environment |= {"ALGODOCK_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        return made

    return make


@pytest.fixture
def run():
    """Runs a job of folders."""
    return lambda made: made.run()


def with_records(made, train=None, validation=None, **options):
    made.channel("train", {"data.rec": train or rec(TRAIN)}, REC, **options)
    return made.channel("validation", {"data.rec": validation or rec(VALIDATION)}, REC, **options)


def accuracies(log):
    return [float(value) for value in re.findall(r"Epoch\[\d+\] Validation-accuracy=(\S+)", log)]


def params(done):
    (path,) = done.model.glob("*.params")
    return path.read_bytes()


@pytest.mark.slow
def test_digits_are_learned(job, run):
    """Scikit-learn's digits in five passes."""
    made = job(epochs=5, num_training_samples=1000, augmentation_type="crop", mini_batch_size=25)
    done = run(with_records(made, rec(range(1000)), rec(range(1400, 1797)))).succeeded()
    assert max(accuracies(done.log)) > 0.8
    classifier = predict.load(done.model)
    answers = [classifier.predict(png(n), {})["prediction"][0].argmax() for n in range(1400, 1500)]
    assert np.mean(answers == DIGITS.target[1400:1500]) > 0.75


@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_the_log_and_the_artifact(job, mode):
    done = with_records(job(top_k=3), mode=mode).run().succeeded()
    lines = [line.split("] ", 1)[-1] for line in done.log.splitlines()]
    told = [line for line in lines if line.startswith("Epoch[")]
    assert [re.sub(r"=.*", "", line) for line in told] == [
        f"Epoch[{epoch}] {name}"
        for epoch in range(2)
        for name in ("Train-accuracy", "Train-top_k_accuracy_3", "Time cost", "Validation-accuracy")
    ]
    start, end = lines.index("---- Parameters ----"), lines.index("--------------------")
    assert [line.split(":")[0] for line in lines[start + 1 : end]] == [
        "num_layers", "data type", "epochs", "image resize size", "optimizer", "momentum", "weight_decay",
        "learning_rate", "num_training_samples", "mini_batch_size", "image_shape", "num_classes",
        "augmentation_type", "kv_store", "top_k",
    ]  # fmt: skip
    assert "mini_batch_size: 40" in lines[start:end]
    assert "kv_store: device" in lines[start:end]
    assert re.search(r"Storing the best model with validation accuracy: 0\.\d{6}", done.log)
    names = sorted(path.name for path in done.model.iterdir())
    assert len(names) == 3
    best = 1 + int(np.argmax(accuracies(done.log)))
    assert names[0] == f"image-classification-000{best}.params"
    assert f'Saved checkpoint to "{done.model}/{names[0]}"' in done.log
    shapes = json.loads((done.model / "model-shapes.json").read_text())
    assert shapes == [{"shape": [40, 3, 28, 28], "name": "data"}]


def test_equal_jobs_make_equal_models(job, run):
    found = []
    for _ in range(2):
        made = job(augmentation_type="crop_color_transform", image_shape="3,24,28", epochs=1)
        found.append(params(run(with_records(made)).succeeded()))
    assert found[0] == found[1]


def test_workers_decode_as_the_job_itself_would(job, run, monkeypatch):
    found = []
    for workers in (0, 2):
        monkeypatch.setattr("containers.image_classification.engine.processes", lambda *_, n=workers: n)
        made = job(augmentation_type="crop_color", image_shape="3,24,28", epochs=1)
        found.append(params(run(with_records(made)).succeeded()))
    assert found[0] == found[1]


@pytest.mark.parametrize("optimizer", ["sgd", "nag", "adam", "rmsprop"])
def test_every_optimizer_learns(job, run, optimizer):
    rate = 0.05 if optimizer in ("sgd", "nag") else 0.002
    made = job(optimizer=optimizer, learning_rate=rate, epochs=3, mini_batch_size=20)
    done = run(with_records(made)).succeeded()
    found = [float(value) for value in re.findall(r"Train-accuracy=(\S+)", done.log)]
    assert found[-1] > found[0] + 0.1


def test_images_with_lists(job, run):
    """The way of photographs: resized, then cut out."""
    files = {f"digits/{n}.png": png(n, 40) for n in range(60)}
    lines = "".join(f"{n}\t{DIGITS.target[n]}\tdigits/{n}.png\n" for n in range(60))
    made = job(resize=32, num_training_samples=60, mini_batch_size=20, augmentation_type="crop_color")
    for name in ("train", "validation"):
        made.channel(name, files, "application/x-image")
        made.channel(f"{name}_lst", lines.encode(), "application/x-image")
    assert len(accuracies(run(made).succeeded().log)) == 2


def test_grey_images(job, run):
    done = run(with_records(job(image_shape="1,28,28", epochs=1))).succeeded()
    assert artifact.read(done.model).shape == (1, 28, 28)


@pytest.mark.parametrize("form", ["multi-hot", "class-id"])
def test_augmented_manifests_of_several_labels(job, form):
    def label(number):
        found = hot(number)
        return json.dumps([int(one) for one in (found if form == "multi-hot" else np.flatnonzero(found))])

    made = job(multi_label=1, num_classes=3, use_weighted_loss=1)
    for name, numbers in (("train", TRAIN), ("validation", VALIDATION)):
        made.channel(
            name, manifest(numbers, label), f"{REC}; label-format={form}", mode="Pipe", wrapper="RecordIO"
        )
    done = made.run().succeeded()
    assert all(accuracy > 0.4 for accuracy in accuracies(done.log))
    assert artifact.read(done.model).multi_label


def test_weighted_labels(job, run):
    found = {}
    for weighted in (0, 1):
        made = job(multi_label=1, num_classes=3, use_weighted_loss=weighted, epochs=1)
        done = run(with_records(made, rec(TRAIN, hot), rec(VALIDATION, hot))).succeeded()
        found[weighted] = params(done)
    assert found[0] != found[1]


def test_checkpoints_of_every_second_epoch_are_kept(job, run):
    done = run(with_records(job(epochs=5, checkpoint_frequency=2))).succeeded()
    assert sorted(path.name for path in done.model.glob("*.params")) == [
        f"image-classification-000{epoch}.params" for epoch in (2, 4, 5)
    ]


def test_early_stopping(job, run):
    made = job(
        epochs=9,
        learning_rate=0.0,
        early_stopping="True",
        early_stopping_min_epochs=2,
        early_stopping_patience=2,
        early_stopping_tolerance=0.5,
    )
    done = run(with_records(made)).succeeded()
    assert len(accuracies(done.log)) < 9
    assert "Early stopping" in done.log


def test_the_rate_falls_at_its_steps(job, run):
    """With a factor of 0 nothing is learned after the first epoch."""
    made = job(epochs=3, lr_scheduler_step="1", lr_scheduler_factor=0, checkpoint_frequency=1, momentum=0)
    done = run(with_records(made)).succeeded()
    found = [ndarray.load(path) for path in sorted(done.model.glob("*.params"))]
    assert np.array_equal(found[1]["arg:fc_weight"], found[2]["arg:fc_weight"])


def packed(folder):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for path in folder.iterdir():
            tar.add(path, path.name)
    return file.getvalue()


@pytest.mark.slow
def test_going_on_from_an_earlier_model(job, run):
    first = run(with_records(job())).succeeded()
    for files in (
        {"model.tar.gz": packed(first.model)},
        {path.name: path.read_bytes() for path in first.model.iterdir()},
    ):
        made = with_records(job(learning_rate=0, epochs=1))
        done = run(made.channel("model", files, "application/x-sagemaker-model")).succeeded()
        weights = [ndarray.load(next(one.model.glob("*.params")))["arg:fc_weight"] for one in (first, done)]
        assert np.array_equal(*weights)
    made = with_records(job(num_layers=32, num_classes=11, image_shape="3,32,32"))
    run(made.channel("model", files)).failed(
        "num_layers is 32, and the model in channel model was trained with 20",
        "num_classes is 11",
        "image_shape is 3,32,32, and the model in channel model was trained with 3,28,28",
    )


@pytest.mark.slow
def test_beginning_with_imagenet_weights(job, run, tmp_path):
    """All but the last layer are those of the file."""
    import hashlib

    from common.networks import parameters
    from containers.image_classification.network import Classifier

    made = job(use_pretrained_model=1, num_layers=18, image_shape="3,224,224", resize=224, epochs=1)
    made.hyperparameters |= {"mini_batch_size": 2, "num_training_samples": 2, "learning_rate": 0}
    made.environment["ALGODOCK_PRETRAINED"] = str(tmp_path / "weights")
    run(with_records(made, rec(range(2)), rec(range(2)))).failed(
        "there are no ImageNet weights of resnet-18", "make pretrained NETWORK=resnet-18 FILE=..."
    )
    torch.manual_seed(1)
    network = Classifier(18, (3, 224, 224), 1000)
    path = tmp_path / "weights" / "resnet-18.params"
    path.parent.mkdir()
    known = parameters.dump(network, parameters.SYMBOL)
    ndarray.save(path, known)
    (path.parent / "sha256sums.txt").write_text(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    )
    done = run(made).succeeded()
    (found,) = done.model.glob("*.params")
    arrays = ndarray.load(found)
    assert arrays["arg:fc_weight"].shape == (10, 512)
    for name in ("arg:conv0_weight", "arg:stage4_unit2_conv2_weight", "arg:bn1_gamma"):
        assert np.array_equal(arrays[name], known[name])


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 1], ids=["best", "all"])
def test_a_killed_job_goes_on_from_its_checkpoint(job, run, every):
    made = with_records(job(epochs=30))
    if every:
        made.hyperparameters["checkpoint_frequency"] = every
    config = made.root / "input" / "config"
    config.mkdir(parents=True)
    (config / "checkpointconfig.json").write_text(json.dumps({"LocalPath": str(made.root / "checkpoints")}))
    process = made.start()
    deadline = time.monotonic() + 60
    folder = made.root / "checkpoints"
    while not (folder / "checkpoint-2").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    for path in (made.root / "model").iterdir():
        path.unlink()
    (folder / "checkpoint-29").write_bytes(b"half a file")
    for path in folder.glob("checkpoint-*"):
        if 3 < int(path.name[11:]) < 29:
            path.unlink()
    made.hyperparameters["epochs"] = 5
    done = run(made).succeeded()
    assert "can't be read and is passed over" in done.log
    assert "Epoch[0]" not in done.log
    assert "Epoch[4]" in done.log
    assert len(list(done.model.glob("*.params"))) == (5 if every else 1)
    assert artifact.read(done.model).depth == 20
    made.hyperparameters["num_layers"] = 32
    assert "hyperparameter num_layers is 32, and the checkpoint" in run(made).failure


def test_sigterm_keeps_what_is_trained(job):
    process = with_records(job(epochs=1000)).start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Epoch[0] Train" in line:
            process.send_signal(signal.SIGTERM)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, "".join(lines) + rest
    assert "Epoch[3]" not in rest


def test_sigterm_while_a_pipe_gives_nothing(job, tmp_path):
    """The platform waits 120 seconds, the FIFO's other end may wait for ever."""
    made = with_records(job(), mode="Pipe")
    made.pipes.clear()
    process = made.start()
    for line in process.stdout:
        if "--------------------" in line:
            process.send_signal(signal.SIGTERM)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert not list((made.root / "model").glob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_two_hosts_train_one_model(job, mode):
    jobs = [with_records(job(epochs=1), mode=mode) for _ in range(2)]
    first, second = jobs[0].run_with(jobs[1])
    first.succeeded()
    assert second.code == 0, second.log
    assert not list(second.model.glob("*")) if second.model.exists() else True
    assert len(accuracies(first.log)) == 1
    assert accuracies(second.log) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_two_devices_train_one_model(job, mode):
    made = with_records(job(epochs=2), mode=mode)
    made.environment["ALGODOCK_DEVICES"] = "cpu,cpu"
    done = made.run().succeeded()
    assert len(accuracies(done.log)) == 2
    assert done.log.count("---- Parameters ----") == 1


def test_a_failing_device_ends_the_job_with_its_reason(job):
    broken = rec(range(39)) + recordio.frame(records.pack(77.0, png(3)))
    made = with_records(job(), broken + rec(range(40, 120)))
    made.environment["ALGODOCK_DEVICES"] = "cpu,cpu"
    made.run().failed(
        "record 40 of channel train, file data.rec has the label 77; accepted: a class from 0 to 9"
    )


def cut(number):
    return png(number)[:200]


BAD = {
    "cut": (rec(range(80))[:-30], "ends in the middle of record 80"),
    "garbage": (b"garbage" * 40, "does not begin with the RecordIO magic number"),
    "short": (rec(range(50)) + recordio.frame(b"short"), "Unable to parse record. Please make sure input"),
    "labels": (
        rec(range(50), lambda n: np.array([1, 0], np.float32)),
        "record 1 of channel train, file data.rec has 2 labels",
    ),
    "half": (rec(range(50), lambda n: 2.5), "has the label 2.5; accepted: a class from 0 to 9"),
    "small": (rec(range(50), side=20), "has 20x20 pixels, fewer than image_shape (28x28)"),
    "undecodable": (
        b"".join(recordio.frame(records.pack(1.0, cut(n))) for n in range(40)),
        "none of the images can be decoded",
    ),
    "few": (rec(range(30)), "The number of input images must be bigger or equal to the mini_batch_size."),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_records(job, run, kind):
    train, said = BAD[kind]
    made = with_records(job())
    made.channel("train", {"data.rec": train}, REC)
    run(made).failed(said)


@pytest.mark.parametrize("kind", ["cut", "labels", "few"])
def test_bad_records_of_a_pipe(job, kind):
    train, said = BAD[kind]
    said = said.replace("channel train, file data.rec", "channel train, epoch 0")
    with_records(job(), train, mode="Pipe").run().failed(said)


def test_some_images_that_can_not_be_decoded_are_named_and_skipped(job, run):
    broken = recordio.frame(records.pack(1.0, cut(7)))
    done = run(with_records(job(epochs=1), rec(range(100)) + broken + rec(range(100, 140)))).succeeded()
    assert "Skipping an image: record 101 of channel train, file data.rec can't be decoded" in done.log


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("0 1 a.png\n", "Invalid lst file in the train channel. line 1 of channel train_lst, file data"),
        ("0\t1\ta.png\n0\t1\ta.png\n", "has the index 0, which a line before has too"),
        ("0\t1\tb.png\n", "names b.png, which is not in channel train"),
        ("0\t10\ta.png\n", "has the label 10; accepted: a class from 0 to 9"),
        ("", "names no image"),
        ("0\tx\ta.png\n", "is not an index, labels and a path"),
    ],
    ids=["blanks", "twice", "absent", "class", "empty", "text"],
)
def test_bad_lists(job, run, lines, said):
    made = job(resize=32)
    for name in ("train", "validation"):
        made.channel(name, {"a.png": png(0)}, "application/x-image")
        made.channel(f"{name}_lst", lines.encode() or b"\n", "application/x-image")
    run(made).failed(said)


def test_lists_and_sizes_are_required_with_images(job, run):
    made = job()
    for name in ("train", "validation"):
        made.channel(name, {"a.png": png(0)}, "application/x-image")
    run(made).failed("hyperparameter resize is missing")
    made.hyperparameters["resize"] = 32
    run(made).failed("channel train_lst is missing; accepted with content type application/x-image")


def test_hosts_that_would_not_wait_for_each_other_are_refused(job):
    jobs = [with_records(job(kv_store="dist_async")) for _ in range(2)]
    first, _ = jobs[0].run_with(jobs[1])
    first.failed("kv_store is dist_async; accepted on several machines: dist_sync")
