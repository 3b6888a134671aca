"""What runs a job's hosts: processes of this machine, or containers.

A runtime has ``host_names(count)``, ``start(manifest, hosts, environment) -> list[Running]`` and ``close()``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from common.manifest import Manifest
from local.jobs import Host


class Running(Protocol):
    """A host at work."""

    def lines(self) -> Iterator[str]:
        """Its log lines as they come, until it ends."""
        ...

    def stop(self) -> None:
        """Asks it to stop (SIGTERM)."""
        ...

    def kill(self) -> None:
        """Ends it now."""
        ...

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...


class Runtime(Protocol):
    """Something that runs hosts."""

    def host_names(self, count: int) -> list[str]:
        """What the hosts are called; the names resolve for each other."""
        ...

    def start(
        self, manifest: Manifest, hosts: Sequence[Host], environment: Mapping[str, str]
    ) -> list[Running]:
        """Starts `train` on each host."""
        ...

    def close(self) -> None:
        """Frees what the runtime made for the job."""
        ...
