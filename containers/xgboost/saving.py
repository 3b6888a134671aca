"""What a job writes as it goes and finds again: models and the newest checkpoint."""

from __future__ import annotations

from pathlib import Path

from common.metrics import log
from common.training import Run
from containers.xgboost import artifact, checkpoints
from containers.xgboost.library import xgb


def save(run: Run, name: str, booster: xgb.Booster) -> None:
    """Writes a model file in the library's own format, as it does for a name without a suffix."""
    with run.artifact(name) as path:
        path.write_bytes(booster.save_raw("ubj"))


def newest(folder: Path) -> tuple[int, bytes] | None:
    """The newest checkpoint in a folder that can be read."""
    found = checkpoints.newest(folder, artifact.checked)
    if found is not None:
        log.info("Checkpoint loaded from %s", folder / f"{checkpoints.NAME}.{found[0]}")
        log.info("Resuming from iteration %d", found[0] + 1)
    return found
