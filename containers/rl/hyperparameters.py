"""Hyperparameters of Q-learning, and of programs of a user's own, which have their own.

AWS documents the method and images of toolkits, not an image for the method: those names are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from common.hyperparameters import Declaration, Tuning, Values, choice, integer, number, text

_PROGRAM = "sagemaker_program"
_SCRIPT = Declaration(
    text(_PROGRAM, "The source's file that is run.", required=True),
    text("sagemaker_submit_directory", "The source.", required=True),
    open=True,
)


class _EitherWay(Declaration):
    """A job with a program of its own has whatever hyperparameters that program reads."""

    def takes_any(self, written: Mapping[str, object]) -> bool:
        return _PROGRAM in written

    def resolve(self, written: Mapping[str, object]) -> Values:
        return _SCRIPT.resolve(written) if _PROGRAM in written else super().resolve(written)

    def unknown(self, name: str) -> str:
        if name == "RLCOACH_PRESET":
            return (
                "hyperparameter RLCOACH_PRESET names a preset of Coach, which no Python of today runs; "
                "accepted: sagemaker_program with a source for RLlib (docs/reinforcement-learning.md), or "
                "environment"
            )
        return super().unknown(name)

    def without_effect(self, values: Values) -> list[str]:
        return [] if values.get(_PROGRAM) else super().without_effect(values)


def _config(written: str) -> dict[str, object]:
    """A JSON object."""
    found = json.loads(written)
    if not isinstance(found, dict):
        raise ValueError
    return found


DECLARATION = _EitherWay(
    choice("algorithm", "How the policy is learned.", "q_learning", default="q_learning"),
    text(
        "environment",
        "Gymnasium's name of an environment with discrete observations and actions, such as Taxi-v3; "
        "module:Name-v0 for one that a module of channel environment registers. Required without "
        "sagemaker_program.",
    ),
    text(
        "env_config",
        "Arguments of the environment.",
        default={},
        reader=_config,
        accepts="a JSON object",
    ),
    integer("episodes", "Episodes to learn from.", default=10_000, min=1, max=1_000_000_000),
    integer(
        "max_episode_steps",
        "Steps after which an episode is broken off; without it the environment's own limit, or 10,000.",
        min=1,
    ),
    number(
        "learning_rate",
        "How far a value moves towards what was seen.",
        default=0.1,
        min=0,
        max=1,
        exclusive_min=True,
        tuning=Tuning((0.01, 1.0), "Logarithmic"),
    ),
    number(
        "discount",
        "What a reward is worth a step later.",
        default=0.99,
        min=0,
        max=1,
        tuning=Tuning((0.8, 0.9999), "ReverseLogarithmic"),
    ),
    integer(
        "look_ahead",
        "Steps whose rewards are seen before the rest is estimated; 1: Watkins's rule.",
        default=1,
        min=1,
        max=1000,
        tuning=Tuning((1, 8)),
    ),
    number("epsilon", "Share of actions taken at random in the first episode.", default=1.0, min=0, max=1),
    number(
        "epsilon_decay",
        "What epsilon is multiplied by after each episode; by itself it is such that half of the episodes "
        "bring it to epsilon_min.",
        min=0,
        max=1,
        exclusive_min=True,
    ),
    number("epsilon_min", "The least epsilon.", default=0.02, min=0, max=1),
    number("initial_value", "What the table has everywhere at first; high values explore.", default=0.0),
    integer("evaluation_episodes", "Episodes that measure the learned policy.", default=100, min=1),
    integer("iterations", "How often progress is told.", default=20, min=1, max=10_000),
    text(
        _PROGRAM,
        "File of a source of one's own that is run in place of Q-learning; all other hyperparameters are "
        "then its arguments.",
    ),
    text("sagemaker_submit_directory", "That source: a folder, a .tar.gz, or one on S3."),
    rules=(
        lambda values: (
            "hyperparameter sagemaker_program is missing beside sagemaker_submit_directory; accepted: the "
            "file of the source that is to be run"
            if values["sagemaker_submit_directory"]
            else None
        ),
        lambda values: (
            "hyperparameter environment is missing; accepted: Gymnasium's name of an environment, or "
            "sagemaker_program and sagemaker_submit_directory"
            if values["environment"] is None and not values["sagemaker_submit_directory"]
            else None
        ),
        lambda values: (
            f"hyperparameter epsilon_min is {values['epsilon_min']}; accepted: at most epsilon, "
            f"{values['epsilon']}"
            if values["epsilon_min"] > values["epsilon"]
            else None
        ),
    ),
)
