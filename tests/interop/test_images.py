"""Networks for images: the same weights and image give the same answers here and in MXNet and GluonCV."""

import json

import numpy as np
import pytest
import torch

from common.channels import Channel
from common.formats import ndarray, recordio
from common.images import records
from common.images.sources import rec_items
from common.job import ChannelConfig
from common.manifest import load
from common.networks import parameters
from common.networks.parameters import GLUON
from common.networks.resnet_v2 import LARGE, SMALL
from containers.image_classification import artifact as classifiers
from containers.image_classification.network import Classifier
from containers.object_detection import anchors, detecting, matching
from containers.object_detection import artifact as detectors
from containers.object_detection.artifact import Model
from containers.object_detection.network import Network as Detector
from containers.object_detection.plans import RESNET, VGG
from containers.semantic_segmentation import artifact as segmenters
from containers.semantic_segmentation.network import Network as Segmenter

TOLERANCE = 1e-4


def image(*shape, seed=0, scale=255.0):
    return np.random.default_rng(seed).random((1, *shape), np.float32) * np.float32(scale)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("depth", [*LARGE, *SMALL])
def test_classifiers(peer, tmp_path, depth, multi_label):
    """Parameters that MXNet saved are read here, and what is written of them is run by MXNet."""
    shape = (3, 64, 64) if depth in LARGE else (3, 28, 28)
    with torch.device("meta"):
        made = Classifier(depth, shape, 7, multi_label)
    classifiers.write_description(tmp_path, made, 32)
    params = tmp_path / classifiers.params_file(5)
    symbol = tmp_path / classifiers.SYMBOL_FILE
    peer.call(
        "draw",
        symbol=symbol,
        params=params,
        shapes={"data": [1, *shape], "softmax_label": [1, 7][: 1 + multi_label]},
    )
    found = classifiers.read(tmp_path).eval()
    classifiers.write_params(params, found)
    x = image(*shape)
    label = np.zeros((1, 7) if multi_label else (1,), np.float32)
    inputs = peer.given(data=x, softmax_label=label)
    _, outputs = peer.arrays("forward", prefix=f"{tmp_path}/{classifiers.PREFIX}", epoch=5, inputs=inputs)
    with torch.inference_mode():
        ours = found.probabilities(found(torch.from_numpy(x))).numpy()
    np.testing.assert_allclose(outputs["softmax_output"], ours, atol=TOLERANCE)


@pytest.mark.parametrize(("base", "size"), [(VGG, 300), (VGG, 512), (RESNET, 300), (RESNET, 512)])
def test_detectors(peer, tmp_path, base, size):
    with torch.device("meta"):
        made = Detector(base, 3, size)
    settings = {"image_shape": str(size), "nms_threshold": "0.45", "nms_topk": "400"}
    detectors.write_description(tmp_path, Model(made, 0.45, 400), settings)
    params = tmp_path / detectors.PARAMS
    shapes = {"data": [1, 3, size, size], "label": [1, 2, 5]}
    peer.call("draw", symbol=tmp_path / detectors.SYMBOL_FILE, params=params, shapes=shapes)
    # Deep layers without batch norm would answer with thousands.
    arrays = {n: a * (0.05 if "pred_conv_weight" in n else 1) for n, a in ndarray.load(params).items()}
    ndarray.save(params, arrays)
    found = detectors.read(tmp_path)
    detectors.write_params(params, found.network)
    x = image(3, size, size)
    inputs = peer.given(data=x, label=np.full((1, 2, 5), -1, np.float32))
    _, outputs = peer.arrays("forward", prefix=f"{tmp_path}/{detectors.PREFIX}", epoch=0, inputs=inputs)
    with torch.inference_mode():
        scores, offsets = found.network.eval()(torch.from_numpy(x))
        probabilities = scores.softmax(1).numpy()
    np.testing.assert_allclose(outputs["cls_prob_output"], probabilities, atol=TOLERANCE)
    rows = detecting.detect(probabilities, offsets.numpy(), found.network.anchors, 0.45, 400)[0]
    theirs = outputs["det_out_output"][0]
    theirs = theirs[theirs[:, 0] >= 0]
    assert len(rows) == len(theirs)
    assert len(rows) > 5
    order = np.lexsort(rows.round(3).T)
    other = np.lexsort(theirs.round(3).T)
    np.testing.assert_allclose(np.sort(rows[:, 1]), np.sort(theirs[:, 1]), atol=TOLERANCE)
    np.testing.assert_allclose(rows[order].mean(0), theirs[other].mean(0), atol=1e-3)


