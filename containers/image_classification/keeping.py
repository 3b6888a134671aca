"""Which epochs' parameters are in model.tar.gz, and what a job that was killed goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import ndarray
from common.job import written
from common.learning.checkpoints import Checkpoint, Checkpoints
from common.learning.distributed import Group
from common.learning.learner import Learner
from common.learning.stopping import Patience
from common.metrics import log
from common.training import Run
from containers.image_classification import artifact
from containers.image_classification.network import Classifier

_BEST = "best:"
_SAME = ("num_layers", "num_classes", "image_shape", "multi_label", "optimizer")


class Keeper:
    """Writes parameters; only the leader's does, all know what is best.

    Without ``checkpoint_frequency`` they are those of the best epoch, else those of every so many epochs and
    of the last. Epochs count from 1 here.
    """

    def __init__(self, run: Run, group: Group, learner: Learner[Classifier], patience: Patience) -> None:
        self._run, self._group, self._learner, self._patience = run, group, learner, patience
        self._every = run.hyperparameters["checkpoint_frequency"]
        self._folder = run.job.model
        self._checkpoints = Checkpoints(run.job.checkpoints, _same(run))
        self.best, self.best_epoch = -1.0, 0
        self._epochs = 0
        self._described = False
        if group.leader and self._every is None:
            log.info("This job will store the model of the best validation accuracy")

    def resume(self) -> int:
        """Takes up the newest checkpoint, on all processes. How many epochs are done."""
        found = self._checkpoints.newest()
        if found is None:
            return 0
        self._learner.restore(found.arrays, found.facts)
        self.best, self.best_epoch = float(found.facts["best"]), int(found.facts["best_epoch"])
        self._patience.best, self._patience.waited, self._patience.epochs = found.facts["patience"]
        self._epochs = found.epochs
        if self._group.leader:
            self._restore_files(found)
        return found.epochs

    def epoch(self, done: int, accuracy: float) -> None:
        """Keeps what is to be kept after an epoch of that validation accuracy. Ties overwrite nothing."""
        before, better = self.best_epoch, accuracy > self.best
        if better:
            self.best, self.best_epoch = accuracy, done
        self._epochs = done
        if not self._group.leader:
            return
        if self._every is not None:
            if done % self._every == 0:
                self._save(done)
        elif better:
            log.info("Storing the best model with validation accuracy: %f", accuracy)
            self._save(done)
            if before:
                with suppress(FileNotFoundError):
                    (self._folder / artifact.params_file(before)).unlink()
        self._checkpoint(done)

    def finish(self, trained: bool) -> None:
        """Leaves a model in any case where anything was ``trained``, in this process or before it."""
        if not self._group.leader:
            return
        last = self._folder / artifact.params_file(max(self._epochs, 1))
        wanted = (
            last if self._every is not None else next(self._folder.glob(f"{artifact.PREFIX}-*.params"), last)
        )
        if wanted.exists():
            return
        if not trained and not self._epochs:
            log.info("Stopping on request before an image was learned from: no model")
            return
        if not self._learner.healthy:
            raise ClientError("training diverged before it was stopped; accepted: a smaller learning_rate")
        self._save(max(self._epochs, 1))

    def _save(self, done: int) -> None:
        self._describe()
        name = artifact.params_file(done)
        with self._run.artifact(name) as path:
            artifact.write_params(path, self._learner.network)
        log.info('Saved checkpoint to "%s"', self._folder / name)
        if self._every is not None and self._run.job.checkpoints is not None:
            _copy(self._folder / name, self._run.job.checkpoints / name)

    def _describe(self) -> None:
        """Writes what stays the same from epoch to epoch, once."""
        if not self._described:
            size = self._run.hyperparameters["mini_batch_size"]
            artifact.write_description(self._folder, self._learner.network, size)
            self._described = True

    def _checkpoint(self, done: int) -> None:
        if not self._checkpoints.wanted:
            return
        arrays, facts = self._learner.state()
        if self._every is None:
            best: Mapping[str, NDArray[Any]] = artifact.loaded(
                self._folder / artifact.params_file(self.best_epoch)
            )
            arrays |= {_BEST + name: array for name, array in best.items()}
        patience = self._patience
        facts |= {"best": self.best, "best_epoch": self.best_epoch}
        facts["patience"] = [patience.best, patience.waited, patience.epochs]
        self._checkpoints.save(done, arrays, facts)

    def _restore_files(self, found: Checkpoint) -> None:
        """Puts back what was in the model's folder when the checkpoint was made."""
        self._describe()
        best = {
            name.removeprefix(_BEST): array for name, array in found.arrays.items() if name.startswith(_BEST)
        }
        if best:
            with self._run.artifact(artifact.params_file(self.best_epoch)) as path:
                ndarray.save(path, best)
        for epoch in range(1, found.epochs + 1 if self._every is not None else 0):
            name = artifact.params_file(epoch)
            source = self._run.job.checkpoints
            if source is not None and (source / name).is_file():
                _copy(source / name, self._folder / name)


def _same(run: Run) -> dict[str, Any]:
    """What must not differ from the job that made a checkpoint, as JSON has it."""
    values = run.hyperparameters
    return {name: list(v) if isinstance(v := values[name], tuple) else v for name in _SAME}


def _copy(source: Path, target: Path) -> None:
    with written(target) as path:
        path.write_bytes(source.read_bytes())
