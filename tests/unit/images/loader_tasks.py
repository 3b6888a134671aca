"""What worker processes are given to do in tests; they import it by its name."""

import os
import time

import numpy as np

from common.failures import ClientError
from common.images.decoding import Undecodable

SHAPES = {"value": ((3, 2), np.float32), "number": ((), np.int64)}


def task(item, random, rows):
    if item == "undecodable":
        raise Undecodable("x.jpg is not an image")
    if item == "client":
        raise ClientError("label 7 is out of range")
    if item == "fault":
        raise ZeroDivisionError
    if item == "pid":
        item = os.getpid()
    if item == "sleep":
        time.sleep(60)
    rows["number"][...] = item
    rows["value"][...] = random.random((3, 2)) + item
