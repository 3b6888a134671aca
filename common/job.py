"""/opt/ml as an object: what SageMaker's agent laid out for a job, and where results go.

Every file of the contract may be absent where a local run leaves it out: no resourceconfig.json means one
host, no ContentType the algorithm's default, no inputdataconfig.json whatever lies in the data folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.failures import ClientError, one_of

INPUT_MODES = ("File", "FastFile", "Pipe")
DISTRIBUTIONS = ("FullyReplicated", "ShardedByS3Key")


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """One channel as the job's request set it."""

    name: str
    input_mode: str = "File"
    content_type: str | None = None
    distribution: str = "FullyReplicated"
    record_wrapper: str = "None"


@dataclass(frozen=True, slots=True)
class Hosts:
    """The cluster, from resourceconfig.json."""

    current: str = "algo-1"
    names: tuple[str, ...] = ("algo-1",)
    instance_type: str | None = None
    interface: str | None = None

    @property
    def rank(self) -> int:
        """This host's place among all, from 0; the first leads."""
        return self.names.index(self.current)


@dataclass(frozen=True, slots=True)
class Job:
    """A training job's folder."""

    root: Path
    hyperparameters: dict[str, object]
    channels: dict[str, ChannelConfig]
    hosts: Hosts
    checkpoints: Path | None  # None when the job asked for no checkpoints

    @property
    def data(self) -> Path:
        """Where channels lie: folders in File mode, FIFOs in Pipe mode."""
        return self.root / "input" / "data"

    @property
    def model(self) -> Path:
        """What becomes model.tar.gz."""
        return self.root / "model"

    @property
    def output(self) -> Path:
        """What becomes output.tar.gz."""
        return self.root / "output" / "data"

    @property
    def failure(self) -> Path:
        """Where the reason of a failure is written."""
        return self.root / "output" / "failure"


def root() -> Path:
    """The folder that stands for /opt/ml: the environment's OPT_ML, or /opt/ml."""
    return Path(os.environ.get("OPT_ML") or "/opt/ml")


def read(folder: Path) -> Job:
    """Reads a job's folder. Raises ClientError for a config file that can't be understood."""
    config = folder / "input" / "config"
    hyperparameters = _table(config / "hyperparameters.json")
    checkpoint = _table(config / "checkpointconfig.json")
    return Job(
        root=folder,
        hyperparameters=hyperparameters,
        channels=_channels(config / "inputdataconfig.json", folder / "input" / "data"),
        hosts=_hosts(config / "resourceconfig.json"),
        checkpoints=_checkpoints(folder, checkpoint),
    )


def _table(path: Path) -> dict[str, Any]:
    try:
        # Editors on Windows begin a file with a byte order mark.
        value = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ClientError(f"{path.name} is not JSON: {error}") from None
    except OSError as error:
        raise ClientError(f"{path.name} can't be read: {error.strerror}") from None
    if not isinstance(value, dict):
        raise ClientError(f"{path.name} holds {type(value).__name__}; accepted: a JSON object")
    return value


def _checkpoints(folder: Path, config: dict[str, Any]) -> Path | None:
    # CreateTrainingJob's default, where only S3 is named.
    local = config.get("LocalPath") or ("/opt/ml/checkpoints" if config.get("S3Uri") else "")
    if not isinstance(local, str):
        raise ClientError(f"checkpointconfig.json: LocalPath is {json.dumps(local)[:60]}; accepted: a string")
    if not local:
        return None
    path = Path(local)
    return folder / path.relative_to("/opt/ml") if path.is_relative_to("/opt/ml") else path


def _channels(path: Path, data: Path) -> dict[str, ChannelConfig]:
    if not path.exists():
        return {name: ChannelConfig(name, mode) for name, mode in _found(data)}
    channels = {}
    for name, settings in _table(path).items():
        if not isinstance(settings, dict):
            raise ClientError(f"{path.name}: channel {name} is not an object")
        if not re.fullmatch(r"[A-Za-z0-9.\-_]{1,64}", name) or set(name) == {"."}:
            raise ClientError(
                f"{path.name}: channel name '{name[:64]}' is not accepted; "
                "accepted: up to 64 letters, digits, '.', '-' and '_'"
            )
        channels[name] = ChannelConfig(
            name,
            _setting(path, name, settings, "TrainingInputMode", "File", INPUT_MODES),
            _content_type(path, name, settings),
            _setting(path, name, settings, "S3DistributionType", "FullyReplicated", DISTRIBUTIONS),
            _setting(path, name, settings, "RecordWrapperType", "None", ("None", "RecordIO")),
        )
    return channels


def _setting(
    path: Path, channel: str, settings: dict[str, Any], key: str, default: str, accepted: tuple[str, ...]
) -> str:
    value = str(settings.get(key) or default)
    if value not in accepted:
        raise ClientError(
            f"{path.name}: {key} of channel {channel} is '{value}'; accepted: {one_of(accepted)}"
        )
    return value


def _content_type(path: Path, channel: str, settings: dict[str, Any]) -> str | None:
    value = settings.get("ContentType") or None
    if value is not None and not isinstance(value, str):
        raise ClientError(
            f"{path.name}: ContentType of channel {channel} is {json.dumps(value)[:60]}; "
            "accepted: one content type as a string"
        )
    return value


def _found(data: Path) -> Iterator[tuple[str, str]]:
    if not data.is_dir():
        return
    try:
        entries = sorted(data.iterdir())
    except OSError as error:
        raise ClientError(f"the folder {data} can't be read: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield entry.name, "File"
        elif entry.is_fifo() and entry.name.endswith("_0"):
            yield entry.name.removesuffix("_0"), "Pipe"


def _hosts(path: Path) -> Hosts:
    config = _table(path)
    if not config:
        return Hosts()
    names = config.get("hosts", [])
    current = config.get("current_host")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ClientError(f"{path.name}: 'hosts' is not a list of host names")
    if len(set(names)) < len(names):
        raise ClientError(f"{path.name}: 'hosts' names a host twice: {', '.join(names)}")
    if not isinstance(current, str) or current not in names:
        raise ClientError(f"{path.name}: current_host '{current}' is not among hosts {', '.join(names)}")
    instance_type = config.get("current_instance_type")
    if not isinstance(instance_type, str | None):
        raise ClientError(
            f"{path.name}: current_instance_type is {json.dumps(instance_type)[:60]}; accepted: a string"
        )
    return Hosts(
        current,
        tuple(sorted(names)),
        instance_type,
        config.get("network_interface_name"),
    )


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its name when the block ends well.

    It is removed when the block fails. So nobody ever sees half a file, and SageMaker never uploads one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Checkpoint syncing skips names with this ending.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.sagemaker-ignore")
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # Whoever reads the message knows the file by its own name; write() tells none.
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raises ClientError when files can't be made in ``folder``: before a job trains, rather than after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClientError(f"the folder {folder} can't be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ClientError(
            f"the folder {folder} can't be written to by user {os.geteuid()}; accepted: a folder that this "
            "user may write to"
        )
