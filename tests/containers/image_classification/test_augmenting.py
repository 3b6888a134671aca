"""Preparing images: sizes, crops, colours, and what varies."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from common.failures import ClientError
from common.images.sources import Item
from containers.image_classification.augmenting import Prepare

FLOWER = load_sample_images().images[1]  # 427 x 640
KINDS = ("crop", "crop_color", "crop_color_transform")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def prepared(pixels, shape=(3, 100, 120), resize=None, kind=None, seed=0, label=(3.0,)):
    task = Prepare(shape, len(label), resize, kind)
    rows = {name: np.zeros(size, dtype) for name, (size, dtype) in task.shapes.items()}
    task(Item(png(pixels), np.array(label, np.float32), "image 1"), np.random.default_rng(seed), rows)
    return rows["image"], rows["label"]


def test_without_augmentation_the_middle_is_cut_out():
    image, label = prepared(FLOWER)
    assert np.array_equal(image, FLOWER[163:263, 260:380])
    assert label == [3]


def test_resize_is_of_the_shorter_side():
    image, _ = prepared(FLOWER, (3, 128, 190), resize=128)
    small = np.asarray(Image.fromarray(FLOWER).resize((191, 128), Image.Resampling.BILINEAR))
    assert np.abs(image.astype(float) - small[:, :190]).mean() < 12  # OpenCV's interpolation is sharper
    tall, _ = prepared(FLOWER.transpose(1, 0, 2), (3, 190, 128), resize=128)
    assert np.abs(tall.astype(float) - image.transpose(1, 0, 2)).mean() < 1


def test_a_crop_is_a_part_of_the_image_or_its_mirror_image():
    mirrored = 0
    for seed in range(8):
        image, _ = prepared(FLOWER, kind="crop", seed=seed)
        found = [
            np.argwhere((corner == FLOWER).all(2))
            for corner in (image[0, 0], image[0, -1])  # of the image as it is, and mirrored
        ]
        kinds = [
            any(np.array_equal(FLOWER[y : y + 100, x : x + 120], picture) for y, x in places)
            for places, picture in zip(found, (image, image[:, ::-1]), strict=True)
        ]
        assert sum(kinds) == 1
        mirrored += kinds[1]
    assert 0 < mirrored < 8


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_vary_alike(kind):
    images = [prepared(FLOWER, kind=kind, seed=seed)[0] for seed in (1, 1, 2)]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_colours_are_shifted_within_their_bounds():
    """A grey image has no hue or saturation to shift, so its lightness alone moves, by at most 50."""
    grey = np.full((100, 120, 3), 128, np.uint8)
    shifts = [int(prepared(grey, kind="crop_color", seed=seed)[0][0, 0].mean()) - 128 for seed in range(60)]
    assert min(shifts) < -25
    assert max(shifts) > 25
    assert max(map(abs, shifts)) <= 51


def test_hues_are_shifted():
    """Pure red moves by at most 36 of 180 steps round the circle of colours, and is cut off below 0."""
    import cv2

    red = np.zeros((100, 120, 3), np.uint8)
    red[...] = (200, 40, 40)
    hues = [
        int(cv2.cvtColor(prepared(red, kind="crop_color", seed=seed)[0], cv2.COLOR_RGB2HLS)[0, 0, 0])
        for seed in range(40)
    ]
    assert max(hues) <= 37
    assert max(hues) > 20
    assert min(hues) == 0


def test_a_transform_turns_and_fills_with_white():
    black = np.zeros((100, 120, 3), np.uint8)
    images = [prepared(black, kind="crop_color_transform", seed=seed)[0] for seed in range(12)]
    corners = [max(image[y, x].min() for y in (0, -1) for x in (0, -1)) for image in images]
    assert max(corners) > 180  # white, less what the colours were shifted by
    assert all(image[50, 60].max() <= 60 for image in images)


def test_labels_of_several_and_grey_images():
    image, label = prepared(FLOWER, (1, 100, 120), label=(1.0, 0.0, 1.0))
    assert image.shape == (100, 120, 1)
    weights = FLOWER[163:263, 260:380] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(image[:, :, 0] - weights).max() <= 1
    assert label.tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_small_images_are_refused(kind):
    with pytest.raises(ClientError, match=r"image 1 has 640x427 pixels, fewer than image_shape \(120x500\)"):
        prepared(FLOWER, (3, 500, 120), kind=kind)
