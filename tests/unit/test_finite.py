"""Values that can't be computed with, found and named."""

import numpy as np
import pytest

from common import finite
from common.batches import to_csr
from common.failures import ClientError


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e30, -1e18])
@pytest.mark.parametrize("made", [np.array, to_csr], ids=["dense", "sparse"])
def test_the_first_is_named_and_nothing_else_is_printed(made, wrong):
    rows = np.ones((3, 40), np.float32)
    finite.check(made(rows), "train")
    rows[1:, 7] = wrong
    with pytest.raises(ClientError, match=r"^channel train: feature 7 .* of row 12 is .*; accepted: numbers"):
        finite.check(made(rows), "train", 10)
