"""Hosts as processes of this machine: the very same `train`, nothing but Python needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from common.failures import ClientError
from common.manifest import Manifest
from local.jobs import Host, free_port
from local.runtimes import Running

_MOST_HOSTS = 254  # addresses that begin with 127.0.0.


def program(name: str) -> list[str]:
    """The command of `train` or `serve` in this Python environment, ended with the thread that starts it.

    Not by the programs' names: Ray installs a `serve` too. -P: whatever modules the current folder has.
    """
    module = {"train": "common", "serve": "serve"}[name]
    return [sys.executable, "-P", "-m", "local.child", str(os.getpid()), module]


class ProcessRuntime:
    """Runs each host as a child process; several hosts are 127.0.0.1, 127.0.0.2, ..."""

    def host_names(self, count: int) -> list[str]:
        if count > _MOST_HOSTS:
            raise ClientError(f"--hosts is {count}; accepted on one machine: up to {_MOST_HOSTS}")
        return ["algo-1"] if count == 1 else [f"127.0.0.{rank + 1}" for rank in range(count)]

    def start(
        self, manifest: Manifest, hosts: Sequence[Host], environment: Mapping[str, str]
    ) -> list[Running]:
        shared = {**os.environ, "ALGORITHM": manifest.name, "ALGODOCK_CLUSTER_PORT": str(free_port())}
        return [_Process({**shared, "OPT_ML": str(host.root), **environment}) for host in hosts]

    def close(self) -> None:
        pass


class _Process:
    def __init__(self, environment: Mapping[str, str]) -> None:
        # A session of its own: Ctrl-C reaches `algodock` alone, which then asks every host to stop.
        self._process = subprocess.Popen(
            program("train"),
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        yield from self._process.stdout

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int:
        return self._process.wait()
