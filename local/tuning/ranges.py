"""What a hyperparameter may be while it is tuned, as a number between 0 and 1 or as one of some words."""

from __future__ import annotations

import math
from dataclasses import dataclass

LINEAR, LOGARITHMIC, REVERSE = "Linear", "Logarithmic", "ReverseLogarithmic"
SCALINGS = ("Auto", LINEAR, LOGARITHMIC, REVERSE)
_WIDE = 100  # from what ratio of its ends a range of scaling Auto is searched by logarithms


@dataclass(frozen=True, slots=True)
class Numbers:
    """All numbers from ``low`` to ``high``, or all whole ones."""

    name: str
    low: float
    high: float
    scaling: str  # Linear, Logarithmic or ReverseLogarithmic
    whole: bool = False

    def text(self, share: float) -> str:
        """The value at a share, 0 to 1, of the range's scale, as a hyperparameter is written."""
        value = self._bent(share)
        if self.whole:
            return str(round(min(max(value, self.low), self.high)))
        return repr(float(min(max(value, self.low), self.high)))

    def share(self, text: str) -> float:
        """Where on the range's scale, 0 to 1, a value is; values beyond an end are at that end."""
        value = min(max(float(text), self.low), self.high)
        low, high, at = (self._straight(number) for number in (self.low, self.high, value))
        return 0.0 if high == low else (at - low) / (high - low)

    def _bent(self, share: float) -> float:
        low, high = self._straight(self.low), self._straight(self.high)
        at = low + share * (high - low)
        if self.scaling == LOGARITHMIC:
            return math.exp(at)
        return 1 - math.exp(at) if self.scaling == REVERSE else at

    def _straight(self, value: float) -> float:
        if self.scaling == LOGARITHMIC:
            return math.log(value)
        return math.log(1 - value) if self.scaling == REVERSE else value


@dataclass(frozen=True, slots=True)
class Words:
    """One of some texts, in the order in which a grid goes through them."""

    name: str
    values: tuple[str, ...]


Range = Numbers | Words


def automatic(low: float, high: float) -> str:
    """The scaling that Auto stands for: logarithmic where a range spans orders of magnitude above 0."""
    return LOGARITHMIC if low > 0 and high / low >= _WIDE else LINEAR
