"""One policy for every numba kernel: compiled once, kept on disk, run without the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compiles ``function`` to machine code on its first call.

    The code is kept in NUMBA_CACHE_DIR, which images fill when they are built, or beside the source. Where
    neither can be written (a read-only file system), it is compiled anew in each process.
    """
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(function, nogil=True, error_model="numpy")
