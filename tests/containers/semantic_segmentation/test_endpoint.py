"""The endpoint through the real `serve`, with every content type and accept."""

import io
import json
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from common.failures import ClientError
from common.formats import ndarray, record_pb2, recordio
from common.networks import parameters
from common.networks.parameters import GLUON
from containers.semantic_segmentation import artifact, codec, decoders, masks, network, predict
from containers.semantic_segmentation.masks import Scores
from tests.conftest import Endpoint
from tests.containers.semantic_segmentation.test_network import shared

NAME = "semantic-segmentation"
FLOWER = np.ascontiguousarray(load_sample_image("flower.jpg")[100:148, 200:260])
RECORDS = ["application/x-protobuf", "application/x-recordio-protobuf"]


def encoded(form="PNG", mode="RGB", pixels=FLOWER, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ml")
    (folder / "model").mkdir()
    ndarray.save(folder / "model" / artifact.MODEL, parameters.dump(shared(), GLUON))
    (folder / "model" / artifact.SETTINGS).write_text(json.dumps({"num_classes": "5"}))
    return folder


@pytest.fixture(scope="module")
def server(root):
    served = Endpoint(NAME, root).wait(120)
    yield served
    assert served.stop() == 0


def scores(pixels):
    """(5, height, width) of the whole network, before it is folded."""
    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        return shared()(network.normalised(x))[0].numpy()


def agrees(mask, pixels):
    """Whether a mask has the likeliest classes; what rounding decides may differ."""
    expected = scores(pixels)
    chosen = np.take_along_axis(expected, mask[None].astype(np.int64), 0)[0]
    return mask.shape == pixels.shape[:2] and bool((chosen >= expected.max(0) - 1e-3).all())


def read(body):
    """What AWS's notebook does with an answer: shape and values of the one record's features."""
    (payload,) = recordio.payloads(io.BytesIO(body), "the answer")
    record = record_pb2.Record()
    record.ParseFromString(payload)
    assert set(record.features) == {"target", "shape"}
    shape = np.squeeze(list(record.features["shape"].int32_tensor.values))
    return np.reshape(np.array(record.features["target"].float32_tensor.values), shape)


@pytest.mark.parametrize("accept", [None, "*/*", "image/png", "image/*"])
def test_a_mask_is_one_channel_of_classes(server, accept):
    answer = server.invoke(encoded(), "image/png", accept)
    assert (answer.status, answer.content_type) == (200, "image/png")
    image = Image.open(io.BytesIO(answer.body))
    assert (image.mode, image.size) == ("L", (60, 48))
    mask = np.array(image)
    assert agrees(mask, FLOWER)
    assert len(np.unique(mask)) > 1
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_UNCHANGED), mask
    )


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "application/x-image"])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_every_type_of_request(server, form, content_type):
    body = encoded(form)
    answer = server.invoke(body, content_type)
    assert answer.status == 200
    assert agrees(
        np.array(Image.open(io.BytesIO(answer.body))),
        cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1],
    )


@pytest.mark.parametrize("accept", RECORDS)
def test_probabilities_are_one_record(server, accept):
    answer = server.invoke(encoded(), "image/png", accept)
    assert (answer.status, answer.content_type) == (200, accept)
    found = read(answer.body)
    assert found.shape == (1, 5, 48, 60)
    expected = torch.from_numpy(scores(FLOWER)).softmax(0).numpy()
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    mask = np.array(Image.open(io.BytesIO(server.invoke(encoded(), "image/png").body)))
    np.testing.assert_array_equal(found[0].argmax(0), mask)


@pytest.mark.parametrize("headers", [{}, {"Content_Type": ""}], ids=["absent", "empty"])
def test_a_request_of_no_type_is_an_image(server, headers):
    assert server.request("POST", "/invocations", encoded("JPEG"), **headers).status == 200


def sixteen_bits():
    file = io.BytesIO()
    Image.fromarray(FLOWER[:, :, 0].astype(np.uint16) * 257).save(file, "PNG")
    return file.getvalue()


