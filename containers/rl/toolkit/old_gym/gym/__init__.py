"""``import gym``, given up in 2022, gives Gymnasium, unless a source's requirements bring the real one."""

import sys

import gymnasium
import gymnasium.envs.registration
import gymnasium.error
import gymnasium.spaces
import gymnasium.utils.seeding
import gymnasium.wrappers  # noqa: F401

for _name in [name for name in sys.modules if name.split(".")[0] == "gymnasium"]:
    sys.modules[_name.replace("gymnasium", "gym", 1)] = sys.modules[_name]
