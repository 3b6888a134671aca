"""Answers observations with a network that RLlib trained, without Ray: policy.json, policy.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import safetensors
import safetensors.torch
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from common.failures import ClientError
from containers.rl.artifact import POLICY
from containers.rl.codec import Answer, Answers, Query
from containers.rl.model import probabilities

WEIGHTS = "policy.safetensors"
Layer = Callable[[Tensor], Tensor]
_CLIP = 10.0  # of scaled observations, as RLlib's MeanStdFilter has it
_ACTIVATIONS: dict[str, Layer] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": functional.silu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
    "flatten": lambda values: values.flatten(1),
    "channels_first": lambda values: values.permute(0, 3, 1, 2),
    "channels_last": lambda values: values.permute(0, 2, 3, 1),
}


def _layer(told: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Layer:
    kind = told["layer"]
    if kind in _ACTIVATIONS:
        return _ACTIVATIONS[kind]
    if kind == "zero_padding":
        sizes = [int(size) for size in told["sizes"]]
        return lambda values: functional.pad(values, sizes)
    weight = weights[told["weight"]]
    bias = weights[told["bias"]] if "bias" in told else None
    if kind == "dense":
        return lambda values: functional.linear(values, weight, bias)
    if kind == "convolution":
        stride, padding = tuple(told["stride"]), tuple(told["padding"])
        return lambda values: functional.conv2d(values, weight, bias, stride, padding)
    if kind == "layer_norm":
        shape, epsilon = list(told["shape"]), float(told["epsilon"])
        return lambda values: functional.layer_norm(values, shape, weight, bias, epsilon)
    raise ValueError(f"layer {kind}")


def _network(told: Sequence[Mapping[str, Any]] | None, weights: Mapping[str, Tensor]) -> Layer | None:
    if told is None:
        return None
    layers = [_layer(one, weights) for one in told]

    def run(values: Tensor) -> Tensor:
        for layer in layers:
            values = layer(values)
        return values

    return run


def space_of(told: Mapping[str, Any]) -> spaces.Space:
    """The space that policy.json describes. Raises ValueError, KeyError or TypeError."""
    kind = told["space"]
    if kind == "Box":
        shape = tuple(told["shape"])
        low, high = (
            np.array([end if one is None else one for one in told[name]]).reshape(shape)
            for name, end in (("low", -np.inf), ("high", np.inf))
        )
        dtype = np.dtype(told["dtype"])
        return spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(told["n"], start=told["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(told["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(told["n"])
    if kind == "Tuple":
        return spaces.Tuple([space_of(one) for one in told["spaces"]])
    if kind == "Dict":
        return spaces.Dict({name: space_of(one) for name, one in told["spaces"].items()})
    raise ValueError(f"space {kind}")


class _Policy:
    """One of the policies of a model."""

    def __init__(self, told: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        self.observations = space_of(told["observations"])
        self.actions = space_of(told["actions"])
        actor = _network(told["actor"], weights)
        assert actor is not None
        self._actor = actor
        self._critic = _network(told.get("critic"), weights)
        self._greedy = bool(told.get("greedy"))
        self._squashed = bool(told.get("squashed"))
        self._normalized = bool(told.get("normalize_actions"))
        self._log_std = weights[told["log_std"]] if "log_std" in told else None
        self._atoms = told.get("atoms")
        scale = told.get("scale")
        self._mean = weights[scale["mean"]] if scale else None
        self._deviation = weights[scale["deviation"]] if scale else None
        if not isinstance(self.actions, spaces.Box | spaces.Discrete | spaces.MultiDiscrete):
            raise ValueError("actions")
        (tried,) = self.answer([self.observations.sample()])  # what doesn't fit shows now
        if isinstance(self.actions, spaces.Discrete) and len(tried.probabilities) != self.actions.n:
            raise ValueError("actions")

    @torch.inference_mode()
    def answer(self, observations: Sequence[Any]) -> list[Answer]:
        """What to do about each observation, each an element of the space."""
        if isinstance(self.observations, spaces.Box):
            values = torch.from_numpy(np.stack(observations).astype(np.float32))
        else:
            flat = [np.asarray(spaces.flatten(self.observations, one)) for one in observations]
            values = torch.from_numpy(np.stack(flat).astype(np.float32))
        if self._mean is not None and self._deviation is not None:
            values = ((values - self._mean) / self._deviation).clamp(-_CLIP, _CLIP)
        out = self._actor(values)
        state = self._critic(values) if self._critic else None
        if self._greedy:
            return self._best(out, state)
        worth = [None] * len(out) if state is None else state.flatten().tolist()
        if isinstance(self.actions, spaces.Box):
            return self._means(out, worth)
        sizes = (
            self.actions.nvec.tolist() if isinstance(self.actions, spaces.MultiDiscrete) else [out.shape[1]]
        )
        parts = [part.softmax(1) for part in out.split(sizes, 1)]
        chosen = torch.stack([part.argmax(1) for part in parts], 1).tolist()
        chances = [part.tolist() for part in parts]
        if isinstance(self.actions, spaces.Discrete):
            return [Answer(a[0], v, p) for a, v, p in zip(chosen, worth, chances[0], strict=True)]
        return [
            Answer(action, value, [part[row] for part in chances])
            for row, (action, value) in enumerate(zip(chosen, worth, strict=True))
        ]

    def _best(self, advantages: Tensor, state: Tensor | None) -> list[Answer]:
        """Of a Q-network, whose values may be made of a state's and its actions' (duelling), or of atoms."""
        values = advantages
        if self._atoms:
            low, high, count = self._atoms
            places = torch.linspace(low, high, int(count))
            logits = advantages.view(len(advantages), -1, int(count))
            if state is not None:
                logits = logits - logits.mean(-1, keepdim=True) + state.view(len(state), 1, -1)
            values = (logits.softmax(-1) * places).sum(-1)
        elif state is not None:
            values = advantages - advantages.mean(1, keepdim=True) + state
        found = values.double().numpy()
        return [
            Answer(int(row.argmax()), float(row.max()), share.tolist())
            for row, share in zip(found, probabilities(found), strict=True)
        ]

    def _means(self, out: Tensor, worth: Sequence[Any]) -> list[Answer]:
        """Of a Gaussian policy; actions are brought into the space's bounds as RLlib does."""
        assert isinstance(self.actions, spaces.Box)
        if self._log_std is not None:
            mean, log_std = out, self._log_std.expand_as(out)
        else:
            mean, log_std = out.chunk(2, 1)
        deviations = log_std.clamp(-20, 20).exp().tolist()
        # As when it was trained (Haarnoja et al., 2018); RLlib's own evaluations leave the tanh out.
        mean = mean.tanh() if self._squashed else mean
        actions = mean.numpy().reshape(len(mean), *self.actions.shape)
        low, high = self.actions.low, self.actions.high
        if self._normalized and self.actions.is_bounded():
            actions = low + (actions + 1) * (high - low) / 2
        actions = np.clip(actions, low, high)
        return [
            Answer(action.tolist(), value, centre, deviation)
            for action, value, centre, deviation in zip(
                actions, worth, mean.tolist(), deviations, strict=True
            )
        ]


