"""Hosts that train together by a Ray cluster of their own: the first is its head, the others join it.

Heterogeneous training is two jobs, a primary and a secondary one, that find each other on S3 as AWS's
launcher has it: the head writes ``<prefix>/dist-ray/config/MASTER_IP.json``, then ``CONFIG_DONE``, and at the
end ``JOB_TERMINATED``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import ray

from sagemaker_rl.faults import Fault

PORT = int(os.environ.get("ALGODOCK_CLUSTER_PORT", "6379"))
WAIT = 600.0  # seconds that hosts wait for each other
_CONFIG = "dist-ray/config"


@dataclass(frozen=True)
class Cluster:
    """What this host is to the others."""

    head: str  # host of this job that leads, by name
    here: str
    hosts: int  # of both jobs
    primary: bool = True
    bucket: str | None = None
    prefix: str = ""
    region: str | None = None

    @property
    def alone(self) -> bool:
        return self.hosts == 1 and self.primary


def described(hyperparameters: Mapping[str, Any], names: Sequence[str], here: str) -> Cluster:
    """The cluster that hyperparameters and hosts' names make. Raises Fault."""
    kind = str(hyperparameters.get("rl_cluster_type", "primary"))
    if kind not in ("primary", "secondary"):
        raise Fault(f"hyperparameter rl_cluster_type is '{kind}'; accepted: primary or secondary")
    written = str(hyperparameters.get("rl_num_instances_secondary", 0))
    if not written.isdigit():
        raise Fault(f"hyperparameter rl_num_instances_secondary is '{written}'; accepted: a whole number")
    others = int(written)
    primary = kind == "primary"
    if primary and not others:
        return Cluster(names[0], here, len(names))
    bucket = hyperparameters.get("s3_bucket")
    prefix = str(hyperparameters.get("s3_prefix", ""))
    if not bucket:
        # Beside the job's source, as AWS's launcher does.
        place = urlsplit(str(json.loads(os.environ.get("SM_TRAINING_ENV", "{}")).get("module_dir", "")))
        if place.scheme != "s3":
            raise Fault(
                "hyperparameter s3_bucket is missing; accepted: the bucket where both jobs find each other"
            )
        bucket, prefix = place.netloc, place.path.strip("/").split("/")[0]
    region = hyperparameters.get("aws_region")
    return Cluster(names[0], here, len(names) + others, primary, str(bucket), prefix.strip("/"), region)


@contextlib.contextmanager
def joined(cluster: Cluster, arguments: Mapping[str, Any]) -> Iterator[bool]:
    """Starts Ray here. True where the training is to be run; elsewhere what is left has ended by then.

    Raises Fault when hosts don't find each other.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if cluster.alone:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init("local", **arguments, include_dashboard=False)
        try:
            yield True
        finally:
            ray.shutdown()
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # hosts have no secret that they share
    here = _address(cluster.here)
    if not cluster.primary or cluster.here != cluster.head:
        _work(_address(cluster.head) if cluster.primary else _found_head(cluster), here, arguments)
        yield False
        return
    with _node(arguments, "--head", f"--port={PORT}", f"--node-ip-address={here}") as head:
        _await(lambda: _listens(here), head, f"Ray's head on {here}:{PORT}")
        if cluster.bucket:
            _s3(cluster, "delete_object", "JOB_TERMINATED")  # an earlier job's
            _put(cluster, "MASTER_IP.json", json.dumps({"IP": here, "HOST_NAME": cluster.here}).encode())
            _put(cluster, "CONFIG_DONE", b"")
        ray.init(address=f"{here}:{PORT}", _node_ip_address=here)
        try:
            _await_hosts(cluster.hosts)
            yield True
        finally:
            ray.shutdown()
            if cluster.bucket:
                _put(cluster, "JOB_TERMINATED", b"")


def _work(head: str, here: str, arguments: Mapping[str, Any]) -> None:
    """Joins the head as soon as it is there, and returns when it has gone. Raises Fault."""
    _await(lambda: _listens(head), None, f"the head {head}:{PORT}")
    with _node(arguments, f"--address={head}:{PORT}", f"--node-ip-address={here}") as node:
        print(f"joins the head {head}:{PORT}", flush=True)
        while _listens(head):
            if node.poll() is not None:
                time.sleep(5)  # the head's end is its nodes' end too
                if _listens(head):
                    raise Fault(f"this host's part of Ray ended (exit code {node.returncode})")
            time.sleep(1)


@contextlib.contextmanager
def _node(arguments: Mapping[str, Any], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Ray's processes on this host, which end with the block."""
    command = [
        sys.executable,
        "-c",
        "from ray.scripts.scripts import main; main()",
        "start",
        "--block",
        *options,
    ]
    command += [f"--num-cpus={arguments.get('num_cpus', 1)}", f"--num-gpus={arguments.get('num_gpus', 0)}"]
    if "--head" in options:
        command.append("--include-dashboard=false")
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _await(there: Callable[[], bool], process: subprocess.Popen[bytes] | None, what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not there():
        if process is not None and process.poll() is not None:
            raise Fault(f"{what} ended (exit code {process.returncode})")
        if time.monotonic() > deadline:
            raise Fault(f"{what} hasn't come up in {WAIT:.0f} seconds")
        time.sleep(1)


def _listens(head: str) -> bool:
    try:
        with socket.create_connection((head, PORT), timeout=5):
            return True
    except OSError:
        return False


def _address(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError:
        raise Fault(f"host {host} has no address") from None


def _await_hosts(count: int) -> None:
    deadline = time.monotonic() + WAIT
    while (alive := sum(node["Alive"] for node in ray.nodes())) < count:
        if time.monotonic() > deadline:
            raise Fault(f"{alive} of {count} hosts have come up in {WAIT:.0f} seconds")
        time.sleep(1)
    print(f"{count} hosts with {ray.cluster_resources().get('CPU', 0):.0f} CPUs", flush=True)


def _found_head(cluster: Cluster) -> str:
    """The head's address, once it is on S3 and not that of a job that has ended. Raises Fault."""
    deadline = time.monotonic() + WAIT
    while _get(cluster, "CONFIG_DONE") is None or _get(cluster, "JOB_TERMINATED") is not None:
        if time.monotonic() > deadline:
            raise Fault(
                f"the primary job hasn't told its address in s3://{cluster.bucket} in {WAIT:.0f} seconds"
            )
        time.sleep(5)
    told = _get(cluster, "MASTER_IP.json")
    return str(json.loads(told or b"{}").get("IP"))


def _key(cluster: Cluster, name: str) -> str:
    return "/".join(part for part in (cluster.prefix, _CONFIG, name) if part)


def _s3(cluster: Cluster, operation: str, name: str, **more: Any) -> Any:
    """What S3 answers; None where the object isn't there. Raises Fault."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    key = _key(cluster, name)
    try:
        client = boto3.client("s3", region_name=cluster.region)
        return getattr(client, operation)(Bucket=cluster.bucket, Key=key, **more)
    except (BotoCoreError, ClientError) as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") in ("NoSuchKey", "404"):
            return None
        raise Fault(
            f"s3://{cluster.bucket}/{key}: {error}; accepted: a bucket that the role may use"
        ) from None


def _put(cluster: Cluster, name: str, body: bytes) -> None:
    _s3(cluster, "put_object", name, Body=body)


def _get(cluster: Cluster, name: str) -> bytes | None:
    found = _s3(cluster, "get_object", name)
    return None if found is None else bytes(found["Body"].read())
