"""What an instance type has, and whether an algorithm may run on it.

The accelerator counts are AWS's published ones. The type comes from resourceconfig.json; without it, and for
``local``, nothing is refused.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass

from common.failures import ClientError, one_of
from common.manifest import Rules

OVERRIDE = "ALGODOCK_ANY_INSTANCE"
LOCAL = ("local", "local_cpu", "local_gpu")  # what the SageMaker SDKs call this machine

_G = {
    "xlarge": 1,
    "2xlarge": 1,
    "4xlarge": 1,
    "8xlarge": 1,
    "12xlarge": 4,
    "16xlarge": 1,
    "24xlarge": 4,
    "48xlarge": 8,
}
# Family to GPUs by size; a family that is not here has no GPU.
GPUS: dict[str, dict[str, int]] = {
    "p2": {"xlarge": 1, "8xlarge": 8, "16xlarge": 16},
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "p3dn": {"24xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "g4dn": {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "12xlarge": 4, "16xlarge": 1},
    "g5": _G,
    "g6": _G,
    "g6e": _G,
    "p6-b200": {"48xlarge": 8},
    "p6-b300": {"48xlarge": 8},
    "p6e-gb200": {"36xlarge": 4},
    "g7": {},  # how many, its sizes' names don't tell us; one at least
    "g7e": {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
}


OTHER_ACCELERATORS = ("inf", "trn", "dl")  # Inferentia, Trainium, Gaudi: no image of ours uses them


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance type: ``ml.p3.8xlarge`` is family p3 with 4 GPUs."""

    name: str
    family: str
    gpus: int

    @property
    def device(self) -> str:
        """``gpu`` or ``cpu``."""
        return "gpu" if self.gpus else "cpu"


def parse(name: str) -> Instance:
    """Reads an instance type's name. Raises ClientError when it isn't one."""
    match = re.fullmatch(r"(?:ml\.)?([a-z][a-z0-9-]*)\.([a-z0-9-]+)", name)
    if not match:
        raise ClientError(
            f"instance type '{name}' is unknown; accepted: local, or a name such as ml.m5.large"
        )
    family, size = match.groups()
    return Instance(name, family, GPUS.get(family, {}).get(size, 1 if family in GPUS else 0))


def check(rules: Rules, instance_type: str | None, hosts: int, algorithm: str) -> None:
    """Raises ClientError when the algorithm's rules exclude this instance type or this many hosts."""
    if hosts > 1 and not rules.multi_host:
        raise ClientError(f"{algorithm} trains on one host, and this job has {hosts}; accepted: 1")
    if not instance_type or instance_type in LOCAL:
        return
    if os.environ.get(OVERRIDE) == "1":
        return
    instance = parse(instance_type)
    if instance.family.startswith(OTHER_ACCELERATORS):
        raise ClientError(
            f"{algorithm} doesn't run on instance type {instance.name}, whose accelerator is no GPU; "
            f"accepted: {allowed(rules)}"
        )
    allowed_family = not rules.families or instance.family in rules.families
    if "cpu" in rules.families and instance.device == "cpu":
        allowed_family = True
    if instance.device not in rules.devices or not allowed_family:
        raise ClientError(
            f"{algorithm} doesn't run on instance type {instance.name}; accepted: {allowed(rules)}; "
            f"set the environment variable {OVERRIDE}=1 to run there all the same"
        )


def allowed(rules: Rules) -> str:
    """The instance types that the rules name, for messages and documents."""
    names = ["any CPU instance" if family == "cpu" else f"ml.{family}.*" for family in rules.families]
    return one_of(names or [f"any {device.upper()} instance" for device in rules.devices])


def gpus_present() -> int:
    """How many NVIDIA GPUs this machine shows, without asking CUDA."""
    return len([path for path in glob.glob("/dev/nvidia*") if path.removeprefix("/dev/nvidia").isdigit()])


def available_memory() -> int:
    """Bytes of memory that are free or can be freed, for this machine or its cgroup; 0 where nobody tells."""
    free = [_number_in("/proc/meminfo", "MemAvailable:") << 10]
    try:
        most, used = (
            open(f"/sys/fs/cgroup/memory.{name}").read().strip()  # noqa: SIM115
            for name in ("max", "current")
        )
        if most != "max":
            cached = _number_in("/sys/fs/cgroup/memory.stat", "inactive_file")
            free.append(max(0, int(most) - int(used) + cached))
    except (OSError, ValueError):
        pass
    return min(free)


def _number_in(path: str, name: str) -> int:
    """The number behind ``name`` at the start of one of a file's lines; 0 when there is none."""
    try:
        lines = open(path).read().splitlines()  # noqa: SIM115
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def threads() -> int:
    """How many threads to use: ALGODOCK_NUM_THREADS, else what affinity and the cgroup's quota allow.

    Raises ClientError when the variable isn't a whole number of at least 1.
    """
    wanted = os.environ.get("ALGODOCK_NUM_THREADS")
    if wanted:
        if not wanted.isascii() or not wanted.isdigit() or int(wanted[:9]) < 1:
            raise ClientError(f"ALGODOCK_NUM_THREADS is '{wanted}'; accepted: an integer of at least 1")
        return int(wanted[:9])
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = open("/sys/fs/cgroup/cpu.max").read().split()  # noqa: SIM115
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cores
