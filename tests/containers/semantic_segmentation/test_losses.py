"""The loss against its formula in numpy."""

import numpy as np
import pytest
import torch

from containers.semantic_segmentation import losses


def random(classes=4, n=2, height=5, width=6, seed=0):
    generator = np.random.default_rng(seed)
    scores = [generator.normal(0, 3, (n, classes, height, width)) for _ in range(2)]
    masks = generator.integers(0, classes, (n, height, width))
    masks[generator.random(masks.shape) < 0.3] = 255
    return scores, masks


def entropies(scores, masks):
    """-log p of the class of each pixel that counts."""
    shifted = scores - scores.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return [
        -logs[image, masks[image, row, column], row, column]
        for image, row, column in np.argwhere(masks != 255)
    ]


def tensors(scores, dtype=torch.float32):
    return tuple(torch.tensor(one, dtype=dtype, requires_grad=True) for one in scores)


@pytest.mark.parametrize("weight", [0.5, 0.2, 0.0])
def test_the_loss_is_the_mean_over_pixels_that_count(weight):
    scores, masks = random()
    loss, pixels = losses.loss(tensors(scores), torch.from_numpy(masks), weight=weight)
    main, auxiliary = (np.mean(entropies(one, masks)) for one in scores)
    assert int(pixels) == (masks != 255).sum()
    assert float(loss.detach()) == pytest.approx(main + weight * auxiliary, rel=1e-5)


def test_gradients_are_probabilities_less_what_is_right():
    scores, masks = random()
    given = tensors(scores, torch.float64)
    losses.loss(given, torch.from_numpy(masks))[0].backward()
    counted = masks != 255
    right = np.arange(4)[None, :, None, None] == masks[:, None]
    for one, tensor, share in zip(scores, given, (1.0, 0.5), strict=True):
        p = np.exp(one) / np.exp(one).sum(1, keepdims=True)
        expected = share * (p - right) * counted[:, None] / counted.sum()
        np.testing.assert_allclose(tensor.grad.numpy(), expected, atol=1e-7)


def test_another_value_can_be_what_is_ignored():
    scores, masks = random()
    other = np.where(masks == 255, 3, masks)
    loss, pixels = losses.loss(tensors(scores), torch.from_numpy(other), ignore=3)
    expected = [np.mean(entropies(one, np.where(other == 3, 255, other))) for one in scores]
    assert int(pixels) == (other != 3).sum()
    assert float(loss.detach()) == pytest.approx(expected[0] + 0.5 * expected[1], rel=1e-5)


def test_nothing_to_learn_from_is_no_loss_and_no_gradient():
    scores, masks = random()
    given = tensors(scores)
    loss, pixels = losses.loss(given, torch.full(masks.shape, 255))
    loss.backward()
    assert (float(loss.detach()), int(pixels)) == (0.0, 0)
    for tensor in given:
        assert not tensor.grad.any()


def test_half_precision_loses_nothing_in_the_sum():
    """600,000 pixels of log 2 each: beyond what float16 can hold."""
    scores = torch.zeros(1, 2, 600, 1000, dtype=torch.float16)
    loss, pixels = losses.loss((scores, scores), torch.zeros(1, 600, 1000, dtype=torch.int64), weight=0.0)
    assert int(pixels) == 600_000
    assert float(loss) == pytest.approx(np.log(2), rel=1e-4)
