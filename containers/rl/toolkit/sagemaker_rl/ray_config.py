"""RLlib's settings as presets of AWS's examples write them (Ray 0.5 to 1.6), as RLlib of today has them.

What is only named otherwise is renamed; what is done in another way is done in that way; what has no equal is
refused by its name. The names are those of ray.rllib.agents.trainer.COMMON_CONFIG and of each agent's
DEFAULT_CONFIG in Ray 1.6.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gymnasium.spaces import Box, Dict
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.tune.registry import get_trainable_cls

from sagemaker_rl.faults import Fault

# Algorithms that RLlib gave up, and what does the same today.
GIVEN_UP = {
    "A2C": "PPO or IMPALA",
    "A3C": "PPO or IMPALA",
    "PG": "PPO",
    "DDPPO": "PPO with num_learners",
    "APEX": "APPO, or DQN with prioritized replay",
    "APEX_DDPG": "SAC",
    "DDPG": "SAC",
    "TD3": "SAC",
    "SimpleQ": "DQN",
    "QMIX": "PPO with multiagent",
    "MADDPG": "SAC with multiagent",
    "ES": "PPO",
    "ARS": "PPO",
}
RENAMED = {
    "num_workers": "num_env_runners",
    "num_envs_per_worker": "num_envs_per_env_runner",
    "num_cpus_per_worker": "num_cpus_per_env_runner",
    "num_gpus_per_worker": "num_gpus_per_env_runner",
    "custom_resources_per_worker": "custom_resources_per_env_runner",
    "num_cpus_for_driver": "num_cpus_for_main_process",
    "sample_batch_size": "rollout_fragment_length",
    "train_batch_size": "train_batch_size_per_learner",
    "sgd_minibatch_size": "minibatch_size",
    "num_sgd_iter": "num_epochs",
    "lr_schedule": "lr",
    "entropy_coeff_schedule": "entropy_coeff",
    "evaluation_num_episodes": "evaluation_duration",
    "evaluation_num_workers": "evaluation_num_env_runners",
    "custom_eval_function": "custom_evaluation_function",
    "timesteps_per_iteration": "min_sample_timesteps_per_iteration",
    "min_iter_time_s": "min_time_s_per_iteration",
    "metrics_smoothing_episodes": "metrics_num_episodes_for_smoothing",
    "ignore_worker_failures": "ignore_env_runner_failures",
    "recreate_failed_workers": "restart_failed_env_runners",
    "learning_starts": "num_steps_sampled_before_learning_starts",
    "num_aggregation_workers": "num_aggregator_actors_per_learner",
    "max_sample_requests_in_flight_per_worker": "max_requests_in_flight_per_env_runner",
    "lambda": "lambda_",
    "callbacks": "callbacks_class",
    "input": "input_",
}
# Settings of how the work was done, not of what is learned: RLlib of today has one way, which is this one.
ONE_WAY: dict[str, tuple[Any, ...]] = {
    "simple_optimizer": (True, False, -1),
    "straggler_mitigation": (False,),
    "sample_async": (False,),
    "synchronize_filters": (True, False),
    "collect_metrics_timeout": (180,),
    "use_exec_api": (True, False),
    "use_pytorch": (True,),
    "eager": (False,),
    "eager_tracing": (True, False),
    "no_eager_on_workers": (True, False),
    "soft_horizon": (False,),
    "no_done_at_end": (False,),
    "shuffle_sequences": (True,),
    "preprocessor_pref": (None, "rllib", "deepmind"),
    "num_data_loader_buffers": (1,),
    "vtrace": (True,),
    "use_dummy": (False,),
    "monitor": (True, False),  # the launcher's: pictures of an evaluation
    "record_env": (True, False),
    "horizon": (),  # the launcher's: the environment breaks episodes off
}
MODEL = {
    "post_fcnet_hiddens": "head_fcnet_hiddens",
    "post_fcnet_activation": "head_fcnet_activation",
}


def algorithm_config(run: str, written: Mapping[str, Any]) -> AlgorithmConfig:
    """The algorithm's settings. Raises Fault for an algorithm or a name that RLlib hasn't."""
    if run in GIVEN_UP:
        raise Fault(f"run is {run}, which RLlib gave up; accepted: {GIVEN_UP[run]}")
    if run not in ALGORITHMS:
        raise Fault(f"run is {run!r}, which RLlib hasn't; accepted: {', '.join(sorted(ALGORITHMS))}")
    return settled(get_trainable_cls(run).get_default_config(), written)


def settled(config: AlgorithmConfig, written: Mapping[str, Any]) -> AlgorithmConfig:
    """The configuration with what is written in it. Raises Fault."""
    left = dict(written)
    for take in (_model, _filter, _gpus, _replay, _exploration, _learning_rates, _evaluation):
        take(config, left)
    if str(left.pop("framework", "torch")).startswith("tf"):
        print("framework tf: the networks are the same ones of PyTorch", flush=True)
    if left.get("use_pytorch") is False:
        print("use_pytorch False: the networks are the same ones of PyTorch", flush=True)
        del left["use_pytorch"]
    for old in [name for name in left if name in ONE_WAY]:
        value = left.pop(old)
        if ONE_WAY[old] and value not in ONE_WAY[old]:
            accepted = " or ".join(str(one) for one in ONE_WAY[old])
            raise Fault(f"config {old} is {value!r}, which RLlib has no more; accepted: {accepted}")
    settings = {}
    for name, value in left.items():
        new = RENAMED.get(name, name)
        if new != "multiagent" and not hasattr(config, new):
            raise Fault(_unknown(config, name))
        settings[new] = value
    config.update_from_dict(settings)
    return config


def _unknown(config: AlgorithmConfig, name: str) -> str:
    known = [one for one in vars(config) if not one.startswith("_")] + list(RENAMED)
    near = difflib.get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"config {name} has no equal in RLlib's {type(config).__name__} of today{meant}"


def _model(config: AlgorithmConfig, left: dict[str, Any]) -> None:
    written = dict(left.pop("model", {}) or {})
    for old, new in (("vf_share_layers", "vf_share_layers"), ("hiddens", "head_fcnet_hiddens")):
        if old in left:  # settings of the agent, once
            written.setdefault(new, left.pop(old))
    for critic in ("Q_model", "policy_model"):
        for name, value in (left.pop(critic, None) or {}).items():
            name = {"hidden_activation": "fcnet_activation", "hidden_layer_sizes": "fcnet_hiddens"}.get(
                name, name
            )
            if written.setdefault(name, value) != value:
                raise Fault(
                    f"config {critic}.{name} differs from the other network's; accepted: one for both"
                )
    known = {field.name for field in fields(DefaultModelConfig)}
    found = {}
    for name, value in written.items():
        new = MODEL.get(name, name)
        if new not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise Fault(f"config model.{name} has no equal in RLlib's models of today{meant}")
        found[new] = value
    if found:
        config.rl_module(model_config=found)


def _filter(config: AlgorithmConfig, left: dict[str, Any]) -> None:
    if "observation_filter" not in left and isinstance(config._env_to_module_connector, Connectors):
        return  # a checkpoint's
    name = left.pop("observation_filter", "NoFilter")
    if name not in ("NoFilter", "MeanStdFilter"):
        raise Fault(f"config observation_filter is {name!r}; accepted: NoFilter or MeanStdFilter")
    many = "multiagent" in left or "policies" in left
    config.env_runners(env_to_module_connector=Connectors(name == "MeanStdFilter", many))


class Connectors:
    """What observations go through before a network: flattened where they are no box, then scaled."""

    def __init__(self, scaled: bool, many: bool) -> None:
        self._scaled, self._many = scaled, many

    def __call__(self, env: Any = None, spaces: Any = None, device: Any = None) -> list[Any]:
        if env is not None:
            space = getattr(env, "single_observation_space", env.observation_space)
        else:
            space = spaces[INPUT_ENV_SINGLE_SPACES][0]
        one = list(space.spaces.values()) if self._many and isinstance(space, Dict) else [space]
        found: list[Any] = []
        if not all(isinstance(part, Box) for part in one):
            found.append(FlattenObservations(multi_agent=self._many))
        if self._scaled:
            found.append(MeanStdFilter(multi_agent=self._many))
        return found


def _gpus(config: AlgorithmConfig, left: dict[str, Any]) -> None:
    count = left.pop("num_gpus", 0)
    if count:
        config.learners(num_gpus_per_learner=count)


def _replay(config: AlgorithmConfig, left: dict[str, Any]) -> None:
    """Settings of the agent that became the replay buffer's."""
    buffer = dict(left.pop("replay_buffer_config", {}) or {})
    kind = str(buffer.pop("type", ""))
    prioritized = left.pop("prioritized_replay", "Prioritized" in kind if kind else None)
    names = {
        "buffer_size": "capacity",
        "prioritized_replay_alpha": "alpha",
        "prioritized_replay_beta": "beta",
    }
    for old, new in names.items():
        if old in left:
            buffer[new] = left.pop(old)
    if "prioritized_replay_eps" in left:
        raise Fault("config prioritized_replay_eps has no equal in RLlib of today; accepted: leaving it out")
    if "learning_starts" in buffer:
        left.setdefault("learning_starts", buffer.pop("learning_starts"))
    if not buffer and prioritized is None:
        return
    usual = getattr(config, "replay_buffer_config", None)
    if usual is None:
        raise Fault(
            f"config {next(iter(buffer), 'prioritized_replay')} is of algorithms with a replay buffer"
        )
    found = {**usual, **buffer}
    if prioritized is not None:
        found["type"] = "PrioritizedEpisodeReplayBuffer" if prioritized else "EpisodeReplayBuffer"
    if found["type"] == "EpisodeReplayBuffer":
        found = {name: value for name, value in found.items() if name not in ("alpha", "beta")}
    config.training(replay_buffer_config=found)


