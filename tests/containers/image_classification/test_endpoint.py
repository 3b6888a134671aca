"""The endpoint: every content type, odd images, mistakes, many models."""

import io
import json
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from common.failures import ClientError
from containers.image_classification import artifact, predict
from tests.conftest import Endpoint
from tests.containers.image_classification.test_network import network

ALGORITHM = "image-classification"
JSON, LINES = "application/json", "application/jsonlines"
CHINA = load_sample_image("china.jpg")
SHAPE = (3, 40, 56)
SMALL = np.ascontiguousarray(CHINA[:40, :56])  # of the network's size already


def encoded(form="PNG", mode="RGB", pixels=CHINA, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


def written(folder, **options):
    made = network(18, options.pop("shape", SHAPE), **options).eval()
    folder.mkdir(parents=True)
    artifact.write_description(folder, made, 32)
    artifact.write_params(folder / artifact.params_file(3), made)
    return made


def expected(made, pixels):
    """Of an image of the network's size."""
    with torch.no_grad():
        x = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float()
        return made.probabilities(made(x))[0].numpy()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("ml")
    return written(root / "model"), root


@pytest.fixture(scope="module")
def server(made):
    one = Endpoint(ALGORITHM, made[1]).wait()
    yield one
    assert one.stop() == 0


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_every_type_of_request_and_answer(made, server, form):
    body = encoded(form, pixels=SMALL, **({"quality": 100} if form == "JPEG" else {}))
    plain = expected(made[0], Image.open(io.BytesIO(body)))
    for content_type in ("application/x-image", "image/jpeg", "image/png", "Image/PNG; charset=binary"):
        for accept in (None, "*/*", JSON):
            answer = server.invoke(body, content_type, accept)
            assert (answer.status, answer.content_type) == (200, JSON)
            np.testing.assert_allclose(answer.json(), plain, atol=2e-3 if form == "JPEG" else 1e-5)
        answer = server.invoke(body, content_type, LINES)
        assert (answer.status, answer.content_type) == (200, LINES)
        assert answer.body.count(b"\n") == 1
        assert json.loads(answer.body) == {"prediction": server.invoke(body, content_type).json()}
    assert sum(plain) == pytest.approx(1, abs=1e-5)


def test_images_are_squashed(made, server):
    stripes = np.repeat(np.repeat(SMALL, 6, axis=0), 2, axis=1)
    answer = server.invoke(encoded(pixels=stripes), "image/png").json()
    np.testing.assert_allclose(answer, expected(made[0], SMALL), atol=0.02)
    assert np.abs(np.subtract(answer, expected(made[0], CHINA[200:240, 300:356]))).max() > 0.04


def test_a_camera_that_was_turned(server):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.ascontiguousarray(np.rot90(SMALL))
    for form in ("JPEG", "PNG"):
        body = encoded(form, pixels=turned, exif=exif)
        upright = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(body))))
        plain = server.invoke(encoded(pixels=upright), "image/png").json()
        np.testing.assert_allclose(server.invoke(body, "image/jpeg").json(), plain, atol=1e-6)


def test_odd_images_are_answered(server):
    grey = encoded(mode="L")
    file = io.BytesIO()
    Image.fromarray(np.array(Image.open(io.BytesIO(grey))).astype(np.uint16) * 257).save(file, "PNG")
    assert server.invoke(file.getvalue(), "image/png").json() == server.invoke(grey, "image/png").json()
    for body in (
        encoded("JPEG", "L"),
        encoded("JPEG", "CMYK"),
        encoded(mode="RGBA"),
        encoded(mode="LA"),
        encoded(mode="P"),
        encoded(mode="1"),
        encoded(pixels=CHINA[:1, :1]),
        encoded("JPEG", pixels=CHINA[:3, :]),
        encoded("JPEG", progressive=True),
    ):
        answer = server.invoke(body, "application/x-image")
        assert answer.status == 200, answer.body
        assert len(answer.json()) == 5


