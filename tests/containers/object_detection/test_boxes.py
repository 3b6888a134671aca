"""Boxes of a detector: where they are, what they learn, which are answered; mean average precision."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from containers.object_detection import anchors, detecting, losses, matching
from containers.object_detection.plans import RESNET, VGG, plan
from containers.object_detection.precision import Precision, overlap


def boxes(random, count, *columns):
    low = random.uniform(0, 0.7, (count, 2))
    found = np.concatenate([low, low + random.uniform(0.05, 0.3, (count, 2))], 1)
    return np.column_stack([*columns, found]).astype(np.float32)


def test_boxes_go_row_by_row_sizes_before_ratios():
    found = anchors.prior(2, 4, (0.2, 0.3), (1.0, 4.0))
    assert found.shape == (2 * 4 * 3, 4)
    middles = (found[:, :2] + found[:, 2:]) / 2
    np.testing.assert_allclose(
        middles[::3], [[(c + 0.5) / 4, (r + 0.5) / 2] for r in range(2) for c in range(4)]
    )
    sides = (found[:, 2:] - found[:, :2])[:3]
    # As wide as high in pixels of a layer that is twice as wide as high; then 4 times as wide as high.
    np.testing.assert_allclose(sides, [[0.1, 0.2], [0.15, 0.3], [0.2, 0.1]], rtol=1e-6)


def test_a_step_sets_boxes_apart():
    found = anchors.prior(3, 3, (0.1, 0.2), (1.0,), 0.25)
    assert found[-1, 0] == pytest.approx(2.5 * 0.25 - 0.1)


@pytest.mark.parametrize(
    ("base", "size", "layers", "count"),
    [
        (VGG, 300, 6, 4),
        (VGG, 447, 6, 4),
        (VGG, 448, 7, 4),
        (VGG, 512, 7, 4),
        (RESNET, 300, 6, 4),
        (RESNET, 512, 6, 4),
    ],
)
def test_plans(base, size, layers, count):
    found = plan(base, size)
    assert len(found) == layers
    assert [layer.boxes for layer in found] == [count, *[6] * (layers - 3), 4, 4]
    assert (found[0].step is not None) == (base == VGG and size in (300, 512))
    assert found[0].scale == (20.0 if base == VGG else None)


def test_sizes_are_those_of_a_model_that_awss_image_made():
    assert [layer.sizes for layer in plan(RESNET, 512)] == [
        (0.1, 0.141421),
        (0.2, 0.272029),
        (0.37, 0.44699),
        (0.54, 0.619193),
        (0.71, 0.790443),
        (0.88, 0.961249),
    ]


def plainly(prior, labels, scores):
    """`matching.match` of one image, written for reading."""
    count = len(prior)
    labels = labels[labels[:, 0] >= 0]
    classes, offsets, mask = np.full(count, -1.0), np.zeros((count, 4)), np.zeros((count, 4))
    if not len(labels):
        return classes, offsets.ravel(), mask.ravel()
    overlaps = overlap(prior, labels[:, 1:5])
    found = {}
    left = overlaps.copy()
    for _ in labels:
        box, one = np.unravel_index(left.argmax(), left.shape)
        if left[box, one] <= 1e-6:
            break
        found[box] = one
        left[box], left[:, one] = -1, -1
    for box in range(count):
        if box not in found and overlaps[box].max() > 0.5:
            found[box] = overlaps[box].argmax()
    sure = F.softmax(torch.from_numpy(scores), 0)[0].numpy()
    rest = [box for box in range(count) if box not in found and overlaps[box].max() < 0.5]
    for box in sorted(rest, key=lambda box: sure[box])[: min(3 * len(found), count - len(found))]:
        classes[box] = 0
    for box, one in found.items():
        kind, *goal = labels[one]
        classes[box], mask[box] = kind + 1, 1
        side, middle = prior[box, 2:] - prior[box, :2], (prior[box, 2:] + prior[box, :2]) / 2
        goal = np.array(goal)
        offsets[box, :2] = ((goal[2:] + goal[:2]) / 2 - middle) / side / 0.1
        offsets[box, 2:] = np.log((goal[2:] - goal[:2]) / side) / 0.2
    return classes, offsets.ravel(), mask.ravel()


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_what_it_says(seed):
    random = np.random.default_rng(seed)
    prior = anchors.prior(7, 7, (0.2, 0.3), (1.0, 2.0, 0.5))
    labels = np.full((3, 6, 5), -1, np.float32)
    for image, count in enumerate((4, 0, 1)):
        labels[image, :count] = boxes(random, count, random.integers(0, 2, count))
    scores = random.normal(size=(3, 3, len(prior))).astype(np.float32)
    goals = matching.match(prior, labels, scores)
    for image in range(3):
        for ours, plain in zip(
            (goals.classes, goals.offsets, goals.mask),
            plainly(prior, labels[image], scores[image]),
            strict=True,
        ):
            np.testing.assert_allclose(ours[image], plain, rtol=1e-4, atol=1e-4)


def test_an_object_that_fits_no_box_is_learned_all_the_same():
    prior = anchors.prior(4, 4, (0.5, 0.6), (1.0,))
    labels = np.array([[[1, 0.3, 0.3, 0.31, 0.31]]], np.float32)
    goals = matching.match(prior, labels, np.zeros((1, 3, len(prior)), np.float32))
    assert (goals.classes == 2).sum() == 1
    assert (goals.classes == 0).sum() == 3


def test_losses_and_their_gradients():
    random = np.random.default_rng(0)
    prior = anchors.prior(5, 5, (0.2, 0.3), (1.0,))
    count = len(prior)
    labels = np.full((2, 3, 5), -1, np.float32)
    labels[0, :2] = boxes(random, 2, [0, 1])
    scores = torch.from_numpy(random.normal(size=(2, 3, count)).astype(np.float32)).requires_grad_()
    offsets = torch.from_numpy(random.normal(size=(2, 4 * count)).astype(np.float32)).requires_grad_()
    found = losses.loss(scores, offsets, prior, torch.from_numpy(labels))
    whole, entropy, distance, learned = found.tolist()
    goals = matching.match(prior, labels, scores.detach().numpy())
    chosen = goals.classes >= 0
    log = F.log_softmax(scores, 1).detach().numpy()
    expected = -sum(
        log[image, int(kind), box] for (image, box), kind in np.ndenumerate(goals.classes) if kind >= 0
    )
    assert float(learned) == chosen.sum()
    assert float(entropy) == pytest.approx(expected, rel=1e-4)
    away = (goals.mask * (offsets.detach().numpy() - goals.offsets)).ravel()
    smooth = np.where(abs(away) < 1, away**2 / 2, abs(away) - 0.5)
    assert float(distance) == pytest.approx(smooth.sum(), rel=1e-4)
    terms = (smooth > 0).sum()
    assert float(whole) == pytest.approx(expected / chosen.sum() + smooth.sum() / terms, rel=1e-4)
    found[0].backward()
    np.testing.assert_allclose(offsets.grad.numpy().ravel(), np.clip(away, -1, 1) / terms, atol=1e-6)
    goal = np.zeros((2, 3, count), np.float32)
    for (image, box), kind in np.ndenumerate(goals.classes):
        if kind >= 0:
            goal[image, int(kind), box] = 1
    gradient = (F.softmax(scores, 1).detach().numpy() - goal) * chosen[:, None] / chosen.sum()
    np.testing.assert_allclose(scores.grad.numpy(), gradient, atol=1e-6)


def test_images_without_objects_teach_nothing():
    prior = anchors.prior(3, 3, (0.2, 0.3), (1.0,))
    scores = torch.zeros(1, 2, len(prior), requires_grad=True)
    offsets = torch.zeros(1, 4 * len(prior), requires_grad=True)
    whole = losses.loss(scores, offsets, prior, torch.full((1, 2, 5), -1.0))[0]
    whole.backward()
    assert whole.item() == 0
    assert not scores.grad.any()


def chosen_plainly(probabilities, offsets, prior, threshold, most):
    kinds = probabilities[1:].argmax(0)
    scores = probabilities[1:].max(0)
    middle, side = (prior[:, :2] + prior[:, 2:]) / 2, prior[:, 2:] - prior[:, :2]
    moves = offsets.reshape(-1, 4)
    centre, half = middle + moves[:, :2] * 0.1 * side, np.exp(moves[:, 2:] * 0.2) * side / 2
    rows = np.column_stack([kinds, scores, np.clip(np.hstack([centre - half, centre + half]), 0, 1)])
    rows = rows[rows[:, 1] >= 0.01]
    rows = rows[np.argsort(-rows[:, 1], kind="stable")][: most if most > 0 else None]
    kept = []
    for row in rows:
        if all(row[0] != k[0] or overlap(row[None, 2:], k[None, 2:])[0, 0] < threshold for k in kept):
            kept.append(row)
    return np.array(kept)


@pytest.mark.parametrize("most", [400, 20, 0, -1])
def test_detections_are_the_likeliest_of_those_that_overlap(most):
    random = np.random.default_rng(1)
    prior = anchors.prior(6, 6, (0.3, 0.4), (1.0, 2.0))
    probabilities = F.softmax(torch.from_numpy(random.normal(size=(2, 4, len(prior))) * 2), 1).numpy()
    probabilities = probabilities.astype(np.float32)
    offsets = random.normal(size=(2, 4 * len(prior))).astype(np.float32)
    found = detecting.detect(probabilities, offsets, prior, 0.45, most)
    for image in range(2):
        plain = chosen_plainly(probabilities[image], offsets[image], prior, 0.45, most)
        np.testing.assert_allclose(found[image], plain, rtol=1e-4, atol=1e-5)


def test_nothing_likely_is_nothing_found():
    prior = anchors.prior(2, 2, (0.3, 0.4), (1.0,))
    probabilities = np.zeros((1, 3, len(prior)), np.float32)
    found = detecting.detect(probabilities, np.zeros((1, 4 * len(prior)), np.float32), prior, 0.5, 400)
    assert found[0].shape == (0, 6)


THERE = np.array([[0, 0.1, 0.1, 0.4, 0.4], [0, 0.6, 0.6, 0.9, 0.9], [1, 0.1, 0.6, 0.3, 0.9]], np.float32)


def detected(*rows):
    return np.array(rows, np.float32).reshape(-1, 6)


def test_precision_of_what_is_found_exactly():
    precision = Precision(0.5)
    precision.add(detected(*[[row[0], 0.9, *row[1:]] for row in THERE]), THERE)
    assert precision.mean() == 1


def test_precision_by_hand():
    """Of class 0 a hit, a miss and a second hit, 1 + 2/3 over two objects; class 1 isn't found."""
    precision = Precision(0.5)
    precision.add(detected([0, 0.9, *THERE[0, 1:]], [0, 0.8, 0, 0.9, 0.1, 1], [0, 0.7, *THERE[1, 1:]]), THERE)
    assert precision.mean() == pytest.approx(((1 + 2 / 3) / 2 + 0) / 2)


