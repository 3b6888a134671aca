"""What a host's container is asked for, by an engine that only keeps it."""

import docker
import pytest

from common import manifest
from local.jobs import Host
from local.runtimes.docker import DockerRuntime


class Engine:
    """An engine with these runtimes, and every image."""

    def __init__(self, runtimes):
        self.containers = self.images = self
        self.runtimes, self.asked = runtimes, []

    def ping(self):
        return True

    def info(self):
        return {"Runtimes": {name: {} for name in self.runtimes}}

    def get(self, name):
        return name

    def run(self, image, command, **options):
        self.asked.append((image, options))


@pytest.mark.parametrize(
    ("device", "runtimes", "gpus"),
    [("gpu", ("runc", "nvidia"), -1), ("gpu", ("runc",), None), ("cpu", ("runc", "nvidia"), None)],
)
def test_a_gpu_image_gets_all_gpus_that_the_engine_can_give(monkeypatch, tmp_path, device, runtimes, gpus):
    engine = Engine(runtimes)
    monkeypatch.setattr(docker, "from_env", lambda: engine)
    DockerRuntime(device).start(manifest.load("kmeans"), [Host("algo-1", tmp_path, {})], {})
    ((image, options),) = engine.asked
    assert image == f"algodock/kmeans:{device}"
    counts = [(asked["Count"], asked["Capabilities"]) for asked in options["device_requests"]]
    assert counts == ([(gpus, [["gpu"]])] if gpus else [])
