"""``python -m local.child MODULE``: a module as a program that is asked to end when its parent is gone.

An endpoint or a job that nobody waits for would go on for good after kill -9.
"""

from __future__ import annotations

import ctypes
import runpy
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Runs the module that the first argument names."""
    with suppress(OSError, AttributeError):  # elsewhere than on Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