class NetworkPolicy:
    """The policies of a model, which a request may choose from by name."""

    feature_dim: int | None = None

    def __init__(self, policies: Mapping[str, _Policy]) -> None:
        self._policies = dict(policies)

    def predict(self, query: Query, options: Mapping[str, Any]) -> Answers:
        """An answer an observation. Raises ClientError for what isn't in the space of observations."""
        if query.policy is None and len(self._policies) == 1:
            (policy,) = self._policies.values()
        elif query.policy in self._policies:
            policy = self._policies[query.policy]
        else:
            told = "no policy is named" if query.policy is None else f"policy {query.policy!r} is unknown"
            raise ClientError(f"{told}; accepted: policy with one of {', '.join(self._policies)}")
        space = policy.observations
        found = [
            element(space, one, f"observation {n} (counted from 0)")
            for n, one in enumerate(query.observations)
        ]
        return Answers(policy.answer(found) if found else [], query.form)


def element(space: spaces.Space, written: Any, where: str) -> Any:
    """An element of a space from JSON: numbers, lists, and objects for Dict. Raises ClientError."""
    if isinstance(space, spaces.Dict):
        if not isinstance(written, dict) or set(written) != set(space.spaces):
            raise ClientError(
                f"{where} is {_short(written)}; accepted: an object with {', '.join(space.spaces)}"
            )
        return {name: element(one, written[name], f"{where}: {name}") for name, one in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(written, list) or len(written) != len(space.spaces):
            raise ClientError(f"{where} is {_short(written)}; accepted: a list of {len(space.spaces)} parts")
        parts = zip(space.spaces, written, strict=True)
        return tuple(element(one, part, f"{where}: part {n}") for n, (one, part) in enumerate(parts))
    try:
        values = np.asarray(written, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if isinstance(space, spaces.Discrete):
        alone = values.reshape(-1)
        whole = alone.size == 1 and np.isfinite(alone[0]) and alone[0] == np.floor(alone[0])
        if whole and space.contains(int(alone[0])):
            return int(alone[0])
        last = int(space.start) + int(space.n) - 1
        raise ClientError(f"{where} is {_short(written)}; accepted: an integer from {space.start} to {last}")
    shape = space.shape or ()
    kind = space.dtype or np.dtype(np.float32)
    if values.size == int(np.prod(shape)) and values.ndim in (1, len(shape)):
        with np.errstate(all="ignore"):
            found = values.reshape(shape).astype(kind)
        # Real numbers a little out of bounds are answered: sensors have noise.
        if np.issubdtype(kind, np.floating):
            fits = np.isfinite(found).all()
        else:
            fits = (found == values.reshape(shape)).all() and space.contains(found)
        if fits:
            return found
    size = " x ".join(map(str, shape))
    numbers = "finite numbers" if np.issubdtype(kind, np.floating) else f"whole numbers of {space}"
    raise ClientError(f"{where} is {_short(written)}; accepted: {size} {numbers}")


def _short(written: Any) -> str:
    text = json.dumps(written, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def load(folder: Path) -> NetworkPolicy:
    """The policies of a model's folder. Raises ClientError when they are damaged."""
    try:
        weights = safetensors.torch.load_file(folder / WEIGHTS)
    except FileNotFoundError:
        raise ClientError(f"the model has no file {WEIGHTS}; accepted: a model of algorithm rl") from None
    except (safetensors.SafetensorError, OSError):
        raise ClientError(f"{WEIGHTS} of the model is damaged; accepted: what training wrote") from None
    try:
        told = json.loads((folder / POLICY).read_text("utf-8"))["policies"]
        return NetworkPolicy({name: _Policy(one, weights) for name, one in told.items()})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError, gymnasium.error.Error):
        raise ClientError(f"{POLICY} of the model is damaged; accepted: what training wrote") from None
