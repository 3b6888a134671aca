"""One policy for every numba kernel: compiled once, kept on disk, run without the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel, *, fastmath: Collection[str] = ()) -> Kernel:
    """Compiles ``function`` to machine code on its first call.

    ``fastmath`` are liberties that LLVM may take with floats: ``("reassoc", "contract")`` lets a sum be added
    up in several places at once. The same machine code still gives the same bytes in every run.

    The code is kept in NUMBA_CACHE_DIR, which images fill when they are built, or beside the source. Where
    neither can be written (a read-only file system), it is compiled anew in each process.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(function, **options)
