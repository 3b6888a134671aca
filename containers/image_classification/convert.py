"""Image files to .rec files: ``algodock convert --for image-classification``, which does im2rec's work.

Classes are the folders below the source, in the order of their names, or what a list says. A list, as MXNet's
tools have it, has lines of an index, a label or several, and a path, with tabs between them.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.failures import ClientError
from common.formats import recordio
from common.images import decoding, records, sources
from common.images.encoding import Encoding, add_options, chosen_encoding
from common.images.sources import FilePart
from common.job import written
from containers.image_classification.reading import row

_SEED = 100  # im2rec's


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a list."""

    number: int
    labels: tuple[float, ...]
    path: str


def convert(arguments: Sequence[str], program: str) -> Iterator[str]:
    """Does what a command line asks for; yields a sentence on each file that it wrote.

    Raises ClientError for what is wrong with lists and folders; images that can't be decoded are left out.
    """
    chosen = _parser(program).parse_args(arguments)
    encoding = chosen_encoding(chosen)
    if not chosen.source.is_dir():
        raise ClientError(f"there is no folder {chosen.source}; accepted: a folder of images")
    if chosen.list:
        rows = _listed(chosen.list)
    else:
        classes, rows = _found(chosen.source)
        yield "classes: " + ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    random.Random(_SEED).shuffle(rows)
    held = round(len(rows) * chosen.share) if chosen.validation else 0
    parts = [(chosen.target, rows[held:])] + ([(chosen.validation, rows[:held])] if chosen.validation else [])
    for path, part in parts:
        yield from _write(path, part, chosen.source, encoding)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="A folder of images to a .rec file and its .lst file. Each folder below "
        "is a class, in the order of their names.",
        epilog=f"example:\n  {program} photographs train.rec --validation val.rec --resize 256",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="folder of images")
    parser.add_argument("target", type=Path, help=".rec file to write")
    parser.add_argument("--list", type=Path, metavar="FILE.lst", help="labels, where folders aren't classes")
    add_options(parser)
    return parser


def _found(folder: Path) -> tuple[list[str], list[_Row]]:
    """Names of classes, and images of each."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    paths = [
        (label, path.relative_to(folder))
        for label, name in enumerate(classes)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in sources.ENDINGS and path.name[0] != "."
    ]
    if not paths:
        raise ClientError(
            f"{folder} holds no folders of images; accepted: a folder for each class, or --list"
        )
    return classes, [_Row(number, (float(label),), str(path)) for number, (label, path) in enumerate(paths)]


def _listed(path: Path) -> list[_Row]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"{path} can't be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"line {number} of {path.name}"
            try:
                index, labels, image = row(line)
            except ValueError:
                raise ClientError(
                    f"{where} is not an index, labels and a path with tabs between them"
                ) from None
            found.append(_Row(index, tuple(map(float, labels)), image))
    if not found:
        raise ClientError(f"{path} names no image")
    return found


def _write(path: Path, rows: Sequence[_Row], folder: Path, encoding: Encoding) -> Iterator[str]:
    """Writes records and their list."""
    kept: list[_Row] = []
    with written(path) as temporary, temporary.open("wb") as file:
        for one in rows:
            try:
                image = _image(folder / one.path, encoding)
            except decoding.Undecodable as error:
                yield f"left out: {error}"
                continue
            labels = one.labels[0] if len(one.labels) == 1 else np.array(one.labels, np.float32)
            file.write(recordio.frame(records.pack(labels, image, one.number)))
            kept.append(one)
        if not kept:
            raise ClientError(f"there is no image for {path}; accepted: at least one")
    listed = path.with_suffix(".lst")
    with written(listed) as temporary:
        temporary.write_text(
            "".join(
                "\t".join([str(one.number), *(f"{label:f}" for label in one.labels), one.path]) + "\n"
                for one in kept
            )
        )
    yield f"{path}: {len(kept)} images; {listed}: their list"


def _image(path: Path, encoding: Encoding) -> bytes:
    """A file as it is, where it can be, else a JPEG. Raises ClientError when it isn't there."""
    data = sources.content(FilePart(str(path)))
    pixels = decoding.rgb(data, str(path))
    return encoding.encoded(data, pixels)
