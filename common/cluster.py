"""Several hosts as one: sums, broadcasts and agreements over plain TCP, hosts from resourceconfig.json.

The first host leads: the others connect to it, it adds what they send in the order of their names, so equal
runs add in equal order and give equal bytes. Arrays travel as they are, nothing is pickled. A host that fails
says why before it goes, and one that vanishes is noticed by the kernel's keep-alive, so no host waits long
for the dead.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.failures import AlgorithmError, ClientError
from common.job import Hosts
from common.stopping import Stop

PORT = 7077
JOIN_SECONDS = 900  # how long hosts may take to start; names may resolve late
_HEADER = struct.Struct("<cQ")
_DATA, _MISTAKE, _FAULT = b"D", b"C", b"A"
_GREETING = struct.Struct("<8sII")  # the job, rank, hosts

Operation = Literal["sum", "max", "min"]
_OPERATIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum}


class Cluster:
    """The hosts of a job; with one host every call returns at once.

    All hosts make the same calls in the same order. Each call raises as soon as a host is lost:
    ClientError when a user's mistake stopped it, else AlgorithmError.
    """

    def __init__(self, hosts: Hosts, peers: Sequence[socket.socket] = ()) -> None:
        self.hosts = hosts
        self.rank = hosts.rank
        self.size = len(hosts.names)
        self._peers = list(peers)  # the leader's: one a host from rank 1 on; another's: the leader

    @property
    def leader(self) -> bool:
        """Whether this host writes the model."""
        return self.rank == 0

    def all_reduce(self, array: NDArray, operation: Operation = "sum") -> NDArray:
        """``array`` of every host (equal shape and dtype) combined elementwise; the same on all hosts."""
        if self.size == 1:
            return array
        array = np.ascontiguousarray(array)
        if not self.leader:
            self._send(self._peers[0], array)
            return self._receive(0, array)
        total = array.copy()
        for index in range(len(self._peers)):
            _OPERATIONS[operation](total, self._receive(index, array), out=total)
        for peer in self._peers:
            self._send(peer, total)
        return total

    def broadcast(self, array: NDArray) -> NDArray:
        """The leader's ``array``; the others give one of equal shape and dtype to receive it."""
        if self.size == 1:
            return array
        array = np.ascontiguousarray(array)
        if not self.leader:
            return self._receive(0, array)
        for peer in self._peers:
            self._send(peer, array)
        return array

    def gather(self, array: NDArray) -> list[NDArray]:
        """Every host's ``array`` in rank order, on the leader; an empty list elsewhere.

        Shapes may differ in the first dimension.
        """
        if self.size == 1:
            return [array]
        array = np.ascontiguousarray(array)
        if not self.leader:
            self._send(self._peers[0], array)
            return []
        return [array] + [self._receive_rows(index, array) for index in range(len(self._peers))]

    def any(self, flag: bool) -> bool:
        """Whether any host says yes."""
        return bool(self.all_reduce(np.array([flag], np.uint8), "max")[0])

    def close(self, error: BaseException | None = None) -> None:
        """Leaves; with ``error``, tells the others why first."""
        for peer in self._peers:
            if error is not None:
                text = f"host {self.hosts.current} failed: {error or type(error).__name__}".encode()
                kind = _MISTAKE if isinstance(error, ClientError) else _FAULT
                with suppress(OSError):
                    peer.sendall(_HEADER.pack(kind, len(text)) + text)
            peer.close()
        self._peers = []

    def _send(self, peer: socket.socket, array: NDArray) -> None:
        try:
            peer.sendall(_HEADER.pack(_DATA, array.nbytes))
            peer.sendall(_bytes(array))
        except OSError as error:
            # What the other side said before it went explains more than the broken pipe.
            self._header(peer, self._peers.index(peer))
            raise self._lost(self._peers.index(peer), error) from None

    def _receive(self, index: int, like: NDArray) -> NDArray:
        size = self._header(self._peers[index], index)
        if size != like.nbytes:
            raise AlgorithmError(f"host {self._name(index)} sent {size} bytes where {like.nbytes} were due")
        return self._read(index, np.empty_like(like))

    def _receive_rows(self, index: int, like: NDArray) -> NDArray:
        size = self._header(self._peers[index], index)
        row = like.dtype.itemsize * int(np.prod(like.shape[1:]))
        if size % row:
            raise AlgorithmError(f"host {self._name(index)} sent {size} bytes where rows of {row} were due")
        return self._read(index, np.empty((size // row, *like.shape[1:]), like.dtype))

    def _header(self, peer: socket.socket, index: int) -> int:
        kind, size = _HEADER.unpack(self._exactly(peer, index, _HEADER.size))
        if kind != _DATA:
            message = self._exactly(peer, index, min(size, 1 << 16)).decode(errors="replace")
            raise ClientError(message) if kind == _MISTAKE else AlgorithmError(message)
        return int(size)

    def _exactly(self, peer: socket.socket, index: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = peer.recv(size - len(data))
            except OSError as error:
                raise self._lost(index, error) from None
            if not part:
                raise self._lost(index, None)
            data += part
        return bytes(data)

    def _read(self, index: int, array: NDArray) -> NDArray:
        view = _bytes(array)
        while view:
            try:
                count = self._peers[index].recv_into(view)
            except OSError as error:
                raise self._lost(index, error) from None
            if not count:
                raise self._lost(index, None)
            view = view[count:]
        return array

    def _name(self, index: int) -> str:
        return self.hosts.names[index + 1] if self.leader else self.hosts.names[0]

    def _lost(self, index: int, error: OSError | None) -> AlgorithmError:
        cause = f" ({error.strerror or error})" if error else ""
        return AlgorithmError(f"host {self._name(index)} left the job before it was done{cause}")


def join(hosts: Hosts, stop: Stop | None = None, seconds: float = JOIN_SECONDS) -> Cluster:
    """Connects the hosts of a job.

    Raises AlgorithmError naming hosts that don't come in time, or when the job is asked to stop meanwhile.
    """
    if len(hosts.names) == 1:
        return Cluster(hosts)
    wait = _Wait(time.monotonic() + seconds, stop or Stop())
    port = _port()
    if hosts.rank == 0:
        return Cluster(hosts, _accept(hosts, port, wait))
    return Cluster(hosts, [_connect(hosts, port, wait)])


def _port() -> int:
    written = os.environ.get("ALGODOCK_CLUSTER_PORT") or str(PORT)
    if not re.fullmatch(r"[0-9]{1,5}", written) or int(written) >= 1 << 16:
        raise ClientError(f"ALGODOCK_CLUSTER_PORT is '{written}'; accepted: a port from 0 to 65535")
    return int(written)


@dataclass(frozen=True, slots=True)
class _Wait:
    deadline: float
    stop: Stop

    def more(self, missing: str) -> None:
        """Raises AlgorithmError when there is no point in waiting longer."""
        if self.stop.requested:
            raise AlgorithmError("the job was asked to stop before its hosts had met")
        if time.monotonic() > self.deadline:
            raise AlgorithmError(f"{missing} in time")


def _accept(hosts: Hosts, port: int, wait: _Wait) -> list[socket.socket]:
    peers: dict[int, socket.socket] = {}
    try:
        server = socket.create_server((_address(hosts.current, wait), port), backlog=len(hosts.names))
    except OSError as error:
        raise AlgorithmError(
            f"host {hosts.current} can't await the others at port {port} (ALGODOCK_CLUSTER_PORT): "
            f"{os.strerror(error.errno or 0)}"
        ) from None
    with server:
        server.settimeout(0.2)
        while len(peers) < len(hosts.names) - 1:
            late = [name for rank, name in enumerate(hosts.names) if rank and rank not in peers]
            wait.more(f"hosts {', '.join(late)} did not join")
            with suppress(OSError):
                peer, _ = server.accept()
                peer.settimeout(10)
                greeting = peer.recv(_GREETING.size, socket.MSG_WAITALL)
                rank = _rank_of(greeting)
                if greeting == _greeting(hosts, rank) and 0 < rank < len(hosts.names) and rank not in peers:
                    peers[rank] = _keep_alive(peer)
                else:
                    peer.close()  # a stranger, or another job's host
    return [peers[rank] for rank in sorted(peers)]


def _connect(hosts: Hosts, port: int, wait: _Wait) -> socket.socket:
    while True:
        try:
            peer = socket.create_connection((hosts.names[0], port), timeout=5)
            peer.sendall(_greeting(hosts, hosts.rank))
            return _keep_alive(peer)
        except OSError as error:
            wait.more(f"host {hosts.names[0]} was not reached ({error})")
            time.sleep(0.1)


def _bytes(array: NDArray) -> memoryview:
    return array.data.cast("B") if array.size else memoryview(b"")


def _greeting(hosts: Hosts, rank: int) -> bytes:
    job = hashlib.blake2b(os.environ.get("TRAINING_JOB_NAME", "").encode(), digest_size=8).digest()
    return _GREETING.pack(job, rank, len(hosts.names))


def _rank_of(greeting: bytes) -> int:
    return int(_GREETING.unpack(greeting)[1]) if len(greeting) == _GREETING.size else 0


def _address(name: str, wait: _Wait) -> str:
    while True:
        try:
            return socket.gethostbyname(name)
        except OSError:
            wait.more(f"host name {name} was not resolved")
            time.sleep(0.2)


def _keep_alive(peer: socket.socket) -> socket.socket:
    peer.settimeout(None)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3)):
        peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return peer
