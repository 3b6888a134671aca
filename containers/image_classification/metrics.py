"""Losses and shares of right answers, as sums that processes can add up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def single(scores: Tensor, labels: Tensor, top: int | None) -> Tensor:
    """(n, classes) scores and (n, 1) classes: summed cross-entropy, right answers, those in the top, n."""
    classes = labels[:, 0].long()
    scores = scores.float()
    loss = F.cross_entropy(scores, classes, reduction="sum")
    right = (scores.argmax(1) == classes).sum()
    within = right if top is None else (scores.topk(top, 1).indices == classes[:, None]).any(1).sum()
    return torch.stack([loss, *(value.to(loss) for value in (right, within)), loss.new_tensor(len(labels))])


def multiple(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """(n, labels) scores and 0 or 1 each: summed cross-entropy, right answers over labels, the same, n.

    ``weights``, (2, labels), weigh labels that are 0 and that are 1. An answer is right where its probability
    is on the same side of a half as the label.
    """
    scores = scores.float()
    weight = None if weights is None else torch.where(labels > 0, weights[1], weights[0])
    loss = F.binary_cross_entropy_with_logits(scores, labels, weight, reduction="sum")
    right = ((scores > 0) == (labels > 0)).float().mean(1).sum()
    return torch.stack([loss, right, right, loss.new_tensor(len(labels))])


def balance(counts: Tensor, total: int) -> Tensor:
    """Weights (2, labels) that make both values of each label count alike; ``counts`` is how many are 1.

    A label that is the same everywhere weighs 1.
    """
    ones = counts.double()
    both = torch.stack([total - ones, ones])
    return torch.where(both > 0, total / (2 * both.clamp(min=1)), 1.0).float()
