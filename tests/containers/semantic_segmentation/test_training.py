"""Jobs through the real `train`."""

import io
import json
import re
import signal

import numpy as np
import pytest
from PIL import Image

from common import content_types
from common.formats import ndarray
from containers.semantic_segmentation import artifact, predict
from tests.containers.semantic_segmentation.scenes import files, jpeg, manifest, png, scene

IMAGE = "application/x-image"


@pytest.fixture
def job(training_job):
    """A job of small scenes."""

    def make(**hyperparameters):
        defaults = {
            "num_classes": 3,
            "num_training_samples": 6,
            "use_pretrained_model": False,
            "mini_batch_size": 3,
            "validation_mini_batch_size": 2,
            "crop_size": 45,
            "base_size": 64,
            "epochs": 1,
        }
        made = training_job("semantic-segmentation")
        made.hyperparameters |= {**defaults, **hyperparameters}
        # Tests run side by side: threads that wait for each other would take longer than one alone.
        made.environment |= {"ALGODOCK_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        return made

    return make


def with_files(made, change=lambda mask: mask):
    for name, seeds in (("train", range(6)), ("validation", range(6, 9))):
        images, masks = files(seeds, change)
        made.channel(name, images, IMAGE).channel(f"{name}_annotation", masks, "image/png")
    return made


def scores(log, name="mIOU"):
    return [float(value) for value in re.findall(rf"validation {name} <score>=(\S+)", log)]


@pytest.mark.slow
def test_shapes_are_learned(job):
    """Discs and squares on photographs; their colours tell them apart, so a minute is enough."""
    made = job(epochs=10, num_training_samples=32, mini_batch_size=4, learning_rate=0.02)
    for name, seeds in (("train", range(32)), ("validation", range(40, 48))):
        images, masks = files(seeds)
        made.channel(name, images, IMAGE).channel(f"{name}_annotation", masks, "image/png")
    done = made.run().succeeded()
    assert max(scores(done.log)) > 0.35  # 0.24 for calling everything background
    image, mask = scene(50)
    answer = predict.codec({}).encode(
        predict.load(done.model).predict(jpeg(image), {}), content_types.parse("image/png")
    )
    found = np.array(Image.open(io.BytesIO(answer)))
    known = mask != 255
    assert found.shape == mask.shape
    assert (found == mask)[known].mean() > 0.5


def test_the_log_and_the_artifact(job):
    done = with_files(job(epochs=2)).run().succeeded()
    lines = [line.split("] ", 1)[-1] for line in done.log.splitlines()]
    told = [re.sub(r"=[0-9.e+-]+( records/second)?$", "", line) for line in lines if line.startswith("#")]
    assert [line for line in told if not line.startswith("#metrics")][:6] == [
        "#throughput_metric: host=algo-1, train throughput",
        "#quality_metric: host=algo-1, epoch=0, train loss <loss>",
        "#throughput_metric: host=algo-1, validation throughput",
        "#quality_metric: host=algo-1, epoch=0, validation mIOU <score>",
        "#quality_metric: host=algo-1, epoch=0, validation pixel_accuracy <score>",
        "#progress_metric: host=algo-1, completed 50 % of epochs",
    ]
    assert sorted(path.name for path in done.model.iterdir()) == [
        "hyperparams.json",
        "model_algo-1",
        "model_best.params",
    ]
    settings = json.loads((done.model / "hyperparams.json").read_text())
    assert settings["crop_size"] == "48"  # rounded up to a multiple of 8
    assert settings["use_pretrained_model"] == "False"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "optimizer", "schedule"),
    [("psp", "adam", "cosine"), ("deeplab", "rmsprop", "poly"), ("fcn", "nag", "step")],
)
def test_every_network_learns(job, algorithm, optimizer, schedule):
    made = job(
        algorithm=algorithm,
        optimizer=optimizer,
        lr_scheduler=schedule,
        epochs=2,
        learning_rate=0.00002 if optimizer == "rmsprop" else 0.0005,
        **({"lr_scheduler_step": "1"} if schedule == "step" else {}),
    )
    done = with_files(made).run().succeeded()
    losses = [float(value) for value in re.findall(r"train loss <loss>=(\S+)", done.log)]
    assert len(losses) == 2
    assert losses[1] < losses[0]


@pytest.mark.slow
def test_whole_images_and_equal_jobs(job):
    found = [with_files(job(validation_mini_batch_size=1)).run().succeeded() for _ in range(2)]
    assert (found[0].model / "model_algo-1").read_bytes() == (found[1].model / "model_algo-1").read_bytes()
    assert scores(found[0].log) == scores(found[1].log)


