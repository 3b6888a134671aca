"""Environments that the image brings, under Gymnasium's names ``algodock/...``."""

from gymnasium.envs.registration import register

register(
    "algodock/CatAndMouse-v0",
    "containers.rl.environments.cat_and_mouse:CatAndMouse",
    max_episode_steps=200,
)
register(
    "algodock/SupplyChain-v0",
    "containers.rl.environments.supply_chain:SupplyChain",
    max_episode_steps=100,
)
register(
    "algodock/Building-v0",
    "containers.rl.environments.building:Building",
    max_episode_steps=72,
)
