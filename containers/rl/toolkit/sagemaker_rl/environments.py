"""Environments of every age: Gymnasium's, old gym's with four values a step, and PettingZoo's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium import spaces

from sagemaker_rl.faults import Fault

_MOST_FRAMES = 2000  # of a film


class Adapted(gymnasium.Env):
    """An environment of old gym, whose ``step`` has four values and whose ``reset`` one."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.observation_space = space_of(env.observation_space)
        self.action_space = space_of(env.action_space)
        self.metadata = dict(getattr(env, "metadata", None) or {})
        self.render_mode = getattr(env, "render_mode", None)
        self.spec = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        if seed is not None and hasattr(self._env, "seed"):
            self._env.seed(seed)
        found = self._env.reset()
        paired = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)
        return found if paired else (found, {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        found = self._env.step(action)
        if len(found) == 5:
            return found
        observation, reward, done, told = found
        told = dict(told or {})
        broken_off = bool(done and told.get("TimeLimit.truncated"))
        return observation, float(reward), bool(done) and not broken_off, broken_off, told

    def render(self) -> Any:
        takes = inspect.signature(self._env.render).parameters
        return self._env.render(mode="rgb_array") if "mode" in takes else self._env.render()

    def close(self) -> None:
        if hasattr(self._env, "close"):
            self._env.close()


class Filmed(gymnasium.Wrapper):
    """Keeps an episode's frames, and writes each episode as an animated GIF into a folder."""

    def __init__(self, env: gymnasium.Env, folder: Path, most: int) -> None:
        super().__init__(env)
        self._folder, self._left = folder, most
        self._frames: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._write()
        found = self.env.reset(seed=seed, options=options)
        self._film()
        return found

    def step(self, action: Any) -> Any:
        found = self.env.step(action)
        self._film()
        if found[2] or found[3]:
            self._write()
        return found

    def _film(self) -> None:
        try:
            frame = self.env.render() if self._left else None
        except (gymnasium.error.Error, NotImplementedError) as error:
            print(f"no film: {error}", flush=True)
            self._left, frame = 0, None
        if isinstance(frame, list):
            frame = frame[-1] if frame else None
        if getattr(frame, "ndim", 0) == 3 and len(self._frames) < _MOST_FRAMES:
            self._frames.append(frame)

    def _write(self) -> None:
        if len(self._frames) > 1:
            from PIL import Image

            self._folder.mkdir(parents=True, exist_ok=True)
            number = len(list(self._folder.glob("episode_*.gif")))
            first, *others = [Image.fromarray(frame).quantize(64) for frame in self._frames]
            place = self._folder / f"episode_{number}.gif"
            first.save(place, save_all=True, append_images=others, duration=50, loop=0)
            print(f"{place}: {len(self._frames)} frames", flush=True)
            self._left -= 1
        self._frames = []


def space_of(space: Any) -> spaces.Space:
    """Old gym's space as Gymnasium's. Raises Fault."""
    if isinstance(space, spaces.Space):
        return space
    kind = type(space).__name__
    if kind == "Box":
        return spaces.Box(space.low, space.high, space.shape, space.dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(int(space.n), start=int(getattr(space, "start", 0)))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(space.nvec)
    if kind == "MultiBinary":
        return spaces.MultiBinary(space.n)
    if kind == "Tuple":
        return spaces.Tuple([space_of(one) for one in space.spaces])
    if kind == "Dict":
        return spaces.Dict({name: space_of(one) for name, one in space.spaces.items()})
    raise Fault(
        f"the environment has a space {kind}; accepted: Box, Discrete, MultiDiscrete, MultiBinary, Tuple or "
        "Dict"
    )


def adapted(env: Any) -> Any:
    """The environment as RLlib of today takes it."""
    from ray.rllib.env.multi_agent_env import MultiAgentEnv
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv

    if isinstance(env, MultiAgentEnv):
        return env
    if hasattr(env, "possible_agents"):
        return PettingZooEnv(env) if hasattr(env, "agent_iter") else ParallelPettingZooEnv(env)
    new = isinstance(env, gymnasium.Env) and "seed" in inspect.signature(env.reset).parameters
    new = new or isinstance(env, gymnasium.Wrapper)
    return env if new else Adapted(env)


class Creator:
    """Makes an environment as RLlib asks for it: adapted, broken off in time, filmed."""

    def __init__(
        self,
        name: str,
        create: Callable[[Mapping[str, Any]], Any] | None,
        limit: int | None = None,
        film: tuple[Path, int] | None = None,
    ) -> None:
        self._name, self.create, self.limit, self._film = name, create, limit, film

    def __call__(self, config: Mapping[str, Any]) -> Any:
        if self.create is None:
            more = {"render_mode": "rgb_array"} if self._film else {}
            env = gymnasium.make(self._name, **{**more, **config})
        else:
            env = self.create(config)
            if self._film and getattr(env, "render_mode", "") is None:
                env.unwrapped.render_mode = "rgb_array"
        found = adapted(env)
        if isinstance(found, gymnasium.Env):
            if self.limit:
                found = gymnasium.wrappers.TimeLimit(found, int(self.limit))
            if self._film:
                found = Filmed(found, *self._film)
        return found


def register(name: str, limit: int | None = None, film: tuple[Path, int] | None = None) -> None:
    """Registers an environment with RLlib, over what a launcher registered under that name. Raises Fault."""
    from ray.tune.registry import ENV_CREATOR, _global_registry, register_env

    create = _global_registry.get(ENV_CREATOR, name) if _global_registry.contains(ENV_CREATOR, name) else None
    if isinstance(create, Creator):
        limit, create = create.limit or limit, create.create
    if create is None:
        try:
            gymnasium.spec(name)
        except gymnasium.error.Error as error:
            raise Fault(
                f"env is {name!r}, which neither register_env_creator registers nor Gymnasium has: {error}"
            ) from None
    register_env(name, Creator(name, create, limit, film))