def _exploration(config: AlgorithmConfig, left: dict[str, Any]) -> None:
    """How epsilon falls, which has been written in three ways."""
    way = dict(left.pop("exploration_config", {}) or {})
    kind = way.pop("type", "EpsilonGreedy" if way else None)
    old = {name: left.pop(name) for name in _EXPLORING if name in left}
    if kind == "StochasticSampling" and not hasattr(config, "epsilon"):
        return
    if kind not in (None, "EpsilonGreedy"):
        raise Fault(f"config exploration_config.type is {kind!r}; accepted: EpsilonGreedy")
    if not way and not old:
        return
    if not hasattr(config, "epsilon"):
        raise Fault(
            f"config {next(iter(old), 'exploration_config')} is of DQN; this algorithm draws its actions"
        )
    first = way.pop("initial_epsilon", 1.0)
    last = way.pop("final_epsilon", old.pop("exploration_final_eps", 0.02))
    steps = way.pop("epsilon_timesteps", None)
    if steps is None:
        share, whole = old.pop("exploration_fraction", 0.1), old.pop("schedule_max_timesteps", 100_000)
        steps = int(share * whole)
    if way or old:
        raise Fault(f"config {next(iter({**way, **old}))} has no equal in RLlib's exploring of today")
    config.training(epsilon=[(0, first), (steps, last)])


