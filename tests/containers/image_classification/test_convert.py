"""`algodock convert --for image-classification`."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import manifest
from common.channels import Channel
from common.failures import ClientError
from common.images import decoding, sources
from common.job import ChannelConfig
from containers.image_classification import reading
from containers.image_classification.convert import convert
from containers.image_classification.reading import Labels
from tests.containers.image_classification.pictures import png

CLASSES = ("cats", "dogs")


@pytest.fixture
def folder(tmp_path):
    """Ten images, five of each class, and files that are none of the data."""
    found = tmp_path / "pictures"
    for label, name in enumerate(CLASSES):
        (found / name).mkdir(parents=True)
        for number in range(5):
            (found / name / f"{number}.png").write_bytes(png(5 * label + number, 40))
        (found / name / "notes.txt").write_text("none")
    return found


def converted(*arguments):
    return list(convert([str(argument) for argument in arguments], "convert"))


def read(path, labels):
    spec = manifest.load("image-classification").channel("train")
    target = path.parent / f"channel-{path.stem}" / "train"
    target.mkdir(parents=True)
    (target / path.name).write_bytes(path.read_bytes())
    channel = Channel(ChannelConfig("train", content_type="application/x-recordio"), spec, target.parent)
    return reading.items(channel, None, labels)


def test_folders_are_classes_and_files_are_kept(folder, tmp_path):
    told = converted(folder, tmp_path / "train.rec", "--validation", tmp_path / "val.rec", "--share", 0.3)
    assert told[0] == "classes: 0 cats, 1 dogs"
    assert told[1].startswith(f"{tmp_path / 'train.rec'}: 7 images")
    images = {
        (folder / name / f"{number}.png").read_bytes(): label
        for label, name in enumerate(CLASSES)
        for number in range(5)
    }
    both = [read(tmp_path / f"{part}.rec", Labels(2, False)) for part in ("train", "val")]
    assert [len(part) for part in both] == [7, 3]
    found = {sources.content(item.image): int(item.label[0]) for part in both for item in part}
    assert found == images
    lines = [line.split("\t") for line in (tmp_path / "val.lst").read_text().splitlines()]
    assert [float(line[1]) for line in lines] == [item.label[0] for item in both[1]]
    assert all((folder / line[2]).is_file() for line in lines)


def test_equal_folders_make_equal_files(folder, tmp_path):
    for part in ("one", "two"):
        converted(folder, tmp_path / f"{part}.rec")
    assert (tmp_path / "one.rec").read_bytes() == (tmp_path / "two.rec").read_bytes()


def test_images_are_resized_to_jpeg(folder, tmp_path):
    converted(folder, tmp_path / "small.rec", "--resize", 32, "--quality", 90)
    for item in read(tmp_path / "small.rec", Labels(2, False)):
        data = sources.content(item.image)
        assert data.startswith(b"\xff\xd8")
        assert decoding.size(data, "image") == (32, 32)


def test_files_of_other_kinds_become_jpeg(folder, tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.zeros((30, 50), np.uint8)).save(file, "BMP")
    (folder / "cats" / "black.bmp").write_bytes(file.getvalue())
    converted(folder, tmp_path / "all.rec")
    sizes = [
        decoding.size(sources.content(i.image), "") for i in read(tmp_path / "all.rec", Labels(2, False))
    ]
    assert sorted(sizes) == [(30, 50), *[(40, 40)] * 10]


def test_lists_with_several_labels(folder, tmp_path):
    (tmp_path / "all.lst").write_text("3\t1\t0\t1\tcats/1.png\n9\t0\t0\t0\tdogs/2.png\n")
    converted(folder, tmp_path / "all.rec", "--list", tmp_path / "all.lst")
    found = {sources.content(i.image): i.label.tolist() for i in read(tmp_path / "all.rec", Labels(3, True))}
    assert found == {png(1, 40): [1, 0, 1], png(7, 40): [0, 0, 0]}


def test_what_can_not_be_decoded_is_left_out(folder, tmp_path):
    (folder / "cats" / "3.png").write_bytes(b"none")
    told = converted(folder, tmp_path / "all.rec")
    assert "left out: " in told[1]
    assert "3.png is not an image" in told[1]
    assert len(read(tmp_path / "all.rec", Labels(2, False))) == 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{0}/nowhere", "{1}/a.rec"], "there is no folder"),
        (["{0}/cats", "{1}/a.rec"], "holds no folders of images; accepted: a folder for each class"),
        (["{0}", "{1}/a.rec", "--list", "{1}/bad.lst"], "line 1 of bad.lst is not an index"),
        (["{0}", "{1}/a.rec", "--list", "{1}/none.lst"], "can't be read"),
        (["{0}", "{1}/a.rec", "--list", "{1}/gone.lst"], "cats/9.png can't be read"),
        (["{0}", "{1}/a.rec", "--share", "2"], "--share is 2"),
        (["{0}", "{1}/a.rec", "--quality", "0"], "--quality is 0"),
        (["{0}", "{1}/a.rec", "--resize", "0"], "--resize is 0"),
    ],
    ids=["nowhere", "flat", "list", "no list", "absent", "share", "quality", "resize"],
)
def test_mistakes_are_told(folder, tmp_path, arguments, said):
    (tmp_path / "bad.lst").write_text("cats/1.png\n")
    (tmp_path / "gone.lst").write_text("0\t1\tcats/9.png\n")
    with pytest.raises(ClientError, match=said):
        converted(*(argument.format(folder, tmp_path) for argument in arguments))
    assert not (tmp_path / "a.rec").exists()


def test_the_command(folder, tmp_path):
    command = [Path(sys.executable).with_name("algodock"), "convert", "--for", "image-classification"]
    done = subprocess.run(
        [*command, folder, tmp_path / "all.rec"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "all.rec: 10 images" in done.stdout
