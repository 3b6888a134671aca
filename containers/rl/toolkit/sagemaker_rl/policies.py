"""Writes trained policies so that they answer without Ray: policy.json and policy.safetensors.

Networks are lists of layers, so that an endpoint runs no code of a model's archive. RLlib's own networks of
dense and convolutional layers are written; recurrent ones, and a source's own, aren't.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.models.torch.encoder import TorchActorCriticEncoder, TorchCNNEncoder, TorchMLPEncoder
from ray.rllib.core.models.torch.heads import TorchFreeLogStdMLPHead, TorchMLPHead
from ray.rllib.core.models.torch.primitives import TorchCNN, TorchMLP
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.filter import RunningStat
from safetensors.numpy import save_file

DESCRIPTION, WEIGHTS = "policy.json", "policy.safetensors"
_ACTIVATIONS = {
    torch.nn.ReLU: "relu",
    torch.nn.Tanh: "tanh",
    torch.nn.SiLU: "silu",
    torch.nn.ELU: "elu",
    torch.nn.GELU: "gelu",
    torch.nn.Sigmoid: "sigmoid",
}


class _Unknown(Exception):
    """A part that has no layer of ours."""


class _Writer:
    """Collects layers' descriptions and their weights."""

    def __init__(self) -> None:
        self.weights: dict[str, np.ndarray] = {}

    def layers(self, name: str, *modules: Any) -> list[dict[str, Any]]:
        """What the modules do one after another. Raises _Unknown."""
        found = []
        for number, (kind, module, settings) in enumerate(part for one in modules for part in _parts(one)):
            layer: dict[str, Any] = {"layer": kind, **settings}
            for weight in ("weight", "bias"):
                value = getattr(module, weight, None) if module is not None else None
                if value is not None:
                    layer[weight] = f"{name}.{number}.{weight}"
                    self.weights[layer[weight]] = value.detach().cpu().numpy().astype(np.float32)
            found.append(layer)
        return found


