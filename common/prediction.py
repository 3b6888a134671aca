"""What an algorithm's predict.py gives to `serve`: a model that turns rows into named columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.batches import Features

Columns = Mapping[str, NDArray[np.float32]]
"""Name of an output to its values: (rows,) for one number a row, (rows, m) for a list a row.

The order is that of CSV columns; JSON keys and protobuf labels have these names.
"""


class Predictor(Protocol):
    """A loaded model. ``containers/<name>/predict.py`` has ``load(folder: Path) -> Predictor``.

    ``load`` reads the files of an extracted model.tar.gz and raises ClientError when they can't be a model
    of this algorithm. Files that are none of its own are ignored. Nothing in them is executed. It happens
    before the server forks, answering after it, in several processes and threads at once.

    A predictor may have ``json_keys``, a tuple of its columns' names in the order of JSON answers, where
    AWS's differ from the order of CSV columns.
    """

    feature_dim: int | None
    """How wide rows must be; None when any width is taken. The server checks it before `predict`."""

    def predict(self, features: Features, options: Mapping[str, Any]) -> Columns:
        """Answers (rows, feature_dim) float32 features, dense or CSR, rows in order.

        ``options`` are the Accept header's parameters (``{"verbose": "true"}``). Raises ClientError for rows
        that it can't answer.
        """
        ...


class Codec(Protocol):
    """Bodies of an algorithm's own. A predict.py may hold ``codec(environment) -> Codec`` with this face.

    ``decode`` gives what is handed to ``predict`` in place of features, ``encode`` the response's body. A
    codec may have ``standard``, a tuple of content types whose requests are read as every other algorithm's,
    and may be without ``encode``, so that answers are written as every other algorithm's.
    """

    def decode(self, body: bytes, content_type: Any) -> Any:
        """Reads a request of a `common.content_types.MediaType`. Raises ClientError; None when empty."""
        ...

    def encode(self, columns: Columns, accept: Any) -> bytes:
        """Renders an answer as a `common.content_types.MediaType`."""
        ...
