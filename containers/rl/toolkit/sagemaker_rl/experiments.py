"""Runs experiments by Ray Tune, and tells of them as Ray's of AWS's images did."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.tune.error import TuneError
from ray.tune.experiment import Trial

from sagemaker_rl import environments, ray_config
from sagemaker_rl.faults import Fault

FREQUENCY = 10  # iterations between checkpoints
# Of a result, as they were named, and how RLlib names them, among those of its env_runners.
NAMES = {
    "episode_reward_mean": "episode_return_mean",
    "episode_reward_max": "episode_return_max",
    "episode_reward_min": "episode_return_min",
    "episode_len_mean": "episode_len_mean",
    "episodes_this_iter": "num_episodes",
    "episodes_total": "num_episodes_lifetime",
    "timesteps_total": "num_env_steps_sampled_lifetime",
}
_TOLD = (*NAMES, "time_this_iter_s", "time_total_s", "training_iteration")
_EXPERIMENT = {"env", "run", "stop", "config", "checkpoint_freq", "restore", "keep_checkpoints_num"}
_EXPERIMENT |= {"num_samples", "max_failures"}
_EXPERIMENT |= {"checkpoint_at_end", "local_dir"}  # which AWS's launcher always sets, as is done here
_SHOWN = 3  # episodes of an evaluation that are filmed


class Named(RLlibCallback):
    """Gives results the names that stopping conditions and logs of presets use."""

    def on_train_result(self, *, algorithm: Any, metrics_logger: Any = None, result: dict, **_: Any) -> None:
        played = result.get("env_runners", {})
        for old, new in NAMES.items():
            # Before the first episode ends there are no rewards, but there are counts, which Tune reads.
            result.setdefault(old, float(played.get(new, math.nan if "episode_" in old else 0)))


class Told(tune.Callback):
    """Prints each iteration's result, in lines that the metrics' regexes find."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **_: Any
    ) -> None:
        lines = [f"Result for {trial}:"]
        for name in sorted(_TOLD):
            value = result.get(name)
            if isinstance(value, int | float) and not math.isnan(value):
                lines.append(f"  {name}: {value}")
        print("\n".join(lines), flush=True)


class Stop:
    """Whether the job was asked to end; copies, of which Tune makes some, are the same one."""

    asked = False

    def ask(self) -> None:
        """From a signal: trials end after the iteration under way, with a checkpoint."""
        self.asked = True

    def __deepcopy__(self, _: Any) -> Stop:
        return self


class _Condition(tune.Stopper):
    """A preset's: a trial ends once any of these values is reached, and all when the job is asked to end."""

    def __init__(self, least: Mapping[str, float], stop: Stop) -> None:
        self._least, self._stop = dict(least), stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        flat = {**tune.utils.util.flatten_dict(result), **result}
        unknown = [name for name in self._least if name not in flat]
        if unknown:
            raise Fault(
                f"stop has {unknown[0]}, which results haven't; accepted: {', '.join(_TOLD)}, or a path of "
                "RLlib's, such as env_runners/episode_return_mean"
            )
        reached = (float(flat[name]) >= float(least) for name, least in self._least.items())
        return self._stop.asked or any(reached)

    def stop_all(self) -> bool:
        return False  # Tune leaves out the last checkpoint then


def run(config: Mapping[str, Any], output: Path, restore: str | None, stop: Stop) -> list[Trial]:
    """Trains every experiment to its end. Raises Fault."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    found = {name: _experiment(spec, output, restore, stop) for name, spec in config.items()}
    try:
        return tune.run_experiments(found, verbose=0, callbacks=[Told()], raise_on_failed_trial=True)
    except (TuneError, RayError) as error:
        raise Fault(f"the training failed: {_reason(output, error)}") from None


def _experiment(spec: Mapping[str, Any], output: Path, restore: str | None, stop: Stop) -> dict[str, Any]:
    unknown = set(spec) - _EXPERIMENT
    if unknown:
        raise Fault(f"the experiment has {min(unknown)}; accepted: {', '.join(sorted(_EXPERIMENT))}")
    if "run" not in spec:
        raise Fault("the experiment has no run; accepted: an algorithm of RLlib, such as PPO")
    written = dict(spec.get("config", {}))
    env = spec.get("env", written.pop("env", None))
    algorithm: Any = spec["run"]
    limit = written.get("horizon")
    if isinstance(env, str):
        environments.register(env, limit)
    if isinstance(algorithm, str):
        settings = ray_config.algorithm_config(algorithm, written)
    elif hasattr(algorithm, "get_default_config"):  # a source's own
        settings = ray_config.settled(algorithm.get_default_config(), written)
    else:
        raise Fault(f"run is {algorithm!r}; accepted: an algorithm of RLlib, such as PPO")
    if env is not None:
        settings.environment(env=env)
    theirs = settings.callbacks_class
    theirs = list(theirs) if isinstance(theirs, list | tuple) else [theirs]
    settings.callbacks(callbacks_class=[Named, *theirs])
    here, wanted = int(ray.cluster_resources().get("CPU", 0)), ray_config.cpus(settings)
    if wanted > here:
        raise Fault(
            f"config num_workers is {settings.num_env_runners}, which takes {wanted} CPUs, and the cluster "
            f"has {here}; accepted: at most {here - wanted + settings.num_env_runners}"
        )
    _lead_on_head(settings.algo_class)
    conditions = spec.get("stop") or {}
    if not isinstance(conditions, Mapping):
        raise Fault(f"stop is {conditions!r}; accepted: names of results with values that end the training")
    checkpoints = tune.CheckpointConfig(
        num_to_keep=spec.get("keep_checkpoints_num"),
        checkpoint_frequency=int(spec.get("checkpoint_freq") or FREQUENCY),
        checkpoint_at_end=True,
    )
    return {
        "run": algorithm,
        "config": settings.to_dict(),
        "stop": _Condition(conditions, stop),
        "storage_path": str(output.resolve()),
        "checkpoint_config": checkpoints,
        "restore": spec.get("restore") or restore,
        "num_samples": spec.get("num_samples", 1),
        "max_failures": spec.get("max_failures", 0),
    }


def _lead_on_head(algorithm: Any) -> None:
    """Keeps the algorithm itself on the cluster's head, on whose disk results and checkpoints are wanted."""
    usual = algorithm.default_resource_request

    def request(cls: Any, config: Any) -> Any:
        found = usual(config)
        bundles = [dict(bundle) for bundle in found.bundles]
        bundles[0]["node:__internal_head__"] = 0.001
        return tune.PlacementGroupFactory(bundles, strategy=found.strategy)

    algorithm.default_resource_request = classmethod(request)


def _reason(output: Path, error: Exception) -> str:
    """The last line of a trial's error, or Ray's own."""
    files = sorted(output.rglob("error.txt"), key=lambda path: path.stat().st_mtime)
    lines = files[-1].read_text().strip().splitlines() if files else []
    return (lines or str(error).strip().splitlines() or [type(error).__name__])[-1]


def filmed(config: Mapping[str, Any], trial: Trial, folder: Path) -> None:
    """Films some episodes of the trained policy, where the preset asks for pictures (monitor, record_env)."""
    from sagemaker_rl import evaluation

    settings = next(iter(config.values())).get("config", {})
    if settings.get("monitor") or settings.get("record_env"):
        try:
            evaluation.evaluate(Path(trial.checkpoint.path), _SHOWN, folder)
        except Exception as error:  # whatever an environment raises: the model is there, and is worth more
            print(f"no film: {type(error).__name__}: {error}", flush=True)
