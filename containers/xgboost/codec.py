"""XGBoost's own bodies: CSV by default, and what the environment selects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from common.batches import CSR, Features
from common.content_types import CSV, JSON, JSON_LINES, LIBSVM, MediaType
from common.failures import ClientError
from common.prediction import Columns

SCORE = "score"
_QUERY = re.compile(rb"(?<=[ \t])qid:[0-9]+(?=[ \t\r\n]|$)")
_NOWHERE = 415  # AWS's status for a body that can't be read


@dataclass(frozen=True, slots=True)
class LibsvmRows:
    """Rows whose indices may count from 0 or from 1."""

    features: CSR

    def __len__(self) -> int:
        return len(self.features)

    def counted_from_0(self, base: int | None, width: int) -> CSR:
        """The rows as a model of ``width`` features wants them.

        AWS's server counts from 1 whenever no index is 0. ``base`` is what the model's own libsvm data began
        with, None if it learnt from something else. Data that began with 1 were learnt as they are, so
        requests are left as they are too. Data that began with 0 let a row leave out feature 0, so that only
        an index that would be too large tells that a request counts from 1.
        """
        indices = self.features.indices
        lowest, highest = int(indices.min(initial=width + 1)), int(indices.max(initial=0))
        shifted = lowest >= 1 and base != 1 and (base is None or highest == width)
        if not len(indices) or not shifted:
            return self.features
        return replace(self.features, indices=indices - 1)


class XGBoostCodec:
    """Reads rows and renders predictions as AWS's container does.

    That takes no JSON; here it has the form that the other algorithms take. What a sparse row leaves out is
    missing, as in records.
    """

    standard = (JSON, JSON_LINES)

    def __init__(self, environment: Mapping[str, str]) -> None:
        written = environment.get("SAGEMAKER_INFERENCE_OUTPUT", "").replace(" ", "").lower()
        self._selected = [key for key in written.split(",") if key]
        # AWS takes any value but an empty one; false is meant as it reads.
        self._batch = _flag(environment, "SAGEMAKER_BATCH")
        self._multi_model = _flag(environment, "SAGEMAKER_MULTI_MODEL")

    def decode(self, body: bytes, content_type: MediaType) -> Features | LibsvmRows | None:
        """A request's rows, None if there are none. Raises ClientError with status 415."""
        from common.formats import Layout, decode_bytes

        if content_type.name == LIBSVM and b"qid:" in body:
            # Each row is scored alone, whatever group it belongs to.
            body = _QUERY.sub(b"", body)
        layout = Layout(label_size=0, sniff_delimiter=True, missing=True)
        try:
            batch = decode_bytes(body, "the payload", content_type, layout)
        except ClientError as error:
            raise ClientError(str(error), _NOWHERE) from None
        if batch is None:
            return None
        if content_type.name == LIBSVM and isinstance(batch.features, CSR):
            return LibsvmRows(batch.features)
        return batch.features

    def encode(self, columns: Columns, accept: MediaType) -> bytes:
        """The predictions, or what of them is selected."""
        if self._selected:
            return self._encode_selected({name: columns[name] for name in self._selected if columns}, accept)
        scores = columns[SCORE].tolist() if columns else []
        if self._batch:
            return "".join(f"{score}\n" for score in scores).encode()
        if accept.name == CSV:
            if self._multi_model:
                return ",".join(map(str, scores)).encode()
            return "".join(f"{_cells(score)}\n" for score in scores).encode()
        if accept.name == JSON:
            if self._multi_model:
                return json.dumps(scores).encode()
            return json.dumps({"predictions": [{SCORE: score} for score in scores]}).encode()
        if accept.name == JSON_LINES:
            return "".join(json.dumps({SCORE: score}) + "\n" for score in scores).encode()
        return _records({SCORE: columns[SCORE]} if columns else {})

    def _encode_selected(self, columns: Columns, accept: MediaType) -> bytes:
        values = [column.tolist() for column in columns.values()]
        rows = list(zip(*values, strict=True))
        if accept.name == CSV:
            text = "\n".join(",".join(map(_quoted, row)) for row in rows)
            return (text + "\n" * (self._batch and bool(rows))).encode()
        items = [dict(zip(columns, row, strict=True)) for row in rows]
        if accept.name == JSON:
            return json.dumps({"predictions": items}).encode()
        if accept.name == JSON_LINES:
            return "\n".join(map(json.dumps, items)).encode()
        return _records(columns)


def codec(environment: Mapping[str, str]) -> XGBoostCodec:
    """The codec that an endpoint's environment asks for."""
    return XGBoostCodec(environment)


def _flag(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").strip().lower() not in ("", "0", "false")


def _cells(score: Any) -> str:
    return ",".join(map(str, score)) if isinstance(score, list) else str(score)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, list) else str(value)


def _records(columns: Columns) -> bytes:
    from common.formats import encode_records

    return encode_records(columns)
