"""The job of Q-learning: an environment, episodes, the table, and how good its policy is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from common.failures import ClientError
from common.learning import previous
from common.metrics import log
from common.training import Run
from containers.rl import artifact, worlds
from containers.rl.model import Float64, Learner, Settings, epsilons
from containers.rl.numbering import Numbering

# Steps, at most, between looks whether the job was asked to stop, where a kernel plays; half a second.
_BLOCK = 5_000_000
# Of an episode whose environment has no limit: a policy that knows little may never come to the end.
_LIMIT = 10_000
# By which share of the episodes epsilon has come to its least, where its decay isn't given.
_EXPLORED = 0.5
_LEAST_EPSILON = 1e-3

Played = tuple[Float64, int]
"""Rewards of episodes, (n,), and how many steps they took."""


def train(run: Run) -> None:
    """Learns a table and measures its policy; the leader writes both files."""
    values = run.hyperparameters
    channel = run.channels.get("environment")
    environment = worlds.make(
        values["environment"], values["env_config"], None if channel is None else channel.folder
    )
    states = worlds.numbering(environment.observation_space, "observations")
    actions = worlds.numbering(environment.action_space, "actions")
    worlds.check_size(states, actions)
    table = _beginning(run, states, actions)
    settings = Settings(values["learning_rate"], values["discount"], values["look_ahead"])
    player = _Player(run, environment, states, actions, Learner(table, settings, run.seed))
    log.info("%d states, %d actions, %s", states.count, actions.count, player.how)
    _learn(run, player)
    with run.artifact(artifact.POLICY) as path:
        path.write_text(artifact.describe(values["environment"], states, actions), "utf-8")
    with run.artifact(artifact.TABLE) as path:
        artifact.dump(table, path)
    if not run.stop.requested:
        sums, steps = player.play(np.zeros(values["evaluation_episodes"]), learning=False)
        if len(sums):
            run.metrics.quality("test", "reward_mean", float(sums.mean()), "score")
            log.info(
                "Mean Reward: %s Max Reward: %s Min Reward: %s, %.1f steps an episode",
                *(float(value) for value in (sums.mean(), sums.max(), sums.min())),
                steps / len(sums),
            )
    environment.close()


def _beginning(run: Run, states: Numbering, actions: Numbering) -> Float64:
    """The table of channel model, or a new one."""
    with previous.opened(run) as folder:
        if folder is None:
            return np.full((states.count, actions.count), run.hyperparameters["initial_value"])
        table, *_ = artifact.read(folder)
    if table.shape != (states.count, actions.count):
        raise ClientError(
            f"the model in channel model has {table.shape[0]} states and {table.shape[1]} actions; accepted "
            f"for this environment: {states.count} and {actions.count}"
        )
    log.info("Going on from the model of channel model")
    if "initial_value" in run.hyperparameters.given:
        log.warning("hyperparameter initial_value has no effect: there is a channel model to go on from")
    return table


def _learn(run: Run, player: _Player) -> None:
    """All episodes in as many iterations as are told of."""
    values = run.hyperparameters
    count, first, least = values["episodes"], values["epsilon"], values["epsilon_min"]
    decay = values["epsilon_decay"]
    if decay is None:
        lowest = max(least, _LEAST_EPSILON)
        decay = min(1.0, (lowest / first) ** (1 / max(count * _EXPLORED, 1))) if first else 1.0
    ends = np.linspace(0, count, min(values["iterations"], count) + 1).astype(int)[1:]
    done = 0
    started = time.perf_counter()
    for iteration, end in enumerate(ends, 1):
        if run.stop.requested:
            log.info("Stopping on request after %d episodes", done)
            return
        begun = time.perf_counter()
        shares = epsilons(first, decay, least, done, int(end) - done)
        sums, steps = player.play(shares, learning=True)
        done += len(sums)
        if not np.isfinite(player.table).all():
            raise ClientError(
                "the table's values left the range of numbers; accepted: a lower learning_rate, discount or "
                "look_ahead"
            )
        if len(sums):
            log.info("training_iteration: %d", iteration)
            log.info("episodes_total: %d", done)
            log.info("episode_reward_mean: %s", float(sums.mean()))
            log.info("episode_reward_max: %s", float(sums.max()))
            log.info("episode_reward_min: %s", float(sums.min()))
            log.info("episode_len_mean: %s", steps / len(sums))
            log.info("time_total_s: %s", time.perf_counter() - started)
        run.metrics.progress(100.0 * done / count)
        run.metrics.throughput(steps, time.perf_counter() - begun)


class _Player:
    """Plays episodes: in a kernel where the environment is known whole, else step by step."""

    def __init__(
        self, run: Run, environment: gymnasium.Env, states: Numbering, actions: Numbering, learner: Learner
    ) -> None:
        self._run, self._environment, self._learner = run, environment, learner
        self._states, self._actions = states, actions
        own = environment.spec.max_episode_steps if environment.spec else None
        self._limit = run.hyperparameters["max_episode_steps"] or own or _LIMIT
        self._world = worlds.tabulated(environment, states.count, actions.count)
        self._seed: int | None = run.seed
        self.how = "known whole" if self._world is not None else "played step by step"

    @property
    def table(self) -> Float64:
        """The values."""
        return self._learner.table

    def play(self, shares: Float64, learning: bool) -> Played:
        """An episode for each share of random actions; fewer when the job is asked to stop."""
        one: Callable[[Float64], Played]
        if self._world is None:
            block, one = 1, lambda part: self._steps(float(part[0]), learning)
        else:
            world = self._world
            block, one = (
                max(1, _BLOCK // self._limit),
                lambda part: self._learner.run(world, part, self._limit, learning),
            )
        sums: list[Any] = []
        total = 0
        for start in range(0, len(shares), block):
            if self._run.stop.requested:
                break
            found, steps = one(shares[start : start + block])
            sums.append(found)
            total += steps
        return (np.concatenate(sums) if sums else np.zeros(0)), total

    def _steps(self, epsilon: float, learning: bool) -> Played:
        """An episode of an environment that is its own code."""
        environment, learner = self._environment, self._learner
        observation, _ = environment.reset(seed=self._seed)
        self._seed = None  # the first reset's seed is for all that follows
        state = self._number(observation)
        learner.begin()
        reward_sum, steps, over = 0.0, 0, False
        while not over and steps < self._limit:
            action = learner.choose(state, epsilon, learning)
            observation, reward, ended, truncated, _ = environment.step(self._actions.parts(action))
            after = self._number(observation)
            if learning:
                learner.step(state, action, float(reward), after, bool(ended))
            reward_sum += float(reward)
            steps += 1
            state, over = after, bool(ended or truncated)
        if learning:
            learner.end()
        return np.array([reward_sum]), steps

    def _number(self, observation: Any) -> int:
        try:
            return self._states.number(observation)
        except (TypeError, ValueError):
            raise ClientError(
                f"the environment shows {observation!r}, which its observation space "
                f"{self._environment.observation_space} hasn't"
            ) from None
