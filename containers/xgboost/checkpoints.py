"""``xgboost-checkpoint.<n>`` after each round, the newest few kept, and the newest found again."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from common.job import written
from common.metrics import log

NAME = "xgboost-checkpoint"
KEPT = 5
# Beside a file that SageMaker is copying, or has copied, to S3.
UPLOADING, UPLOADED = ".sagemaker-uploading", ".sagemaker-uploaded"


def save(folder: Path, number: int, model: bytes) -> None:
    """Writes the checkpoint of round ``number`` and removes those that are older than the newest five."""
    with written(folder / f"{NAME}.{number}") as path:
        path.write_bytes(model)
    for old in sorted(_numbers(folder))[:-KEPT]:
        path = folder / f"{NAME}.{old}"
        if _is_free(path):
            path.unlink(missing_ok=True)
            for marker in (UPLOADING, UPLOADED):
                path.with_name(path.name + marker).unlink(missing_ok=True)


def newest(folder: Path, load: Callable[[bytes], object]) -> tuple[int, bytes] | None:
    """The newest checkpoint that ``load`` takes, with its round's number; None if there is none.

    One that can't be read, such as half a file, is passed over with a warning.
    """
    for number in sorted(_numbers(folder), reverse=True):
        path = folder / f"{NAME}.{number}"
        try:
            model = path.read_bytes()
            load(model)
        except Exception as error:  # the library raises several classes
            log.warning(
                "the checkpoint %s can't be read and is passed over: %s", path, str(error).split("\n")[0]
            )
            continue
        return number, model
    return None


def _numbers(folder: Path) -> list[int]:
    with suppress(OSError):
        found = [re.fullmatch(rf"{NAME}\.([0-9]{{1,9}})", path.name) for path in folder.iterdir()]
        return [int(match[1]) for match in found if match]
    return []


def _is_free(path: Path) -> bool:
    """Whether nobody copies the file just now."""
    uploading = path.with_name(path.name + UPLOADING).exists()
    return not uploading or path.with_name(path.name + UPLOADED).exists()
