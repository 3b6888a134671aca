"""How many endpoints there are, and for how long."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import ClassVar

import pytest

from common import manifest
from common.failures import AlgorithmError, ClientError
from local.endpoints import Answer, Gone
from local.ui import endpoints as module
from local.ui.endpoints import Endpoints
from local.ui.store import Store
from tests.unit.ui.browser import until


class Served:
    """Stands for an endpoint's process."""

    alive: ClassVar[list[Served]] = []
    gate = threading.Event()
    trouble: Exception | None = None

    def __init__(self, *_, environment):
        self.port = 1
        self.alive.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self, seconds):
        if self.trouble:
            raise self.trouble
        while not self.gate.wait(0.01):
            if self not in self.alive:
                raise AlgorithmError("it was stopped")

    def stop(self):
        if self in self.alive:
            self.alive.remove(self)

    def ask(self, body, content_type, accept):
        if body == b"gone":
            raise Gone("the endpoint has ended")
        return Answer(body, accept)


@pytest.fixture
def served(monkeypatch):
    @contextmanager
    def unpacked(place, algorithm):
        yield manifest.load(algorithm), place

    monkeypatch.setattr(module, "Endpoint", Served)
    monkeypatch.setattr(module, "unpacked", unpacked)
    Served.alive, Served.trouble = [], None
    Served.gate.set()
    return Served


@pytest.fixture
def job(folder, store):
    def make(name):
        folder(name).begin().end()
        return store.get(name)

    return make


def test_an_endpoint_is_started_once_and_shared(served, job):
    pool, one = Endpoints(), job("a")
    assert pool.state(one).name == "off"
    assert pool.ask(one, b"1", "text/csv", None) == b"1"
    assert pool.ask(one, b"2", "text/csv", None) == b"2"
    assert pool.state(one).name == "ready"
    assert len(served.alive) == 1
    pool.close()
    assert served.alive == []


def test_the_longest_unused_gives_way(served, job):
    pool = Endpoints(at_once=2)
    jobs = [job(name) for name in "abc"]
    for one in (jobs[0], jobs[1], jobs[0], jobs[2]):
        pool.ask(one, b"1", "text/csv", None)
    assert [pool.state(one).name for one in jobs] == ["ready", "off", "ready"]
    until(lambda: len(served.alive) == 2)
    pool.close()


def test_idle_ones_are_stopped(served, job):
    pool, one = Endpoints(idle_seconds=0.2), job("a")
    pool.ask(one, b"1", "text/csv", None)
    until(lambda: pool.state(one).name == "off" and not served.alive)
    pool.close()


def test_one_that_starts_can_be_stopped(served, job):
    served.gate.clear()
    pool, one = Endpoints(), job("a")
    pool.start(one)
    until(lambda: served.alive)
    assert pool.state(one).name == "starting"
    pool.close()
    assert served.alive == []
    with pytest.raises(ClientError, match="ending"):
        pool.start(one)


def test_one_that_does_not_come_up_tells_why_and_is_tried_again(served, job):
    served.trouble = ClientError("unable to load model")
    pool, one = Endpoints(), job("a")
    with pytest.raises(AlgorithmError, match="unable to load model"):
        pool.ask(one, b"1", "text/csv", None)
    assert (pool.state(one).name, pool.state(one).trouble) == ("broken", "unable to load model")
    served.trouble = None
    assert pool.ask(one, b"1", "text/csv", None) == b"1"
    pool.close()


def test_one_that_has_died_is_replaced(served, job):
    pool, one = Endpoints(), job("a")
    with pytest.raises(AlgorithmError, match="has ended"):
        pool.ask(one, b"gone", "text/csv", None)
    assert pool.ask(one, b"1", "text/csv", None) == b"1"
    pool.close()


def test_another_model_in_the_same_place_gets_another_endpoint(served, job, store):
    pool, one = Endpoints(), job("a")
    first = pool.start(one)
    (store.root / "a" / "model.tar.gz").unlink()
    with pytest.raises(ClientError, match=r"no model\.tar\.gz"):
        pool.start(one)
    (store.root / "a" / "model.tar.gz").write_bytes(b"another")
    assert pool.start(one) is not first
    pool.close()


def test_a_real_one_answers_until_it_is_killed(trained):
    pool, one = Endpoints(), Store(trained).get("clusters")
    try:
        assert b"closest_cluster" in pool.ask(one, b"1,2\n", "text/csv", None)
        with pytest.raises(ClientError, match="answered 400"):
            pool.ask(one, b"1,2,3\n", "text/csv", None)
        endpoint = pool.start(one).endpoint
        endpoint.stop()
        with pytest.raises(Gone, match="the endpoint has ended or doesn't answer"):
            endpoint.ask(b"1,2\n", "text/csv")
    finally:
        pool.close()
    assert pool.state(one).name == "off"
