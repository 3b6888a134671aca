"""The log lines that SageMaker's tuner, its console and people's regexes read.

The forms are those of the public training logs of AWS's images: a prefix ``[MM/DD/YYYY HH:MM:SS LEVEL
thread-id]`` on text lines, none on ``#metrics`` lines, which are followed by a blank one.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TextIO

Tag = Literal["loss", "score"]

log = logging.getLogger("algodock")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%m/%d/%Y %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"[{stamp} {record.levelname} {threading.get_ident()}] {text}"


def set_up_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Sends every log line to ``stream``, standard output, in AWS's form. Unknown levels mean info."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(_Formatter())
    log.handlers[:] = [handler]
    log.propagate = False
    number = getattr(logging, level.upper(), None)
    log.setLevel(number if isinstance(number, int) else logging.INFO)


@dataclass(frozen=True, slots=True)
class Summary:
    """One number of a ``#metrics`` line: how often it was seen, and its spread."""

    sum: float
    count: int
    min: float
    max: float

    @classmethod
    def of(cls, value: float) -> Summary:
        """A number seen once."""
        return cls(value, 1, value, value)


class Metrics:
    """Prints a job's metric lines.

    ``algorithm`` is ``Dimensions.Algorithm`` of its ``#metrics`` lines, ``host`` this host's name.
    """

    def __init__(self, algorithm: str, host: str, stream: TextIO | None = None) -> None:
        self.algorithm = algorithm
        self.host = host
        self._stream = stream
        self._started = time.time()
        self._timers: dict[str, Summary] = {}

    def quality(
        self,
        channel: str,
        name: str,
        value: float,
        tag: Tag = "loss",
        *,
        epoch: int | None = None,
        batch: int | None = None,
    ) -> None:
        """``#quality_metric: host=algo-1, epoch=3, train msd <loss>=0.25``, epoch and batch optional."""
        where = "" if epoch is None else f" epoch={epoch},"
        # AWS prints no comma between a batch's number and the channel.
        where += "" if batch is None else f" batch={batch}"
        log.info("#quality_metric: host=%s,%s %s %s <%s>=%s", self.host, where, channel, name, tag, value)

    def score(self, channel: str, name: str, value: float) -> None:
        """``#test_score (algo-1) : ('msd', 0.25)``, which precedes the final quality lines."""
        log.info("#%s_score (%s) : %r", channel, self.host, (name, float(value)))

    def progress(self, percent: float) -> None:
        """``#progress_metric: host=algo-1, completed 50.0 % of epochs``; give an int to print one."""
        log.info("#progress_metric: host=%s, completed %s %% of epochs", self.host, percent)

    def throughput(self, records: int, seconds: float) -> None:
        """``#throughput_metric: host=algo-1, train throughput=… records/second``."""
        rate = records / max(seconds, 1e-9)
        log.info("#throughput_metric: host=%s, train throughput=%s records/second", self.host, rate)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the block's milliseconds to the timer ``name``, which `flush` prints."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - start) * 1000)

    def add(self, name: str, value: float) -> None:
        """Adds a value to the counter ``name``, which `flush` prints."""
        old = self._timers.get(name)
        self._timers[name] = (
            Summary.of(value)
            if old is None
            else Summary(old.sum + value, old.count + 1, min(old.min, value), max(old.max, value))
        )

    def flush(self, operation: str = "training", **dimensions: Any) -> None:
        """Prints the timers gathered since the last call as one ``#metrics`` line."""
        if self._timers:
            self.record(self._timers, operation, **dimensions)
        self._started = time.time()
        self._timers = {}

    def record(
        self, metrics: Mapping[str, float | Summary], operation: str = "training", **dimensions: Any
    ) -> None:
        """Prints a ``#metrics`` line. ``dimensions`` may hold ``Meta``, ``epoch`` (from 0) and ``model``."""
        line = {
            "StartTime": self._started,
            "EndTime": time.time(),
            "Dimensions": {
                "Algorithm": self.algorithm,
                "Host": self.host,
                "Operation": operation,
                **dimensions,
            },
            "Metrics": {
                name: _plain(value if isinstance(value, Summary) else Summary.of(value))
                for name, value in metrics.items()
            },
        }
        self._print(f"#metrics {json.dumps(line)}\n")

    def counted(
        self, meta: str, records: int, batches: int, *, epoch: int | None = None, resets: int = 1
    ) -> None:
        """Prints a data iterator's counters, ``meta`` being ``training_data_iter`` and the like."""
        totals = {
            "Total Records Seen": records,
            "Total Batches Seen": batches,
            "Max Records Seen Between Resets": records // max(resets, 1),
            "Max Batches Seen Between Resets": batches // max(resets, 1),
            "Reset Count": resets,
            "Number of Records Since Last Reset": records // max(resets, 1),
            "Number of Batches Since Last Reset": batches // max(resets, 1),
        }
        dimensions: dict[str, Any] = {"Meta": meta}
        if epoch is not None:
            dimensions["epoch"] = epoch
        self.record({name: float(value) for name, value in totals.items()}, **dimensions)

    def _print(self, text: str) -> None:
        print(text, file=self._stream or sys.stdout, flush=True)


def _plain(summary: Summary) -> dict[str, float]:
    return {"sum": summary.sum, "count": summary.count, "min": summary.min, "max": summary.max}
