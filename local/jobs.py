"""A training job on one machine: what was asked for, laid out as SageMaker's agent would."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common import content_types
from common.failures import ClientError, one_of
from common.job import INPUT_MODES, written
from common.manifest import Manifest
from local import storage
from local.feeder import Source
from local.manifests import AugmentedManifest

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
    """One channel of a local job: a file, a folder or an s3:// prefix."""

    name: str
    uri: str
    content_type: str | None = None
    attributes: tuple[str, ...] = ()  # of an augmented manifest, in order


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
    checkpoints: bool = False

    def __post_init__(self) -> None:
        if self.input_mode not in INPUT_MODES:
            raise ClientError(f"input mode '{self.input_mode}' is unknown; accepted: {one_of(INPUT_MODES)}")
        if self.host_count < 1:
            raise ClientError(f"--hosts is {self.host_count}; accepted: 1 or more")


@dataclass(frozen=True)
class Host:
    """One host's /opt/ml, and what each Pipe channel streams."""

    name: str
    root: Path
    streams: Mapping[str, Sequence[Source]]


def lay_out(spec: JobSpec, names: Sequence[str]) -> list[Host]:
    """Makes each host's folder: configs, channels. Raises ClientError for data that isn't there."""
    sources = {channel.name: storage.local_copy(channel.uri, spec.output) for channel in spec.channels}
    return [_host(spec, names, rank, sources) for rank in range(len(names))]


def _host(spec: JobSpec, names: Sequence[str], rank: int, sources: Mapping[str, Path]) -> Host:
    root = spec.output / "ml" / f"algo-{rank + 1}"
    shutil.rmtree(root, ignore_errors=True)
    config, data = root / "input" / "config", root / "input" / "data"
    for folder in (config, data, root / "model", root / "output" / "data", root / "checkpoints"):
        folder.mkdir(parents=True)
    channels: dict[str, dict[str, str]] = {}
    streams: dict[str, Sequence[Source]] = {}
    for channel in spec.channels:
        source = sources[channel.name]
        files = _files(source)
        if not files:
            raise ClientError(f"channel {channel.name}: no file at {channel.uri}")
        mode, distribution = _possible(spec, channel.name)
        if channel.attributes:
            mode = "Pipe"  # the only mode in which the platform reads a manifest's lines
        if distribution == "ShardedByS3Key":
            files = files[rank :: spec.host_count]
        channels[channel.name] = {
            "TrainingInputMode": mode,
            "S3DistributionType": distribution,
            "RecordWrapperType": "RecordIO" if channel.attributes else "None",
        }
        content_type = channel.content_type or _told_by_ending(spec, channel.name, source)
        if content_type:
            channels[channel.name]["ContentType"] = content_type
        if channel.attributes:
            streams[channel.name] = [AugmentedManifest(file, channel.attributes) for file in files]
        elif mode == "Pipe":
            streams[channel.name] = files
        else:
            _link(source, files, data / channel.name)
    _write(config / "hyperparameters.json", dict(spec.hyperparameters))
    _write(config / "inputdataconfig.json", channels)
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


def _possible(spec: JobSpec, channel: str) -> tuple[str, str]:
    """The input mode and distribution asked for, or others where a channel beside `train` can't have them.

    They are asked for once for a whole job, and a vocabulary isn't piped because the documents are.
    """
    described = spec.manifest.channel(channel)
    mode, distribution = spec.input_mode, spec.distribution
    if not described.required:
        mode = mode if mode in described.input_modes else described.input_modes[0]
        distribution = distribution if distribution in described.distributions else described.distributions[0]
    return mode, distribution


def _told_by_ending(spec: JobSpec, channel: str, source: Path) -> str | None:
    """The content type by the files' ending, where the channel takes it: a .csv may hold plain sentences."""
    accepted = {content_types.parse(name).name for name in spec.manifest.channel(channel).content_types}
    found = content_type_of(source)
    return found if found in accepted else None


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file())


def _link(source: Path, files: Sequence[Path], folder: Path) -> None:
    base = source if source.is_dir() else source.parent
    folder.mkdir()
    for file in files:
        target = folder / file.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A hard link costs nothing, and a container sees it too where a symbolic one would dangle.
            os.link(file, target)
        except OSError:
            shutil.copy2(file, target)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


def pack(spec: JobSpec, hosts: Sequence[Host]) -> list[Path]:
    """Makes model.tar.gz and output.tar.gz of all hosts' files merged, and job.json; returns what was made.

    An archive of an empty folder isn't made.
    """
    made = []
    for name, part in (("model.tar.gz", Path("model")), ("output.tar.gz", Path("output"))):
        folders = [host.root / part for host in hosts]
        if not any(path.is_file() for folder in folders for path in folder.rglob("*")):
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
        "input_mode": spec.input_mode,
        "distribution": spec.distribution,
        "hosts": spec.host_count,
        "environment": dict(spec.environment),
        "checkpoints": spec.checkpoints,
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
    source = storage.local_copy(place, folder.parent)
    algorithm = None
    if (source / "job.json").is_file():
        algorithm = json.loads((source / "job.json").read_text())["algorithm"]
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


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
