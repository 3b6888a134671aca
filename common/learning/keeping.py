"""The best epoch's model, and what a job that was killed goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import ndarray
from common.learning.checkpoints import Checkpoints
from common.learning.distributed import Group
from common.learning.learner import Learner, Network
from common.learning.stopping import Patience
from common.metrics import log
from common.training import Run

_BEST = "best:"


class Keeper(Generic[Network]):
    """Writes the parameters of the epoch that scored best to each of ``files`` of the artifact.

    ``dump`` gives a network's arrays by their names in files; ``describe`` writes what else the artifact has,
    once there is something to keep. ``same`` are hyperparameters in which a checkpoint's job must not differ.
    The leader alone writes; all processes know what is best.
    """

    def __init__(
        self,
        run: Run,
        group: Group,
        learner: Learner[Network],
        patience: Patience,
        files: Sequence[str],
        dump: Callable[[Network], Mapping[str, NDArray[Any]]],
        describe: Callable[[], None],
        same: Sequence[str],
    ) -> None:
        self._run, self._group, self._learner, self._patience = run, group, learner, patience
        self._files, self._dump, self._describe = files, dump, describe
        self._checkpoints = Checkpoints(run.job.checkpoints, {n: run.hyperparameters[n] for n in same})
        self._best = -1.0
        self._kept = False

    @property
    def best(self) -> float:
        """The best score so far; below 0 before there is one."""
        return self._best

    def resume(self) -> int:
        """Takes up the newest checkpoint, on all processes. How many epochs are done."""
        found = self._checkpoints.newest()
        if found is None:
            return 0
        self._learner.restore(found.arrays, found.facts)
        self._best = float(found.facts["best"])
        self._patience.best, self._patience.waited, self._patience.epochs = found.facts["patience"]
        best = {n.removeprefix(_BEST): array for n, array in found.arrays.items() if n.startswith(_BEST)}
        self._write(best)
        return found.epochs

    def better(self, score: float) -> bool:
        """Keeps the network as it is where ``score`` is the best; whether it is. Ties overwrite nothing."""
        if score <= self._best:
            return False
        self._best = score
        self._write(self._dump(self._learner.network))
        return True

    def checkpoint(self, done: int) -> None:
        """Keeps what ``done`` epochs have come to, to go on from."""
        if not self._checkpoints.wanted or not self._group.leader:
            return
        arrays, facts = self._learner.state()
        best = ndarray.load(self._run.job.model / self._files[0])
        assert isinstance(best, dict)
        arrays |= {_BEST + name: array for name, array in best.items()}
        patience = self._patience
        facts |= {"best": self._best, "patience": [patience.best, patience.waited, patience.epochs]}
        self._checkpoints.save(done, arrays, facts)

    def finish(self) -> None:
        """Leaves a model in any case: where a job was stopped early, of what was trained so far."""
        if self._kept:
            return
        if not self._learner.healthy:
            raise ClientError("training diverged before it was stopped; accepted: a smaller learning_rate")
        self._write(self._dump(self._learner.network))

    def _write(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        first, self._kept = not self._kept, True
        if not self._group.leader:
            return
        if first:
            self._describe()
        for name in self._files:
            with self._run.artifact(name) as path:
                ndarray.save(path, arrays)
            log.info('Saved checkpoint to "%s"', Path(self._run.job.model / name))
