"""SIGTERM: SageMaker's request to stop, honoured at the next batch so that what is trained is kept."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Stop:
    """Whether the job was asked to stop. Channels end their epoch early once it is ``requested``."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Takes SIGTERM, and SIGINT for people at a terminal; PID 1 has no handler of its own."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        # A second signal means now. The kernel lets process 1 have none that it doesn't handle.
        signal.signal(number, _end if os.getpid() == 1 else signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def ignore() -> None:
    """Leaves late requests to stop unheard: they would turn the exit code of a job that has ended well."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
