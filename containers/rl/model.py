"""Q-learning (Watkins and Dayan, 1992) with looks ahead, on tables; it knows no environment's library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from containers.rl import kernels

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """All that may happen: arrays (states, actions, outcomes), and where episodes begin (states,).

    ``odds`` and ``starts`` are cumulative chances, ``following`` int64 states, ``rewards`` float64, ``final``
    whether an episode ends.
    """

    odds: Float64
    following: NDArray[np.int64]
    rewards: Float64
    final: NDArray[np.bool_]
    starts: Float64


@dataclass(frozen=True)
class Settings:
    """How values move: the share of the way, a reward's worth a step later, steps that are looked ahead."""

    rate: float
    discount: float
    look_ahead: int


def epsilons(first: float, decay: float, least: float, begin: int, count: int) -> Float64:
    """Shares of random actions of episodes ``begin`` to ``begin + count``, (count,)."""
    return np.maximum(first * decay ** np.arange(begin, begin + count, dtype=np.float64), least)


class Learner:
    """A table of values (states, actions) float64, which is changed in place.

    The same seed and calls give the same bytes. Worlds that are known whole are learned by `run`; others step
    by step: `begin`, then `choose` and `step` until `end`.
    """

    def __init__(self, table: Float64, settings: Settings, seed: int) -> None:
        self.table = table
        self._settings = settings
        self._random = np.array([seed], np.uint64)
        ahead = settings.look_ahead
        self._states, self._actions = np.zeros(ahead, np.int64), np.zeros(ahead, np.int64)
        self._rewards, self._best = np.zeros(ahead), np.zeros(ahead, np.bool_)
        self._steps, self._after, self._ended = 0, 0, False

    def run(self, world: World, shares: Float64, limit: int, learning: bool = True) -> tuple[Float64, int]:
        """Plays an episode for each of ``shares``, its share of random actions; rewards (n,) and steps.

        An episode is broken off after ``limit`` steps.
        """
        sums = np.zeros(len(shares))
        settings = self._settings
        steps = kernels.episodes(
            world.odds,
            world.following,
            world.rewards,
            world.final,
            world.starts,
            self.table,
            limit,
            settings.look_ahead,
            settings.rate if learning else 0.0,
            settings.discount,
            shares,
            self._random,
            sums,
        )
        return sums, int(steps)

    def choose(self, state: int, epsilon: float, learning: bool = True) -> int:
        """An action in ``state``: with chance ``epsilon`` any, else the best; see `kernels.choose`."""
        return int(kernels.choose(self.table[state], epsilon, learning, self._random))

    def begin(self) -> None:
        """An episode begins."""
        self._steps, self._ended = 0, False

    def step(self, state: int, action: int, reward: float, after: int, ended: bool) -> None:
        """Learns that ``action`` in ``state`` brought ``reward`` and led to ``after``, maybe the end."""
        ahead = self._settings.look_ahead
        at = self._steps % ahead
        self._states[at], self._actions[at], self._rewards[at] = state, action, reward
        self._best[at] = self.table[state, action] == self.table[state].max()
        self._steps += 1
        self._after, self._ended = after, ended
        if self._steps >= ahead:
            self._learn(self._steps - ahead, ahead)

    def end(self) -> None:
        """The episode is over, ended or broken off: the steps that still looked ahead are learned from."""
        for first in range(max(self._steps - self._settings.look_ahead + 1, 0), self._steps):
            self._learn(first, self._steps - first)

    def _learn(self, first: int, count: int) -> None:
        kernels.learn(
            self.table,
            self._states,
            self._actions,
            self._rewards,
            self._best,
            first,
            count,
            self._after,
            self._ended,
            self._settings.rate,
            self._settings.discount,
        )


def probabilities(values: Float64) -> Float64:
    """The greedy policy of (n, actions) values: 1 for the best action of each row, shared by equals."""
    best = values == values.max(1, keepdims=True)
    return best / best.sum(1, keepdims=True)
