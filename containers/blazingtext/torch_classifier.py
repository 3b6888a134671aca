"""The classifier on a GPU, or whatever device torch names: mini-batches in place of single steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.batches import Float32
from containers.blazingtext.classifier import initial
from containers.blazingtext.examples import Examples

_BATCH = 128  # examples whose gradients are added up before a step


class TorchClassifier:
    """Learns on one device; same weights at the start as `HogwildClassifier`, and nearly the same steps."""

    def __init__(self, rows: int, labels: int, dim: int, seed: int, device: str) -> None:
        self._device = torch.device(device)
        self._inputs, self._outputs = (
            torch.from_numpy(matrix).to(self._device) for matrix in initial(rows, labels, dim, seed)
        )
        self._kept: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def learn(self, examples: Examples, rate: float, rate_after: float, key: int) -> None:
        """See `Classifier`. Gradients of a mini-batch's examples are added up.

        An output row then takes as many steps at once. Where that could overshoot, they are shortened: the
        softmax bends by |h|^2 / 2 at most for a sentence's vector h, which bounds the step that is safe.
        """
        chosen = np.flatnonzero(np.diff(examples.bounds))
        if not len(chosen):
            return
        targets = self._tensor(_targets(examples, key)[chosen])
        counts = self._tensor(np.diff(examples.bounds)[chosen])
        features = self._tensor(examples.features)
        bounds = examples.bounds
        for start in range(0, len(chosen), _BATCH):
            stop = min(start + _BATCH, len(chosen))
            first, last = int(bounds[chosen[start]]), int(bounds[chosen[stop - 1] + 1])
            now = rate + (rate_after - rate) * start / len(chosen)
            self._step(features[first:last], counts[start:stop], targets[start:stop], now)

    def _step(self, features: Tensor, counts: Tensor, targets: Tensor, rate: float) -> None:
        owner = torch.repeat_interleave(counts, output_size=len(features))
        hidden = self._means(features, counts, owner)
        errors = functional.one_hot(targets, len(self._outputs)) - (hidden @ self._outputs.T).softmax(1)
        gradient = errors @ self._outputs * (rate / counts[:, None])
        bend = hidden.square().sum() / 2
        self._outputs += (errors.T @ hidden) * (rate / (1 + rate * bend))
        self._inputs.index_add_(0, features, gradient[owner])

    def _means(self, features: Tensor, counts: Tensor, owner: Tensor) -> Tensor:
        sums = torch.zeros(len(counts), self._inputs.shape[1], device=self._device)
        return sums.index_add_(0, owner, self._inputs[features]) / counts[:, None]

    @torch.no_grad()
    def hits(self, examples: Examples) -> int:
        """See `Classifier`."""
        sizes = np.diff(examples.bounds)
        counts = self._tensor(np.maximum(sizes, 1))
        owner = torch.repeat_interleave(self._tensor(sizes), output_size=len(examples.features))
        hidden = self._means(self._tensor(examples.features), counts, owner)
        best = (hidden @ self._outputs.T).argmax(1).cpu().numpy()
        owners = np.repeat(np.arange(len(sizes)), np.diff(examples.label_bounds))
        hit = np.zeros(len(sizes), bool)
        hit[owners[examples.labels == best[owners]]] = True
        return int((hit & (sizes > 0)).sum())

    def keep(self) -> None:
        """See `Classifier`."""
        self._kept = self._inputs.clone(), self._outputs.clone()

    def restore(self) -> None:
        """See `Classifier`."""
        if self._kept is not None:
            self._inputs, self._outputs = self._kept
            self._kept = None

    def weights(self) -> tuple[Float32, Float32]:
        """See `Classifier`."""
        return self._inputs.cpu().numpy(), self._outputs.cpu().numpy()

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(self._device)


def _targets(examples: Examples, key: int) -> np.ndarray:
    """One label of each example by chance."""
    random = np.random.default_rng(key)
    sizes = np.diff(examples.label_bounds)
    return examples.labels[examples.label_bounds[:-1] + (random.random(len(sizes)) * sizes).astype(np.int64)]
