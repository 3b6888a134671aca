"""Compiles the kernels when an image is built."""

from __future__ import annotations

import numpy as np

from containers.rl.model import Learner, Settings, World


def compile_all() -> None:
    """Calls each once with the types that training gives it."""
    one = np.ones((1, 1, 1))
    world = World(one, np.zeros((1, 1, 1), np.int64), one, one > 0, np.ones(1))
    learner = Learner(np.zeros((1, 1)), Settings(0.1, 0.9, 1), seed=0)
    learner.run(world, np.ones(1), limit=1)
    learner.choose(0, 0.0)
    learner.begin()
    learner.step(0, 0, 1.0, 0, ended=True)
    learner.end()
