"""A training job on one machine: what was asked for, laid out as SageMaker's agent would."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common import content_types
from common.failures import ClientError, one_of
from common.job import DISTRIBUTIONS, INPUT_MODES, written
from common.manifest import ChannelSpec, Manifest
from local import inputs, storage
from local.feeder import Feeder, Source, order
from local.inputs import AUGMENTED, DATA_TYPES, S3_PREFIX, Item
from local.manifests import AugmentedManifest

COMPRESSIONS = ("None", "Gzip")
WRAPPERS = ("None", "RecordIO")
CONTENT_TYPES = {
    ".csv": content_types.CSV,
    ".pbr": content_types.RECORDIO_PROTOBUF,
    ".recordio": content_types.RECORDIO_PROTOBUF,
    ".libsvm": content_types.LIBSVM,
    ".svm": content_types.LIBSVM,
    ".parquet": content_types.PARQUET,
    ".jsonl": content_types.JSON_LINES,
    ".json": content_types.JSON,
    ".txt": content_types.TEXT,
}


def content_type_of(path: Path) -> str | None:
    """The content type that the ending of a file, or of a folder's first file, tells; None if none."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.name[0] not in "._")
        return content_type_of(files[0]) if files else None
    endings = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return CONTENT_TYPES.get(endings[-1]) if endings else None


@dataclass(frozen=True)
class ChannelSource:
    """One channel of a local job: a file, a folder or an s3:// prefix, or a manifest of what is elsewhere."""

    name: str
    uri: str
    content_type: str | None = None
    attributes: tuple[str, ...] = ()  # of an augmented manifest, in order
    data_type: str = ""  # as the attributes tell
    compression: str = "None"
    record_wrapper: str = ""  # RecordIO of an augmented manifest, else None
    shuffle_seed: int | None = None
    input_mode: str | None = None  # where the channel has one of its own, not the job's
    distribution: str | None = None  # as well
    items: tuple[Item, ...] = ()  # what the address stands for, where that is known already

    def __post_init__(self) -> None:
        usual = ("AugmentedManifestFile", "RecordIO") if self.attributes else ("S3Prefix", "None")
        object.__setattr__(self, "data_type", self.data_type or usual[0])
        object.__setattr__(self, "record_wrapper", self.record_wrapper or usual[1])
        self._check("data type", self.data_type, DATA_TYPES)
        self._check("compression", self.compression, COMPRESSIONS)
        self._check("record wrapper", self.record_wrapper, WRAPPERS)
        self._check("input mode", self.input_mode or INPUT_MODES[0], INPUT_MODES)
        self._check("distribution", self.distribution or DISTRIBUTIONS[0], DISTRIBUTIONS)
        if self.augmented != bool(self.attributes):
            word = "with" if self.attributes else "without"
            raise ClientError(
                f"channel {self.name} is {self.data_type} {word} attributes; accepted: attributes of an "
                "AugmentedManifestFile, and only of that"
            )
        if self.augmented and self.compression != "None":
            raise ClientError(
                f"channel {self.name} is an AugmentedManifestFile with compression; accepted: None"
            )
        if self.augmented and self.input_mode not in (None, "Pipe"):
            raise ClientError(
                f"channel {self.name} is an AugmentedManifestFile in {self.input_mode} mode; accepted: Pipe"
            )

    @property
    def augmented(self) -> bool:
        """Whether it is an augmented manifest's lines."""
        return self.data_type == AUGMENTED

    def select(self) -> list[Item]:
        """The files or objects; of an augmented manifest the manifest itself. Raises ClientError."""
        return list(self.items) or inputs.select(self.uri, S3_PREFIX if self.augmented else self.data_type)

    def _check(self, what: str, value: str, accepted: Sequence[str]) -> None:
        if value not in accepted:
            raise ClientError(
                f"channel {self.name}: {what} '{value}' is unknown; accepted: {one_of(accepted)}"
            )


@dataclass(frozen=True)
class JobSpec:
    """What `algodock train` was asked for."""

    manifest: Manifest
    output: Path
    hyperparameters: Mapping[str, str]
    channels: Sequence[ChannelSource]
    input_mode: str = "File"
    distribution: str = "FullyReplicated"
    host_count: int = 1
    instance_type: str = "local"
    environment: Mapping[str, str] = field(default_factory=dict)
    checkpoints: bool | str = False  # an s3:// prefix with which they are kept alike

    def __post_init__(self) -> None:
        if self.input_mode not in INPUT_MODES:
            raise ClientError(f"input mode '{self.input_mode}' is unknown; accepted: {one_of(INPUT_MODES)}")
        if self.host_count < 1:
            raise ClientError(f"--hosts is {self.host_count}; accepted: 1 or more")
        if isinstance(self.checkpoints, str):
            if not storage.is_s3(self.checkpoints):
                raise ClientError(
                    f"--checkpoints is {self.checkpoints}; accepted: s3://bucket/prefix, or no value for the "
                    "job's folder"
                )
            storage.parse(self.checkpoints)