def test_a_second_answer_for_an_object_is_a_miss():
    precision = Precision(0.5)
    precision.add(detected([1, 0.9, *THERE[2, 1:]], [1, 0.8, *THERE[2, 1:]]), THERE[2:])
    assert precision.mean() == 1
    precision.add(detected(), THERE[2:])
    assert precision.mean() == 0.5


def test_difficult_objects_do_not_count():
    difficult = np.column_stack([THERE, [0, 1, 0]]).astype(np.float32)
    precision = Precision(0.5)
    precision.add(
        detected([0, 0.9, *THERE[1, 1:]], [0, 0.8, *THERE[0, 1:]], [1, 0.5, *THERE[2, 1:]]), difficult
    )
    assert precision.mean() == 1


def test_parts_of_processes_add_up():
    random = np.random.default_rng(0)
    parts = [Precision(0.3) for _ in range(3)]
    whole = Precision(0.3)
    for number in range(30):
        there = boxes(random, 3, random.integers(0, 3, 3))
        found = np.column_stack(
            [there[:, :1], random.random(3), there[:, 1:] + random.normal(0, 0.05, (3, 4))]
        )
        for one in (parts[number % 3], whole):
            one.add(found.astype(np.float32), there)
    merged = Precision(0.3)
    merged.merge([part.state() for part in parts])
    assert merged.mean() == pytest.approx(whole.mean())
    assert 0 < whole.mean() < 1


def test_nothing_there_is_nothing_to_find():
    precision = Precision(0.5)
    precision.add(detected([0, 0.9, 0, 0, 1, 1]), np.zeros((0, 6), np.float32))
    assert precision.mean() == 0
