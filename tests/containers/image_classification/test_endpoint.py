"""The endpoint, with every content type."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from containers.image_classification import artifact, predict
from tests.containers.image_classification.test_network import network

CHINA = load_sample_image("china.jpg")


def encoded(form, mode="RGB", pixels=CHINA, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


def model(folder, multi_label=False, shape=(3, 40, 56)):
    made = network(18, shape, multi_label=multi_label).eval()
    folder.mkdir(parents=True)
    artifact.write_description(folder, made, 32)
    artifact.write_params(folder / artifact.params_file(3), made)
    return made


@pytest.fixture
def served(tmp_path, endpoint):
    made = model(tmp_path / "model")
    return made, endpoint("image-classification", tmp_path)


def expected(made, image):
    """Squashed to the network's size, raw values."""
    _, height, width = made.shape
    small = np.array(
        Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=None)
    )
    with torch.no_grad():
        x = torch.from_numpy(small).permute(2, 0, 1)[None].float()
        return made.probabilities(made(x))[0].numpy()


@pytest.mark.parametrize("content_type", ["application/x-image", "image/jpeg", "image/png"])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_every_type_of_request(served, content_type, form):
    made, server = served
    small = np.ascontiguousarray(CHINA[:40, :56])  # of the network's size already
    answer = server.invoke(
        encoded(form, pixels=small, **({"quality": 100} if form == "JPEG" else {})), content_type
    )
    assert (answer.status, answer.content_type) == (200, "application/json")
    np.testing.assert_allclose(answer.json(), expected(made, small), atol=2e-2 if form == "JPEG" else 1e-5)
    assert sum(answer.json()) == pytest.approx(1, abs=1e-5)


def test_json_lines(served):
    _, server = served
    answer = server.invoke(encoded("PNG"), "image/png", "application/jsonlines")
    assert answer.content_type == "application/jsonlines"
    assert answer.body.count(b"\n") == 1
    assert len(json.loads(answer.body)["prediction"]) == 5


def test_batch_transform_has_objects(tmp_path, endpoint):
    model(tmp_path / "model")
    answer = endpoint("image-classification", tmp_path, SAGEMAKER_BATCH="true").invoke(
        encoded("PNG"), "image/png"
    )
    assert list(answer.json()) == ["prediction"]


def test_labels_are_independent(tmp_path, endpoint):
    model(tmp_path / "model", multi_label=True)
    answer = endpoint("image-classification", tmp_path).invoke(encoded("PNG"), "image/png").json()
    assert sum(answer) != pytest.approx(1, abs=1e-3)
    assert all(0 <= one <= 1 for one in answer)


def test_odd_images_are_answered(served):
    _, server = served
    grey16 = CHINA[:, :, 0].astype(np.uint16) * 257
    file = io.BytesIO()
    Image.fromarray(grey16).save(file, "PNG")
    bodies = [
        encoded("JPEG", "L"),
        encoded("JPEG", "CMYK"),
        encoded("PNG", "RGBA"),
        encoded("PNG", "P"),
        encoded("PNG", pixels=CHINA[:1, :1]),
        encoded("JPEG", pixels=CHINA[:3, :]),
        file.getvalue(),
    ]
    for body in bodies:
        answer = server.invoke(body, "application/x-image")
        assert answer.status == 200
        assert len(answer.json()) == 5


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"garbage", "the image is not an image"), (encoded("JPEG")[:3000], "the image can't be decoded")],
    ids=["garbage", "cut"],
)
def test_what_is_no_image_is_refused(served, body, said):
    _, server = served
    answer = server.invoke(body, "application/x-image")
    assert answer.status == 400
    assert said.encode() in answer.body
    assert b"Traceback" not in answer.body
    assert server.invoke(encoded("PNG"), "image/png").status == 200


def test_other_types_are_refused(served):
    _, server = served
    assert server.invoke("1,2,3", "text/csv").status == 415
    assert server.invoke(encoded("PNG"), "image/png", "text/csv").status in (400, 406)


def test_grey_networks(tmp_path):
    made = model(tmp_path / "model", shape=(1, 40, 56))
    grey = np.stack([CHINA[:40, :56, 0]] * 3, 2)
    body = encoded("PNG", pixels=grey)
    found = predict.load(tmp_path / "model").predict(body, {})["prediction"][0]
    with torch.no_grad():
        x = torch.from_numpy(grey[:, :, :1].copy()).permute(2, 0, 1)[None].float()
        plain = made.probabilities(made(x))[0].numpy()
    np.testing.assert_allclose(found, plain, atol=1e-5)
