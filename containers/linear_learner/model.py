"""Linear models trained side by side: their weights are the columns of one matrix.

A mini-batch is one matrix product forward and one backward for all of them, with gradients of the losses
written by hand, and one vectorised optimiser step. Model ``i`` has columns ``i * outputs`` to
``(i + 1) * outputs`` of the weights; softmax models have an output a class, all others one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.batches import CSR
from containers.linear_learner.candidates import Settings
from containers.linear_learner.losses import Objective, softmax
from containers.linear_learner.optimizers import Optimizer, Tuning

Float64 = NDArray[np.float64]


class Sparse:
    """Normalised rows kept sparse: ``(x - mean) * scale`` with the shift taken out of the product."""

    def __init__(self, rows: CSR, scale: NDArray[np.float32], shift: NDArray[np.float32] | None) -> None:
        """``scale`` (features,), and ``shift`` = mean * scale, None when there is none."""
        values = rows.values * scale[rows.indices]
        order = np.argsort(rows.indices, kind="stable")
        owners = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
        ends = np.cumsum(np.bincount(rows.indices, minlength=rows.shape[1]))
        self._matrix = _torch_csr(rows.indptr, rows.indices, values, rows.shape)
        self._transposed = _torch_csr(
            np.concatenate([[0], ends]), owners[order], values[order], (rows.shape[1], len(rows))
        )
        self._shift = None if shift is None else torch.from_numpy(shift)
        self.nbytes = values.nbytes * 6

    def to(self, device: str) -> Sparse:
        """These rows on ``device``."""
        self._matrix, self._transposed = self._matrix.to(device), self._transposed.to(device)
        self._shift = None if self._shift is None else self._shift.to(device)
        return self

    def __len__(self) -> int:
        return int(self._matrix.shape[0])

    def product(self, parameters: Tensor) -> Tensor:
        """Scores (rows, columns) of ``parameters`` (features + 1, columns)."""
        weights, bias = parameters[:-1], parameters[-1]
        if self._shift is not None:
            bias = bias - self._shift @ weights
        return (self._matrix @ weights).add_(bias)

    def gradient(self, errors: Tensor, out: Tensor) -> None:
        """The transposed product with ``errors`` (rows, columns), into ``out`` (features + 1, columns)."""
        torch.sum(errors, 0, out=out[-1])
        out[:-1].copy_(self._transposed @ errors)
        if self._shift is not None:
            out[:-1].addr_(self._shift, out[-1], alpha=-1)


class Dense:
    """Normalised rows (rows, features) as a dense matrix."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.nbytes = rows.nbytes

    def __len__(self) -> int:
        return len(self.rows)

    def product(self, parameters: Tensor) -> Tensor:
        """As `Sparse.product`."""
        return torch.addmm(parameters[-1], self.rows, parameters[:-1])

    def gradient(self, errors: Tensor, out: Tensor) -> None:
        """As `Sparse.gradient`."""
        torch.mm(self.rows.T, errors, out=out[:-1])
        torch.sum(errors, 0, out=out[-1])


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows ready for the models: normalised features; labels (rows, 1), or (rows,) int64 classes."""

    features: Dense | Sparse
    labels: Tensor

    def __len__(self) -> int:
        return len(self.features)

    @property
    def nbytes(self) -> int:
        """Memory taken, roughly."""
        return self.features.nbytes + self.labels.nbytes


class LinearModels:
    """``len(settings)`` linear models over the same ``feature_dim`` features.

    ``class_weights`` (outputs,) weigh rows in a softmax loss by their class; a model's positive_weight weighs
    rows of label 1 in a binary loss.
    """

    def __init__(
        self,
        feature_dim: int,
        settings: Sequence[Settings],
        objective: Objective,
        tuning: Tuning | None = None,
        *,
        outputs: int = 1,
        class_weights: NDArray[np.float32] | None = None,
        device: str = "cpu",
    ) -> None:
        self.feature_dim = feature_dim
        self.settings = list(settings)
        self.objective = objective
        self.outputs = outputs
        self.device = device
        count = len(self.settings)
        shape = (feature_dim + 1, count * outputs)
        self.parameters = torch.zeros(shape, device=device)
        # Gradients, each model's loss and the rows, in one piece: what hosts add up in a step.
        size = shape[0] * shape[1]
        self.sums = torch.zeros(size + count + 1, device=device)
        self._gradient = self.sums[:size].view(shape)
        self._losses = self.sums[size : size + count]
        self._optimizer = Optimizer(self.parameters, self.settings, tuning or Tuning(), outputs)
        self._class_weights = None if class_weights is None else torch.from_numpy(class_weights).to(device)
        positive = torch.tensor([one.positive_weight for one in self.settings], device=device)
        self._positive_weights = positive if bool((positive != 1).any()) else None
        self._largest = 1.0

    def __len__(self) -> int:
        return len(self.settings)

    def initialise(
        self,
        seed: int,
        method: str = "uniform",
        scale: float = 0.07,
        bias: float = 0.0,
        unseen: NDArray[np.bool_] | None = None,
    ) -> None:
        """Draws starting weights: uniform within ``scale``, or normal of that deviation; ``bias`` as it is.

        Features that are ``unseen`` (features,) start at 0, where they stay unless they turn up.
        """
        generator = np.random.Generator(np.random.Philox(seed))
        shape = (self.feature_dim, self.parameters.shape[1])
        draws = generator.random(shape, np.float32) if method == "uniform" else None
        start = (draws * 2 - 1) if draws is not None else generator.standard_normal(shape, np.float32)
        start *= np.float32(scale)
        if unseen is not None:
            start[unseen] = 0
        self.parameters[:-1] = torch.from_numpy(start).to(self.device)
        self.parameters[-1] = bias

    def scores(self, rows: Rows, parameters: Tensor | None = None) -> Tensor:
        """Linear scores, (rows, models) or (rows, models, classes), of these or of other parameters."""
        z = rows.features.product(self.parameters if parameters is None else parameters)
        return z.view(len(rows), -1, self.outputs) if self.objective.loss is softmax else z

    def accumulate(self, rows: Rows | None) -> Tensor:
        """Puts into `sums`, and returns, gradients and losses summed over ``rows``; zeros for none."""
        if rows is None or not len(rows):
            return self.sums.zero_()
        losses, errors = self.objective.loss(self.scores(rows), rows.labels)
        weights = self._weights(rows.labels)
        if weights is not None:
            losses.mul_(weights)
            errors.mul_(weights.unsqueeze(-1) if errors.dim() == 3 else weights)
        torch.sum(losses, 0, out=self._losses)
        rows.features.gradient(errors.view(len(rows), -1), self._gradient)
        self.sums[-1] = len(rows)
        return self.sums

    def update(self, sums: Tensor, count: float) -> None:
        """One optimiser step for all models along the mean over ``count`` rows of `accumulate`'s sums."""
        if sums is not self.sums:
            self.sums.copy_(sums)
        # A last, small batch counts by its rows, not as much as a full one.
        self._largest = max(self._largest, count)
        self._optimizer.update(self._gradient.div_(self._largest))

    def losses(self, rows: Rows, scores: Tensor, model: int | None = None, weighted: bool = True) -> Tensor:
        """Losses summed over ``rows``, (models,) float64, penalties left out.

        ``scores`` are of all models, or of ``model`` alone.
        """
        losses, _ = self.objective.loss(scores, rows.labels)
        weights = self._weights(rows.labels) if weighted else None
        if weights is not None and model is not None and weights.shape[1] > 1:
            weights = weights[:, model : model + 1]
        return (losses if weights is None else losses.mul_(weights)).sum(0, dtype=torch.float64)

    def loss_sums(self, sums: Tensor) -> Tensor:
        """(models,) the losses in what `accumulate` gave, alone or added up over hosts."""
        return sums[-1 - len(self) : -1]

    def columns(self, model: int) -> slice:
        """Where the columns of one model are."""
        return slice(model * self.outputs, (model + 1) * self.outputs)

    def _weights(self, labels: Tensor) -> Tensor | None:
        """(rows, models) or (rows, 1) weights of the rows' losses, None when all are 1."""
        if self._class_weights is not None:
            return self._class_weights[labels].unsqueeze(1)
        if self._positive_weights is not None:
            return 1 + labels * (self._positive_weights - 1)
        return None


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How features and labels are moved and scaled: ``(x - mean) * scale``, ``(y - shift) / unit``."""

    mean: Float64  # (features,), zeros when features aren't shifted
    scale: Float64  # (features,), ones when they aren't scaled
    label_mean: float = 0.0
    label_scale: float = 1.0

    def fold(self, parameters: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights (outputs, features) and biases (outputs,) for raw features and labels.

        ``parameters`` (features + 1, outputs) are for normalised ones.
        """
        weights = parameters[:-1].astype(np.float64) * self.scale[:, None]
        bias = parameters[-1] - self.mean @ weights
        weights, bias = weights * self.label_scale, bias * self.label_scale + self.label_mean
        return np.ascontiguousarray(weights.T, np.float32), bias.astype(np.float32)


def _torch_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    values: NDArray[np.float32],
    shape: tuple[int, int],
) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "in beta state": products are all that's used
        return torch.sparse_csr_tensor(
            torch.from_numpy(np.ascontiguousarray(indptr, np.int64)),
            torch.from_numpy(np.ascontiguousarray(indices, np.int64)),
            torch.from_numpy(np.ascontiguousarray(values, np.float32)),
            size=shape,
            check_invariants=False,
        )
