"""Encoded images as arrays: JPEG by libjpeg-turbo, everything else by Pillow.

Colours are RGB, and pixels lie as a person sees the picture: the orientation that a camera notes (EXIF) is
undone.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from common.failures import ClientError

Pixels = NDArray[np.uint8]

# Of one image, decoded. A few kilobytes of a file may claim gigabytes.
MOST_PIXELS = 1 << 28
# Of larger JPEGs at a smaller scale, which is the most that the format has.
_MOST_PIXELS_SCALED = 1 << 32
# Of a progressive JPEG, each of which goes over all pixels; cameras and tools write about ten.
_MOST_SCANS = 500
# Pillow knows more, among them some that other programs are started for.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
Image.MAX_IMAGE_PIXELS = None  # ours counts
# Notes on odd metadata would tell nobody which image they are about.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

_ORIENTATION = 0x0112
_JPEG = b"\xff\xd8\xff"
_EXIF = b"Exif\x00\x00"
# What EXIF's numbers ask for: whether rows and columns change places, then which of both are turned round.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class Undecodable(ClientError):
    """An image that can't be read."""


def rgb(
    data: bytes | memoryview,
    where: str,
    least: tuple[int, int] | None = None,
    most: int = MOST_PIXELS,
) -> Pixels:
    """An encoded image as (height, width, 3) uint8, upright.

    With ``least``, (height, width), a JPEG may come back at a half, a quarter or an eighth of its size, each
    side at least that; decoding is faster then. Grey becomes three equal channels, 16 bits become 8,
    transparency is dropped. Raises Undecodable, naming ``where``, also for more than ``most`` pixels.
    """
    if bytes(data[:3]) == _JPEG:
        found = _jpeg(data, where, least, most)
        if found is not None:
            return found
    with _opened(data, where, most) as image:
        return np.array(_eight_bits(_upright(image)).convert("RGB"))


def indices(data: bytes | memoryview, where: str) -> Pixels:
    """A mask's values as they stand, (height, width) uint8: a palette's indices, or grey.

    Raises Undecodable for what can't be read and for images of several channels or of more than 8 bits.
    """
    with _opened(data, where) as image:
        if image.mode not in ("1", "L", "P"):
            raise Undecodable(
                f"{where} is an image of mode {image.mode}; accepted: one channel of 8 bits (mode P or L)"
            )
        return np.array(image).astype(np.uint8, copy=False)


def size(data: bytes | memoryview, where: str) -> tuple[int, int]:
    """Height and width of the upright image, from its header. Raises Undecodable."""
    if bytes(data[:3]) == _JPEG:
        with suppress(ValueError, KeyError):
            height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
            return (width, height) if _marks(data)[0] >= 5 else (height, width)
    with _opened(data, where) as image:
        turned = _orientation_of(image) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def _jpeg(data: bytes | memoryview, where: str, least: tuple[int, int] | None, most: int) -> Pixels | None:
    """A JPEG of grey or YCbCr; None for what Pillow reads better.

    That is CMYK, and what libjpeg-turbo warns of: Pillow knows bytes too many from bytes that are missing.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if colours in ("CMYK", "YCCK"):
            return None
        orientation, progressive = _marks(data)
        turn = _TURNS.get(orientation)
        smallest = (0, 0)
        if least is not None:
            smallest = _scaled(height, width, least[::-1] if turn and turn[0] else least)
        # All coefficients of a progressive one are kept, whatever the scale.
        whole = smallest == (0, 0) or progressive
        _check_size(height, width, where, most if whole else _MOST_PIXELS_SCALED)
        if progressive:
            _check_scans(data, where)
        pixels: Pixels = simplejpeg.decode_jpeg(data, min_height=smallest[0], min_width=smallest[1])
    except (ValueError, KeyError):
        return None
    return pixels if turn is None else _turned(pixels, *turn)


def _scaled(height: int, width: int, least: tuple[int, int]) -> tuple[int, int]:
    """The smallest size that ``least`` allows among those that are decoded faster; (0, 0) for the whole.

    The library knows scales of 3, 5, 6 and 7 eighths too, but has fast code for powers of two alone.
    """
    for parts in (8, 4, 2):
        scaled = -(-height // parts), -(-width // parts)
        if scaled[0] >= least[0] and scaled[1] >= least[1]:
            return scaled
    return 0, 0


def _turned(pixels: Pixels, transposed: bool, rows: bool, columns: bool) -> Pixels:
    if transposed:
        pixels = pixels.transpose(1, 0, 2)
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def _marks(data: bytes | memoryview) -> tuple[int, bool]:
    """The orientation that a JPEG's EXIF notes, 1 where it notes none, and whether the JPEG is progressive.

    Only the segments before the picture are walked, which takes a microsecond rather than Pillow's thirty.
    """
    at, end = 2, len(data)
    orientation = 1
    while at + 4 <= end and data[at] == 0xFF:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if marker == 0xE1 and orientation == 1 and bytes(data[at + 4 : at + 10]) == _EXIF:
            orientation = _orientation_in(bytes(data[at + 10 : at + 2 + length]))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return orientation, marker != 0xC0 and marker != 0xC1
        if marker == 0xFF:  # bytes between segments
            at += 1
            continue
        if marker == 0xDA or length < 2:
            break
        at += 2 + length
    return orientation, True


def _orientation_in(block: bytes) -> int:
    """The orientation in a TIFF block: tag 0x0112 of its first directory."""
    little = block[:2] == b"II"

    def number(at: int, count: int) -> int:
        return int.from_bytes(block[at : at + count], "little" if little else "big")

    directory = number(4, 4)
    for entry in range(min(number(directory, 2), 64)):
        at = directory + 2 + 12 * entry
        if number(at, 2) == _ORIENTATION:
            return number(at + 8, 2)
    return 1


@contextmanager
def _opened(data: bytes | memoryview, where: str, most: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """A file that Pillow has read the header of. What goes wrong in the block is told as Undecodable."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image.height, image.width, where, most)
            yield image
    except ClientError:
        raise
    except Exception as error:  # of which damaged files bring about many
        raise _damaged(where, error) from None


def _upright(image: Image.Image) -> Image.Image:
    """Without what EXIF asks for, where EXIF itself is damaged."""
    image.load()
    if 2 <= _orientation_of(image) <= 8:
        with suppress(Exception):
            return ImageOps.exif_transpose(image)
    return image


def _orientation_of(image: Image.Image) -> int:
    with suppress(Exception):
        found = image.getexif().get(_ORIENTATION)
        return found if isinstance(found, int) else 1
    return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Values of 16 bits scaled to 8; Pillow's own conversion would cut them off."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values.clip(0, 65535) / 257).round().astype(np.uint8))
    return image


def _check_size(height: int, width: int, where: str, most: int) -> None:
    if height * width > most:
        raise Undecodable(f"{where} has {width}x{height} pixels; accepted: at most {most} in all")


def _check_scans(data: bytes | memoryview, where: str) -> None:
    if bytes(data).count(b"\xff\xda") > _MOST_SCANS:
        raise Undecodable(f"{where} is a progressive JPEG of many scans; accepted: at most {_MOST_SCANS}")


def _damaged(where: str, error: BaseException) -> Undecodable:
    if isinstance(error, UnidentifiedImageError):
        return Undecodable(f"{where} is not an image; accepted: a JPEG or PNG file")
    return Undecodable(f"{where} can't be decoded: {error}; accepted: a whole JPEG or PNG file")
