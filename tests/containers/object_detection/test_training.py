"""Jobs through the real `train`. Networks are large for tests: an epoch of few pictures is enough."""

import json
import re
import signal
import socket

import numpy as np
import pytest

from common.formats import ndarray, recordio
from common.images import records
from containers.object_detection import artifact
from containers.object_detection.annotations import Objects
from tests.containers.object_detection.scenes import jpeg, label, rec, scene

REC = "application/x-recordio"


@pytest.fixture
def job(training_job):
    """A job of a few scenes on ResNet-50."""

    def make(**hyperparameters):
        defaults = {
            "num_classes": 2,
            "num_training_samples": 4,
            "base_network": "resnet-50",
            "use_pretrained_model": 0,
            "mini_batch_size": 2,
            "epochs": 1,
        }
        made = training_job("object-detection", **{**defaults, **hyperparameters})
        # Tests run side by side: threads that wait for each other would take longer than one alone.
        made.environment |= {"ALGODOCK_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        return made

    return make


def with_records(made, train=None, validation=None, **options):
    made.channel("train", {"a.rec": train or rec(range(4))}, REC, **options)
    return made.channel("validation", {"a.rec": validation or rec(range(4, 6))}, REC, **options)


def annotation(image, rows, name):
    width, height = image.size
    return {
        "file": name,
        "image_size": [{"width": width, "height": height, "depth": 3}],
        "annotations": [
            {
                "class_id": str(int(kind)) if number else int(kind),
                "left": x0 * width,
                "top": y0 * height,
                "width": (x1 - x0) * width,
                "height": (y1 - y0) * height,
            }
            for number, (kind, x0, y0, x1, y1) in enumerate(rows.tolist())
        ],
        "categories": [{"class_id": 0, "name": "disc"}],
    }


def scores(log):
    return [float(value) for value in re.findall(r"validation mAP <score>=\((\S+)\)", log)]


@pytest.mark.slow
def test_the_log_and_the_artifact(job):
    done = with_records(job(epochs=2, nms_threshold=0.3)).run().succeeded()
    lines = [line.split("] ", 1)[-1] for line in done.log.splitlines()]
    told = [re.sub(r"=\(.*|throughput=.*|=[0-9.e-]+$", "", line) for line in lines if line.startswith("#")]
    first = [line for line in told if not line.startswith("#metrics")][:5]
    assert first == [
        "#quality_metric: host=algo-1, epoch=0, batch=2 train cross_entropy <loss>",
        "#quality_metric: host=algo-1, epoch=0, batch=2 train smooth_l1 <loss>",
        "#throughput_metric: host=algo-1, train ",
        "#quality_metric: host=algo-1, epoch=0, validation mAP <score>",
        "#progress_metric: host=algo-1, completed 50 % of epochs",
    ]
    assert "Training images are resized to image shape (3, 300, 300)" in done.log
    assert "label padding width: 350" in done.log
    assert f'Saved checkpoint to "{done.model}/model_algo_1-0000.params"' in done.log
    assert sorted(path.name for path in done.model.iterdir()) == [
        "hyperparams.json",
        "model_algo_1-0000.params",
        "model_algo_1-symbol.json",
    ]
    settings = json.loads((done.model / "hyperparams.json").read_text())
    assert settings["num_classes"] == "2"
    assert all(isinstance(value, str) for value in settings.values())
    assert artifact.read(done.model).threshold == 0.3


@pytest.mark.slow
@pytest.mark.parametrize("form", ["records", "manifest"])
def test_pipes(job, form):
    made = job()
    for name, seeds in (("train", range(4)), ("validation", range(4, 6))):
        if form == "records":
            made.channel(name, rec(seeds), REC, mode="Pipe")
            continue
        stream = b""
        for seed in seeds:
            image, rows = scene(seed)
            text = json.dumps(annotation(image, rows, "x")).encode()
            stream += recordio.frame(jpeg(image)) + recordio.frame(text)
        made.channel(name, stream, REC, mode="Pipe", wrapper="RecordIO")
    done = made.run().succeeded()
    assert len(scores(done.log)) == 1
    assert "The channel 'train' is in pipe input mode under" in done.log


def pictures(seeds, folder="sub/"):
    images, texts = {}, {}
    for seed in seeds:
        image, rows = scene(seed)
        images[f"{folder}{seed}.jpg"] = jpeg(image)
        texts[f"{seed}.json"] = json.dumps(annotation(image, rows, f"{folder}{seed}.jpg")).encode()
    return images, texts


@pytest.mark.slow
def test_images_with_annotations_and_equal_jobs(job):
    found = []
    for _ in range(2):
        made = job()
        for name, seeds in (("train", range(4)), ("validation", range(4, 6))):
            images, texts = pictures(seeds)
            made.channel(name, images, "image/jpeg").channel(f"{name}_annotation", texts, "image/jpeg")
        done = made.run().succeeded()
        found.append((done.model / artifact.PARAMS).read_bytes())
    assert found[0] == found[1]


@pytest.mark.slow
def test_going_on_from_an_earlier_model_with_frozen_layers(job):
    first = with_records(job()).run().succeeded()
    files = {path.name: path.read_bytes() for path in first.model.iterdir()}
    made = with_records(job(freeze_layer_pattern="^(conv0_|stage[1-4]_).*", learning_rate=0.01))
    done = made.channel("model", files, "application/x-sagemaker-model").run().succeeded()
    before, after = (ndarray.load(one.model / artifact.PARAMS) for one in (first, done))
    same = {name: np.array_equal(before[name], after[name]) for name in before if name.startswith("arg:")}
    assert same["arg:conv0_weight"]
    assert same["arg:stage4_unit3_conv3_weight"]
    assert not same["arg:_plus12_cls_pred_conv_weight"]
    made = with_records(job(base_network="vgg-16", num_classes=3)).channel("model", files)
    made.run().failed(
        "base_network is vgg-16, and the model in channel model was trained with resnet-50",
        "num_classes is 3",
    )


@pytest.mark.slow
def test_two_hosts_and_sigterm(job):
    jobs = [with_records(job(epochs=500)) for _ in range(2)]
    names = ["127.0.0.1", "127.0.0.2"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    for name, one in zip(names, jobs, strict=True):
        one.resources = {"current_host": name, "hosts": names}
        one.environment["ALGODOCK_CLUSTER_PORT"] = port
    processes = [one.start() for one in jobs]
    for line in processes[0].stdout:
        if "Updated the metrics" in line:
            processes[1].send_signal(signal.SIGTERM)
            break
    logs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    assert (jobs[0].root / "model" / artifact.PARAMS).exists()
    assert not (jobs[1].root / "model" / artifact.PARAMS).exists()


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        ({"image_shape": 299}, "image_shape is '299'; accepted: an integer of at least 300"),
        ({"base_network": "vgg-19"}, "accepted: vgg-16 or resnet-50"),
        ({"freeze_layer_pattern": "("}, "accepted: a regular expression"),
        ({"freeze_layer_pattern": "^nothing"}, "which no parameter of resnet-50 begins with"),
        ({"label_width": 3}, "label_width is 3; accepted: at least 7"),
        ({"learning_rate": 0}, "learning_rate is '0'; accepted: a number above 0"),
        ({"use_pretrained_model": 1}, "there are no ImageNet weights of resnet-50"),
        ({"label_width": 7}, "Invalid parameter value 'label_width'"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_hyperparameters_that_do_not_fit(job, tmp_path, hyperparameters, said):
    made = with_records(job(**hyperparameters), rec(range(4), objects=2))
    made.environment["ALGODOCK_PRETRAINED"] = str(tmp_path / "none")
    made.run().failed(said)


def one(labels, picture=None):
    image, _ = scene(0)
    return recordio.frame(records.pack(np.array(labels, np.float32), picture or jpeg(image)))


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (rec(range(2))[:-40], "ends in the middle of record 2"),
        (b"garbage" * 40, "does not begin with the RecordIO magic number"),
        (
            recordio.frame(b"short"),
            "Unable to parse record. Please make sure input data is in correct recordio",
        ),
        (recordio.frame(records.pack(1.0, b"image")), "Each object requires at least five numbers"),
        (one([2, 4, 0, 0, 0, 1]), "Each object requires at least five numbers"),
        (
            one([2, 5, 0, 0, 0, 1]),
            "has 4 numbers behind its header; accepted: a multiple of the object width, 5",
        ),
        (one([2, 5, 2, 0.1, 0.1, 0.5, 0.5]), "has the class 2; accepted: classes from 0 to 1"),
        (one([2, 5, 0, 0.6, 0.1, 0.5, 0.5]), "has the box (0.6, 0.1, 0.5, 0.5); accepted: xmin below xmax"),
        (one([2, 5, 0, 0.1, 0.1, 0.5, 0.5], b"no picture"), "none of the images can be decoded"),
    ],
    ids=["cut", "garbage", "short", "class", "width", "rest", "kind", "area", "picture"],
)
def test_bad_records(job, train, said):
    with_records(job(), train).run().failed(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i, t: t.update({"0.json": b"{"}), "file 0.json is not a JSON object"),
        (
            lambda i, t: t.update({"0.json": b"{}"}),
            "file 0.json has no image_size or annotations as expected",
        ),
        (lambda i, t: t.update({"9.json": t["0.json"].replace(b"sub/0", b"sub/9")}), "belongs to no image"),
        (lambda i, t: t.update({"x.json": t["0.json"]}), "is a second annotation of sub/0.jpg"),
        (
            lambda i, t: t.update({"0.json": t["0.json"].replace(b'"depth": 3', b'"depth": 1')}),
            "has the depth 1",
        ),
        (lambda i, t: t.clear() or t.update({"a.txt": b"x"}), "holds no .json file"),
        (lambda i, t: i.clear() or i.update({"a.txt": b"x"}), "there is no image in"),
    ],
    ids=["json", "empty", "image", "twice", "depth", "none", "images"],
)
def test_bad_annotations(job, change, said):
    made = job()
    images, texts = pictures(range(2))
    change(images, texts)
    made.channel("train", images, "image/jpeg").channel("train_annotation", texts, "image/jpeg")
    made.channel("validation", images, "image/jpeg").channel("validation_annotation", texts, "image/jpeg")
    made.run().failed(said)


def test_annotations_are_required_with_images(job):
    images, _ = pictures(range(2))
    made = job().channel("train", images, "image/jpeg").channel("validation", images, "image/jpeg")
    made.run().failed("channel train_annotation is missing; accepted with content type image/jpeg")


def test_labels_as_ground_truth_packs_them():
    rows = np.array([[0, 0.1, 0.2, 0.5, 0.6], [1, -0.2, 0.2, 0.5, 1.6]], np.float32)
    found = Objects(2, 350).of_array(label(np.column_stack([rows, [0, 1]]), header=4), "x").boxes
    np.testing.assert_allclose(found[0], [0, 0.1, 0.2, 0.5, 0.6, 0])
    np.testing.assert_allclose(found[1], [1, 0, 0.2, 0.5, 1, 1])
    padded = np.append(label(rows[:1]), np.full(10, -1, np.float32))
    assert len(Objects(2, 350).of_array(padded, "x").boxes) == 1
