"""Reads model files: the library's own formats, and what older images of AWS left."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from common.failures import ClientError
from containers.xgboost import forest, legacy, pickles
from containers.xgboost.library import xgb

LIBSVM_BASE = "algodock_libsvm_base"
"""A booster's attribute: whether the libsvm data that it learnt from count indices from 0 or 1."""

NAME = "xgboost-model"
_PICKLE = b"\x80"
_PLACE = re.compile(r"(?:\[[\d:]+\] )?\S+\.(?:cc|h|cu|cuh):\d+: ")  # where in the library's sources
log = logging.getLogger("algodock.serve")


def load_all(folder: Path, first_only: bool) -> list[xgb.Booster]:
    """Every booster of a model's folder, by file name; ``first_only`` takes the first.

    A model may have any name. Files that don't begin as a model does are passed over, and dot files. Raises
    ClientError when there is no model, or one can't be read.
    """
    boosters = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.name.startswith("."):
            continue
        if not _is_model(path):
            log.info("%s is no model and is passed over", path.name)
            continue
        boosters.append(load(path))
        if first_only:
            break
    if not boosters:
        raise ClientError(
            f"{folder.name} holds no XGBoost model; accepted: {NAME}, as save_model or pickle wrote it"
        )
    return boosters


def load(path: Path) -> xgb.Booster:
    """One booster. Raises ClientError, naming the file, when it isn't one."""
    data = path.read_bytes()
    try:
        if data[:1] == _PICKLE:
            return pickles.load(data)
        if data[:1] != b"{":
            data = legacy.as_json(data)
        booster = checked(data)
        booster.save_config()  # the library looks at an objective's settings only when it must
        return booster
    except ClientError as error:
        raise ClientError(f"Unable to load model: {path.name}: {error}") from None
    except (xgb.core.XGBoostError, ValueError, TypeError) as error:
        reason = _PLACE.sub("", " ".join(str(error).split("\nStack trace")[0].split()))
        raise ClientError(f"Unable to load model: {path.name}: {reason[:300]}") from None


def checked(data: bytes) -> xgb.Booster:
    """The booster of a model in JSON or UBJSON, looked through before the library reads it.

    Raises ClientError for what would harm the process, and the library's errors for all else.
    """
    forest.check(data)
    booster = xgb.Booster()
    booster.load_model(bytearray(data))
    return booster


def _is_model(path: Path) -> bool:
    if path.name.startswith(NAME) and not path.name.endswith((".tar.gz", ".tgz")):
        return True
    with path.open("rb") as file:
        start = file.read(1 << 12)
    if start[:1] == b"{":
        return b"learner" in start
    return start[:1] == _PICKLE or start.startswith(legacy.MAGIC)
