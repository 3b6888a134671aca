"""Q-learning's steps a second, against a straightforward loop in Python over Gymnasium.

Both play FrozenLake and Taxi with the same share of random actions, learning rate, discount and limit, and
learn a table; ours reads the environment's transitions once, and that is counted. Run as::

    python -m bench.q_learning [--steps 100000]
"""

from __future__ import annotations

import argparse
import time

import gymnasium
import numpy as np

from containers.rl import warm, worlds
from containers.rl.model import Learner, Settings

RATE, DISCOUNT, EPSILON = 0.1, 0.99, 0.2
TIMES = 30  # as many steps of ours, which take about as long


def theirs(name: str, steps: int) -> float:
    """Steps a second of the loop that tutorials have."""
    environment = gymnasium.make(name)
    random = np.random.default_rng(0)
    table = np.zeros((environment.observation_space.n, environment.action_space.n))
    started, done = time.perf_counter(), 0
    while done < steps:
        state, _ = environment.reset()
        over = False
        while not over:
            if random.random() < EPSILON:
                action = environment.action_space.sample()
            else:
                action = int(np.argmax(table[state]))
            after, reward, ended, truncated, _ = environment.step(action)
            goal = reward + (0 if ended else DISCOUNT * np.max(table[after]))
            table[state, action] += RATE * (goal - table[state, action])
            state, over = after, ended or truncated
            done += 1
    return done / (time.perf_counter() - started)


def ours(name: str, steps: int) -> float:
    """Steps a second of the job's learner."""
    started, done = time.perf_counter(), 0
    environment = worlds.make(name, {}, None)
    states, actions = int(environment.observation_space.n), int(environment.action_space.n)
    world = worlds.tabulated(environment, states, actions)
    assert world is not None
    assert environment.spec is not None
    learner = Learner(np.zeros((states, actions)), Settings(RATE, DISCOUNT, 1), seed=0)
    while done < steps:
        done += learner.run(world, np.full(200, EPSILON), environment.spec.max_episode_steps or 200)[1]
    return done / (time.perf_counter() - started)


def main() -> None:
    """Prints both sides and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.q_learning")
    parser.add_argument("--steps", type=int, default=100_000)
    chosen = parser.parse_args()
    warm.compile_all()
    for name in ("FrozenLake-v1", "Taxi-v3"):
        own, peer = ours(name, chosen.steps * TIMES), theirs(name, chosen.steps)
        print(f"{name}: {own:,.0f} steps/s, a loop over Gymnasium {peer:,.0f} steps/s, {own / peer:.0f}x")


if __name__ == "__main__":
    main()
