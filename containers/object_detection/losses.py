"""What a detector learns from: classes of boxes, and how far they are from objects."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from containers.object_detection import matching
from containers.object_detection.anchors import Boxes


def loss(scores: Tensor, offsets: Tensor, anchors: Boxes, labels: Tensor) -> Tensor:
    """The loss, summed cross-entropy, summed smooth L1 and the number of boxes that learn a class.

    ``scores`` (n, classes + 1, boxes) and ``offsets`` (n, 4 boxes) are the network's answers, ``labels``
    (n, objects, 5) as `matching.match` takes them. Cross-entropy is divided by the boxes that learn, smooth
    L1 (Girshick, *Fast R-CNN*, 2015) by its terms that aren't zero, as the operators of AWS's symbol do.
    """
    scores, offsets = scores.float(), offsets.float()
    goals = matching.match(anchors, labels.numpy(), scores.detach().cpu().contiguous().numpy())
    device = scores.device
    classes = torch.from_numpy(goals.classes).to(device).long()
    mask = torch.from_numpy(goals.mask).to(device)
    entropy = F.cross_entropy(scores, classes, ignore_index=-1, reduction="sum")
    away = mask * (offsets - torch.from_numpy(goals.offsets).to(device))
    distance = F.smooth_l1_loss(away, torch.zeros_like(away), reduction="none")
    learning = (classes >= 0).sum()
    terms = (distance.detach() > 0).sum()
    whole = entropy / learning.clamp(min=1) + distance.sum() / terms.clamp(min=1)
    return torch.stack([whole, entropy, distance.sum(), learning.to(whole)])
