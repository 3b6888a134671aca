"""Label maps, metrics and crops on arrays."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from common.failures import ClientError
from common.images import decoding
from common.images.sources import Item
from containers.semantic_segmentation import labels, metrics, reading
from containers.semantic_segmentation.augmenting import Masks, Prepare
from tests.containers.semantic_segmentation.scenes import jpeg, png, scene


def test_scales_divide_and_maps_translate():
    scaled = labels.table({"scale": 3}, "x")
    assert scaled[[0, 2, 3, 5, 6, 254, 255]].tolist() == [0, 0, 1, 1, 2, 84, 255]
    mapped = labels.table({"map": {"0": 5, "1": 0, "2": 2}}, "x")
    assert mapped[[5, 0, 2, 255]].tolist() == [0, 1, 2, 255]


def test_values_that_are_no_class_are_named():
    values = np.array([[0, 1, 2, 9, 255]], np.uint8)
    assert reading.mask(values, None, 10, "x").tolist() == [[0, 1, 2, 9, 255]]
    with pytest.raises(ClientError, match="the mask of x has the values 2, 9; accepted: 0 to 1"):
        reading.mask(values, None, 2, "x")


def test_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    masks = random.integers(0, 4, (5, 20, 30)).astype(np.uint8)
    answers = np.where(random.random(masks.shape) < 0.6, masks, random.integers(0, 4, masks.shape))
    masks[:, :3] = 255
    counts = sum(metrics.confusion(a[None], m[None], 4) for a, m in zip(answers, masks, strict=True))
    known = masks < 4
    assert metrics.accuracy(counts) == pytest.approx((answers == masks)[known].mean())
    expected = jaccard_score(masks[known], answers[known], average="macro")
    assert metrics.mean_iou(counts) == pytest.approx(expected)


def test_a_class_that_is_nowhere_counts_as_nothing():
    counts = metrics.confusion(np.zeros((1, 4), int), np.zeros((1, 4), np.uint8), 2)
    assert metrics.mean_iou(counts) == 0.5


def prepared(prepare, seed, number=0):
    image, mask = scene(seed)
    rows = {name: np.zeros(shape, kind) for name, (shape, kind) in prepare.shapes.items()}
    prepare(Item(jpeg(image), png(mask), "x"), np.random.default_rng(number), rows)
    return rows["image"], rows["label"]


def test_the_middle_is_measured():
    image, mask = prepared(Prepare(Masks(3, None), 60, None), 1)  # as high as the picture is
    original, values = scene(1)
    assert np.array_equal(mask, values[:, 6:66])
    assert np.array_equal(image, decoding.rgb(jpeg(original), "x")[:, 6:66])


@pytest.mark.parametrize("number", range(8))
def test_shapes_stay_under_their_masks(number):
    """Whatever is done to a picture, red is where the mask says disc, and padding is ignored."""
    image, mask = prepared(Prepare(Masks(3, None), 80, 64), 3, number)
    assert mask.shape == (80, 80)
    inner = mask == 1
    for axis in (0, 1):
        inner &= np.roll(mask, 2, axis) == 1
        inner &= np.roll(mask, -2, axis) == 1
    if inner.sum() > 20:
        red, _, blue = (image[inner][:, channel].mean() for channel in range(3))
        assert red > 180
        assert blue < 90
    black = (image == 0).all(2)
    assert (mask[black & (np.cumsum(~black, 0)[-1] == 0)[None]] == 255).all()
