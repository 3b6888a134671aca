"""What the values of masks mean: the classes themselves, scaled ones, or others by a map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.channels import Channel
from common.failures import ClientError

IGNORED = 255  # the value of pixels that belong to no class
_FORM = '{"scale": 3} or {"map": {"0": 5, "1": 0}}, from a class to the value it has in masks'


def table(values: dict[str, Any], where: str) -> NDArray[np.uint8]:
    """The class of each of the 256 values of a mask, (256,); `IGNORED` stays. Raises ClientError."""
    found: NDArray[np.uint8] = np.arange(256, dtype=np.uint8)
    try:
        if set(values) == {"scale"}:
            scale = float(values["scale"])
            if not scale >= 1:
                raise ValueError
            found = (np.arange(256) // scale).astype(np.uint8)
        elif set(values) == {"map"}:
            pairs = [(int(label), int(value)) for label, value in values["map"].items()]
            if not all(0 <= label < IGNORED and 0 <= value <= 255 for label, value in pairs):
                raise ValueError
            for label, value in pairs:
                found[value] = label
        else:
            raise ValueError
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise ClientError(f"{where} is {json.dumps(values)[:60]}; accepted: {_FORM}") from None
    found[IGNORED] = IGNORED
    return found


def read(channel: Channel | None, name: str) -> NDArray[np.uint8] | None:
    """The table of ``<name>_label_map.json`` in the channel; None where there is none. Raises ClientError."""
    if channel is None:
        return None
    channel.check()
    path = Path(channel.folder) / f"{name}_label_map.json"
    try:
        values = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        raise ClientError(f"channel label_map, file {path.name} is not JSON; accepted: {_FORM}") from None
    if not isinstance(values, dict):
        raise ClientError(f"channel label_map, file {path.name} is not a JSON object; accepted: {_FORM}")
    return table(values, f"channel label_map, file {path.name}")