_EXPLORING = ("exploration_final_eps", "exploration_fraction", "schedule_max_timesteps")


def _learning_rates(config: AlgorithmConfig, left: dict[str, Any]) -> None:
    """Schedules win over the single values that they replaced; SAC's rates were in a dictionary."""
    for schedule, value in (("lr_schedule", "lr"), ("entropy_coeff_schedule", "entropy_coeff")):
        if left.get(schedule) is None:
            left.pop(schedule, None)
        else:
            left.pop(value, None)
    for name, rate in (left.pop("optimization", None) or {}).items():
        if name not in _RATES or not hasattr(config, _RATES[name]):
            raise Fault(f"config optimization.{name} has no equal in RLlib of today")
        left[_RATES[name]] = rate
    if hasattr(config, "actor_lr") and "actor_lr" in left and "lr" not in left:
        left["lr"] = None  # or RLlib says that both are given


_RATES = {
    "actor_learning_rate": "actor_lr",
    "critic_learning_rate": "critic_lr",
    "entropy_learning_rate": "alpha_lr",
}


def _evaluation(config: AlgorithmConfig, left: dict[str, Any]) -> None:
    """The evaluation's own settings are translated too."""
    if "evaluation_num_episodes" in left:
        left.setdefault("evaluation_duration_unit", "episodes")
    written = left.get("evaluation_config")
    if isinstance(written, Mapping):
        found = {}
        for name, value in written.items():
            if name in ONE_WAY:
                continue
            new = RENAMED.get(str(name), str(name))
            if not hasattr(config, new):
                raise Fault(f"config evaluation_config.{name} has no equal in RLlib of today")
            found[new] = value
        left["evaluation_config"] = found


def cpus(config: AlgorithmConfig) -> int:
    """How many CPUs the cluster needs for it."""
    return int(
        config.num_cpus_for_main_process
        + config.num_env_runners * config.num_cpus_per_env_runner
        + config.num_learners * (1 if config.num_cpus_per_learner == "auto" else config.num_cpus_per_learner)
    )
