"""What environments have in common that are told as a table of transitions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

Outcomes = list[tuple[float, int, float, bool]]  # chance, next state, reward, whether the episode ends


class Tabular(gymnasium.Env):
    """Plays ``P[state][action]``, a list of outcomes, from states drawn by ``initial_state_distrib``."""

    P: dict[int, dict[int, Outcomes]]
    initial_state_distrib: np.ndarray

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict]:
        """A first state."""
        super().reset(seed=seed)
        starts = self.initial_state_distrib
        self.state = int(self.np_random.choice(len(starts), p=starts))
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        """One of the outcomes of an action."""
        outcomes = self.P[self.state][int(action)]
        chosen = self.np_random.choice(len(outcomes), p=[outcome[0] for outcome in outcomes])
        _, self.state, reward, ended = outcomes[int(chosen)]
        return self.state, reward, ended, False, {}
