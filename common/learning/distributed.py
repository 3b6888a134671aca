"""A network trained by several processes, one a device, on one host or on several.

They are joined by torch.distributed: NCCL between GPUs, Gloo between CPUs, and average their gradients in
DistributedDataParallel. The job's own process has a host's first device and starts the others; what hosts a
job has, and that they all live, is `common.cluster`'s matter. With one device nothing of this is started.
"""

from __future__ import annotations

import ipaddress
import itertools
import multiprocessing
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn

from common.failures import AlgorithmError, ClientError
from common.stopping import Stop

if TYPE_CHECKING:
    from common.training import Run

_Item = TypeVar("_Item")
# A process that waits for one that is gone gives up after so long; NCCL and Gloo notice a closed
# connection at once.
_PATIENCE = timedelta(minutes=30)
_ALONE = "127.0.0.1"
_QUEUED = 256  # items that the first process holds for each other


class Group:
    """This process among those that train together; ``rank`` 0 of ``size`` leads.

    ``local`` counts the processes of this host from 0. All make the same calls in the same order.
    """

    def __init__(
        self,
        device: str,
        stop: Stop,
        rank: int = 0,
        size: int = 1,
        local: int = 0,
        locals_: int = 1,
        queues: Sequence[Any] = (),
    ) -> None:
        self.device = device
        self.stop = stop
        self.rank, self.size = rank, size
        self.local, self.locals = local, locals_
        self._queues = queues
        self._where = device if torch.device(device).type == "cuda" else "cpu"

    @property
    def leader(self) -> bool:
        """Whether this process writes what there is to write."""
        return self.rank == 0

    def sum(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """``values`` of all processes added up, in float64."""
        found = np.asarray(values, np.float64)
        return found if self.size == 1 else self._reduced(found, distributed.ReduceOp.SUM)

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.size == 1:
            return flag
        return bool(self._reduced(np.array([float(flag)]), distributed.ReduceOp.MAX)[0])

    def most(self, number: int) -> int:
        """The largest of all processes' numbers."""
        if self.size == 1:
            return number
        return int(self._reduced(np.array([float(number)]), distributed.ReduceOp.MAX)[0])

    def gather(self, array: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """The ``array`` of every process; they may differ in their numbers of rows."""
        if self.size == 1:
            return [array]
        rows = np.zeros((self.most(len(array)), *array.shape[1:]))
        rows[: len(array)] = array
        sent = torch.from_numpy(np.append(rows.ravel(), len(array))).to(self._where)
        found = [torch.empty_like(sent) for _ in range(self.size)]
        distributed.all_gather(found, sent)
        parts = [one.cpu().numpy() for one in found]
        return [part[:-1].reshape(rows.shape)[: int(part[-1])] for part in parts]

    def together(self, network: nn.Module) -> nn.Module:
        """``network`` so that its gradients are averaged over all processes."""
        if self.size == 1:
            return network
        ids = [torch.device(self.device)] if self._where != "cpu" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def share(self, items: Sequence[_Item], batch_size: int) -> list[_Item]:
        """This process's part of an epoch's items, which are equal on all processes of a host.

        Every process gets equally many whole batches, the last filled with the first items.
        """
        mine = list(items[self.local :: self.locals])
        if not mine:
            mine = list(items)
        batches = self.most(-(-len(mine) // batch_size))
        return list(itertools.islice(itertools.cycle(mine), batches * batch_size)) if mine else []

    def dealt(self, items: Callable[[], Iterator[_Item]]) -> Generator[_Item, None, None]:
        """This process's part of a stream that only the host's first process can read: items in turn.

        All processes of a host must close it, or read it to its end, before they meet again: what is left
        over is thrown away then.
        """
        if self.locals == 1:
            yield from items()
        elif self.local:
            mine = self._queues[self.local - 1]
            item: _Item | None = None
            try:
                while (item := mine.get()) is not None:
                    yield item
            finally:
                while item is not None:
                    item = mine.get()
        else:
            try:
                for number, item in enumerate(items(), 1):
                    # The others first: once this process has a whole batch, they have one too.
                    to = number % self.locals
                    if to == 0:
                        yield item
                    else:
                        self._queues[to - 1].put(item)
            finally:
                for one in self._queues:
                    one.put(None)

    def in_step(self, batches: Iterable[_Item]) -> Iterator[_Item]:
        """The same batches until any process has no more, or any was asked to stop."""
        if self.size == 1:
            for batch in batches:
                if self.stop.requested:
                    return
                yield batch
            return
        source = iter(batches)
        while True:
            one = next(source, None)
            if self.any(one is None or self.stop.requested):
                return
            assert one is not None
            yield one

    def _reduced(self, values: NDArray[np.float64], how: Any) -> NDArray[np.float64]:
        tensor = torch.from_numpy(values.copy()).to(self._where)
        distributed.all_reduce(tensor, how)
        return tensor.cpu().numpy()


def train(run: Run, work: Callable[[Run, Group], None]) -> None:
    """Calls ``work(run, group)`` in a process for each device of each host; this is the first of its host.

    ``work`` is a function of a module. A process that fails ends all of them with its error.
    """
    locals_, hosts = len(run.devices), run.cluster.size
    if locals_ * hosts == 1:
        work(run, Group(run.device, run.stop))
        return
    # Every host draws one; that of the leader counts.
    port = int(run.cluster.broadcast(np.array([_free_port()]))[0])
    # A lone host's name need not resolve.
    place = (_ALONE if hosts == 1 else run.cluster.hosts.names[0], port)
    first = run.cluster.rank * locals_
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue(_QUEUED) for _ in range(locals_ - 1)]
    failures = context.SimpleQueue()
    others = [
        context.Process(
            target=_other,
            args=(str(run.job.root), work, place, first, local, locals_, hosts, queues, failures),
            daemon=False,  # those may start processes, which decode images
        )
        for local in range(1, locals_)
    ]
    for process in others:
        process.start()
    try:
        _joined(run, work, place, first, 0, hosts, queues)
        for process in others:
            process.join()
        if not failures.empty() or any(process.exitcode for process in others):
            raise AlgorithmError("a process of a device failed")
    except Exception as error:
        raise _reason(failures, others) or error from None
    finally:
        for process in others:
            process.kill()


def _joined(
    run: Run,
    work: Callable[[Run, Group], None],
    place: tuple[str, int],
    first: int,
    local: int,
    hosts: int,
    queues: Sequence[Any],
) -> None:
    """Joins the processes of all hosts, works, and leaves."""
    locals_ = len(run.devices)
    device = run.devices[local]
    gpu = torch.device(device).type == "cuda"
    if gpu:
        torch.cuda.set_device(device)
    if hosts == 1:
        interface = _interface(_ALONE)
    else:
        interface = run.cluster.hosts.interface or _interface(run.cluster.hosts.current)
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    host, port = place
    distributed.init_process_group(
        "nccl" if gpu else "gloo",
        f"tcp://{host}:{port}",
        rank=first + local,
        world_size=locals_ * hosts,
        timeout=_PATIENCE,
    )
    try:
        work(run, Group(device, run.stop, first + local, locals_ * hosts, local, locals_, queues))
    finally:
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def _other(
    root: str,
    work: Callable[[Run, Group], None],
    place: tuple[str, int],
    first: int,
    local: int,
    locals_: int,
    hosts: int,
    queues: Sequence[Any],
    failures: Any,
) -> None:
    """The process of another device of this host."""
    from pathlib import Path

    from common import training

    # A first process that is killed ends nobody; who waits for it in a sum would do so for long.
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = Stop()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process hears it, and all stop together
    try:
        run = training.another(Path(root), stop)
        _joined(run, work, place, first, local, hosts, queues)
    except ClientError as error:
        failures.put(("client", str(error)))
        raise SystemExit(1) from None
    except Exception:
        failures.put(("fault", traceback.format_exc()))
        raise SystemExit(1) from None


def _end_with_the_first() -> None:
    first = multiprocessing.parent_process()
    if first is not None:
        first.join()
        os._exit(1)


def _reason(failures: Any, others: Sequence[Any]) -> Exception | None:
    """Why another process of this host failed, if one did."""
    for process in others:
        process.join(1)
    if not failures.empty():
        kind, text = failures.get()
        return ClientError(text) if kind == "client" else AlgorithmError(text)
    for process in others:
        if process.exitcode is not None and process.exitcode < 0:
            return AlgorithmError(f"the process of a device was ended by signal {-process.exitcode}")
    return None


def _interface(name: str) -> str | None:
    """The loopback device for a host that is called by a loopback address."""
    with suppress(ValueError):
        if ipaddress.ip_address(name).is_loopback:
            return "lo"
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