def _parts(module: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    if isinstance(module, TorchMLPEncoder | TorchCNNEncoder | TorchMLPHead | TorchFreeLogStdMLPHead):
        yield from _parts(module.net)
    elif isinstance(module, TorchMLP):
        yield from _parts(module.mlp)
    elif isinstance(module, TorchCNN):
        yield "channels_first", None, {}
        yield from _parts(module.cnn)
        yield "channels_last", None, {}
    elif isinstance(module, torch.nn.Sequential):
        for one in module:
            yield from _parts(one)
    elif isinstance(module, torch.nn.Linear):
        yield "dense", module, {}
    elif isinstance(module, torch.nn.Conv2d):
        if (
            isinstance(module.padding, str)
            or any(size != 1 for size in module.dilation)
            or module.groups != 1
        ):
            raise _Unknown("a convolution with padding, dilation or groups of its own")
        yield "convolution", module, {"stride": list(module.stride), "padding": list(module.padding)}
    elif isinstance(module, torch.nn.ZeroPad2d):
        yield "zero_padding", None, {"sizes": [int(size) for size in module.padding]}
    elif isinstance(module, torch.nn.LayerNorm):
        yield "layer_norm", module, {"epsilon": module.eps, "shape": list(module.normalized_shape)}
    elif isinstance(module, torch.nn.Flatten):
        yield "flatten", None, {}
    elif type(module) in _ACTIVATIONS:
        yield _ACTIVATIONS[type(module)], None, {}
    elif not isinstance(module, torch.nn.Identity):
        raise _Unknown(f"a part {type(module).__name__}")


def export(checkpoint: Path, model: Path) -> str | None:
    """Writes the policies of a checkpoint into the model's folder, or tells why it can't."""
    root = checkpoint / "learner_group" / "learner" / "rl_module"
    state = pickle.loads((checkpoint / "class_and_ctor_args.pkl").read_bytes())
    settings = _settings(state)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    many = [folder.name for folder in folders] != [DEFAULT_MODULE_ID]  # one may be shared by several agents
    writer = _Writer()
    found = {}
    try:
        for folder in folders:
            policy = _policy(writer, folder.name, RLModule.from_checkpoint(folder))
            policy["normalize_actions"] = bool(settings.get("normalize_actions", True))
            policy |= _before(writer, checkpoint / "env_runner" / "env_to_module_connector", many)
            found[folder.name] = policy
    except _Unknown as error:
        return f"{error} can't be written without Ray"
    described = {
        "algorithm": state["class"].__name__,
        "environment": str(settings.get("env")),
        "policies": found,
    }
    partial = model / f".{WEIGHTS}"
    save_file(writer.weights, partial)
    os.replace(partial, model / WEIGHTS)
    partial = model / f".{DESCRIPTION}"
    partial.write_text(json.dumps(described, indent=1))
    os.replace(partial, model / DESCRIPTION)
    return None


def _before(writer: _Writer, connectors: Path, many: bool) -> dict[str, Any]:
    """What observations go through before the network, of which ours are flattening and scaling."""
    if many:  # each agent has its own; the network's own space of observations is asked for
        if (connectors / "MeanStdFilter").exists():
            raise _Unknown("a MeanStdFilter of several agents")
        return {}
    kept = pickle.loads((connectors / "class_and_ctor_args.pkl").read_bytes())
    (observations, *_), _ = kept["ctor_args_and_kwargs"]
    found: dict[str, Any] = {"observations": space(observations)}
    if (connectors / "MeanStdFilter").exists():
        state = pickle.loads((connectors / "MeanStdFilter" / "state.pkl").read_bytes())
        (one,) = state.values()
        (stat,) = [RunningStat.from_state(part) for part in one["running_stats"]]
        writer.weights["scale.mean"] = stat.mean.astype(np.float32)
        writer.weights["scale.deviation"] = (stat.std + 1e-8).astype(np.float32)
        found["scale"] = {"mean": "scale.mean", "deviation": "scale.deviation"}
    return found


def _settings(state: Mapping[str, Any]) -> Mapping[str, Any]:
    (config, *_), _ = state["ctor_args_and_kwargs"]
    return config if isinstance(config, Mapping) else config.to_dict()


def _policy(writer: _Writer, name: str, module: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "observations": space(module.observation_space),
        "actions": space(module.action_space),
    }
    if hasattr(module, "pi_encoder"):  # SAC: its Q-networks judge actions, not states
        found["actor"] = writer.layers(f"{name}.actor", module.pi_encoder, module.pi)
        found["squashed"] = isinstance(module.action_space, spaces.Box)
    elif hasattr(module, "af"):  # DQN
        found["actor"] = writer.layers(f"{name}.advantage", module.encoder, module.af)
        found["greedy"] = True
        if module.uses_dueling:
            found["critic"] = writer.layers(f"{name}.value", module.encoder, module.vf)
        if module.num_atoms > 1:
            found["atoms"] = [float(module.v_min), float(module.v_max), int(module.num_atoms)]
    elif isinstance(getattr(module, "encoder", None), TorchActorCriticEncoder):  # PPO, APPO, IMPALA
        encoder = module.encoder
        shared = getattr(encoder, "encoder", None)
        actor = shared if shared is not None else encoder.actor_encoder
        critic = shared if shared is not None else encoder.critic_encoder
        found["actor"] = writer.layers(f"{name}.actor", actor, module.pi)
        found["critic"] = writer.layers(f"{name}.critic", critic, module.vf)
        if isinstance(module.pi, TorchFreeLogStdMLPHead):
            found["log_std"] = f"{name}.log_std"
            writer.weights[found["log_std"]] = module.pi.log_std.detach().cpu().numpy()
    else:
        raise _Unknown(f"a module {type(module).__name__}")
    return found


def space(found: Any) -> dict[str, Any]:
    """A space as JSON. Raises _Unknown."""
    if isinstance(found, spaces.Box):
        low, high = np.broadcast_to(found.low, found.shape), np.broadcast_to(found.high, found.shape)
        return {
            "space": "Box",
            "shape": list(found.shape),
            "dtype": np.dtype(found.dtype).name,
            "low": [None if np.isinf(one) else float(one) for one in low.ravel()],
            "high": [None if np.isinf(one) else float(one) for one in high.ravel()],
        }
    if isinstance(found, spaces.Discrete):
        return {"space": "Discrete", "n": int(found.n), "start": int(found.start)}
    if isinstance(found, spaces.MultiDiscrete):
        return {"space": "MultiDiscrete", "nvec": [int(n) for n in found.nvec]}
    if isinstance(found, spaces.MultiBinary):
        return {"space": "MultiBinary", "n": int(found.n)}
    if isinstance(found, spaces.Tuple):
        return {"space": "Tuple", "spaces": [space(one) for one in found.spaces]}
    if isinstance(found, spaces.Dict):
        return {"space": "Dict", "spaces": {name: space(one) for name, one in found.spaces.items()}}
    raise _Unknown(f"a space {type(found).__name__}")
