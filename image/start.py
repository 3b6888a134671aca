#!/usr/local/bin/python
"""The programs ``train`` and ``serve`` of an image, by the name they are called by. Runs as process 1."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from common import processors

KERNELS = os.environ.get("NUMBA_CACHE_DIR", "")

# numba reads compiled kernels only where it could also write them. On a read-only file system it gets a copy.
if KERNELS and not os.access(KERNELS, os.W_OK):
    os.environ["NUMBA_CACHE_DIR"] = shutil.copytree(KERNELS, f"{tempfile.mkdtemp()}/kernels")

# Compiled for any processor and for those of today; a user's own choice stands.
if os.environ.get("NUMBA_CPU_NAME") == processors.GENERIC:
    os.environ.update(processors.settings(processors.kinds()[-1]))

if Path(sys.argv[0]).name == "serve":
    from serve.server import main
else:
    from common.training import main

sys.exit(main())
