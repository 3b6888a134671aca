"""The endpoint, with every content type."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from containers.object_detection import detecting
from containers.object_detection.plans import RESNET
from tests.conftest import Endpoint
from tests.containers.object_detection.test_model import network, written

CHINA = load_sample_image("china.jpg")
SIZE = 300


def encoded(form="PNG", mode="RGB", pixels=CHINA, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def made():
    one = network(RESNET, classes=2, size=SIZE)
    with torch.no_grad():  # else nothing is likelier than nothing
        one.get_submodule("multi_feat_4_conv_3x3_relu_cls_pred_conv").bias[1::3] += 3
    return one


@pytest.fixture(scope="module")
def server(made, tmp_path_factory):
    root = tmp_path_factory.mktemp("job")
    written(root / "model", made)
    served = Endpoint("object-detection", root).wait()
    yield served
    assert served.stop() == 0


@pytest.mark.parametrize("content_type", ["application/x-image", "image/jpeg", "image/png"])
def test_rows_are_what_the_network_finds(server, made, content_type):
    square = np.ascontiguousarray(CHINA[:SIZE, :SIZE])
    answer = server.invoke(encoded(pixels=square), content_type)
    assert (answer.status, answer.content_type) == (200, "application/json")
    with torch.inference_mode():
        scores, offsets = made(torch.from_numpy(square).permute(2, 0, 1)[None].float())
    plain = detecting.detect(scores.softmax(1).numpy(), offsets.numpy(), made.anchors, 0.3, 100)[0]
    rows = np.array(answer.json()["prediction"])
    assert len(plain) > 3
    assert len(rows) == len(plain)
    np.testing.assert_allclose(rows, plain, atol=1e-3)
    assert (np.diff(rows[:, 1]) <= 0).all()


def test_pixels_and_lines(server):
    body = encoded("JPEG")
    rows = server.invoke(body, "image/jpeg").json()["prediction"]
    lines = server.invoke(body, "image/jpeg", "application/jsonlines")
    assert lines.content_type == "application/jsonlines"
    assert lines.body.count(b"\n") == 1
    assert json.loads(lines.body) == {"prediction": rows}
    found = server.invoke(body, "image/jpeg", "application/json;annotation=1").json()
    assert found["image_size"] == [{"width": 640, "height": 427, "depth": 3}]
    assert len(found["annotations"]) == len(rows)
    for one, row in zip(found["annotations"], rows, strict=True):
        assert list(one) == ["class_id", "score", "left", "top", "width", "height"]
        assert all(isinstance(one[key], int) for key in one if key != "score")
        assert (one["class_id"], one["left"], one["top"]) == (
            row[0],
            round(row[2] * 640),
            round(row[3] * 427),
        )
        assert one["left"] + one["width"] <= 640
        assert one["top"] + one["height"] <= 427


def test_odd_images_are_answered(server):
    grey16 = io.BytesIO()
    Image.fromarray(CHINA[:, :, 0].astype(np.uint16) * 257).save(grey16, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    bodies = [
        encoded("JPEG", "L"),
        encoded("JPEG", "CMYK"),
        encoded("PNG", "RGBA"),
        encoded("PNG", pixels=CHINA[:1, :1]),
        grey16.getvalue(),
        encoded("JPEG", exif=exif),
    ]
    for body in bodies:
        answer = server.invoke(body, "application/x-image", "application/json;annotation=1")
        assert answer.status == 200
    assert answer.json()["image_size"][0] == {"width": 427, "height": 640, "depth": 3}  # as it is looked at


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"garbage", "the image is not an image"), (encoded("JPEG")[:3000], "the image can't be decoded")],
    ids=["garbage", "cut"],
)
def test_what_is_no_image_is_refused(server, body, said):
    answer = server.invoke(body, "application/x-image")
    assert answer.status == 400
    assert said.encode() in answer.body
    assert b"Traceback" not in answer.body
    assert server.invoke(encoded(), "image/png").status == 200


def test_other_types_are_refused(server):
    assert server.invoke("1,2", "text/csv").status == 415
