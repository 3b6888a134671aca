"""Changes of (height, width, channels) uint8 images, as MXNet's augmenters make them with OpenCV.

What is random takes a generator, so that equal seeds give equal images. Formulas are those of Apache MXNet
(src/io/image_aug_default.cc).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# Worker processes are as many as cores; an OpenCV of several threads in each would only get in the way.
cv2.setNumThreads(1)

NEAREST, LINEAR, CUBIC, AREA, LANCZOS = range(5)
_METHODS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)
_FILL = 255  # of what rotation uncovers
_LONGEST = 32  # times the shorter side


def resize(image: Pixels, height: int, width: int, method: int = LINEAR) -> Pixels:
    """``image`` at another size, aspect not kept."""
    if image.shape[:2] == (height, width):
        return image
    return _channels(cv2.resize(image, (width, height), interpolation=_METHODS[method]), image)


def resize_shorter(image: Pixels, length: int, method: int = LINEAR) -> Pixels:
    """``image`` with its shorter side at ``length``, aspect kept.

    Of an image that is longer than 32 times its width only the middle is left: at its full length a line of
    pixels would take gigabytes.
    """
    height, width = image.shape[:2]
    image = centre_crop(image, min(height, width * _LONGEST), min(width, height * _LONGEST))
    height, width = image.shape[:2]
    if height > width:
        return resize(image, max(1, length * height // width), length, method)
    return resize(image, length, max(1, length * width // height), method)


def centre_crop(image: Pixels, height: int, width: int) -> Pixels:
    """The middle of an image that is at least that large; a view."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def random_crop(image: Pixels, height: int, width: int, random: Generator) -> Pixels:
    """A part of an image that is at least that large, anywhere; a view."""
    top = int(random.integers(image.shape[0] - height + 1))
    left = int(random.integers(image.shape[1] - width + 1))
    return image[top : top + height, left : left + width]


def mirror(image: Pixels) -> Pixels:
    """``image`` with left and right changed; a copy, which OpenCV makes twenty times faster than NumPy."""
    return _channels(cv2.flip(image, 1), image)


def pad(image: Pixels, top: int, bottom: int, left: int, right: int, value: int | tuple[int, ...]) -> Pixels:
    """``image`` with a border."""
    border = value if isinstance(value, tuple) else (value,) * 4
    return _channels(
        cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=border), image
    )


def affine(image: Pixels, angle: float, shear: float, aspect: float, scale: float = 1.0) -> Pixels:
    """``image`` turned by ``angle`` degrees, sheared, and stretched by ``aspect``, about its middle.

    What is uncovered is white.
    """
    height, width = image.shape[:2]
    turn = math.radians(angle)
    cosine, sine = math.cos(turn), math.sin(turn)
    across = 2 * scale / (1 + aspect)
    down = aspect * across
    matrix = np.array(
        [
            [across * cosine - shear * sine * down, across * sine + shear * cosine * down, 0.0],
            [-sine * down, cosine * down, 0.0],
        ]
    )
    middle = np.array([width / 2, height / 2])
    matrix[:, 2] = middle - matrix[:, :2] @ middle
    turned = cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(_FILL,) * 4,
    )
    return _channels(turned, image)


def hls(image: Pixels, hue: int, lightness: int, saturation: int) -> Pixels:
    """An RGB image with its hue (0 to 180), lightness and saturation (0 to 255) shifted and cut off there."""
    found = cv2.cvtColor(image, cv2.COLOR_RGB2HLS)
    # OpenCV takes four numbers for those of a pixel, and cuts off at 0 and 255 itself.
    found = cv2.add(found, np.array([hue, lightness, saturation, 0.0]))
    np.minimum(found[:, :, 0], 180, out=found[:, :, 0])
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_HLS2RGB), np.uint8)


def grey(image: Pixels) -> Pixels:
    """An RGB image's brightness, (height, width, 1)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]


def _channels(found: np.ndarray, image: Pixels) -> Pixels:
    """OpenCV drops a last axis of one."""
    return np.asarray(found if found.ndim == image.ndim else found[:, :, None], np.uint8)


def contrast(image: Pixels, factor: float) -> Pixels:
    """``image`` with every value multiplied, and cut off at 255."""
    return _channels(cv2.convertScaleAbs(image, alpha=factor), image)


def blur(image: Pixels, deviation: float) -> Pixels:
    """``image`` blurred by a normal distribution of that standard deviation in pixels."""
    if deviation <= 0.05:
        return image
    return _channels(cv2.GaussianBlur(image, (0, 0), deviation), image)
