"""Compiles every kernel into numba's cache, and finds fonts: ``python -m common.warm``.

When an image is built, ``python -m common.warm all`` does so for each kind of processor.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys

import common.formats
from common import manifest, processors


def find_fonts() -> None:
    """Has Matplotlib list this machine's fonts: once, in MPLCONFIGDIR or the user's cache."""
    importlib.import_module("matplotlib.font_manager")


def compile_all() -> None:
    """Calls ``compile_all()`` of common.formats and of each installed algorithm that has kernels."""
    modules = [common.formats.__name__, *(f"containers.{manifest.load(n).folder}" for n in manifest.known())]
    for package in modules:
        names = [found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)]
        if "warm" in names:
            importlib.import_module(f"{package}.warm").compile_all()


def main() -> None:
    """The program of builds; see the module's text."""
    find_fonts()
    if sys.argv[1:] != ["all"]:
        compile_all()
        return
    for kind in processors.kinds():
        # numba reads its settings when it is imported.
        environment = {**os.environ, **processors.settings(kind)}
        subprocess.run([sys.executable, "-m", "common.warm"], env=environment, check=True)


if __name__ == "__main__":
    main()
