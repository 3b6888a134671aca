"""Which devices a job computes on: rules, instance type and what is present decide."""

import dataclasses

import pytest

from common import instances, manifest, training
from common.job import Hosts, Job


@pytest.mark.parametrize(
    ("present", "devices", "gpus", "instance", "expected"),
    [
        (0, ("cpu", "gpu"), "all", None, ("cpu",)),
        (1, ("cpu", "gpu"), "all", None, ("cuda",)),
        (4, ("cpu", "gpu"), "one", None, ("cuda",)),
        (4, ("cpu", "gpu"), "all", "ml.p3.8xlarge", ("cuda:0", "cuda:1", "cuda:2", "cuda:3")),
        (4, ("cpu", "gpu"), "all", "ml.m5.large", ("cpu",)),
        (4, ("cpu",), "all", None, ("cpu",)),
        (0, ("gpu",), "one", "local", ("cpu",)),
    ],
)
def test_devices(monkeypatch, tmp_path, present, devices, gpus, instance, expected):
    monkeypatch.setattr(instances, "gpus_present", lambda: present)
    found = manifest.load("kmeans")
    rules = dataclasses.replace(found.training, devices=devices, gpus=gpus)
    job = Job(tmp_path, {}, {}, Hosts(instance_type=instance), None)
    assert training._devices(dataclasses.replace(found, training=rules), job) == expected
