"""Images for .rec files that ``algodock convert`` writes, and what its command lines say of them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg

from common.failures import ClientError
from common.images import transforms

# Files of these kinds are taken as they are.
_KEPT = (b"\xff\xd8\xff", b"\x89PNG")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How images are written: resized to a shorter side or not, and JPEGs of which quality."""

    resize: int | None
    quality: int

    def encoded(self, data: bytes, pixels: transforms.Pixels) -> bytes:
        """A file as it is, where it can be; else a JPEG of ``pixels``, which are what the file shows."""
        if self.resize is None and data.startswith(_KEPT):
            return data
        if self.resize is not None:
            pixels = transforms.resize_shorter(pixels, self.resize)
        plain = np.ascontiguousarray(pixels)
        found: bytes = simplejpeg.encode_jpeg(plain, self.quality, "RGB", colorsubsampling="420")
        return found


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a program that writes .rec files."""
    parser.add_argument(
        "--validation", type=Path, metavar="FILE.rec", help=".rec file of images that are held out"
    )
    parser.add_argument("--share", type=float, default=0.2, help="of the images that are; default 0.2")
    parser.add_argument(
        "--resize", type=int, help="make the shorter side so long; default: files as they are"
    )
    parser.add_argument("--quality", type=int, default=95, help="of JPEGs that are made; default 95")


def chosen_encoding(chosen: argparse.Namespace) -> Encoding:
    """What the options say. Raises ClientError for what can't be."""
    if not 0 < chosen.share < 1:
        raise ClientError(f"--share is {chosen.share}; accepted: a number between 0 and 1")
    if not 1 <= chosen.quality <= 100:
        raise ClientError(f"--quality is {chosen.quality}; accepted: 1 to 100")
    if chosen.resize is not None and chosen.resize < 1:
        raise ClientError(f"--resize is {chosen.resize}; accepted: a number of pixels from 1")
    return Encoding(chosen.resize, chosen.quality)
