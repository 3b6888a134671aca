"""Compiles every kernel into numba's cache: ``python -m common.warm``, run when an image is built."""

from __future__ import annotations

import importlib
import pkgutil

import common.formats
from common import manifest


def main() -> None:
    """Calls ``compile_all()`` of common.formats and of each installed algorithm that has kernels."""
    modules = [common.formats.__name__, *(f"containers.{manifest.load(n).folder}" for n in manifest.known())]
    for package in modules:
        names = [found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)]
        if "warm" in names:
            importlib.import_module(f"{package}.warm").compile_all()


if __name__ == "__main__":
    main()
