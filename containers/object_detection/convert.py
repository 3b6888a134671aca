"""Images and annotations to .rec files: ``algodock convert --for object-detection``, im2rec's work.

Annotations are Pascal VOC's XML files, or the JSON files that jobs take, one for each image.
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
from containers.object_detection import voc
from containers.object_detection.annotations import HEADER, ROW, Boxes, Label, Objects, packed

_SEED = 100  # im2rec's
_ANY = 1 << 30  # classes, and numbers of a label


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image's file, and its objects."""

    path: Path
    label: Label


def convert(arguments: Sequence[str], program: str) -> Iterator[str]:
    """Does what a command line asks for; yields a sentence on each file that it wrote.

    Raises ClientError for what is wrong with annotations; images that can't be decoded are left out.
    """
    chosen = _parser(program).parse_args(arguments)
    encoding = chosen_encoding(chosen)
    for folder in (chosen.images, chosen.annotations):
        if not folder.is_dir():
            raise ClientError(f"there is no folder {folder}; accepted: a folder of files")
    images = _images(chosen.images)
    texts = sorted(path for path in chosen.annotations.rglob("*") if path.suffix.lower() in (".xml", ".json"))
    endings = {path.suffix.lower() for path in texts}
    if len(endings) != 1:
        raise ClientError(
            f"{chosen.annotations} holds {'both .xml and .json' if endings else 'no .xml or .json'} files; "
            "accepted: files of one of the two, one for each image"
        )
    if endings == {".xml"}:
        classes = [name.strip() for name in chosen.classes.split(",")] if chosen.classes else None
        names, pictures = _of_xml(texts, chosen.annotations, images, classes)
        yield f"num_classes={len(names)}: " + ", ".join(f"{n} {name}" for n, name in enumerate(names))
    else:
        pictures = _of_json(texts, chosen.annotations, images)
        yield f"num_classes={1 + int(max((p.label.boxes[:, 0].max(initial=0) for p in pictures), default=0))}"
    empty = [picture for picture in pictures if not len(picture.label.boxes)]
    if empty:
        yield f"left out: {len(empty)} images without objects"
    pictures = [picture for picture in pictures if len(picture.label.boxes)]
    random.Random(_SEED).shuffle(pictures)
    held = round(len(pictures) * chosen.share) if chosen.validation else 0
    parts = [(chosen.target, pictures[held:])]
    if chosen.validation:
        parts.append((chosen.validation, pictures[:held]))
    for path, part in parts:
        yield from _write(path, part, encoding)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="A folder of images and one of annotations to a .rec file. Annotations are Pascal VOC's\n"
        ".xml files, or the .json files that jobs take, named like their images.",
        epilog=f"example:\n  {program} JPEGImages Annotations train.rec --validation val.rec",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("annotations", type=Path, help="folder of .xml or of .json files")
    parser.add_argument("target", type=Path, help=".rec file to write")
    parser.add_argument(
        "--classes", metavar="A,B,...", help="names of classes 0, 1, ... in .xml; default: all, by alphabet"
    )
    add_options(parser)
    return parser


def _images(folder: Path) -> dict[str, Path]:
    """Image files, by their path without ending and by their path."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in sources.ENDINGS]
    if not paths:
        raise ClientError(f"{folder} holds no images; accepted: JPEG and PNG files")
    found = {str(path.relative_to(folder).with_suffix("")): path for path in paths}
    return {**found, **{str(path.relative_to(folder)): path for path in paths}}


def _image_of(text: Path, folder: Path, named: object, images: dict[str, Path]) -> Path:
    """The image of an annotation: named like it, or as it says."""
    found = images.get(str(text.relative_to(folder).with_suffix("")))
    if found is None and isinstance(named, str):
        found = images.get(named)
    if found is None:
        raise ClientError(f"{text} belongs to no image; accepted: the same name as an image's, or its path")
    return found


def _of_xml(
    texts: Sequence[Path], folder: Path, images: dict[str, Path], classes: list[str] | None
) -> tuple[list[str], list[_Picture]]:
    """Names of classes, and pictures."""
    parsed = [(text, voc.parse(sources.content(FilePart(str(text))), str(text))) for text in texts]
    names = classes or sorted({one.kind for _, found in parsed for one in found.objects})
    objects = Objects(max(1, len(names)), _ANY)
    pictures = []
    for text, found in parsed:
        path = _image_of(text, folder, found.file, images)
        for one in found.objects:
            if one.kind not in names:
                raise ClientError(
                    f"{text} has the class {one.kind}; accepted by --classes: {', '.join(names)}"
                )
        size = found.size
        if size is None:
            height, width = decoding.size(sources.content(FilePart(str(path))), str(path))
            size = float(width), float(height)
        rows = [
            [names.index(one.kind), *np.divide(one.corners, (*size, *size)), one.difficult]
            for one in found.objects
        ]
        boxes = objects.checked(np.array(rows, np.float64).reshape(-1, ROW + 1), str(text))
        pictures.append(_Picture(path, Label(boxes, size)))
    return names, pictures


def _of_json(texts: Sequence[Path], folder: Path, images: dict[str, Path]) -> list[_Picture]:
    objects = Objects(_ANY, _ANY)
    pictures = []
    for text in texts:
        label, value = objects.of_json(sources.content(FilePart(str(text))), str(text))
        pictures.append(_Picture(_image_of(text, folder, value.get("file"), images), label))
    return pictures


def _write(path: Path, pictures: Sequence[_Picture], encoding: Encoding) -> Iterator[str]:
    """Writes records."""
    count = largest = 0
    # Difficult objects take a sixth number, which most data don't need.
    row = ROW + any((one.label.boxes[:, ROW] > 0).any() for one in pictures)
    with written(path) as temporary, temporary.open("wb") as file:
        for number, one in enumerate(pictures):
            try:
                image = _image(one, encoding)
            except decoding.Undecodable as error:
                yield f"left out: {error}"
                continue
            boxes: Boxes = one.label.boxes[:, :row]
            file.write(recordio.frame(records.pack(packed(boxes), image, number)))
            count, largest = count + 1, max(largest, HEADER + boxes.size)
        if not count:
            raise ClientError(f"there is no image with objects for {path}; accepted: at least one")
    yield f"{path}: num_training_samples={count}, label_width at least {largest}"


def _image(one: _Picture, encoding: Encoding) -> bytes:
    """A file as it is, where it can be, else a JPEG. Raises Undecodable, and ClientError as `Label.check`."""
    data = sources.content(FilePart(str(one.path)))
    pixels = decoding.rgb(data, str(one.path))
    one.label.check(pixels.shape[1], pixels.shape[0], str(one.path))
    return encoding.encoded(data, pixels)
