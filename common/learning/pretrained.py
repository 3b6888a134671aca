"""ImageNet weights to begin with: files by the name of their network, with checksums beside them.

A folder holds ``<network>.params`` and ``sha256sums.txt``, in the form of the ``sha256sum`` program. Images
have it at /opt/pretrained, a checkout in ``pretrained``. Nothing is downloaded. As a program::

    python -m common.learning.pretrained add resnet-50 resnet-50-0000.params [--folder pretrained]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import ndarray
from common.job import written

VARIABLE = "ALGODOCK_PRETRAINED"
IMAGE = Path("/opt/pretrained")
CHECKOUT = Path(__file__).resolve().parents[2] / "pretrained"
SUMS = "sha256sums.txt"
_PIECE = 1 << 20


def arrays(network: str) -> dict[str, NDArray[Any]]:
    """The named arrays of a network's weights. Raises ClientError that says how to add missing ones."""
    path = find(network)
    known = _sums(path.parent).get(path.name)
    if known != _sum(path):
        how = "has no checksum" if known is None else "differs from its checksum"
        raise ClientError(
            f"{path} {how} in {path.with_name(SUMS)}; accepted: a file added by make pretrained"
        )
    found = ndarray.load(path)
    if not isinstance(found, dict):
        raise ClientError(f"{path} holds arrays without names")
    return found


def find(network: str) -> Path:
    """The file of a network's weights. Raises ClientError."""
    given = os.environ.get(VARIABLE)
    folders = [Path(given)] if given else [IMAGE, CHECKOUT]
    for folder in folders:
        if (path := folder / f"{network}.params").is_file():
            return path
    raise ClientError(
        f"hyperparameter use_pretrained_model is on, and there are no ImageNet weights of {network} in "
        f"{folders[0]}; accepted: use_pretrained_model=0, a model channel with an earlier model, or weights "
        f"added with 'make pretrained NETWORK={network} FILE=...' before the image is built"
    )


def add(network: str, source: Path, folder: Path) -> Path:
    """Copies a parameter file into a folder and notes its checksum. Raises ClientError when it is none."""
    try:
        found = ndarray.load(source)
    except OSError as error:
        raise ClientError(f"{source} can't be read: {error.strerror}") from None
    if not isinstance(found, dict):
        raise ClientError(f"{source} holds arrays without names; accepted: MXNet's parameters of a network")
    target = folder / f"{network}.params"
    with written(target) as path:
        shutil.copyfile(source, path)
    sums = {**_sums(folder), target.name: _sum(target)}
    with written(folder / SUMS) as path:
        path.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
    return target


def _sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name.strip(): digest for digest, _, name in (line.partition("  ") for line in lines)}


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m common.learning.pretrained")
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="keep a network's weights")
    adding.add_argument("network", help="resnet-50, vgg16-reduced, ...")
    adding.add_argument("file", type=Path, help="MXNet's parameters of it")
    adding.add_argument("--folder", type=Path, default=CHECKOUT)
    chosen = parser.parse_args(arguments)
    try:
        if not chosen.network or "/" in chosen.network:
            raise ClientError(
                f"network '{chosen.network}' is not accepted; accepted: a name such as resnet-50"
            )
        print(add(chosen.network, chosen.file, chosen.folder))
    except ClientError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
