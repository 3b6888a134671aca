"""What training makes small: the cross-entropy of target tokens, given the source and the tokens before.

The network itself is in network.py, its search for answers in beam.py. Padding has no part in the loss,
and the output layer isn't computed for it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, addmm, log_softmax, nn
from torch.autograd import Function

from containers.seq2seq.bucketing import Batch
from containers.seq2seq.config import PAD
from containers.seq2seq.network import Network


def predicted(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """The (n, hidden) that predict the labels that are no padding, and these (n,) labels."""
    hidden = network.hidden(batch.source, batch.lengths, batch.inputs)
    labels = batch.labels.flatten()
    at = (labels != PAD).nonzero()[:, 0]
    return hidden.flatten(0, 1).index_select(0, at), labels.index_select(0, at)


def output_loss(
    rows: Tensor, output: nn.Linear, labels: Tensor, share: float, *, accuracy: bool
) -> tuple[Tensor, Tensor]:
    """``share`` times the sum of the cross-entropies of ``labels`` (n,) after a linear layer of ``rows``.

    These are (n, hidden). Also how many labels are the likeliest, as a float32; 0 without ``accuracy``.
    """
    loss, right = _OutputLoss.apply(rows, output.weight, output.bias, labels, share, accuracy)
    return loss, right


class _OutputLoss(Function):
    """Layer and loss in one: the gradient of the array of all words takes the place of that array."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, share: float, accuracy: bool
    ) -> tuple[Tensor, Tensor]:
        logits = addmm(bias, rows, weight.t())
        right = (logits.argmax(1) == labels).sum().float() if accuracy else logits.new_zeros(())
        chances = log_softmax(logits, 1)
        at = labels[:, None]
        loss = chances.gather(1, at).sum() * -share
        # The gradient of the logits: chances, less 1 for what is right.
        back = chances.exp_()
        back.scatter_add_(1, at, back.new_full(at.shape, -1.0))
        ctx.save_for_backward(rows, weight, back)
        ctx.share = share
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, back = ctx.saved_tensors
        scale = ctx.share * gradient
        d_weight = back.t() @ (rows * scale)
        return (back @ weight) * scale, d_weight, back.sum(0) * scale, None, None, None
