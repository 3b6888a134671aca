"""Annotations as Pascal VOC has them: an XML file for each image, boxes in pixels, classes by name."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from common.failures import ClientError


@dataclass(frozen=True, slots=True)
class Named:
    """One object: its class, its corners in pixels, and whether it is difficult."""

    kind: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True, slots=True)
class Annotation:
    """One file: the image's name and (width, height) as far as it says them, and its objects."""

    file: str
    size: tuple[float, float] | None
    objects: tuple[Named, ...]


def parse(data: bytes, where: str) -> Annotation:
    """Reads one file. Raises ClientError, also for document types: nothing that XML can refer to is read."""
    root = _tree(data, where)
    if root.tag != "annotation":
        raise ClientError(f"{where} is <{root.tag}>; accepted: an <annotation> as Pascal VOC has it")
    try:
        width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        objects = tuple(_named(one) for one in root.findall("object"))
    except ValueError:
        raise ClientError(
            f"{where} has an <object> without <name>, or without numbers in <bndbox>; accepted: xmin, ymin, "
            "xmax and ymax in pixels"
        ) from None
    size = (width, height) if width > 0 and height > 0 else None
    return Annotation((root.findtext("filename") or "").strip(), size, objects)


def _named(one: Element) -> Named:
    name = (one.findtext("name") or "").strip()
    if not name:
        raise ValueError
    left, top, right, bottom = (
        float(one.findtext(f"bndbox/{edge}") or "") for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    difficult = (one.findtext("difficult") or "0").strip()
    return Named(name, (left, top, right, bottom), difficult not in ("", "0"))


def _tree(data: bytes, where: str) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise ClientError(f"{where} has a document type; accepted: XML without one")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ClientError(f"{where} is not XML: {error}; accepted: a file as Pascal VOC has it") from None
    return builder.close()
