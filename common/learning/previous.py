"""The ``model`` channel: what an earlier job of the same algorithm left, to go on from."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.channels import files
from common.failures import ClientError

if TYPE_CHECKING:
    from common.training import Run

CHANNEL = "model"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_LARGEST = 32 << 30  # bytes of all files of an archive
_MOST = 10_000  # files of an archive


@contextmanager
def opened(run: Run) -> Iterator[Path | None]:
    """The folder that holds the earlier model's files; None where the job has no ``model`` channel.

    The channel has a model.tar.gz, which is unpacked to a temporary folder, or the files that it held, maybe
    in a folder below. Raises ClientError for anything else.
    """
    channel = run.channels.get(CHANNEL)
    if channel is None:
        yield None
        return
    channel.check()
    found = [Path(file.path) for file in files.find(channel.folder, CHANNEL)]
    archives = [path for path in found if path.name.endswith(_ARCHIVES)]
    if len(archives) > 1:
        names = ", ".join(path.name for path in archives)
        raise ClientError(f"channel {CHANNEL} holds several archives ({names}); accepted: one model.tar.gz")
    if archives:
        folder = Path(tempfile.mkdtemp(prefix="model-"))
        try:
            _unpack(archives[0], folder)
            yield _only(folder, archives[0].name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    elif found:
        yield _only(channel.folder, f"channel {CHANNEL}")
    else:
        raise ClientError(f"channel {CHANNEL} is empty; accepted: the model.tar.gz of an earlier job")


def compare(given: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    """Raises ClientError that names each hyperparameter in which a job differs from the earlier one."""
    faults = [
        f"hyperparameter {name} is {_shown(given[name])}, and the model in channel {CHANNEL} was trained "
        f"with {_shown(value)}"
        for name, value in earlier.items()
        if given[name] != value
    ]
    if faults:
        raise ClientError("; ".join(faults) + "; accepted: the same as there")


def _shown(value: Any) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )


def _only(folder: Path, where: str) -> Path:
    """The folder with files: this, or the only one below it."""
    for _ in range(3):
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if any(path.is_file() for path in entries):
            return folder
        if len(entries) != 1:
            break
        folder = entries[0]
    raise ClientError(f"{where} holds no model; accepted: the model.tar.gz of an earlier job, or its files")


def _unpack(path: Path, folder: Path) -> None:
    """Unpacks an archive of plain files. Nothing is written outside ``folder``, and no links are made."""
    size = count = 0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()):
                    raise ClientError(f"{path.name} holds a link or device, {member.name}; accepted: files")
                size, count = size + member.size, count + 1
                if size > _LARGEST or count > _MOST:
                    raise ClientError(
                        f"{path.name} holds more than {_MOST} files or {_LARGEST} bytes; accepted: a model"
                    )
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ClientError(
            f"{path.name} is not a whole tar archive: {error}; accepted: a model.tar.gz"
        ) from None
    except OSError as error:
        # zlib's and gzip's faults are OSErrors without a number.
        if error.errno is not None:
            raise
        raise ClientError(
            f"{path.name} is not a whole gzip file: {error}; accepted: a model.tar.gz"
        ) from None
