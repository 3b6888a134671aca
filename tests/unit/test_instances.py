"""Which instance types an algorithm may run on."""

import pytest

from common import instances
from common.failures import ClientError
from common.manifest import Rules

CPU_AND_SOME_GPUS = Rules(devices=("cpu", "gpu"), families=("cpu", "p3"), multi_host=True)
GPU_ONLY = Rules(devices=("gpu",), families=("p3", "g5"))


@pytest.mark.parametrize(
    ("name", "family", "gpus"),
    [
        ("ml.m5.large", "m5", 0),
        ("ml.p3.8xlarge", "p3", 4),
        ("g4dn.12xlarge", "g4dn", 4),
        ("ml.p5.new", "p5", 1),
    ],
)
def test_types_are_read(name, family, gpus):
    instance = instances.parse(name)
    assert (instance.family, instance.gpus) == (family, gpus)


@pytest.mark.parametrize(
    "name", [None, "", "local", "local_cpu", "local_gpu", "ml.m5.large", "ml.c7g.xlarge", "ml.p3.2xlarge"]
)
def test_allowed_types_pass(name):
    instances.check(CPU_AND_SOME_GPUS, name, 2, "kmeans")


@pytest.mark.parametrize(
    ("rules", "name", "hosts", "message"),
    [
        (CPU_AND_SOME_GPUS, "ml.g5.xlarge", 1, "accepted: any CPU instance or ml.p3.*"),
        (GPU_ONLY, "ml.m5.large", 1, "accepted: ml.p3.* or ml.g5.*"),
        (GPU_ONLY, "local", 2, "trains on one host, and this job has 2"),
        (CPU_AND_SOME_GPUS, "ml.trn1.2xlarge", 1, "whose accelerator is no GPU"),
        (GPU_ONLY, "big one", 1, "instance type 'big one' is unknown"),
    ],
)
def test_others_are_refused_with_what_is_accepted(rules, name, hosts, message, monkeypatch):
    monkeypatch.delenv(instances.OVERRIDE, raising=False)
    with pytest.raises(ClientError) as caught:
        instances.check(rules, name, hosts, "x")
    assert message in str(caught.value)


def test_the_variable_overrides_the_rule(monkeypatch):
    monkeypatch.setenv(instances.OVERRIDE, "1")
    instances.check(GPU_ONLY, "ml.m5.large", 1, "x")


def test_threads_can_be_set(monkeypatch):
    monkeypatch.setenv("ALGODOCK_NUM_THREADS", "3")
    assert instances.threads() == 3
    for wrong in ("none", "0", "²"):
        monkeypatch.setenv("ALGODOCK_NUM_THREADS", wrong)
        with pytest.raises(ClientError, match="an integer of at least 1"):
            instances.threads()
    monkeypatch.delenv("ALGODOCK_NUM_THREADS")
    assert instances.threads() >= 1


def test_available_memory_is_some_of_this_machines():
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) << 10
    assert 1 << 20 < instances.available_memory() < total
