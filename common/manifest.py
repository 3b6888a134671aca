"""Reads containers/<folder>/manifest.toml: what an image is, may run on, reads, prints and answers.

Also a program for builds, with nothing but the standard library::

    python -m common.manifest images                      image name, folder and devices of each algorithm
    python -m common.manifest packages kmeans --device cpu   what pip must install for it
    python -m common.manifest pretrained object-detection    networks whose ImageNet weights it can begin with
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from common.failures import ClientError, one_of

if TYPE_CHECKING:
    from common.hyperparameters import Declaration

CONTAINERS = Path(__file__).resolve().parent.parent / "containers"


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """What one channel of an algorithm may be."""

    name: str
    purpose: str
    content_types: tuple[str, ...]  # the first is the default; none: whatever the job says
    required: bool = False
    labels: str = "ignored"  # "required" or "ignored"
    label_size: int = 1  # leading label columns of CSV and Parquet when the content type doesn't say
    input_modes: tuple[str, ...] = ("File", "FastFile", "Pipe")
    distribution: str = "FullyReplicated"  # what AWS's documents recommend
    distributions: tuple[str, ...] = ("FullyReplicated", "ShardedByS3Key")
    missing: bool = False  # empty CSV cells are missing values (else they are refused)
    sniff_delimiter: bool = False
    pipe_content_types: tuple[str, ...] | None = None  # those that work in Pipe mode; None means all
    notes: str = ""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A value that a training job prints, and the regex that finds it in the log."""

    name: str
    direction: str  # Maximize, Minimize or none
    regex: str
    meaning: str = ""
    tuning_objective: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Where a job or an endpoint may run."""

    devices: tuple[str, ...]  # cpu, gpu
    families: tuple[str, ...] = ()  # "cpu" stands for every family without accelerator
    multi_host: bool = False
    multi_gpu: bool = False
    gpus: str = "one"  # how many of a host's GPUs a job makes use of: one or all
    notes: str = ""


@dataclass(frozen=True, slots=True)
class InferenceSpec:
    """What an endpoint takes and answers."""

    rules: Rules
    content_types: tuple[str, ...]
    accepts: tuple[str, ...]
    default_content_type: str
    default_accept: str
    root: str = "predictions"  # the top-level key of a JSON answer
    multi_model: bool = True
    answers_alike: bool = False  # without an Accept header, answers are of the request's content type
    ignores_accept: bool = False  # so they are whatever the Accept header says
    processes: str = "many"  # "one": an answer is work for all cores (convolutions), which one process shares


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: everything about it that is data."""

    name: str  # AWS's image name
    folder: str  # below containers/
    title: str
    summary: str
    metrics_name: str  # Dimensions.Algorithm of "#metrics" lines
    channels: tuple[ChannelSpec, ...]
    metrics: tuple[MetricSpec, ...]
    training: Rules
    inference: InferenceSpec
    artifact: tuple[str, ...]
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pretrained: tuple[str, ...] = ()  # networks whose ImageNet weights it can begin with
    other_channels: str = ""  # purpose of channels of any other name, which a user's own program reads

    @property
    def devices(self) -> tuple[str, ...]:
        """Those that training or inference may have, for each of which there is an image."""
        used = {*self.training.devices, *self.inference.rules.devices}
        return tuple(device for device in ("cpu", "gpu") if device in used)

    def channel(self, name: str) -> ChannelSpec:
        """The channel of that name. Raises ClientError that lists those there are."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        if self.other_channels:
            return ChannelSpec(name, self.other_channels, ())
        raise ClientError(
            f"channel {name} is unknown to {self.name}; "
            f"accepted: {one_of(channel.name for channel in self.channels)}"
        )

    def declaration(self) -> Declaration:
        """The algorithm's hyperparameters."""
        declaration: Declaration = self.module("hyperparameters").DECLARATION
        return declaration

    def module(self, name: str) -> ModuleType:
        """The algorithm's module ``train``, ``predict`` or ``hyperparameters``."""
        return importlib.import_module(f"containers.{self.folder}.{name}")


def known() -> dict[str, Path]:
    """Every algorithm here: AWS's image name to the manifest's path."""
    found = sorted(CONTAINERS.glob("*/manifest.toml"))
    return {str(tomllib.loads(path.read_text())["name"]): path for path in found}


@functools.cache
def load(name: str) -> Manifest:
    """The manifest of an algorithm by AWS's image name. Raises ClientError when there is none."""
    paths = known()
    # The folder's spelling is taken too: people type what they see.
    path = paths.get(name) or paths.get(name.replace("_", "-"))
    if path is None:
        raise ClientError(f"algorithm {name} is unknown; accepted: {one_of(sorted(paths))}")
    return _manifest(path.parent.name, tomllib.loads(path.read_text()))


def current() -> Manifest:
    """The algorithm this process stands for: the environment's ALGORITHM, or the only one installed."""
    name = os.environ.get("ALGORITHM", "")
    if not name:
        installed = list(known())
        if len(installed) != 1:
            raise ClientError(
                f"the environment variable ALGORITHM is not set; accepted: {one_of(sorted(installed))}"
            )
        name = installed[0]
    return load(name)


def _manifest(folder: str, data: dict[str, Any]) -> Manifest:
    inference = dict(data["inference"])
    rules = {key: inference.pop(key) for key in ("devices", "families", "notes") if key in inference}
    return Manifest(
        name=data["name"],
        folder=folder,
        title=data["title"],
        summary=data["summary"],
        metrics_name=data["metrics_name"],
        channels=tuple(ChannelSpec(**_frozen(channel)) for channel in data["channels"]),
        metrics=tuple(MetricSpec(**metric) for metric in data.get("metrics", [])),
        training=Rules(**_frozen(data["training"])),
        inference=InferenceSpec(rules=Rules(**_frozen(rules)), **_frozen(inference)),
        artifact=tuple(data["artifact"]),
        packages=_frozen(data.get("packages", {})),
        pretrained=tuple(data.get("pretrained", ())),
        other_channels=data.get("other_channels", ""),
    )


def _frozen(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The program of builds; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m common.manifest")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("images", help="image name, folder and devices of each algorithm")
    packages = commands.add_parser("packages", help="what pip must install for an algorithm")
    packages.add_argument("algorithm", help="an image name, or 'all'")
    packages.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    pretrained = commands.add_parser("pretrained", help="networks whose ImageNet weights it can begin with")
    pretrained.add_argument("algorithm", help="an image name")
    chosen = parser.parse_args(arguments)
    if chosen.command == "pretrained":
        print(*load(chosen.algorithm).pretrained, sep="\n")
    elif chosen.command == "images":
        for name in known():
            manifest = load(name)
            print(name, manifest.folder, *manifest.devices)
    else:
        names = list(known()) if chosen.algorithm == "all" else [chosen.algorithm]
        for package in sorted({p for name in names for p in load(name).packages.get(chosen.device, ())}):
            print(package)


if __name__ == "__main__":
    main()
