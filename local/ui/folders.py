"""What lies in the folder of a job or a tuning, which may be under way, damaged or somebody's trick."""

from __future__ import annotations

import functools
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import manifest
from local.tuning import trials

LOG, DESCRIPTION, MODEL, OUTPUT = "train.log", "job.json", "model.tar.gz", "output.tar.gz"
REPORT, TUNING_REPORT = "output/data/report.html", "tuning.html"

LARGEST = 64 << 20  # of a file that is read whole
_CONFIGS = ("hyperparameters", "inputdataconfig")
_SOURCE = re.compile(r"containers/(\w+)/hyperparameters\.py")


def walk(folder: Path, depth: int) -> Iterator[Path]:
    """The folders of jobs and tunings, down to ``depth`` levels below."""
    job = is_job(folder)
    if job or is_tuning(folder):
        yield folder
    if not depth:
        return
    with suppress(OSError), os.scandir(folder) as inside:
        below = [Path(one.path) for one in inside if one.is_dir(follow_symlinks=False) and _shown(one.name)]
        for one in below:
            if not (job and one.name == "ml"):
                yield from walk(one, depth - 1)


def _shown(name: str) -> bool:
    """Whether a folder may be one of jobs: it isn't hidden, and its name can be written in an address."""
    return not name.startswith(".") and "\n" not in name and name == name.encode(errors="replace").decode()


def is_job(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (LOG, DESCRIPTION)) or (
        (folder / "ml" / "algo-1" / "input" / "config").is_dir()
    )


def is_tuning(folder: Path) -> bool:
    return (folder / trials.FILE).is_file()


def inside(folder: Path, path: Path) -> Path | None:
    """The path where it is a regular file that really lies in the folder."""
    with suppress(OSError, RuntimeError):
        found = path.resolve()
        if found.is_relative_to(folder) and found.is_file():
            return found
    return None


def of_hosts(folder: Path, name: str) -> Iterator[Path]:
    """That file of each host."""
    for host in _hosts(folder):
        if found := inside(folder, host / name):
            yield found


def _hosts(folder: Path) -> list[Path]:
    return sorted(folder.glob("ml/algo-*"))


def under_way(folder: Path) -> bool:
    """Whether the hosts still have their data, which are taken from them when all have ended."""
    return any((host / "input" / "data").is_dir() for host in _hosts(folder))


def failure(folder: Path) -> str:
    for path in of_hosts(folder, "output/failure"):
        with path.open("rb") as file:
            return file.read(1 << 16).decode(errors="replace").strip()
    if _hosts(folder):
        return ""
    kept = member(inside(folder, folder / OUTPUT), "failure")
    return "" if kept is None else kept.decode(errors="replace").strip()


def touched(folder: Path) -> float:
    """When something was last written that jobs and tunings write as they go."""
    places = [folder / LOG, folder / trials.FILE, *(host / "input" / "config" for host in _hosts(folder))]
    return max(times(places), default=0.0)


def started(folder: Path) -> float:
    """The first files of a job are its configuration."""
    configs = [host / "input" / "config" / "hyperparameters.json" for host in _hosts(folder)]
    return min(times(configs) or times([folder / LOG, folder / DESCRIPTION]), default=0.0)


def ended(folder: Path) -> float | None:
    """The last file of a job is its description; one that has none ended with its last line."""
    names = (LOG,) if under_way(folder) else (LOG, DESCRIPTION)
    return max(times(folder / name for name in names), default=None)


def times(paths: Iterable[Path]) -> list[float]:
    found = []
    for path in paths:
        with suppress(OSError):
            found.append(path.stat().st_mtime)
    return found


def algorithm(folder: Path, described: Mapping[str, Any]) -> str:
    """By its image's name: what job.json says, or while it isn't written the log's first lines."""
    told = described.get("algorithm")
    if isinstance(told, str) and told:
        return told
    log = inside(folder, folder / LOG)
    if log:
        with log.open("rb") as file:
            found = _SOURCE.search(file.read(1 << 16).decode(errors="replace"))
        if found:
            return next((n for n, path in _known().items() if path.parent.name == found[1]), "")
    # The name that `algodock train` makes up begins with it.
    return next((n for n in sorted(_known(), key=len)[::-1] if folder.name.startswith(f"{n}-")), "")


@functools.cache
def _known() -> dict[str, Path]:
    return manifest.known()


def config(folder: Path) -> dict[str, dict[str, Any]]:
    """The first host's configuration, by the files' names."""
    host = next(iter(_hosts(folder)), None)
    if host is None:
        return {}
    files = {name: host / "input" / "config" / f"{name}.json" for name in _CONFIGS}
    return {name: as_object(inside(folder, path)) for name, path in files.items()}


def as_object(path: Path | None) -> dict[str, Any]:
    """An object from a file; nothing where the file is missing, half-written or something else."""
    if path is None:
        return {}
    try:
        found = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def member(archive: Path | None, name: str) -> bytes | None:
    """A file of an archive."""
    if archive is None:
        return None
    status = archive.stat()
    return _extracted(str(archive), status.st_mtime_ns, status.st_size, name)


@functools.lru_cache(256)
def _extracted(archive: str, changed: int, size: int, name: str) -> bytes | None:
    try:
        with tarfile.open(archive) as opened:
            member = opened.getmember(name)
            file = opened.extractfile(member) if member.isfile() and member.size <= LARGEST else None
            return file.read() if file else None
    except (KeyError, tarfile.TarError, EOFError, OSError, ValueError, zlib.error):
        return None
