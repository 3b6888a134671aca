"""Compiles the optimizers' kernels, so that no job waits for that."""

from __future__ import annotations

from common import optimizer_kernels


def compile_all() -> None:
    """Calls each once with the types that training gives it."""
    optimizer_kernels.compile_all()
