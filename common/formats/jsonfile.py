"""A small JSON file beside a model's parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.failures import ClientError

_LARGEST = 16 << 20


def read(path: Path) -> Any:
    """What the file holds; None where there is none. Raises ClientError for what is no JSON."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ClientError(f"{path.name} is larger than {_LARGEST} bytes")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        raise ClientError(f"{path.name} is not JSON") from None
