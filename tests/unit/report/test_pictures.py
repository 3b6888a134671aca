"""What reports of algorithms for images show of one picture."""

import numpy as np

from common.report import page
from containers.object_detection import report as detection
from containers.semantic_segmentation import report as segmentation


def test_found_and_annotated_boxes():
    found = np.array([[1, 0.31, 0, 0, 1, 1], [0, 0.29, 0, 0, 1, 1], [12, 0.9, 0.1, 0.2, 0.3, 0.4]])
    wanted = [[0, 0, 0, 0.5, 0.5, 0], [0, 0.5, 0.5, 1, 1, 0], [2, 0, 0, 1, 1, 0]]
    caption, boxes = detection._told(wanted, detection._sure(found))
    assert caption == "found: class 12 90%, class 1 31%; annotated: 2 of class 0, class 2"
    assert [box[5] for box in boxes] == [12, 1, *[page.WANTED] * 3]  # the last lie above
    assert boxes[0][:4] == (0.1, 0.2, 0.3, 0.4)


def test_more_boxes_than_are_drawn():
    many = np.tile([[1, 0.5, 0, 0, 1, 1]], (30, 1))
    caption, boxes = detection._told([], detection._sure(many))
    assert caption == "found: class 1 50%, class 1 50%, class 1 50% and 27 more; annotated: nothing"
    assert len(boxes) == detection._MOST
    assert detection._told([], [])[0] == "found: nothing; annotated: nothing"


def test_masks_stand_apart():
    pixels, mask = np.zeros((4, 60, 3), np.uint8), np.zeros((4, 60), np.uint8)
    row = segmentation._beside(pixels, [mask, mask, np.zeros((5, 5), np.uint8)])
    assert row.shape == (4, 3 * 60 + 2 * 2, 3)
    assert (row[:, 60:62] == 255).all()


def test_pixels_that_count_for_nothing():
    wanted, found = np.array([[0, 1, 255, 255]], np.uint8), np.array([[0, 2, 0, 0]], np.uint8)
    assert segmentation._right(wanted, found) == ": 50% of pixels right"
    assert segmentation._right(np.full_like(wanted, 255), found) == ""
    assert (segmentation._coloured(wanted)[0, 2] == 0).all()


def test_classes_beyond_the_colours_begin_again_after_the_background():
    count = len(segmentation._COLOURS)
    assert segmentation._series(np.array([0, 1, count - 1, count], np.uint8)).tolist() == [0, 1, count - 1, 1]