@pytest.mark.parametrize("seed", [1, 2, 3])  # in others objects fit two boxes equally well
def test_boxes(peer, seed):
    """Priors, goals and detections of MXNet's operators."""
    random = np.random.default_rng(seed)
    sizes, ratios = (0.2, 0.35), (1.0, 2.0, 0.5)
    prior = anchors.prior(9, 9, sizes, ratios)
    labels = np.full((4, 5, 5), -1, np.float32)
    for picture, count in enumerate((5, 1, 0, 3)):
        low = random.uniform(0, 0.6, (count, 2))
        high = low + random.uniform(0.1, 0.4, (count, 2))
        labels[picture, :count] = np.column_stack([random.integers(0, 3, count), low, high])
    scores = random.normal(size=(4, 4, len(prior))).astype(np.float32) * 2
    moves = random.normal(size=(4, 4 * len(prior))).astype(np.float32)
    _, found = peer.arrays(
        "operators",
        inputs=peer.given(
            feature=np.zeros((1, 1, 9, 9), np.float32), labels=labels, scores=scores, moves=moves
        ),
        sizes=sizes,
        ratios=ratios,
        overlap=0.5,
        mining=3,
        threshold=0.45,
        top=100,
    )
    np.testing.assert_allclose(found["anchors"][0], prior, atol=1e-6)
    goals = matching.match(prior, labels, scores)
    np.testing.assert_array_equal(found["classes"], goals.classes)
    np.testing.assert_array_equal(found["mask"], goals.mask)
    np.testing.assert_allclose(found["offsets"], goals.offsets, rtol=1e-4, atol=1e-4)
    probabilities = torch.from_numpy(scores).softmax(1).numpy()
    for ours, theirs in zip(
        detecting.detect(probabilities, moves, prior, 0.45, 100), found["detections"], strict=True
    ):
        np.testing.assert_allclose(theirs[theirs[:, 0] >= 0], ours, atol=1e-5)


NETWORKS = {"fcn": "FCN", "psp": "PSPNet", "deeplab": "DeepLabV3"}


@pytest.mark.parametrize("direction", ["from GluonCV", "to GluonCV"])
@pytest.mark.parametrize("backbone", ["resnet-50", "resnet-101"])
@pytest.mark.parametrize("algorithm", list(NETWORKS))
def test_segmenters(peer, tmp_path, algorithm, backbone, direction):
    side = 96
    x = image(3, side, side, scale=2.0) - 1
    arguments = {
        "nclass": 5,
        "backbone": backbone.replace("-", ""),
        "aux": True,
        "pretrained_base": False,
        "crop_size": side,
    }
    path = tmp_path / segmenters.MODEL
    there = {"network": NETWORKS[algorithm], "arguments": arguments, "image": peer.given(image=x)}
    _, outputs = peer.arrays("gluoncv", save=path, **there)
    network = segmenters.read(tmp_path)
    if direction == "to GluonCV":
        with torch.no_grad():
            for tensor in parameters.named(network, GLUON).values():
                tensor.mul_(1.01)
        ndarray.save(path, parameters.dump(network, GLUON))
        _, outputs = peer.arrays("gluoncv", load=path, **there)
    assert isinstance(network, Segmenter)
    assert (network.algorithm, network.backbone, network.classes) == (algorithm, backbone, 5)
    with torch.inference_mode():
        ours = network.eval()(torch.from_numpy(x)).numpy()
    scale = np.abs(outputs["0"]).max()
    np.testing.assert_allclose(ours / scale, outputs["0"] / scale, atol=TOLERANCE)


def test_records_that_mxnet_wrote_and_that_it_reads(peer, tmp_path, training_job):
    random = np.random.default_rng(0)
    labels = [np.array([3], np.float32), random.random(7).astype(np.float32), np.array([1], np.float32)]
    images = [random.integers(0, 256, size, np.uint8) for size in (5, 1000, 37)]
    given = {f"label{n}": one for n, one in enumerate(labels)} | {
        f"image{n}": one for n, one in enumerate(images)
    }
    peer.call("write_records", path=tmp_path / "a.rec", inputs=peer.given(**given))
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "a.rec").rename(tmp_path / "data" / "train" / "a.rec")
    spec = load("image-classification").channel("train")
    channel = Channel(ChannelConfig("train"), spec, tmp_path / "data")
    items = rec_items(channel)
    for item, label, picture in zip(items, labels, images, strict=True):
        assert np.array_equal(item.label, label)
        assert item.image.read() == picture.tobytes()
    ours = b"".join(
        recordio.frame(records.pack(float(one[0]) if len(one) == 1 else one, picture.tobytes()))
        for one, picture in zip(labels, images, strict=True)
    )
    (tmp_path / "b.rec").write_bytes(ours)
    answer, found = peer.arrays("records", path=tmp_path / "b.rec")
    assert answer["count"] == 3
    for number, (label, picture) in enumerate(zip(labels, images, strict=True)):
        np.testing.assert_array_equal(found[f"label{number}"], label)
        np.testing.assert_array_equal(found[f"image{number}"], picture)


def test_json_of_symbols_is_what_mxnet_writes_again(peer, tmp_path):
    """A symbol file's nodes are in the order that MXNet itself has them in."""
    with torch.device("meta"):
        made = Detector(RESNET, 2, 300)
    detectors.write_description(tmp_path, Model(made, 0.45, 400), {})
    answer = peer.call("rewritten", symbol=tmp_path / detectors.SYMBOL_FILE)
    ours = json.loads((tmp_path / detectors.SYMBOL_FILE).read_text())
    assert [node["name"] for node in ours["nodes"]] == answer["names"]
