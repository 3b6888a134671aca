#!/usr/local/bin/python
"""The programs ``train`` and ``serve`` of an image, by the name they are called by. Runs as process 1."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from common import processors

# numba reads compiled kernels, and Matplotlib its list of fonts, only where they could also write. On a
# read-only file system they get copies.
for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
    kept = os.environ.get(name, "")
    if kept and os.path.isdir(kept) and not os.access(kept, os.W_OK):
        os.environ[name] = shutil.copytree(kept, f"{tempfile.mkdtemp()}/kept")

# Compiled for any processor and for those of today; a user's own choice stands.
if os.environ.get("NUMBA_CPU_NAME") == processors.GENERIC:
    os.environ.update(processors.settings(processors.kinds()[-1]))

if Path(sys.argv[0]).name == "serve":
    from serve.server import main
else:
    from common.training import main

sys.exit(main())
