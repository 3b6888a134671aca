"""`algodock convert --for object-detection`."""

import json

import numpy as np
import pytest

from common import manifest
from common.channels import Channel
from common.failures import ClientError
from common.images import decoding, sources
from common.job import ChannelConfig
from containers.object_detection import reading
from containers.object_detection.annotations import Objects
from containers.object_detection.convert import convert
from tests.containers.object_detection.scenes import jpeg, scene

KINDS = ("disc", "square")


def xml(image, rows, name, size=True, difficult="0"):
    """A Pascal VOC annotation of a scene."""
    width, height = image.size
    objects = "".join(
        f"<object><name>{KINDS[int(kind)]}</name><difficult>{difficult}</difficult><bndbox>"
        f"<xmin>{x0 * width}</xmin><ymin>{y0 * height}</ymin>"
        f"<xmax>{x1 * width}</xmax><ymax>{y1 * height}</ymax>"
        "</bndbox></object>"
        for kind, x0, y0, x1, y1 in rows.tolist()
    )
    sides = f"<size><width>{width}</width><height>{height}</height></size>" if size else ""
    return f"<annotation><filename>{name}</filename>{sides}{objects}</annotation>"


@pytest.fixture
def folders(tmp_path):
    """Ten images and their annotations in XML; the last has no objects."""
    images, texts = tmp_path / "images", tmp_path / "texts"
    for folder in (images, texts):
        folder.mkdir()
    for number in range(10):
        image, rows = scene(number)
        (images / f"{number}.jpg").write_bytes(jpeg(image))
        text = xml(image, rows[: 0 if number == 9 else None], f"{number}.jpg", size=number % 2)
        (texts / f"{number}.xml").write_text(text)
    return images, texts


def converted(*arguments):
    return list(convert([str(argument) for argument in arguments], "convert"))


def read(path, classes=2):
    """What a job reads of a file."""
    target = path.parent / f"channel-{path.stem}" / "train"
    target.mkdir(parents=True)
    (target / path.name).write_bytes(path.read_bytes())
    spec = manifest.load("object-detection").channel("train")
    channel = Channel(ChannelConfig("train", content_type=reading.RECORDIO), spec, target.parent)
    return reading.items(channel, None, Objects(classes, 350))


def expected(number):
    image, rows = scene(number)
    return jpeg(image), rows


def test_a_job_reads_what_is_written(folders, tmp_path):
    said = converted(*folders, tmp_path / "a.rec", "--validation", tmp_path / "b.rec", "--share", "0.34")
    assert said[0] == "num_classes=2: 0 disc, 1 square"
    assert said[1] == "left out: 1 images without objects"
    assert said[2].endswith("num_training_samples=6, label_width at least 7")
    found = [*read(tmp_path / "a.rec"), *read(tmp_path / "b.rec")]
    left = {expected(number)[0]: expected(number)[1] for number in range(9)}
    for item in found:
        np.testing.assert_allclose(item.label.boxes[:, :5], left.pop(sources.content(item.image)), atol=1e-5)
        assert not item.label.boxes[:, 5].any()
    assert not left


def test_difficult_objects_and_classes_in_an_order_of_ones_own(folders, tmp_path):
    _, texts = folders
    image, rows = scene(0)
    (texts / "0.xml").write_text(xml(image, rows, "0.jpg", difficult="1"))
    converted(*folders, tmp_path / "a.rec", "--classes", "square,disc")
    found = {sources.content(item.image): item.label.boxes for item in read(tmp_path / "a.rec")}
    assert found[expected(0)[0]][0, 5] == 1
    assert sum(boxes[:, 5].sum() for boxes in found.values()) == 1
    for number in range(9):
        assert found[expected(number)[0]][0, 0] == 1 - rows_kind(number)


def rows_kind(number):
    return int(scene(number)[1][0, 0])


def test_json_and_smaller_images(tmp_path):
    images, texts = tmp_path / "images", tmp_path / "texts"
    for folder in (images, texts):
        folder.mkdir()
    image, rows = scene(3)
    (images / "x.jpg").write_bytes(jpeg(image))
    kind, *box = rows[0].tolist()
    left, top, right, bottom = (value * image.width for value in box)
    one = {"class_id": kind, "left": left, "top": top, "width": right - left, "height": bottom - top}
    size = [{"width": image.width, "height": image.height, "depth": 3}]
    (texts / "y.json").write_text(json.dumps({"file": "x.jpg", "image_size": size, "annotations": [one]}))
    converted(images, texts, tmp_path / "a.rec", "--resize", "60")
    (item,) = read(tmp_path / "a.rec")
    np.testing.assert_allclose(item.label.boxes[0, :5], rows[0], atol=1e-5)
    assert decoding.rgb(sources.content(item.image), "x").shape == (60, 60, 3)


def test_images_that_can_not_be_decoded_are_left_out(folders, tmp_path):
    (folders[0] / "0.jpg").write_bytes(b"garbage")
    (folders[1] / "0.xml").write_text(xml(*scene(0), "0.jpg"))
    said = converted(*folders, tmp_path / "a.rec")
    assert any("0.jpg is not an image" in line for line in said)
    assert len(read(tmp_path / "a.rec")) == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i, t: (t / "0.xml").write_text("<a>"), "0.xml is not XML"),
        (lambda i, t: (t / "0.xml").write_text("<a/>"), "0.xml is <a>; accepted: an <annotation>"),
        (
            lambda i, t: (t / "0.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'),
            "0.xml has a document type; accepted: XML without one",
        ),
        (
            lambda i, t: (t / "0.xml").write_text("<annotation><object><name>a</name></object></annotation>"),
            "without <name>, or without numbers in <bndbox>",
        ),
        (lambda i, t: (i / "0.jpg").unlink(), "0.xml belongs to no image"),
        (lambda i, t: (t / "0.json").write_text("{}"), "holds both .xml and .json files"),
        (lambda i, t: [path.unlink() for path in t.iterdir()], "holds no .xml or .json files"),
        (lambda i, t: [path.unlink() for path in i.iterdir()], "holds no images"),
    ],
    ids=["xml", "root", "entities", "object", "image", "both", "none", "images"],
)
def test_what_is_wrong_is_named_and_nothing_written(folders, tmp_path, change, said):
    change(*folders)
    with pytest.raises(ClientError, match=said):
        converted(*folders, tmp_path / "a.rec")
    assert not (tmp_path / "a.rec").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--share", 1, "--share is 1"), ("--quality", 0, "--quality is 0"), ("--resize", 0, "--resize is 0")],
)
def test_options_that_can_not_be(folders, tmp_path, option, value, said):
    with pytest.raises(ClientError, match=said):
        converted(*folders, tmp_path / "a.rec", option, value)


def test_a_class_that_is_not_among_those_named(folders, tmp_path):
    with pytest.raises(ClientError, match="has the class disc; accepted by --classes: square"):
        converted(*folders, tmp_path / "a.rec", "--classes", "square")
