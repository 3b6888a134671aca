"""Measurements, one a command. Jobs are timed without their reports; `report` times those."""

import os

os.environ.setdefault("ALGODOCK_REPORT", "0")
