"""Plays episodes with a trained policy: what AWS's evaluate-ray.py does, and its lines.

A source's own program imports its launcher and calls this one::

    from train import MyLauncher
    from sagemaker_rl.evaluation import main

    MyLauncher().register_env_creator()
    main()
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path
from statistics import fmean
from typing import Any

from sagemaker_rl import environments
from sagemaker_rl.faults import Fault

# Steps after which an episode without a limit of its own is broken off: a policy may never come to the end.
_LIMIT = 10_000
MODEL = "/opt/ml/input/data/model"


def evaluate(
    checkpoint: Path,
    episodes: int,
    film: Path | None = None,
    algorithm: str | None = None,
    env: str | None = None,
    changes: dict[str, Any] | None = None,
) -> list[tuple[float, int]]:
    """Reward and steps of each episode, played without exploring; films go to a folder. Raises Fault."""
    from sagemaker_rl import ray_config

    try:
        kept = pickle.loads((checkpoint / "class_and_ctor_args.pkl").read_bytes())
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
        raise Fault(f"{checkpoint} is no checkpoint of RLlib that can be read: {error}") from None
    made = kept["class"]
    if algorithm is not None and made.__name__ != algorithm:
        raise Fault(f"--algorithm is {algorithm}; the checkpoint is of {made.__name__}")
    (written, *_), _ = kept["ctor_args_and_kwargs"]
    config = made.get_default_config()
    config = (
        config.update_from_dict(written) if isinstance(written, dict) else written.copy(copy_frozen=False)
    )
    if changes:
        config = ray_config.settled(config, changes)
    limit = (changes or {}).get("horizon", _LIMIT)
    name = env or config.env
    if isinstance(name, str):
        environments.register(name, limit, (film, episodes) if film else None)
    config.environment(env=name)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1, create_env_on_local_worker=True)
    config.learners(num_learners=0)
    config.evaluation(evaluation_interval=0, evaluation_num_env_runners=0)
    algo = config.build_algo()
    try:
        algo.restore_from_path(str(checkpoint.resolve()))
        played = algo.env_runner.sample(num_episodes=episodes, explore=False, random_actions=False)
        return [(float(one.get_return()), len(one)) for one in played]
    finally:
        algo.stop()


def main(arguments: list[str] | None = None) -> None:
    """The program. A fault ends it with a sentence and exit code 1."""
    model = os.environ.get("SM_CHANNEL_MODEL", MODEL)
    parser = argparse.ArgumentParser(description="Plays episodes with a policy that RLlib learned.")
    parser.add_argument("--algorithm", help="default: the checkpoint's")
    parser.add_argument("--env", help="default: the checkpoint's")
    parser.add_argument("--evaluate_episodes", type=int, default=5)
    parser.add_argument("--config", type=json.loads, default={}, help="settings over the checkpoint's, JSON")
    parser.add_argument("--checkpoint", type=Path, default=Path(model) / "checkpoint")
    parser.add_argument("--film", type=Path, help="a folder for animated GIFs of the episodes")
    chosen, _ = parser.parse_known_args(arguments)
    import ray

    from sagemaker_rl.ray_launcher import checkpoint_in

    ray.init("local", num_cpus=1, include_dashboard=False)
    try:
        played = evaluate(
            checkpoint_in(chosen.checkpoint),
            chosen.evaluate_episodes,
            chosen.film,
            chosen.algorithm,
            chosen.env,
            chosen.config,
        )
    except Fault as fault:
        raise SystemExit(str(fault)) from None
    finally:
        ray.shutdown()
    for reward, steps in played:
        print(f"Episode reward: {reward}. Episode steps: {steps}")
    rewards = [reward for reward, _ in played]
    print(f"Mean Reward: {fmean(rewards)}")
    print(f"Max Reward: {max(rewards)}")
    print(f"Min Reward: {min(rewards)}", flush=True)


if __name__ == "__main__":
    main()
