"""What a job's hyperparameters come to, with every ``auto`` resolved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.hyperparameters import Values
from containers.linear_learner.candidates import Settings, affordable, candidates, with_positive_weights
from containers.linear_learner.criteria import Criterion
from containers.linear_learner.hyperparameters import LOSSES, OLDER_CRITERIA
from containers.linear_learner.losses import Objective, objective
from containers.linear_learner.model import LinearModels, Normalisation
from containers.linear_learner.optimizers import Tuning
from containers.linear_learner.scaling import Moments, constant

_MODELS = 32
_BUDGET = 1 << 30  # bytes that num_models=auto may take


@dataclass(frozen=True, slots=True)
class Plan:
    """A job's hyperparameters, resolved."""

    values: Values
    predictor_type: str
    num_classes: int  # 2 but for a multiclass classifier
    loss: str
    optimizer: str
    criterion: Criterion
    beta: float
    top_k: int
    calibration_samples: int
    force_dense: str

    @classmethod
    def of(cls, values: Values) -> Plan:
        """Resolves hyperparameters."""
        kind = values["predictor_type"]
        name = values["binary_classifier_model_selection_criteria"]
        beta = 1.0 if name == "f1" else values["f_beta"]
        criterion = Criterion(
            OLDER_CRITERIA.get(name, name), beta, values["target_precision"], values["target_recall"]
        )
        samples = values["num_calibration_samples"]
        return cls(
            values,
            kind,
            values["num_classes"] if kind == "multiclass_classifier" else 2,
            LOSSES[kind][0] if values["loss"] == "auto" else values["loss"],
            "adam" if values["optimizer"] == "auto" else values["optimizer"],
            criterion,
            values["f_beta"],
            values["accuracy_top_k"],
            10_000_000 if samples == "auto" else samples,
            values["force_dense"],
        )

    @property
    def by_criterion(self) -> bool:
        """Whether models are chosen, and a threshold found, by something else than the loss."""
        return self.predictor_type == "binary_classifier" and self.criterion.name != "loss_function"

    @property
    def weighted_evaluation(self) -> bool:
        """Models of different weights can be compared by their loss only without them."""
        return self.values["positive_example_weight_mult"] != "auto"

    @property
    def natural_threshold(self) -> float:
        """The linear score between the classes when nothing is calibrated."""
        return 0.5 if self.loss == "hinge_loss" else 0.0

    @property
    def reach(self) -> float:
        """How much wider than a logistic loss's are the scores that matter."""
        return max(1.0, self.values["margin"]) if self.loss == "hinge_loss" else 1.0

    @property
    def normalise_label(self) -> bool:
        """Whether labels are scaled or shifted."""
        return self.predictor_type == "regressor" and (self._scales_label or self._shifts_label)

    @property
    def _scales_label(self) -> bool:
        return bool(self.values["normalize_label"] != "false")

    @property
    def _shifts_label(self) -> bool:
        return bool(self.values["use_bias"] and self.values["unbias_label"] != "false")

    def normalisation(self, found: Moments) -> Normalisation:
        """How rows are normalised, given the first rows' moments."""
        values = self.values
        shifts = values["use_bias"] if values["unbias_data"] == "auto" else values["unbias_data"] == "true"
        # Rounded as the rows' arithmetic rounds them, so that folding takes out just what was put in.
        mean = found.mean.astype(np.float32).astype(np.float64)
        scale = np.ones_like(mean)
        if values["normalize_data"] != "false":
            usual = ~constant(found)
            scale[usual] = (1 / found.deviation[usual]).astype(np.float32)
        if self.predictor_type != "regressor":
            return Normalisation(mean if shifts else np.zeros_like(mean), scale)
        return Normalisation(
            mean if shifts else np.zeros_like(mean),
            scale,
            float(np.float32(found.label_mean)) if self._shifts_label else 0.0,
            float(np.float32(found.label_deviation)) if self._scales_label and found.label_deviation else 1.0,
        )

    def models(
        self, feature_dim: int, counts: NDArray[np.float64], unit: float, device: str, seed: int
    ) -> LinearModels:
        """The models to train. ``counts`` are rows a class, ``unit`` what labels are divided by.

        Raises ClientError when they don't fit into memory.
        """
        outputs = self.num_classes if self.predictor_type == "multiclass_classifier" else 1
        settings = candidates(self.values, self.optimizer, self._how_many(feature_dim, outputs), seed)
        weights = None
        if self.predictor_type == "binary_classifier":
            balanced = float(counts[0] / counts[1]) if counts.all() else 1.0
            wanted = self.values["positive_example_weight_mult"]
            settings = with_positive_weights(settings, wanted, balanced)
        elif self.values["balance_multiclass_weights"] and outputs > 1:
            weights = (counts.sum() / (outputs * np.maximum(counts, 1))).astype(np.float32)
        return LinearModels(
            feature_dim,
            settings,
            self._objective(unit),
            self._tuning(),
            outputs=outputs,
            class_weights=weights,
            device=device,
        )

    def _how_many(self, feature_dim: int, outputs: int) -> int:
        wanted = self.values["num_models"]
        # All models of a tuning job's trial would be one point to the tuner.
        tuned = bool(self.values.internal.get("_tuning_objective_metric"))
        rows = self.values["mini_batch_size"]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        fitting = affordable(rows, feature_dim, outputs, memory)
        least = 1 if wanted == "auto" or tuned else wanted
        if fitting < least:
            raise ClientError(
                f"{least} models of {feature_dim} features and {outputs} outputs in mini-batches of {rows} "
                f"rows don't fit into this machine's memory; accepted here: num_models up to {fitting}, "
                "or a smaller mini_batch_size"
            )
        if tuned:
            return 1
        if wanted != "auto":
            return int(wanted)
        return max(1, min(_MODELS, affordable(rows, feature_dim, outputs, min(_BUDGET, memory // 2))))

    def _objective(self, unit: float) -> Objective:
        values = self.values
        return objective(
            self.loss,
            label_scale=unit,
            margin=values["margin"],
            quantile=values["quantile"],
            delta=values["huber_delta"],
            epsilon=values["loss_insensitivity"],
        )

    def _tuning(self) -> Tuning:
        def given(name: str, default: float) -> float:
            return default if self.values[name] == "auto" else float(self.values[name])

        return Tuning(
            optimizer=self.optimizer,
            beta_1=given("beta_1", 0.9),
            beta_2=given("beta_2", 0.999),
            momentum=given("momentum", 0.0),
            use_bias=self.values["use_bias"],
            bias_lr_mult=given("bias_lr_mult", 10.0),
            bias_wd_mult=given("bias_wd_mult", 0.0),
            use_lr_scheduler=self.values["use_lr_scheduler"],
        )

    def reported(self, settings: Settings) -> dict[str, Any]:
        """The winner's settings, for the log and the artifact."""
        return settings.reported(self.optimizer, self.values["use_lr_scheduler"])
