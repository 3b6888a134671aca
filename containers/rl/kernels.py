"""Q-learning's inner loops. A world is a table: what may follow each state and action, and how likely."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.compiled import compiled

Float64 = NDArray[np.float64]
_SCALE = 1.0 / 9007199254740992.0  # 2^-53


def _draw(random: NDArray[np.uint64]) -> float:
    """A number from 0 to below 1: splitmix64 (Steele and others, 2014), whose state is ``random[0]``."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = random[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.float64(mixed >> np.uint64(11)) * _SCALE


draw = compiled(_draw)


def _greedy(values: Float64) -> int:
    """The first of the best actions of (actions,) values."""
    best = 0
    for action in range(1, len(values)):
        if values[action] > values[best]:
            best = action
    return best


greedy = compiled(_greedy)


def _among_best(values: Float64, random: NDArray[np.uint64]) -> int:
    """One of the best actions of (actions,) values, by chance where several are."""
    best, count = greedy(values), 1
    for action in range(best + 1, len(values)):
        if values[action] == values[best]:
            count += 1
    if count == 1:
        return best
    left = int(draw(random) * count)
    for action in range(best, len(values)):
        if values[action] == values[best]:
            if left == 0:
                return action
            left -= 1
    return best


among_best = compiled(_among_best)


def _choose(values: Float64, epsilon: float, learning: bool, random: NDArray[np.uint64]) -> int:
    """An action: with chance ``epsilon`` any, else one of the best; ``values`` (actions,).

    While ``learning`` one of several best is drawn (Sutton and Barto, 2018, section 2.2): where nothing was
    paid yet the first would be taken for ever, and a reward that is far away never found. Else it is the
    first, as at an endpoint.
    """
    if epsilon > 0.0 and draw(random) < epsilon:
        return int(draw(random) * len(values))
    return among_best(values, random) if learning else greedy(values)


choose = compiled(_choose)


def _learn(
    table: Float64,
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
    rewards: Float64,
    best: NDArray[np.bool_],
    first: int,
    count: int,
    after: int,
    ended: bool,
    rate: float,
    discount: float,
) -> None:
    """Moves the value of the state and action at ``first`` towards the rewards of ``count`` steps.

    The four arrays are rings; ``best`` tells whether an action was the best one then. ``after`` is the state
    behind those steps, whose best value counts unless the episode has ``ended`` there. A look ahead ends
    where an action wasn't the best, or it would tell what exploring is worth (Watkins, 1989; n-step returns:
    Sutton and Barto, 2018, section 7).
    """
    size = len(states)
    for step in range(1, count):
        if not best[(first + step) % size]:
            after, ended, count = states[(first + step) % size], False, step
            break
    goal = 0.0
    if not ended:
        goal = table[after, greedy(table[after])]
    for step in range(count - 1, -1, -1):
        goal = rewards[(first + step) % size] + discount * goal
    at, taken = states[first % size], actions[first % size]
    table[at, taken] += rate * (goal - table[at, taken])


learn = compiled(_learn)


def _episodes(
    odds: Float64,
    following: NDArray[np.int64],
    paid: Float64,
    final: NDArray[np.bool_],
    starts: Float64,
    table: Float64,
    limit: int,
    ahead: int,
    rate: float,
    discount: float,
    epsilons: Float64,
    random: NDArray[np.uint64],
    sums: Float64,
) -> int:
    """Learns from ``len(sums)`` episodes, leaves their rewards there and returns how many steps they took.

    ``odds``, ``following``, ``paid`` and ``final`` are (states, actions, outcomes): cumulative chances, next
    states, rewards, whether the episode ends. ``starts`` (states,) are cumulative chances of first states.
    ``epsilons`` has an episode's share of random actions; with a ``rate`` of 0 nothing is learned. Episodes
    are broken off after ``limit`` steps; what would have followed then counts.
    """
    states = np.zeros(ahead, np.int64)
    actions = np.zeros(ahead, np.int64)
    rewards = np.zeros(ahead)
    best = np.zeros(ahead, np.bool_)
    total = 0
    for episode in range(len(sums)):
        state = min(int(np.searchsorted(starts, draw(random), "right")), len(starts) - 1)
        sums[episode] = 0.0
        steps = 0
        ended = False
        while not ended and steps < limit:
            action = choose(table[state], epsilons[episode], rate > 0.0, random)
            chances = odds[state, action]
            outcome = 0
            share = draw(random)
            while outcome < len(chances) - 1 and chances[outcome] <= share:
                outcome += 1
            ended = final[state, action, outcome]
            reward = paid[state, action, outcome]
            sums[episode] += reward
            at = steps % ahead
            states[at], actions[at], rewards[at] = state, action, reward
            best[at] = ahead == 1 or table[state, action] == table[state, greedy(table[state])]
            state = following[state, action, outcome]
            steps += 1
            if rate > 0.0 and steps >= ahead:
                learn(
                    table, states, actions, rewards, best, steps - ahead, ahead, state, ended, rate, discount
                )
        if rate > 0.0:
            for first in range(max(steps - ahead + 1, 0), steps):
                learn(
                    table,
                    states,
                    actions,
                    rewards,
                    best,
                    first,
                    steps - first,
                    state,
                    ended,
                    rate,
                    discount,
                )
        total += steps
    return total


episodes = compiled(_episodes)
