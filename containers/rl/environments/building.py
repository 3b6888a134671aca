"""A building is heated hour by hour, with electricity that costs more in the evening."""

from __future__ import annotations

import math

import gymnasium
import numpy as np

from containers.rl.environments.tables import Outcomes, Tabular

COLDEST, STEP, BINS = 14.0, 0.5, 25  # degrees Celsius: 14 to 26
_WEATHER = ((-2.0, 0.25), (0.0, 0.5), (2.0, 0.25))  # by how much it is warmer outside than usual
_DEAR = range(17, 22)  # o'clock


class Building(Tabular):
    """A state is the hour times 25 plus the room's temperature in half degrees above 14.

    The action, 0 to 3, is the heating's power, each step of which warms the room by ``warming`` degrees an
    hour; a share ``leak`` of the difference to outside is lost. Outside it is ``mean`` degrees on average, 4
    more at 14 o'clock and 4 less at 2, and the weather varies. A unit of heating costs 0.1, three times that
    from 17 to 22 o'clock; each degree away from 20 to 22 costs 1 from 7 to 23 o'clock, a quarter at night.
    Episodes never end by themselves.
    """

    def __init__(self, mean: float = 5.0, leak: float = 0.08, warming: float = 0.8) -> None:
        self.mean, self.leak, self.warming = mean, leak, warming
        self.observation_space = gymnasium.spaces.Discrete(24 * BINS)
        self.action_space = gymnasium.spaces.Discrete(4)
        self.initial_state_distrib = np.zeros(24 * BINS)
        self.initial_state_distrib[:BINS] = 1 / BINS  # at midnight
        self.P = {
            hour * BINS + place: {power: self._outcomes(hour, place, power) for power in range(4)}
            for hour in range(24)
            for place in range(BINS)
        }

    def _outcomes(self, hour: int, place: int, power: int) -> Outcomes:
        room = COLDEST + STEP * place
        outside = self.mean + 4 * math.cos((hour - 14) / 24 * 2 * math.pi)
        price = 0.3 if hour in _DEAR else 0.1
        found: dict[int, float] = {}
        for warmer, likely in _WEATHER:
            after = room + self.warming * power - self.leak * (room - outside - warmer)
            exact = min(max((after - COLDEST) / STEP, 0.0), BINS - 1.0)
            low = int(exact)
            # Between two half degrees chance decides, so that the mean is right.
            for bin_, share in ((low, 1 - (exact - low)), (min(low + 1, BINS - 1), exact - low)):
                if share > 0:
                    found[bin_] = found.get(bin_, 0.0) + likely * share
        following = (hour + 1) % 24
        return [
            (
                likely,
                following * BINS + bin_,
                -price * power - self._discomfort(following, COLDEST + STEP * bin_),
                False,
            )
            for bin_, likely in found.items()
        ]

    @staticmethod
    def _discomfort(hour: int, room: float) -> float:
        away = max(20 - room, room - 22, 0.0)
        return away * (1.0 if 7 <= hour < 23 else 0.25)