ODD = {
    "grey": (encoded("JPEG", "L"), (48, 60)),
    "cmyk": (encoded("JPEG", "CMYK"), (48, 60)),
    "alpha": (encoded("PNG", "RGBA"), (48, 60)),
    "palette": (encoded("PNG", "P"), (48, 60)),
    "black": (encoded("PNG", "1"), (48, 60)),
    "16-bit": (sixteen_bits(), (48, 60)),
    "progressive": (encoded("JPEG", progressive=True), (48, 60)),
    "point": (encoded(pixels=FLOWER[:1, :1]), (1, 1)),
    "column": (encoded("JPEG", pixels=FLOWER[:, :1]), (48, 1)),
    "long": (encoded("JPEG", pixels=np.tile(FLOWER[:20], (1, 84, 1))[:, :5000]), (20, 5000)),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_images_have_masks_of_their_size(server, odd):
    body, size = ODD[odd]
    answer = server.invoke(body, "application/x-image")
    assert answer.status == 200, answer.body
    mask = np.array(Image.open(io.BytesIO(answer.body)))
    assert mask.shape == size
    assert mask.max() < 5
    assert read(server.invoke(body, "application/x-image", RECORDS[0]).body).shape == (1, 5, *size)


def test_a_grey_image_is_three_equal_channels(server):
    body = encoded("PNG", "L")
    mask = np.array(Image.open(io.BytesIO(server.invoke(body, "image/png").body)))
    assert agrees(mask, np.repeat(np.array(Image.open(io.BytesIO(body)))[:, :, None], 3, 2))


def test_a_turned_photograph_has_the_mask_of_the_upright_picture(server):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rows are the picture's columns, from the right
    body = encoded(exif=exif)
    mask = np.array(Image.open(io.BytesIO(server.invoke(body, "image/png").body)))
    assert mask.shape == (60, 48)
    assert agrees(mask, np.rot90(FLOWER, -1))


def bomb(width, height):
    """A PNG that claims to be so large and holds nothing."""
    body = bytearray(encoded(pixels=FLOWER[:1, :1]))
    body[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    body[29:33] = zlib.crc32(bytes(body[12:29])).to_bytes(4, "big")
    return bytes(body)


HOSTILE = {
    "garbage": (b"garbage", "the image is not an image; accepted: a JPEG or PNG file"),
    "json": (b'{"instances": []}', "the image is not an image"),
    "jpeg cut": (encoded("JPEG")[:500], "the image can't be decoded"),
    "png cut": (encoded()[:2000], "the image can't be decoded"),
    "jpeg header": (encoded("JPEG")[:2], "the image is not an image"),
    "large": (bomb(5000, 4000), "the image has 5000x4000 pixels; accepted: at most 16777216 in all"),
    "bomb": (bomb(60000, 60000), "the image has 60000x60000 pixels; accepted: at most"),
    "no pixels": (bomb(0, 5), "the image"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_is_no_image_is_refused(server, hostile):
    body, said = HOSTILE[hostile]
    answer = server.invoke(body, "image/jpeg")
    assert answer.status == 400
    assert answer.body.decode().startswith(f"unable to evaluate payload provided: {said}")
    assert b"Traceback" not in answer.body
    assert b"\n" not in answer.body
    assert server.invoke(encoded(pixels=FLOWER[:8, :8]), "image/png").status == 200


def test_other_types_are_refused(server):
    assert server.invoke(encoded(), "text/csv").status == 415
    assert server.invoke(encoded(), "application/json").status == 415
    assert server.invoke(encoded(), "image/png", "application/json").status == 406
    assert server.invoke(encoded(), "image/png", "image/jpeg").status == 406
    assert server.invoke(b"", "image/jpeg").status == 204


def test_a_damaged_model_is_told(tmp_path, root):
    (tmp_path / "model").mkdir()
    with open(root / "model" / artifact.MODEL, "rb") as file:
        (tmp_path / "model" / artifact.MODEL).write_bytes(file.read(1 << 20))
    with pytest.raises(ClientError, match="ends early"):
        predict.load(tmp_path / "model")


# Masks and records, without a server.


@pytest.mark.parametrize(
    ("classes", "before", "after"),
    [(5, (6, 8), (48, 60)), (2, (1, 1), (1, 1)), (254, (9, 4), (70, 29)), (3, (1, 40), (7, 313))],
    ids=str,
)
def test_strips_are_what_resizing_the_whole_gives(monkeypatch, classes, before, after):
    monkeypatch.setattr(masks, "_SCORES", 1000)  # several strips
    coarse = torch.randn(classes, *before, generator=torch.Generator().manual_seed(0))
    whole = decoders.resized(coarse[None].double(), *after)[0]
    scores = Scores(coarse, *after)
    np.testing.assert_allclose(scores.probabilities(), whole.softmax(0).numpy(), atol=1e-5)
    chosen = whole.gather(0, torch.from_numpy(scores.classes().astype(np.int64))[None])[0]
    assert bool((chosen >= whole.max(0).values - 1e-5).all())
    assert scores.classes().dtype == np.uint8


def test_a_record_that_would_be_too_long_is_refused():
    with pytest.raises(ClientError, match="254 classes for 1000x1000 pixels take 1016000000 bytes"):
        codec.record(Scores(torch.zeros(254, 125, 125), 1000, 1000))