@dataclass(frozen=True)
class Ending:
    """How a job ended: the first bad exit code of its hosts, or 0; None where they weren't run to the end."""

    code: int | None
    stopped: bool = False  # after a request to stop

    @property
    def status(self) -> str:
        """As the platform calls it."""
        if self.stopped:
            return "Stopped"
        return "Completed" if self.code == 0 else "Failed"


@dataclass(frozen=True)
class Stream:
    """What a Pipe channel streams to one host."""

    sources: Sequence[Source]
    record_wrapper: bool = False
    inflate: bool = False
    shuffle_seed: int | None = None
    share: tuple[int, int] = (0, 1)

    def feeder(self, data: Path, channel: str, on_failure: Callable[[Exception], None]) -> Feeder:
        """What feeds it below the folder ``data``."""
        return Feeder(
            data,
            channel,
            self.sources,
            record_wrapper=self.record_wrapper,
            inflate=self.inflate,
            shuffle_seed=self.shuffle_seed,
            share=self.share,
            on_failure=on_failure,
        )


@dataclass(frozen=True)
class Host:
    """One host's /opt/ml, and what each Pipe channel streams."""

    name: str
    root: Path
    streams: Mapping[str, Stream]


@dataclass(frozen=True)
class _Channel:
    """A channel as all hosts have it."""

    source: ChannelSource
    mode: str
    distribution: str
    content_type: str | None
    files: Mapping[str, Path]  # by name, of File mode
    sources: Sequence[Source]  # of Pipe mode

    @property
    def piped(self) -> bool:
        return self.mode == "Pipe"

    def settings(self) -> dict[str, str]:
        """What inputdataconfig.json says."""
        content_type = {"ContentType": self.content_type} if self.content_type else {}
        return {
            "TrainingInputMode": self.mode,
            "S3DistributionType": self.distribution,
            "RecordWrapperType": self.source.record_wrapper if self.piped else "None",
            **content_type,
        }

    def share(self, rank: int, hosts: int) -> tuple[int, int]:
        return (rank, hosts) if self.distribution == "ShardedByS3Key" else (0, 1)

    def stream(self, share: tuple[int, int]) -> Stream:
        one = self.source
        # The lines of an augmented manifest are framed already.
        wrap = one.record_wrapper == "RecordIO" and not one.augmented
        return Stream(self.sources, wrap, one.compression == "Gzip", one.shuffle_seed, share)

    def files_of(self, share: tuple[int, int]) -> dict[str, Path]:
        names = list(self.files)
        chosen = order(len(names), 0, self.source.shuffle_seed, share)
        return {names[number]: self.files[names[number]] for number in chosen}


def lay_out(spec: JobSpec, names: Sequence[str]) -> list[Host]:
    """Makes each host's folder: configs, channels. Raises ClientError for data that isn't there."""
    channels = [_channel(spec, source) for source in spec.channels]
    _clear(spec)
    return [_host(spec, names, rank, channels) for rank in range(len(names))]


def _clear(spec: JobSpec) -> None:
    """Removes what an earlier job left of its hosts, but for checkpoints that this one goes on from."""
    for root in (spec.output / "ml").glob("*"):
        left = [root]
        if spec.checkpoints is True:
            left = [path for path in root.glob("*") if path.name != "checkpoints"]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)


def _channel(spec: JobSpec, source: ChannelSource) -> _Channel:
    mode, distribution = possible(spec, source)
    items = source.select()
    if not items:
        raise ClientError(f"channel {source.name}: no file at {source.uri}")
    content_type = source.content_type or told_by_ending(spec, source, items)
    files: Mapping[str, Path] = {}
    sources: Sequence[Source] = []
    if source.augmented:
        sources = _lines(source, inputs.on_disk(items, source.uri, spec.output))
    elif mode == "Pipe":
        sources = [item.source for item in items]
    else:
        files = inputs.on_disk(items, source.uri, spec.output)
    return _Channel(source, mode, distribution, content_type, files, sources)


