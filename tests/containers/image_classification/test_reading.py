"""Channels in File mode, and labels as augmented manifests write them."""

import pytest

from common import manifest
from common.channels import Channel
from common.failures import ClientError
from common.formats import recordio
from common.images import records, sources
from common.job import ChannelConfig
from containers.image_classification import reading
from containers.image_classification.reading import Labels
from tests.containers.image_classification.pictures import png

MANIFEST = manifest.load("image-classification")
ONE, SEVERAL = Labels(3, False), Labels(3, True)
REC, IMAGES = "application/x-recordio", "application/x-image"


@pytest.fixture
def channel(tmp_path):
    """A channel of files by name."""

    def make(name, files, content_type=IMAGES, **settings):
        for path, content in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        config = ChannelConfig(name, content_type=content_type, **settings)
        return Channel(config, MANIFEST.channel(name), tmp_path)

    return make


def listed(channel, lines, labels=ONE, files=("a.png", "cats/b.png"), **settings):
    images = channel("train", {name: png(number) for number, name in enumerate(files)}, **settings)
    return reading.items(images, channel("train_lst", {"train.lst": lines}), labels)


def test_lists_name_images_and_labels(channel):
    found = listed(channel, "7\t2\tcats/b.png\n\n5\t0.000000\ta.png\r\n")
    assert [item.label.tolist() for item in found] == [[2], [0]]
    assert [sources.content(item.image) for item in found] == [png(1), png(0)]
    assert found[0].name == "channel train, file cats/b.png"


def test_lists_of_several_labels(channel):
    (found,) = listed(channel, "0\t1\t0\t1\ta.png\n", SEVERAL)
    assert found.label.tolist() == [1, 0, 1]


def test_a_host_that_has_some_of_the_images_reads_those(channel):
    found = listed(channel, "0\t1\ta.png\n1\t1\tgone.png\n", distribution="ShardedByS3Key")
    assert [item.name for item in found] == ["channel train, file a.png"]


@pytest.mark.parametrize(
    ("lines", "labels", "said"),
    [
        ("0 1 a.png\n", ONE, "line 1 of channel train_lst, file train.lst is not an index"),
        ("0\t1\ta.png\n0\t1\ta.png\n", ONE, "line 2 of .* has the index 0, which a line before"),
        ("0\t1\tb.png\n", ONE, "names b.png, which is not in channel train"),
        ("0\t1\t../train_lst/train.lst\n", ONE, "outside of channel train"),
        ("0\tx\ta.png\n", ONE, "is not an index, labels and a path"),
        ("inf\t1\ta.png\n", ONE, "is not an index, labels and a path"),
        (b"\xff\xfe0\t1\ta.png\n", ONE, "is not UTF-8"),
        ("\n", ONE, "names no image"),
    ],
    ids=["blanks", "twice", "absent", "outside", "text", "infinite", "utf-16", "empty"],
)
def test_faults_of_lists(channel, lines, labels, said):
    with pytest.raises(ClientError, match=f"^Invalid lst file in the train channel. .*{said}"):
        listed(channel, lines, labels)


@pytest.mark.parametrize(
    ("lines", "labels", "said"),
    [
        ("0\t3\ta.png\n", ONE, "has the label 3; accepted: a class from 0 to 2"),
        ("0\t-1\ta.png\n", ONE, "has the label -1; accepted: a class from 0 to 2"),
        ("0\t1\t0\ta.png\n", ONE, "has 2 labels; accepted: one class, or multi_label=1"),
        (
            "0\t1\t0\ta.png\n",
            SEVERAL,
            r"^Mismatch between number of labels in the multi-label data \(2\) and the num_classes parameter "
            r"\(3\)",
        ),
        ("0\t1\t0\t2\ta.png\n", SEVERAL, "has a label that is neither 0 nor 1"),
    ],
    ids=["large", "negative", "two", "few", "neither"],
)
def test_faults_of_labels(channel, lines, labels, said):
    with pytest.raises(ClientError, match=said):
        listed(channel, lines, labels)


