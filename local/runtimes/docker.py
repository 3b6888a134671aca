"""Hosts as containers of the algorithm's image, through the Docker SDK."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.failures import ClientError
from common.manifest import Manifest
from local.jobs import Host
from local.runtimes import Running


class DockerRuntime:
    """Runs each host as a container; several are algo-1, algo-2, ... on a network of their own."""

    def __init__(self, device: str = "cpu") -> None:
        import docker  # the Docker SDK: only where containers are used
        from docker.errors import DockerException

        try:
            self._client: Any = docker.from_env()
            self._client.ping()
        except DockerException as error:
            raise ClientError(f"no Docker engine answers: {error}") from None
        self._device = device
        self._network: Any = None

    def host_names(self, count: int) -> list[str]:
        return [f"algo-{rank + 1}" for rank in range(count)]

    def image(self, manifest: Manifest) -> str:
        """The image's name. Raises ClientError when it isn't built."""
        from docker.errors import ImageNotFound

        name = f"algodock/{manifest.name}:{self._device}"
        try:
            self._client.images.get(name)
        except ImageNotFound:
            raise ClientError(
                f"the image {name} is not built; build it with: make image ALGORITHM={manifest.name}"
            ) from None
        return name

    def start(
        self, manifest: Manifest, hosts: Sequence[Host], environment: Mapping[str, str]
    ) -> list[Running]:
        image = self.image(manifest)
        if len(hosts) > 1:
            self._network = self._client.networks.create(f"algodock-{uuid.uuid4().hex[:8]}")
        return [_Container(self._run(image, "train", host, environment)) for host in hosts]

    def _run(self, image: str, command: str, host: Host, environment: Mapping[str, str]) -> Any:
        network = {"network": self._network.name} if self._network else {}
        return self._client.containers.run(
            image,
            command,
            detach=True,
            name=f"{host.name}-{uuid.uuid4().hex[:8]}",
            hostname=host.name,
            volumes={str(host.root.resolve()): {"bind": "/opt/ml", "mode": "rw"}},
            environment=dict(environment),
            # Results belong to whoever asked for them.
            user=f"{os.getuid()}:{os.getgid()}",
            shm_size="1g",  # Docker's 64 MB are too few for NCCL, Ray and processes that share batches
            device_requests=self._gpus(),
            **self._aliased(network, host),
        )

    def _gpus(self) -> list[Any]:
        """All GPUs for a GPU image, where the engine is set up for them; else the image uses the CPU."""
        from docker.types import DeviceRequest

        if self._device != "gpu" or "nvidia" not in self._client.info().get("Runtimes", {}):
            return []
        return [DeviceRequest(count=-1, capabilities=[["gpu"]])]

    def _aliased(self, network: dict[str, str], host: Host) -> dict[str, Any]:
        if not network:
            return {}
        endpoint = self._client.api.create_endpoint_config(aliases=[host.name])
        return {**network, "networking_config": {network["network"]: endpoint}}

    def close(self) -> None:
        if self._network:
            self._network.remove()


class _Container:
    def __init__(self, container: Any) -> None:
        self._container = container

    def lines(self) -> Iterator[str]:
        pending = b""
        for part in self._container.logs(stream=True, follow=True):
            *whole, pending = (pending + part).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace") + "\n"
        if pending:
            yield pending.decode(errors="replace")

    def stop(self) -> None:
        self._container.kill("SIGTERM")

    def kill(self) -> None:
        self._container.kill()

    def wait(self) -> int:
        code = int(self._container.wait()["StatusCode"])
        self._container.remove()
        return code