def claiming(width, height):
    """A PNG that says it is so large."""
    body = bytearray(encoded(pixels=SMALL))
    body[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    return bytes(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"garbage", "the image is not an image; accepted: a JPEG or PNG file"),
        (b"\x00" * 100_000, "the image is not an image"),
        (b"\xff\xd8\xff", "the image is not an image"),
        (encoded("JPEG")[:3000], "the image can't be decoded"),
        (encoded()[:30_000], "the image can't be decoded"),
        (encoded()[:20], "the image can't be decoded"),
        (claiming(60_000, 60_000), "the image has 60000x60000 pixels; accepted: at most"),
        (b'{"instances": []}', "the image is not an image"),
    ],
    ids=["garbage", "zeros", "start", "jpeg", "png", "header", "bomb", "json"],
)
def test_what_is_no_image_is_refused(server, body, said):
    answer = server.invoke(body, "application/x-image")
    assert answer.status == 400
    assert said in answer.body.decode()
    assert b"Traceback" not in answer.body
    assert server.invoke(encoded(pixels=SMALL), "image/png").status == 200


def test_other_requests(server):
    assert server.invoke("1,2,3", "text/csv").status == 415
    assert server.invoke(encoded(), "image/png", "text/csv").status == 406
    assert server.invoke(b"", "image/png").status == 204


def test_many_clients_get_their_own_answers(server):
    bodies = [encoded(pixels=np.ascontiguousarray(CHINA[row : row + 40, :56])) for row in range(0, 320, 40)]
    alone = [server.invoke(body, "image/png").json() for body in bodies]
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(lambda body: server.invoke(body, "image/png").json(), bodies * 3))
    np.testing.assert_allclose(together, alone * 3, atol=1e-6)
    assert len({tuple(answer) for answer in alone}) == len(bodies)


def test_batch_transform_of_many_labels(tmp_path, endpoint):
    labels = written(tmp_path / "model", multi_label=True)
    served = endpoint(ALGORITHM, tmp_path, SAGEMAKER_BATCH="true")
    answer = served.invoke(encoded(pixels=SMALL), "image/png")
    assert (answer.content_type, list(answer.json())) == (JSON, ["prediction"])
    np.testing.assert_allclose(answer.json()["prediction"], expected(labels, SMALL), atol=1e-5)
    assert sum(answer.json()["prediction"]) != pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("environment", "named"),
    [({}, False), ({"SAGEMAKER_BATCH": "True"}, True), ({"SAGEMAKER_BATCH": "false"}, False)],
    ids=["none", "true", "false"],
)
def test_batch_transform_is_told_by_the_environment(environment, named):
    body = predict.codec(environment).encode(
        {"prediction": np.array([[0.25, 0.75]])}, predict.MediaType("application/json")
    )
    assert json.loads(body) == ({"prediction": [0.25, 0.75]} if named else [0.25, 0.75])


def test_many_models(tmp_path, endpoint):
    models = {
        name: written(tmp_path / "models" / name / "model", classes=classes)
        for name, classes in (("a", 3), ("b", 7))
    }
    served = endpoint(ALGORITHM, tmp_path, SAGEMAKER_MULTI_MODEL="true")
    body = encoded(pixels=SMALL)
    for name, one in models.items():
        asked = json.dumps({"model_name": name, "url": f"/opt/ml/models/{name}/model"})
        assert served.request("POST", "/models", asked).status == 200
        answer = served.request("POST", f"/models/{name}/invoke", body, Content_Type="image/png")
        np.testing.assert_allclose(answer.json(), expected(one, SMALL), atol=1e-5)
    (tmp_path / "models" / "c").mkdir()
    asked = json.dumps({"model_name": "c", "url": "/opt/ml/models/c"})
    answer = served.request("POST", "/models", asked)
    assert answer.status == 500
    assert b"there is no image-classification-NNNN.params in the model folder" in answer.body


def test_grey_networks(tmp_path):
    grey = np.stack([CHINA[:40, :56, 0]] * 3, 2)
    one = written(tmp_path / "model", shape=(1, 40, 56))
    found = predict.load(tmp_path / "model").predict(encoded(pixels=grey), {})["prediction"][0]
    np.testing.assert_allclose(found, expected(one, grey[:, :, :1]), atol=1e-5)


def test_answers_are_numbers(tmp_path):
    one = written(tmp_path / "model")
    with torch.no_grad():
        one.fc.weight.fill_(1e38)
    artifact.write_params(tmp_path / "model" / artifact.params_file(4), one)
    with pytest.raises(ClientError, match="leaves the range of 32-bit floats"):
        predict.load(tmp_path / "model").predict(encoded(), {})