def test_one_list_is_expected(channel):
    images = channel("train", {"a.png": png(0)})
    with pytest.raises(ClientError, match="channel train_lst holds 2 files; accepted: one"):
        reading.items(images, channel("train_lst", {"a.lst": "0\t1\ta.png\n", "b.lst": "0\t1\ta.png\n"}), ONE)


def test_records_are_indexed(channel):
    images = [png(number) for number in range(3)]
    # The last holds the magic number where a record is split.
    images[2] += bytes(-len(images[2]) % 4) + recordio.MAGIC_BYTES + b"end."
    data = b"".join(recordio.frame(records.pack(float(n), image, n)) for n, image in enumerate(images))
    found = reading.items(channel("train", {"some.rec": data, "some.idx": "0\t0\n"}, REC), None, ONE)
    assert [sources.content(item.image) for item in found] == images
    assert [item.label.tolist() for item in found] == [[0], [1], [2]]


def test_a_rec_file_is_expected(channel):
    with pytest.raises(ClientError, match=r"channel train: there is no .rec file in .*/train; accepted"):
        reading.items(channel("train", {"a.png": png(0)}, REC), None, ONE)


@pytest.mark.parametrize(
    ("text", "labels", "form", "expected"),
    [
        ("1", ONE, reading.MULTI_HOT, [1]),
        ("1.0", ONE, reading.MULTI_HOT, [1]),
        ('"2"', ONE, reading.MULTI_HOT, [2]),
        ("[2]", ONE, reading.MULTI_HOT, [2]),
        ("[1, 0, 1]", SEVERAL, reading.MULTI_HOT, [1, 0, 1]),
        ('"[1, 0, 1]"', SEVERAL, reading.MULTI_HOT, [1, 0, 1]),
        ("[0, 2]", SEVERAL, reading.CLASS_ID, [1, 0, 1]),
        ("[]", SEVERAL, reading.CLASS_ID, [0, 0, 0]),
    ],
)
def test_labels_of_manifests(text, labels, form, expected):
    assert reading.of_text(text.encode(), "line 1", labels, form).tolist() == expected


@pytest.mark.parametrize(
    ("text", "labels", "form", "said"),
    [
        ("cat", ONE, reading.MULTI_HOT, "line 1: the label is 'cat'; accepted: the number of a"),
        ("", ONE, reading.MULTI_HOT, "accepted: the number of a class"),
        ("true", ONE, reading.MULTI_HOT, "accepted: the number of a class"),
        ("NaN", ONE, reading.MULTI_HOT, "accepted: a class from 0 to 2"),
        ("1e400", ONE, reading.MULTI_HOT, "accepted: a class from 0 to 2"),
        ("1" * 400, ONE, reading.MULTI_HOT, "accepted: the number of a class"),
        ("3", ONE, reading.MULTI_HOT, "has the label 3; accepted: a class from 0 to 2"),
        ("1", SEVERAL, reading.MULTI_HOT, "accepted: a list of numbers"),
        (
            "[1, 0]",
            SEVERAL,
            reading.MULTI_HOT,
            r"Mismatch .* \(2\) and the num_classes parameter \(3",
        ),
        ('["a"]', SEVERAL, reading.MULTI_HOT, "accepted: a list of numbers"),
        ("[3]", SEVERAL, reading.CLASS_ID, "accepted: a list of classes from 0 to 2"),
        ("[0.5]", SEVERAL, reading.CLASS_ID, "accepted: a list of classes from 0 to 2"),
        ("[[1]]" * 3, SEVERAL, reading.CLASS_ID, "accepted: a list of numbers"),
    ],
)
def test_labels_that_manifests_must_not_have(text, labels, form, said):
    with pytest.raises(ClientError, match=said):
        reading.of_text(text.encode(), "line 1", labels, form)
