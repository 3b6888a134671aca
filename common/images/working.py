"""A process that makes rows of batches, and what it does.

It is started with a socket and shared memory, and imports what its task needs, no more. It ends when the
process that started it has ended or closed the socket, also in the middle of its work.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from common.failures import AlgorithmError, ClientError
from common.images.decoding import Undecodable
from common.images.slots import Rows, Slots

Task = Callable[[Any, np.random.Generator, Rows], None]
"""``task(item, random, rows)`` writes one item into ``rows[name]``, which are one row of each array."""


@dataclass(slots=True)
class Made:
    """What became of some rows: those that can't be made, with the reason, or an error that ends it all."""

    failures: list[tuple[int, str]]
    client: str | None = None
    fault: str | None = None

    def error(self) -> BaseException | None:
        """What to raise."""
        if self.client is not None:
            return ClientError(self.client)
        return None if self.fault is None else AlgorithmError(f"an image can't be prepared: {self.fault}")


@dataclass(frozen=True, slots=True)
class Work:
    """Some items of a batch: what is written into rows from ``row`` of ``slot`` on.

    ``position`` counts the items of an epoch; with the job's seed and the epoch it seeds what is random.
    ``number`` tells an epoch from the one before, whose rows nobody wants any more.
    """

    number: int
    epoch: int
    slot: int
    row: int
    position: int
    items: Sequence[Any]


def make(task: Task, arrays: Rows, work: Work, seed: int, slots: Slots | None = None) -> Made:
    """Makes the rows of ``work``. With ``slots`` it leaves off once their epoch is another."""
    made = Made([])
    for index, item in enumerate(work.items):
        if slots is not None and slots.epoch != work.number:
            break
        row = work.row + index
        seeds = np.random.SeedSequence((seed, work.epoch, work.position + index))
        random = np.random.Generator(np.random.PCG64(seeds))
        try:
            task(item, random, {name: array[row, ...] for name, array in arrays.items()})
        except Undecodable as error:
            made.failures.append((row, str(error)))
        except ClientError as error:
            made.client = str(error)
            break
        except Exception:
            made.fault = traceback.format_exc()
            break
    return made


def main() -> None:
    """The process; its arguments are the descriptors of a socket and of the memory.

    The first message is what to do: task, shapes, rows of a batch, and seed.
    """
    # The job decides when to stop; a platform's signals may reach the whole group.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end = Connection(int(sys.argv[1]))
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(end, received), daemon=True).start()
    try:
        task, shapes, rows, seed = pickle.loads(received.get())
    except Exception:
        # Told as the answer to the first piece of work, whatever that is.
        end.send(Made([], fault=traceback.format_exc()))
        return
    slots = Slots(shapes, rows, int(sys.argv[2]))
    slots.close()
    while True:
        try:
            work = pickle.loads(received.get())
            made = make(task, slots.arrays[work.slot], work, seed, slots)
        except Exception:
            made = Made([], fault=traceback.format_exc())
        end.send(made)


def _receive(end: Connection, received: queue.SimpleQueue[bytes]) -> None:
    """Takes what comes at once, so that the job needn't wait for this process. What is sent is bounded."""
    try:
        while True:
            received.put(end.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)
