"""Early stopping as the logs of AWS's image show it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Patience:
    """Looks for a gain over the last ``window`` epochs.

    From epoch ``window + 1`` on, an epoch whose loss is not below the least of the ``window`` before it by
    ``tolerance`` or more is bad, and more than ``window`` bad ones in a row are the end.
    """

    window: int
    tolerance: float
    losses: list[float] = field(default_factory=list)
    bad: int = 0

    def observe(self, loss: float) -> list[str]:
        """Takes the next epoch's loss; what there is to say about it in AWS's words."""
        before = self.losses[-self.window :]
        self.losses.append(loss)
        if len(before) < self.window:
            return []
        least = min(before)
        said = [
            f"patience losses:{before} min patience loss:{least} current loss:{loss} "
            f"absolute loss difference:{abs(least - loss)}"
        ]
        if least - loss >= self.tolerance:
            self.bad = 0
            return said
        self.bad += 1
        said.append(f"Bad epoch: loss has not improved (enough). Bad count:{self.bad}")
        if self.over:
            said.append("Bad epochs exceeded patience. Stopping training early!")
        return said

    @property
    def over(self) -> bool:
        """Whether training should end."""
        return self.bad > self.window

    @property
    def best(self) -> int:
        """The epoch of the least loss so far, from 1; 0 before the first. Losses that are no numbers lose."""
        if not self.losses:
            return 0
        kept = [math.inf if math.isnan(loss) else loss for loss in self.losses]
        return kept.index(min(kept)) + 1
