"""One channel of a running job: from its configuration to batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

from common import content_types
from common.batches import CSR, AnyRows, Batch, join, recut
from common.channels import fifos, files, wrapping
from common.channels.interrupts import Interrupt
from common.channels.prefetch import Ahead
from common.channels.sharing import share as divided
from common.channels.streams import Inflating, Stream
from common.content_types import MediaType
from common.failures import ClientError, one_of
from common.formats import Layout, decode
from common.job import ChannelConfig
from common.manifest import ChannelSpec
from common.stopping import Stop

_KEPT = 12  # first blocks of a FIFO, some megabytes at most


class Channel:
    """One channel of a running job.

    ``media_type`` is the job's content type, or the algorithm's default; ``labelled`` tells whether batches
    have labels; ``epochs_read`` counts the FIFOs opened so far in Pipe mode, and ``first`` holds
    the first blocks of rows that came through them, for whoever wants to look at some after the job. Raises
    ClientError for a content type or an input mode that the algorithm doesn't take.
    """

    def __init__(
        self,
        config: ChannelConfig,
        spec: ChannelSpec,
        data: Path,
        *,
        rank: int = 0,
        hosts: int = 1,
        stop: Stop | None = None,
    ) -> None:
        self.name = config.name
        self.spec = spec
        self.config = config
        self.epochs_read = 0
        self.first: list[Any] = []
        self._data = data
        self._rank = rank
        self._hosts = hosts
        self._stop = stop
        self._files: list[files.DataFile] | None = None
        self._reading: ReferenceType[Ahead[Any]] | None = None
        self._patience = fifos.timeout()
        self._accept_mode()
        self._accept_distribution()
        self.media_type = self._accept_content_type()
        self.labelled = spec.labels == "required"
        self._label_size = self._accept_label_size()

    def __repr__(self) -> str:
        return f"<{self.describe()}, {self.media_type}>"

    @property
    def piped(self) -> bool:
        """Whether data come from FIFOs, so that each pass over them is a pass of the platform's."""
        return self.config.input_mode == "Pipe"

    @property
    def wrapped(self) -> bool:
        """Whether a FIFO's objects, or an augmented manifest's attributes, are RecordIO records each."""
        return self.config.record_wrapper == "RecordIO" and not _is_recordio(self.media_type)

    @property
    def folder(self) -> Path:
        """Where the data are in File mode."""
        return self._data / self.name

    def describe(self) -> str:
        """The channel as messages name it: its name, mode and place."""
        place = f"{self.folder}_N" if self.piped else self.folder
        return f"channel {self.name} ({self.config.input_mode}, {place})"

    def check(self) -> None:
        """Raises ClientError when what lies in the data folder isn't what the job configures.

        A FIFO may still appear; that it is awaited only where no folder lies in its place makes the commonest
        mistake fail at once.
        """
        try:
            self._check()
        except OSError as error:
            raise ClientError(
                f"channel {self.name}: {error.filename} can't be read: {error.strerror}"
            ) from None

    def _check(self) -> None:
        first = fifos.fifo(self._data, self.name, 0)
        if self.piped:
            if first.exists():
                if not fifos.is_fifo(first):
                    raise self._mistaken(f"{first} is not a FIFO")
            elif self.folder.exists():
                raise self._mistaken(f"there is no FIFO {first} but {self.folder}, as in File mode")
        elif not self.folder.exists():
            if fifos.is_fifo(first):
                raise self._mistaken(
                    f"there is no folder {self.folder} but the FIFO {first}, as in Pipe mode"
                )
            if not self._may_have_nothing:
                raise self._mistaken(f"there is no folder {self.folder}")
        elif fifos.is_fifo(self.folder):
            raise self._mistaken(f"{self.folder} is a FIFO")

    def epoch(
        self,
        batch_size: int | None,
        *,
        feature_dim: int | None = None,
        share: bool = False,
        weights: bool = False,
        stoppable: bool = True,
    ) -> Iterator[Batch]:
        """One pass over the data in batches of exactly ``batch_size`` rows but the last.

        A thread decodes ahead. With ``batch_size`` None batches come as the decoder makes them.
        ``feature_dim`` is what each row must have. With ``share`` FullyReplicated data are divided among the
        hosts, record by record; ShardedByS3Key data already are. ``weights`` reads a CSV's column of weights.
        A ``stoppable`` epoch ends early once the job was asked to stop.

        Reading begins with the first batch that is asked for. In Pipe mode that opens the next FIFO and first
        closes one that is still being read; abandoning the iterator closes it too. Raises ClientError for
        whatever is wrong with the data.
        """
        layout = Layout(
            label_size=self._label_size,
            weights=weights,
            feature_dim=feature_dim,
            sniff_delimiter=self.spec.sniff_delimiter,
            missing=self.spec.missing,
        )
        width = feature_dim

        def rows(stream: Stream, name: str) -> Iterator[Batch]:
            nonlocal width
            for batch in decode(stream, name, self.media_type, layout):
                # A decoder sees that a file's rows agree; that the files do is seen here. Sparse rows may be
                # as wide as their largest key.
                if not isinstance(batch.features, CSR) and len(batch):
                    if width is not None and batch.width != width:
                        raise ClientError(
                            f"{name}: rows have {batch.width} features, but those before have {width}; "
                            "accepted: the same number in every row of a channel"
                        )
                    width = batch.width
                yield batch if self.labelled or batch.labels is None else replace(batch, labels=None)

        return self.read(rows, join, batch_size, share=share, stoppable=stoppable)

    def read(
        self,
        decoder: Callable[[Stream, str], Iterator[AnyRows]],
        join: Callable[[Sequence[AnyRows]], AnyRows],
        batch_size: int | None,
        *,
        share: bool = False,
        stoppable: bool = True,
        unwrap: bool = True,
    ) -> Iterator[AnyRows]:
        """One pass as `epoch`'s, over rows that an algorithm decodes itself.

        ``decoder(stream, name)`` reads a file, or an epoch of a FIFO, in constant memory, and raises
        ClientError that names ``name`` for what is wrong with the bytes; it runs in the reader thread.
        ``join`` makes one of several blocks of rows. Without ``unwrap`` a FIFO of wrapped objects
        (RecordWrapperType=RecordIO) is decoded as the RecordIO stream it is: in an augmented manifest each
        attribute of a sample is a record of its own.
        """
        interrupt = Interrupt(self._stop if stoppable else None)
        divide = share and self._hosts > 1 and self.config.distribution == "FullyReplicated"

        def blocks() -> Generator[AnyRows, None, None]:
            decoded = self._explained(self._decoded(interrupt, decoder, unwrap))
            return divided(decoded, self._rank, self._hosts) if divide else decoded

        if self.piped:
            self._finish_previous()
        if interrupt.requested:
            return
        ahead = Ahead(blocks, interrupt, f"channel-{self.name}")
        self._reading = ref(ahead)
        with closing(ahead):
            for batch in ahead if batch_size is None else recut(ahead, batch_size, join):
                # A block holds many batches; a request to stop counts from the next one.
                if ahead.interrupted():
                    return
                yield batch

    def _finish_previous(self) -> None:
        """The platform feeds FIFO n + 1 only once FIFO n is closed, so nobody may still be reading that."""
        previous = None if self._reading is None else self._reading()
        if previous is not None:
            previous.close()

    def _explained(self, batches: Generator[AnyRows, None, None]) -> Generator[AnyRows, None, None]:
        """The same; where already the first row can't be read and nobody said as what, that is told too."""
        if self.config.content_type is not None:
            yield from batches
            return
        with closing(batches):
            try:
                first = next(batches, None)
            except ClientError as error:
                raise ClientError(
                    f"{error}; the channel has no ContentType, which means {self.media_type}; "
                    f"accepted: {one_of(self.spec.content_types)}"
                ) from None
            if first is not None:
                yield first
                yield from batches

    def _decoded(
        self, interrupt: Interrupt, decoder: Callable[[Stream, str], Iterator[AnyRows]], unwrap: bool
    ) -> Generator[AnyRows, None, None]:
        """Every row once, in the decoder's blocks; runs in the reader thread."""
        with closing(self._streams(interrupt, unwrap)) as streams:
            for name, stream in streams:
                for batch in decoder(Inflating(stream, name), name):
                    interrupt.check()
                    if len(batch):
                        if self.piped and self.epochs_read == 1 and len(self.first) < _KEPT:
                            self.first.append(batch)
                        yield batch

    def _streams(self, interrupt: Interrupt, unwrap: bool) -> Generator[tuple[str, Stream], None, None]:
        """What is decoded apart: each file, each FIFO, each wrapped object of a FIFO."""
        if not self.piped:
            for file in self._listed():
                with files.opened(file, interrupt) as stream:
                    yield file.name, stream
            return
        epoch = self.epochs_read
        name = f"channel {self.name}, epoch {epoch}"
        path = fifos.fifo(self._data, self.name, epoch)
        with fifos.opened(path, name, interrupt, self._patience) as fifo:
            self.epochs_read += 1
            if unwrap and self.wrapped:
                yield from wrapping.objects(fifo, name)
            else:
                yield name, fifo

    def _listed(self) -> list[files.DataFile]:
        # Once a job, so that every epoch sees the same files and a listing on S3 is paid for once.
        if self._files is None:
            self.check()
            self._files = files.find(self.folder, self.name)
        return self._files

    @property
    def _may_have_nothing(self) -> bool:
        """With fewer objects than hosts, a host gets none."""
        return self._hosts > 1 and self.config.distribution == "ShardedByS3Key"

    def _mistaken(self, found: str) -> ClientError:
        return ClientError(f"channel {self.name}: its input mode is {self.config.input_mode}, but {found}")

    def _accept_mode(self) -> None:
        if self.config.input_mode not in self.spec.input_modes:
            raise ClientError(
                f"channel {self.name}: input mode {self.config.input_mode} is not accepted; "
                f"accepted: {one_of(self.spec.input_modes)}"
            )

    def _accept_distribution(self) -> None:
        if self.config.distribution not in self.spec.distributions:
            raise ClientError(
                f"channel {self.name}: S3DistributionType {self.config.distribution} is not accepted; "
                f"accepted: {one_of(self.spec.distributions)}"
            )

    def _accept_content_type(self) -> MediaType:
        given = self.config.content_type
        accepted = self.spec.content_types
        if not accepted:
            return content_types.parse(given or content_types.BYTES)
        media_type = content_types.parse(given or accepted[0])
        where = ""
        if self.piped and self.spec.pipe_content_types is not None:
            accepted = self.spec.pipe_content_types
            where = " in Pipe mode"
        if media_type.name not in {content_types.parse(text).name for text in accepted}:
            default = "" if given else " (the default)"
            raise ClientError(
                f"channel {self.name}: content type '{given or media_type}'{default} is not accepted{where}; "
                f"accepted: {one_of(accepted)}"
            )
        return media_type

    def _accept_label_size(self) -> int:
        name = self.media_type.name
        if name in (content_types.CSV, content_types.PARQUET):
            size = self.media_type.integer("label_size", self.spec.label_size)
            if self.labelled and not size:
                raise ClientError(
                    f"channel {self.name}: content type '{self.media_type}' has no label column, "
                    "but the channel's data must have labels; accepted: label_size from 1"
                )
            return size
        return int(self.labelled)


def _is_recordio(media_type: MediaType) -> bool:
    return "recordio" in media_type.name
