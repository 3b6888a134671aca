"""PPO on CartPole through the rl image's job, against the same RLlib algorithm run bare.

Both have the settings of examples/cartpole, the same seed and one process that plays. The job is the whole
way: `train`, script mode, the launcher, Tune. Steps a second are counted by the clock from the first
iteration's end to the last's, and episodes until their mean reward is 475. Run as::

    python -m bench.ppo [--steps 300000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "cartpole"
GOAL, SEED, CORES = 475, 0, 2
_BARE = "--bare"


def bare(steps: int) -> None:
    """RLlib alone, in a process of its own: prints seconds, steps, episodes and reward of each iteration."""
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig

    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=CORES - 1)
        .training(
            gamma=0.99,
            lr=0.0003,
            num_epochs=10,
            minibatch_size=128,
            train_batch_size_per_learner=2000,
            vf_loss_coeff=0.01,
        )
        .rl_module(
            model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "relu", "vf_share_layers": True}
        )
        .debugging(seed=SEED)
    )
    algorithm = config.build_algo()
    began, done, reward = time.perf_counter(), 0, 0.0
    while done < steps and not reward >= GOAL:
        found = algorithm.train()["env_runners"]
        done, reward = int(found["num_env_steps_sampled_lifetime"]), float(found["episode_return_mean"])
        told = (time.perf_counter() - began, done, int(found["num_episodes_lifetime"]), reward)
        print(json.dumps(told), flush=True)
    ray.shutdown()


def job(steps: int, folder: Path) -> list[list[float]]:
    """The same of a job: seconds, steps, episodes and reward of each iteration."""
    hyperparameters = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": str(EXAMPLE),
        "rl.training.config.seed": SEED,
        "rl.training.config.monitor": "false",
        "rl.training.stop.timesteps_total": steps,
    }
    (folder / "input" / "config").mkdir(parents=True)
    (folder / "input" / "data").mkdir()
    (folder / "input" / "config" / "hyperparameters.json").write_text(
        json.dumps({name: str(value) for name, value in hyperparameters.items()})
    )
    environment = {**os.environ, "ALGORITHM": "rl", "OPT_ML": str(folder), "ALGODOCK_NUM_THREADS": str(CORES)}
    subprocess.run([sys.executable, "-m", "common"], env=environment, capture_output=True, check=True)
    (told,) = (folder / "output" / "intermediate").glob("training/*/result.json")
    names = ("timestamp", "timesteps_total", "episodes_total", "episode_reward_mean")
    results = [json.loads(line) for line in told.read_text().splitlines()]
    return [[float(one[name]) for name in names] for one in results]


def speed(rows: list[list[float]]) -> float:
    """Steps a second after the first iteration, whose time is that of getting ready."""
    first, last = rows[0], rows[-1]
    return (last[1] - first[1]) / (last[0] - first[0])


def main() -> None:
    """Prints both sides and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.ppo")
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument(_BARE, action="store_true", help="RLlib alone, which this program starts itself")
    chosen = parser.parse_args()
    if chosen.bare:
        bare(chosen.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        ours = job(chosen.steps, Path(folder))
    done = subprocess.run(
        [sys.executable, "-m", "bench.ppo", _BARE, "--steps", str(chosen.steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    theirs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    for name, rows in (("the image's job", ours), ("RLlib run bare", theirs)):
        reached = f"{rows[-1][2]:.0f} episodes to a mean reward of {rows[-1][3]:.0f}"
        print(f"{name}: {speed(rows):8.0f} steps/s, {reached}")
    print(f"{speed(ours) / speed(theirs):.2f}x")


if __name__ == "__main__":
    main()
