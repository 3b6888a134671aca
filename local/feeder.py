"""Plays SageMaker's agent for Pipe mode: feeds a channel's data through FIFOs, one an epoch.

    with Feeder(root / "input" / "data", "train", [Path("a.pbr"), Path("b.pbr")]):
        ...  # run the job

``train_0`` is there when the block begins. Each FIFO serves one reader once and is then removed; the next one
appears before the last is closed, so a reader that polls finds it. Epochs go on until the block ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from common.failures import ClientError
from common.formats import recordio

Source = Path | Iterable[bytes]  # a file, or chunks of bytes that can be iterated once an epoch

_CHUNK = 1 << 20
_POLL = 0.01  # seconds; there is no event for "a reader has come"
_PATIENCE = 5.0  # seconds
_AHEAD = 8  # sources that may begin to come while an earlier one is fed


class _Closed(Exception):
    """The feeder was closed while it waited."""


class Feeder:
    """Feeds one channel from files, or from iterables of chunks, until it is closed.

    ``record_wrapper`` puts each source into a RecordIO record (RecordWrapperType=RecordIO); ``inflate`` takes
    gzip off (CompressionType=Gzip); ``shuffle_seed`` gives each epoch an order of sources of its own;
    ``share`` is a host's rank among how many, each of which feeds its part of that order
    (ShardedByS3Key). Iterators of a few sources to come are made early, so that they may fetch ahead.

    ``epochs_served`` counts the FIFOs that a reader has closed or read to the end. ``failure`` is what went
    wrong with a source: the FIFO then stays open, so that no part of an epoch is taken for the whole, and
    ``on_failure`` is called from the feeder's thread, where whoever runs the job should end it; leaving the
    block raises the failure.
    """

    def __init__(
        self,
        data: Path,
        channel: str,
        sources: Sequence[Source],
        *,
        record_wrapper: bool = False,
        inflate: bool = False,
        shuffle_seed: int | None = None,
        share: tuple[int, int] = (0, 1),
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        self.epochs_served = 0
        self.failure: Exception | None = None
        self._data = data
        self._channel = channel
        self._sources = sources
        self._record_wrapper = record_wrapper
        self._inflate = inflate
        self._shuffle_seed = shuffle_seed
        self._share = share
        self._on_failure = on_failure
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feeder-{channel}", daemon=True)

    def __enter__(self) -> Feeder:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.failure is not None and error is None:
            raise self.failure

    def start(self) -> None:
        """Makes the first FIFO and begins to wait for its reader."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._make(0)
        self._thread.start()

    def close(self) -> None:
        """Ends feeding, also in the middle of an epoch, and removes the FIFO that is there.

        A source that doesn't go on is left to itself after some seconds.
        """
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def fifo(self, epoch: int) -> Path:
        """Where the FIFO of an epoch is, or will be."""
        return self._data / f"{self._channel}_{epoch}"

    def _make(self, epoch: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fifo(epoch).unlink()
        os.mkfifo(self.fifo(epoch))
        # Whoever the container runs as may read it.
        self.fifo(epoch).chmod(0o666)

    def _run(self) -> None:
        epoch = 0
        try:
            while True:
                self._serve(epoch)
                self.epochs_served += 1
                epoch += 1
        except _Closed:
            pass
        except Exception as error:
            self._fail(error)
        finally:
            for left in (epoch, epoch + 1):
                with contextlib.suppress(OSError):
                    self.fifo(left).unlink()

    def _fail(self, error: Exception) -> None:
        self.failure = error
        if self._on_failure is not None:
            self._on_failure(error)

    def _serve(self, epoch: int) -> None:
        descriptor = self._open(epoch)
        try:
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _CHUNK)
            try:
                with closing(self._bytes(epoch)) as chunks:
                    for chunk in chunks:
                        self._write(descriptor, chunk)
            except BrokenPipeError:
                pass  # the reader has enough of this epoch
            except _Closed:
                raise
            except Exception as error:
                self._fail(error)
                self._closing.wait()
                raise _Closed from error
            self._make(epoch + 1)
        finally:
            os.close(descriptor)
        self.fifo(epoch).unlink(missing_ok=True)

    def _open(self, epoch: int) -> int:
        """Waits for a reader. A blocking open could not be given up."""
        while not self._closing.is_set():
            try:
                return os.open(self.fifo(epoch), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._closing.wait(_POLL)
        raise _Closed

    def _write(self, descriptor: int, chunk: bytes | memoryview) -> None:
        left = memoryview(chunk)
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while left:
            if self._closing.is_set():
                raise _Closed
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:
                poll.poll(100)

    def _bytes(self, epoch: int) -> Generator[bytes, None, None]:
        numbers = order(len(self._sources), epoch, self._shuffle_seed, self._share)
        with closing(_ahead(self._sources[number] for number in numbers)) as sources:
            for source, made in sources:
                chunks = _inflated(made, source) if self._inflate else made
                yield from _wrapped(chunks, source) if self._record_wrapper else chunks


def order(count: int, epoch: int, shuffle_seed: int | None, share: tuple[int, int]) -> list[int]:
    """Which of ``count`` sources a host gets in an epoch, in order.

    All hosts draw the same order, so together they get each source once, and shuffling moves sources from
    one host to another.
    """
    numbers = list(range(count))
    if shuffle_seed is not None:
        random.Random(f"{shuffle_seed} {epoch}").shuffle(numbers)
    rank, hosts = share
    return numbers[rank::hosts]


def _ahead(sources: Iterable[Source]) -> Generator[tuple[Source, Iterator[bytes]], None, None]:
    """Each source and its chunks in turn, made some sources ahead; those that are left are closed."""
    made: deque[tuple[Source, Iterator[bytes]]] = deque()
    try:
        for source in sources:
            made.append((source, _chunks(source) if isinstance(source, Path) else iter(source)))
            if len(made) > _AHEAD:
                yield made[0]
                made.popleft()
        while made:
            yield made[0]
            made.popleft()
    finally:
        for _, chunks in made:
            if close := getattr(chunks, "close", None):
                close()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _inflated(chunks: Iterable[bytes], source: Source) -> Iterator[bytes]:
    inflater = zlib.decompressobj(wbits=31)
    begun = False
    for chunk in chunks:
        pending = chunk
        while pending:
            if inflater.eof:
                # Several members in a row are one stream, and zeros fill it up.
                pending = pending.lstrip(b"\0")
                inflater = zlib.decompressobj(wbits=31) if pending else inflater
                continue
            begun = True
            try:
                yield inflater.decompress(pending, _CHUNK)
            except zlib.error as error:
                raise ClientError(f"{source} can't be inflated: {error}; accepted: gzip data") from None
            pending = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if begun and not inflater.eof:
        raise ClientError(f"{source} can't be inflated: its gzip data end early; accepted: whole files")


def _wrapped(chunks: Iterable[bytes], source: Source) -> Iterator[bytes]:
    payload = bytearray()
    for chunk in chunks:
        payload += chunk
        if len(payload) > recordio.LENGTH_MASK:
            raise ClientError(
                f"{source} is too long for a record; accepted: at most {recordio.LENGTH_MASK} bytes"
            )
    yield struct.pack("<II", recordio.MAGIC, len(payload))
    yield bytes(payload)
    yield b"\0" * (-len(payload) % 4)