def test_pipes_of_augmented_manifests(job):
    made = job()
    for name, seeds in (("train", range(6)), ("validation", range(6, 9))):
        made.channel(name, manifest(seeds), "application/x-recordio", mode="Pipe", wrapper="RecordIO")
    assert len(scores(made.run().succeeded().log)) == 1


@pytest.mark.slow
def test_label_maps(job):
    """Masks in other values, and the maps that say so, make the same model."""
    plain = with_files(job()).run().succeeded()
    scaled = with_files(job(), lambda mask: np.where(mask == 255, 255, mask * 3).astype(np.uint8))
    maps = {f"{name}_label_map.json": b'{"scale": "3"}' for name in ("train", "validation")}
    done = scaled.channel("label_map", maps).run().succeeded()
    values = np.array([7, 0, 5], np.uint8)
    other = with_files(job(), lambda mask: np.where(mask == 255, 255, values[mask % 3]).astype(np.uint8))
    text = b'{"map": {"0": 7, "1": 0, "2": 5}}'
    maps = {f"{name}_label_map.json": text for name in ("train", "validation")}
    mapped = other.channel("label_map", maps).run().succeeded()
    models = [(one.model / "model_algo-1").read_bytes() for one in (plain, done, mapped)]
    assert models[0] == models[1] == models[2]


@pytest.mark.slow
def test_going_on_from_an_earlier_model(job):
    first = with_files(job()).run().succeeded()
    model = {path.name: path.read_bytes() for path in first.model.iterdir()}
    made = with_files(job(learning_rate=1e-9, lr_scheduler="cosine")).channel("model", model)
    done = made.run().succeeded()
    before, after = (ndarray.load(one.model / artifact.MODEL)["conv1.0.weight"] for one in (first, done))
    np.testing.assert_allclose(before, after, atol=1e-6)
    made = with_files(job(algorithm="psp", crop_size=64, num_classes=4)).channel("model", model)
    made.run().failed(
        "algorithm is psp, and the model in channel model was trained with fcn",
        "num_classes is 4",
        "crop_size is 64",
    )


def test_sigterm_keeps_what_is_trained(job):
    process = with_files(job(epochs=500)).start()
    for line in process.stdout:
        if "validation mIOU" in line:
            process.send_signal(signal.SIGTERM)
            break
    log, _ = process.communicate(timeout=100)
    assert process.returncode == 0, log


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        ({"num_classes": 255}, "num_classes is '255'; accepted: an integer of at least 2 and at most 254"),
        ({"crop_size": 16}, "crop_size is '16'; accepted: an integer above 16"),
        ({"lr_scheduler": "step"}, "lr_scheduler_step is missing; accepted with lr_scheduler=step"),
        ({"algorithm": "unet"}, "accepted: fcn, psp or deeplab"),
        ({"use_pretrained_model": True}, "there are no ImageNet weights of resnet50-v1s"),
        ({"num_classes": 2}, "has the values 2; accepted: 0 to 1 (num_classes is 2), and 255"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_hyperparameters_that_do_not_fit(job, tmp_path, hyperparameters, said):
    made = with_files(job(**hyperparameters))
    made.environment["ALGODOCK_PRETRAINED"] = str(tmp_path / "none")
    made.run().failed(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i, m: m.pop("0.png"), "file 0.jpg has no partner in channel train_annotation"),
        (lambda i, m: i.pop("0.jpg"), "file 0.png has no partner in channel train"),
        (
            lambda i, m: i.update({"0.png": png(scene(0)[1])}),
            "have one name; accepted: an image of each name",
        ),
        (lambda i, m: m.update({"0.png": png(scene(0, 30)[1])}), "has 72x60 pixels and its mask has 30x60"),
        (
            lambda i, m: m.update({"0.png": jpeg(scene(0)[0])}),
            "is an image of mode RGB; accepted: one channel",
        ),
        (lambda i, m: [i.update({name: b"x"}) for name in i], "none of the images can be decoded"),
    ],
    ids=["mask", "image", "twice", "size", "colour", "garbage"],
)
def test_bad_files(job, change, said):
    made = with_files(job())
    images, masks = files(range(6))
    change(images, masks)
    for name in ("train", "train_annotation"):
        for path in (made.root / "input" / "data" / name).iterdir():
            path.unlink()
    made.channel("train", images, IMAGE).channel("train_annotation", masks, "image/png").run().failed(said)


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"scale": 0}', b'{"map": {"0": 256}}', b'{"map": 3}', b'{"a": 1}']
)
def test_bad_label_maps(job, text):
    made = with_files(job()).channel("label_map", {"train_label_map.json": text})
    made.run().failed("channel label_map, file train_label_map.json", "accepted: {")


def test_masks_are_required(job):
    images, _ = files(range(3))
    made = job().channel("train", images).channel("validation", images)
    made.run().failed("channel train_annotation is missing; accepted with image files")