def _lines(source: ChannelSource, files: Mapping[str, Path]) -> Sequence[Source]:
    if len(files) > 1:
        raise ClientError(
            f"channel {source.name}: {source.uri} is {len(files)} files; accepted: one augmented manifest"
        )
    (path,) = files.values()
    manifest = AugmentedManifest(path, source.attributes, source.record_wrapper == "RecordIO")
    manifest.check()
    return manifest.lines()


def _host(spec: JobSpec, names: Sequence[str], rank: int, channels: Sequence[_Channel]) -> Host:
    root = spec.output / "ml" / f"algo-{rank + 1}"
    config, data = root / "input" / "config", root / "input" / "data"
    for folder in (config, data, root / "model", root / "output" / "data", root / "checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)
    streams: dict[str, Stream] = {}
    for channel in channels:
        name, share = channel.source.name, channel.share(rank, spec.host_count)
        if channel.piped:
            streams[name] = channel.stream(share)
        else:
            _link(channel.files_of(share), data / name)
    _write(config / "hyperparameters.json", dict(spec.hyperparameters))
    _write(config / "inputdataconfig.json", {one.source.name: one.settings() for one in channels})
    _write(
        config / "resourceconfig.json",
        {
            "current_host": names[rank],
            "hosts": list(names),
            "network_interface_name": "lo",
            "current_instance_type": spec.instance_type,
        },
    )
    if spec.checkpoints:
        _write(config / "checkpointconfig.json", {"LocalPath": "/opt/ml/checkpoints"})
    return Host(names[rank], root, streams)


def brought(spec: JobSpec) -> list[ChannelSource]:
    """The channels of jobs that share their data, with what isn't streamed on this machine.

    It lies below the folder of ``spec``. Raises ClientError for data that aren't there, or can't be so.
    """
    return [
        replace(source, items=tuple(_brought(spec, source, possible(spec, source)[0])))
        for source in spec.channels
    ]


def _brought(spec: JobSpec, source: ChannelSource, mode: str) -> list[Item]:
    items = source.select()
    if mode == "Pipe" and not source.augmented:
        return items
    return [Item(name, path) for name, path in inputs.on_disk(items, source.uri, spec.output).items()]


def usual(described: ChannelSpec, mode: str, distribution: str) -> tuple[str, str]:
    """The job's input mode and distribution, or others where a channel beside `train` can't have them.

    They are asked for once for a whole job, and a vocabulary isn't piped because the documents are.
    """
    if not described.required:
        mode = mode if mode in described.input_modes else described.input_modes[0]
        distribution = distribution if distribution in described.distributions else described.distributions[0]
    return mode, distribution


def possible(spec: JobSpec, source: ChannelSource) -> tuple[str, str]:
    """A channel's input mode and distribution: its own, or what the job's make of it.

    Raises ClientError for what the channel can't be, or only in another mode.
    """
    described = spec.manifest.channel(source.name)
    mode, distribution = usual(described, spec.input_mode, spec.distribution)
    mode, distribution = source.input_mode or mode, source.distribution or distribution
    for own, accepted in (
        (source.input_mode, described.input_modes),
        (source.distribution, described.distributions),
    ):
        if own and own not in accepted:
            raise ClientError(f"channel {source.name} is {own}; accepted: {one_of(accepted)}")
    if source.augmented:
        return "Pipe", distribution  # the only mode in which the platform reads a manifest's lines
    changed = source.compression != "None" or source.record_wrapper != "None"
    if changed and (source.input_mode or spec.input_mode) != "Pipe":
        raise ClientError(
            f"channel {source.name} has a compression or a record wrapper in {mode} mode; accepted: with "
            "--input-mode Pipe"
        )
    if mode == "FastFile" and source.data_type != S3_PREFIX:
        raise ClientError(
            f"channel {source.name} is a {source.data_type} in FastFile mode; accepted: {S3_PREFIX}"
        )
    return mode, distribution


def told_by_ending(spec: JobSpec, source: ChannelSource, items: Sequence[Item]) -> str | None:
    """The content type by the files' ending, where the channel takes it: a .csv may hold plain sentences.

    Raises ClientError for what surely isn't the records that alone are taken.
    """
    accepted = {content_types.parse(name).name for name in spec.manifest.channel(source.name).content_types}
    found = inputs.first(items)
    told = content_type_of(Path(found.name)) if found else None
    alone = accepted == {content_types.RECORDIO_PROTOBUF}
    if found and told and told not in accepted and alone and not source.augmented:
        raise ClientError(
            f"channel {source.name}: {found.name} is {told} by its ending; accepted: "
            f"{content_types.RECORDIO_PROTOBUF}, which algodock convert makes of it"
        )
    return told if told in accepted else None


def _link(files: Mapping[str, Path], folder: Path) -> None:
    folder.mkdir()
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A hard link costs nothing, and a container sees it too where a symbolic one would dangle.
            os.link(file.resolve(), target)
        except OSError:
            shutil.copy2(file, target)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


def pack(spec: JobSpec, hosts: Sequence[Host], ending: Ending) -> list[Path]:
    """Makes model.tar.gz and output.tar.gz of all hosts' files merged, and job.json; returns what was made.

    An archive of an empty folder isn't made, and an earlier job's isn't left.
    """
    made = []
    for name, part in (("model.tar.gz", Path("model")), ("output.tar.gz", Path("output"))):
        folders = [host.root / part for host in hosts]
        if not any(path.is_file() for folder in folders for path in folder.rglob("*")):
            (spec.output / name).unlink(missing_ok=True)
            continue
        with written(spec.output / name) as temporary:
            _tar(temporary, folders)
        made.append(spec.output / name)
    described = {
        "algorithm": spec.manifest.name,
        "hyperparameters": dict(spec.hyperparameters),
        "channels": {channel.name: channel.uri for channel in spec.channels},
        "content_types": {one.name: one.content_type for one in spec.channels if one.content_type},
        "attributes": {one.name: list(one.attributes) for one in spec.channels if one.attributes},
        "data_types": {one.name: one.data_type for one in spec.channels if one.data_type != S3_PREFIX},
        "compressions": {one.name: one.compression for one in spec.channels if one.compression != "None"},
        "record_wrappers": {
            one.name: one.record_wrapper for one in spec.channels if one.record_wrapper != "None"
        },
        "shuffle_seeds": {
            one.name: one.shuffle_seed for one in spec.channels if one.shuffle_seed is not None
        },
        "input_modes": {one.name: one.input_mode for one in spec.channels if one.input_mode},
        "distributions": {one.name: one.distribution for one in spec.channels if one.distribution},
        "input_mode": spec.input_mode,
        "distribution": spec.distribution,
        "hosts": spec.host_count,
        "environment": dict(spec.environment),
        "checkpoints": spec.checkpoints,
        "status": ending.status,
        "exit_code": ending.code,
    }
    with written(spec.output / "job.json") as temporary:
        _write(temporary, described)
    return made


def _tar(path: Path, folders: Sequence[Path]) -> None:
    seen: set[str] = set()
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        # Hosts merge as they do on S3: a clashing name is the first host's.
        for folder in folders:
            for file in sorted(folder.rglob("*")):
                name = str(file.relative_to(folder))
                if file.is_file() and name not in seen and not name.endswith(".sagemaker-ignore"):
                    seen.add(name)
                    archive.add(file, name)


def unpack_model(place: str, folder: Path) -> str | None:
    """Extracts a model to ``folder`` and returns the algorithm's name when ``place`` tells it.

    ``place`` is a job's output folder, a model.tar.gz or a folder of model files, local or s3://. Raises
    ClientError when there is no model there or the archive is unsafe or broken.
    """
    if place.endswith(".gz"):
        source = storage.exactly(place, folder.parent)
    else:
        # Not the jobs whose names only begin alike.
        uri = f"{place.rstrip('/')}/" if storage.is_s3(place) else place
        source = storage.local_copy(uri, folder.parent)
    algorithm = _algorithm(source / "job.json") if (source / "job.json").is_file() else None
    archive = source / "model.tar.gz" if source.is_dir() else source
    if source.is_dir() and not archive.exists():
        if algorithm or not any(source.iterdir()):
            raise ClientError(f"{place} holds no model.tar.gz; has the job ended well?")
        shutil.copytree(source, folder)
        return algorithm
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        # tarfile tells on a line each what it has tried.
        reason = str(error).split("\n")[0].rstrip(":")
        raise ClientError(f"{archive} is not a model.tar.gz: {reason}") from None
    return algorithm


def _algorithm(described: Path) -> str | None:
    try:
        told = json.loads(described.read_text("utf-8"))["algorithm"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ClientError(f"{described} is damaged; accepted: what algodock train wrote") from None
    return str(told) if told else None


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
