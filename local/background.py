"""Work in threads that end with the program: those of an executor would hold it up until all is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Result = TypeVar("Result")


def begin(act: Callable[[], Result], turn: AbstractContextManager[object] | None = None) -> Future[Result]:
    """What ``act`` will return; it runs while ``turn`` is held, and not at all if it was cancelled before."""
    future: Future[Result] = Future()

    def run() -> None:
        with turn or nullcontext():
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(act())
            except BaseException as error:  # for whoever asks
                future.set_exception(error)

    threading.Thread(target=run, name="background", daemon=True).start()
    return future
