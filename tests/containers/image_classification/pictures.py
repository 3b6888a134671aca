"""Small pictures for tests: scikit-learn's digits as PNG files, and .rec files of them."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from common.formats import recordio
from common.images import records

DIGITS = load_digits()


def png(number, side=32):
    """A digit as a PNG file."""
    grey = Image.fromarray((DIGITS.images[number] * 15.9).astype(np.uint8)).resize((side, side))
    file = io.BytesIO()
    grey.convert("RGB").save(file, "PNG")
    return file.getvalue()


def rec(numbers, label=lambda number: float(DIGITS.target[number]), side=32):
    """A .rec file of digits."""
    return b"".join(recordio.frame(records.pack(label(n), png(n, side), n)) for n in numbers)


def hot(number):
    """Labels of a digit: odd, below five, round."""
    digit = DIGITS.target[number]
    return np.array([digit % 2, digit < 5, digit in (0, 6, 8, 9)], np.float32)


def manifest(numbers, label=lambda number: str(DIGITS.target[number]), side=32):
    """An augmented manifest's stream: image and label in turn."""
    return b"".join(recordio.frame(png(n, side)) + recordio.frame(label(n).encode()) for n in numbers)
