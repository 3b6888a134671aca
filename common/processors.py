"""The kinds of processors that an image's kernels are compiled for, and which of them this machine's is.

x86-64-v3 is what nearly every machine since 2013 (Intel) and 2015 (AMD) is: vectors of 256 bits and fused
multiplication and addition. ``generic`` is any processor of the architecture.
"""

from __future__ import annotations

from pathlib import Path

GENERIC, V3 = "generic", "x86-64-v3"
_FLAGS = {
    "avx",
    "avx2",
    "bmi1",
    "bmi2",
    "f16c",
    "fma",
    "abm",
    "movbe",
    "xsave",
}  # what V3 has, as Linux says it
_CPUINFO = Path("/proc/cpuinfo")


def kinds() -> tuple[str, ...]:
    """What this machine's processor can run, the best last."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return (GENERIC,)
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return (GENERIC, V3) if flags >= _FLAGS else (GENERIC,)


def settings(kind: str) -> dict[str, str]:
    """The environment variables that make numba compile, and look for, kernels of that kind."""
    return {"NUMBA_CPU_NAME": kind, "NUMBA_CPU_FEATURES": ""}
