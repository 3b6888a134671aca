"""A shop orders goods before it knows what people will ask for."""

from __future__ import annotations

import math

import gymnasium
import numpy as np

from containers.rl.environments.tables import Outcomes, Tabular


class SupplyChain(Tabular):
    """A state is the stock in the evening, 0 to ``shelf``; an action the goods that come over night.

    A day's demand is binomial: ``shelf`` customers come with a chance of ``demand / shelf`` each. A sale
    brings ``price``, an ordered piece costs ``cost``, one on stock ``storage`` a day, an unmet wish
    ``missed``. What doesn't fit on the shelf is paid and lost. Episodes never end by themselves.
    """

    def __init__(
        self,
        shelf: int = 20,
        demand: float = 6.0,
        price: float = 3.0,
        cost: float = 1.0,
        storage: float = 0.1,
        missed: float = 0.5,
    ) -> None:
        self.observation_space = gymnasium.spaces.Discrete(shelf + 1)
        self.action_space = gymnasium.spaces.Discrete(shelf + 1)
        self.initial_state_distrib = np.full(shelf + 1, 1 / (shelf + 1))
        chance = demand / shelf
        wishes = [math.comb(shelf, n) * chance**n * (1 - chance) ** (shelf - n) for n in range(shelf + 1)]

        def outcomes(stock: int, ordered: int) -> Outcomes:
            there = min(stock + ordered, shelf)
            found: Outcomes = []
            for wanted, likely in enumerate(wishes):
                sold = min(wanted, there)
                reward = price * sold - cost * ordered - storage * (there - sold) - missed * (wanted - sold)
                found.append((likely, there - sold, reward, False))
            return found

        self.P = {
            stock: {ordered: outcomes(stock, ordered) for ordered in range(shelf + 1)}
            for stock in range(shelf + 1)
        }
