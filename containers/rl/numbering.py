"""Discrete observations and actions as one number each, which is a row or a column of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Numbering:
    """Observations as one number: ``sizes`` of their parts, each counted from ``offsets``."""

    sizes: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return int(np.prod(self.sizes, dtype=object))

    def number(self, parts: Any) -> int:
        """The number of an observation, an integer or a sequence of as many as ``sizes``.

        Raises ValueError for what is none.
        """
        values = [parts] if np.ndim(parts) == 0 else list(parts)
        if len(values) != len(self.sizes):
            raise ValueError
        found = 0
        for value, size, offset in zip(values, self.sizes, self.offsets, strict=True):
            whole = int(value)
            if whole != value or not 0 <= whole - offset < size:
                raise ValueError
            found = found * size + whole - offset
        return found

    def accepted(self) -> str:
        """What an observation is, in words."""
        ranges = [f"{o} to {o + s - 1}" for s, o in zip(self.sizes, self.offsets, strict=True)]
        if len(ranges) == 1:
            return f"an integer from {ranges[0]}"
        return f"a list of {len(ranges)} integers: {', '.join(ranges)}"

    def parts(self, number: int) -> int | list[int]:
        """What has that number: an integer, or a list where there are several parts."""
        found = []
        for size, offset in zip(reversed(self.sizes), reversed(self.offsets), strict=True):
            number, part = divmod(number, size)
            found.append(part + offset)
        return found[0] if len(found) == 1 else found[::-1]
