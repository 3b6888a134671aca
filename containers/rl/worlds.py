"""Environments of Gymnasium: made by name, their spaces numbered, as tables where they are known whole."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from common.failures import ClientError
from containers.rl.model import World
from containers.rl.numbering import Numbering

# Values a table may have: 8 GB of float64.
_MOST_VALUES = 1 << 30


def make(name: str, config: Mapping[str, Any], modules: Path | None) -> gymnasium.Env:
    """The environment of that name, whose modules may lie in a folder. Raises ClientError."""
    if modules is not None:
        sys.path.append(str(modules))  # last: its modules may have the names of ours
    importlib.import_module("containers.rl.environments")
    try:
        return gymnasium.make(name, **config)
    except Exception as error:  # an environment's own code may raise whatever it likes
        told = str(error).strip().split("\n")[0] or type(error).__name__
        raise ClientError(f"hyperparameter environment is '{name}', which can't be made: {told}") from None


def numbering(space: Any, what: str) -> Numbering:
    """Of a space of Gymnasium. Raises ClientError for one that isn't discrete."""
    parts: Sequence[Any] = space.spaces if isinstance(space, gymnasium.spaces.Tuple) else [space]
    sizes, offsets = [], []
    for part in parts:
        if isinstance(part, gymnasium.spaces.Discrete):
            sizes.append(int(part.n))
            offsets.append(int(part.start))
        elif isinstance(part, gymnasium.spaces.MultiDiscrete):
            sizes += np.ravel(part.nvec).tolist()
            offsets += np.ravel(part.start).tolist()
        else:
            raise ClientError(
                f"the {what} of the environment are {space}; accepted: Discrete, MultiDiscrete or a Tuple "
                "of them, since Q-learning keeps a table"
            )
    return Numbering(tuple(sizes), tuple(offsets))


def check_size(states: Numbering, actions: Numbering) -> None:
    """Raises ClientError for a table that no machine would hold."""
    if states.count * actions.count > _MOST_VALUES:
        raise ClientError(
            f"the environment has {states.count} states and {actions.count} actions; accepted: at most "
            f"{_MOST_VALUES} of both together, since Q-learning keeps a table"
        )


def tabulated(environment: gymnasium.Env, states: int, actions: int) -> World | None:
    """All transitions, where the environment tells them as Gymnasium's toy texts do; None where not.

    That is ``P[state][action] = [(chance, next, reward, ended), ...]`` and ``initial_state_distrib``.
    """
    plain = environment.unwrapped
    told, starts = getattr(plain, "P", None), getattr(plain, "initial_state_distrib", None)
    if told is None or starts is None or len(told) != states or _wrapped(environment):
        return None
    most = max(len(outcomes) for row in told.values() for outcomes in row.values())
    shape = (states, actions, most)
    chances, rewards = np.zeros(shape), np.zeros(shape)
    following, final = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for state, row in told.items():
        for action, outcomes in row.items():
            for number, (chance, after, reward, ended) in enumerate(outcomes):
                chances[state, action, number] = chance
                following[state, action, number] = after
                rewards[state, action, number] = reward
                final[state, action, number] = ended
    return World(chances.cumsum(2), following, rewards, final, np.cumsum(np.asarray(starts, float)))


def _wrapped(environment: gymnasium.Env) -> bool:
    """Whether something between changes what is seen or paid, which a table wouldn't know."""
    usual = (
        gymnasium.wrappers.OrderEnforcing,
        gymnasium.wrappers.PassiveEnvChecker,
        gymnasium.wrappers.TimeLimit,
    )
    while environment is not environment.unwrapped:
        if not isinstance(environment, usual):
            return True
        environment = environment.env
    return False
