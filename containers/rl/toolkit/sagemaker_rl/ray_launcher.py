"""The base class of programs that train with Ray RLlib, as in AWS's examples::

class MyLauncher(SageMakerRayLauncher):
    def register_env_creator(self):
        register_env("Mine-v0", lambda env_config: Mine(**env_config))

    def get_experiment_config(self):
        return {"training": {"env": "Mine-v0", "run": "PPO", "stop": {...}, "config": {...}}}

if __name__ == "__main__":
    MyLauncher.train_main()
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from sagemaker_rl.faults import Fault
from sagemaker_rl.hyperparameters import apply

OUTPUT = Path("/opt/ml/output/intermediate")
LEAST_CPUS = 3  # a driver, an algorithm and one that plays, also on a machine with one core


class SageMakerRayLauncher:
    """Trains what ``get_experiment_config`` says, with ``rl.*`` hyperparameters laid over it."""

    def __init__(self) -> None:
        self.num_cpus = int(os.environ.get("SM_NUM_CPUS", "1"))
        self.num_gpus = int(os.environ.get("SM_NUM_GPUS", "0"))
        self.hosts_info = list(json.loads(os.environ.get("SM_HOSTS", '["algo-1"]')))
        self.host_name = os.environ.get("SM_CURRENT_HOST", self.hosts_info[0])
        self.hyperparameters: dict[str, Any] = json.loads(os.environ.get("SM_HPS", "{}"))

    def register_env_creator(self) -> None:
        """Where a subclass calls ray.tune.registry.register_env; names that Gymnasium knows need none."""

    def register_algorithms_and_preprocessors(self) -> None:
        """Where a subclass registers what else it brings."""

    def get_experiment_config(self) -> dict[str, Any]:
        """``{"training": {"env": ..., "run": ..., "stop": {...}, "config": {...}}}``."""
        raise NotImplementedError("a launcher has get_experiment_config")

    def customize_experiment_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The experiments with hyperparameters ``rl.*`` laid over them; a subclass may do more."""
        return apply(config, self.hyperparameters)

    def ray_init_config(self) -> dict[str, Any]:
        """Arguments of ray.init on one host."""
        return {"num_cpus": max(self.num_cpus, LEAST_CPUS), "num_gpus": self.num_gpus}

    def launch(self) -> None:
        """Trains to the end, or helps the host that does. Raises Fault."""
        from sagemaker_rl import ray_cluster

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that Ray's processes end too
        cluster = ray_cluster.described(self.hyperparameters, self.hosts_info, self.host_name)
        with ray_cluster.joined(cluster, self.ray_init_config()) as leads:
            if leads:
                self._train()

    @classmethod
    def train_main(cls) -> None:
        """What a program calls. A fault ends it with a sentence and exit code 1."""
        try:
            cls().launch()
        except Fault as fault:
            raise SystemExit(str(fault)) from None

    def _train(self) -> None:
        from sagemaker_rl import experiments

        stop = experiments.Stop()
        signal.signal(signal.SIGTERM, lambda *_: stop.ask())
        self.register_env_creator()
        self.register_algorithms_and_preprocessors()
        config = self.customize_experiment_config(self.get_experiment_config())
        output = Path(os.environ.get("SM_OUTPUT_INTERMEDIATE_DIR", OUTPUT))
        trials = experiments.run(config, output, restored(), stop)
        model = Path(os.environ.get("SM_MODEL_DIR", "/opt/ml/model"))
        self.save(trials[0], model)
        experiments.filmed(config, trials[0], output / "videos")
        open_to_all(output)
        open_to_all(model)

    def save(self, trial: Any, model: Path) -> None:
        """Puts a trial's newest checkpoint, its parameters and its policies into the model's folder."""
        from sagemaker_rl import policies

        if trial.checkpoint is None:
            raise Fault("Failed to save checkpoint files: the training ended before its first iteration")
        place = Path(trial.checkpoint.path)
        shutil.copytree(place, model / "checkpoint", dirs_exist_ok=True)
        shutil.copy(Path(trial.path) / "params.json", model / "params.json")
        reason = policies.export(place, model)
        if reason:
            print(f"serve won't answer for this model: {reason}", flush=True)


def restored() -> str | None:
    """The checkpoint in channel `checkpoint`, if there is one. Raises Fault."""
    place = os.environ.get("SM_CHANNEL_CHECKPOINT")
    return str(checkpoint_in(Path(place))) if place else None


def checkpoint_in(folder: Path) -> Path:
    """The folder with RLlib's checkpoint, which may lie some folders down. Raises Fault."""
    found = sorted(path.parent for path in folder.rglob("rllib_checkpoint.json"))
    if not found:
        raise Fault(f"{folder} has no checkpoint of RLlib; accepted: a model's folder checkpoint")
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found[:5])
        raise Fault(f"{folder} has {len(found)} checkpoints: {names}; accepted: one")
    return found[0]


def open_to_all(folder: Path) -> None:
    """For local mode, whose user may be another."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777)
