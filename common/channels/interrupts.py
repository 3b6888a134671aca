"""How a reader thread learns that nobody wants its data any more."""

from __future__ import annotations

from common.stopping import Stop

POLL = 0.1  # seconds; the longest that a wait goes without looking


class Interrupted(Exception):
    """The epoch was abandoned or the job was asked to stop. Never leaves this package."""


class Interrupt:
    """Set when the consumer has gone, or when the job was asked to stop."""

    def __init__(self, stop: Stop | None = None) -> None:
        self._stop = stop
        self.abandoned = False

    @property
    def requested(self) -> bool:
        """Whether reading should end."""
        return self.abandoned or (self._stop is not None and self._stop.requested)

    def check(self) -> None:
        """Raises Interrupted when reading should end."""
        if self.requested:
            raise Interrupted
