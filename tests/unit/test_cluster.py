"""Hosts over real sockets on 127.0.0.1, 127.0.0.2, ...: sums, failures, strangers."""

import socket
import threading

import numpy as np
import pytest

from common import cluster
from common.failures import AlgorithmError, ClientError
from common.job import Hosts
from common.stopping import Stop


@pytest.fixture
def on_hosts(monkeypatch):
    """Runs a function on every host of a cluster, each in a thread, and returns results or errors."""

    def run(count, work):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            monkeypatch.setenv("ALGODOCK_CLUSTER_PORT", str(probe.getsockname()[1]))
        names = tuple(f"127.0.0.{rank + 1}" for rank in range(count))
        results = [None] * count

        def host(rank):
            joined = cluster.join(Hosts(names[rank], names), seconds=60)
            error = None
            try:
                results[rank] = work(joined)
            except Exception as caught:
                results[rank] = error = caught
            joined.close(error)

        threads = [threading.Thread(target=host, args=(rank,)) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "a host hangs"
        return results

    return run


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_sums_are_equal_everywhere(on_hosts, count, size):
    def work(joined):
        return joined.all_reduce(np.full((size, 2), joined.rank + 1, np.float64))

    for result in on_hosts(count, work):
        assert result.shape == (size, 2)
        assert (result == count * (count + 1) / 2).all()


def test_other_operations(on_hosts):
    def work(joined):
        mine = np.array([joined.rank, -joined.rank], np.float32)
        return (
            joined.all_reduce(mine, "max").tolist(),
            joined.all_reduce(mine, "min").tolist(),
            joined.broadcast(mine + 5).tolist(),
            [part.tolist() for part in joined.gather(np.full(joined.rank, 7, np.int64))],
            joined.any(joined.rank == 2),
            joined.any(False),
        )

    results = on_hosts(3, work)
    for rank, (largest, smallest, told, gathered, one, none) in enumerate(results):
        assert (largest, smallest, told) == ([2, 0], [0, -2], [5, 5])
        assert gathered == ([[], [7], [7, 7]] if rank == 0 else [])
        assert (one, none) == (True, False)


def test_a_hosts_mistake_is_told_to_the_others(on_hosts):
    def work(joined):
        if joined.rank == 1:
            raise ClientError("train/part-1: line 3 has 2 columns; accepted: 5")
        return joined.all_reduce(np.zeros(10))

    results = on_hosts(3, work)
    for rank in (0, 2):
        assert isinstance(results[rank], ClientError)
        assert "host 127.0.0.2 failed: train/part-1: line 3" in str(results[rank])


def test_a_host_that_vanishes_is_noticed(on_hosts):
    def work(joined):
        if joined.rank == 1:
            joined._peers[0].close()
            joined._peers.clear()
            return None
        return joined.all_reduce(np.zeros(3))

    first, _, third = on_hosts(3, work)
    assert isinstance(first, AlgorithmError)
    assert "host 127.0.0.2 left the job" in str(first)
    assert isinstance(third, AlgorithmError)


def test_hosts_that_never_come_are_named(monkeypatch):
    monkeypatch.setenv("ALGODOCK_CLUSTER_PORT", "0")
    with pytest.raises(AlgorithmError, match="hosts b, c did not join"):
        cluster.join(Hosts("127.0.0.1", ("127.0.0.1", "b", "c")), seconds=0.3)


def test_a_port_that_is_taken_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("ALGODOCK_CLUSTER_PORT", str(port))
        message = f"^host 127.0.0.1 can't await the others at port {port} .*: Address already in use$"
        with pytest.raises(AlgorithmError, match=message):
            cluster.join(Hosts("127.0.0.1", ("127.0.0.1", "b")), seconds=5)


def test_a_stop_ends_the_waiting(monkeypatch):
    monkeypatch.setenv("ALGODOCK_CLUSTER_PORT", "0")
    stop = Stop()
    threading.Timer(0.3, lambda: setattr(stop, "requested", True)).start()
    with pytest.raises(AlgorithmError, match="asked to stop"):
        cluster.join(Hosts("127.0.0.1", ("127.0.0.1", "b")), stop, seconds=60)


@pytest.mark.parametrize("port", ["x", "65536", "-1", "9" * 5000])
def test_a_port_that_is_none_is_refused(monkeypatch, port):
    monkeypatch.setenv("ALGODOCK_CLUSTER_PORT", port)
    with pytest.raises(ClientError, match="accepted: a port from 0 to 65535"):
        cluster.join(Hosts("127.0.0.1", ("127.0.0.1", "127.0.0.2")))
