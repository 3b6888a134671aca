"""Bodies of requests and answers: JSON, JSON Lines and RecordIO-protobuf as AWS's guide shows them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from common.content_types import JSON, JSON_LINES, RECORDIO_PROTOBUF, MediaType
from common.failures import ClientError
from common.formats import objects, record_pb2, recordio

Ids = NDArray[np.int64]

# The key of the source's text differs by format.
_KEYS = {JSON: "data", JSON_LINES: "source"}
_FORMS = {JSON: '{"data": "some words"}', JSON_LINES: '{"source": "some words"}'}


@dataclass(frozen=True, slots=True)
class Request:
    """Sources, each a text or ids, and for each whether its attention matrix is asked for."""

    sources: list[str | Ids]
    attention: list[bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """The words, their ids, and, if asked for, what each attended to: (words, source tokens)."""

    words: Sequence[str]
    ids: Ids
    matrix: NDArray[np.float32] | None


class TextCodec:
    """Reads requests, writes answers."""

    def decode(self, body: bytes, content_type: MediaType) -> Request | None:
        """The sources of a request, None if it is empty. Raises ClientError for what is no source."""
        if content_type.name == RECORDIO_PROTOBUF:
            return _records(body)
        form = _FORMS[content_type.name]
        request = objects.request(body, content_type, form)
        if request is None:
            return None
        key = _KEYS[content_type.name]
        sources: list[str | Ids] = []
        attention = []
        for index, instance in enumerate(request.instances):
            text = instance.get(key) if isinstance(instance, dict) else None
            if not isinstance(text, str):
                raise ClientError(f"{request.where(index)} has no text under '{key}'; accepted: {form}")
            sources.append(text)
            attention.append(_attention(instance.get("configuration"), request.where(index)))
        return Request(sources, attention)

    def encode(self, answers: Sequence[Answer], accept: MediaType) -> bytes:
        """The answers, in the order of the sources."""
        if accept.name == RECORDIO_PROTOBUF:
            return b"".join(map(_record, answers))
        items = []
        for answer in answers:
            item: dict[str, Any] = {"target": " ".join(answer.words)}
            if answer.matrix is not None:
                item["matrix"] = answer.matrix
            items.append(item)
        return objects.answer(items, accept, "predictions")


def _attention(configuration: Any, where: str) -> bool:
    """Whether ``{"attention_matrix": "true"}`` is there; the notebook writes a text, the guide a boolean."""
    if configuration is None:
        return False
    wanted = configuration.get("attention_matrix", False) if isinstance(configuration, dict) else None
    known = {"true": True, "false": False}
    if isinstance(wanted, str):
        wanted = known.get(wanted.lower())
    if not isinstance(wanted, bool):
        raise ClientError(
            f"the configuration of {where} is {json.dumps(configuration)[:60]}; accepted: "
            '{"attention_matrix": "true"} or "false"'
        )
    return wanted


def _records(body: bytes) -> Request:
    sources: list[str | Ids] = []
    attention = []
    record = record_pb2.Record()
    for number, payload in enumerate(recordio.payloads(io.BytesIO(body), "the payload"), 1):
        where = f"record {number} of the payload"
        try:
            record.ParseFromString(payload)
        except DecodeError:
            raise ClientError(f"{where} is not an aialgs.data.Record") from None
        source = record.features.get("source")
        if source is None or source.WhichOneof("value") != "int32_tensor":
            raise ClientError(f"{where} has no int32_tensor under 'source' in its features")
        sources.append(np.array(source.int32_tensor.values, np.int64))
        options = (
            objects.loads(record.configuration, f"the configuration of {where}")
            if record.configuration
            else None
        )
        attention.append(_attention(options, where))
    return Request(sources, attention)


def _record(answer: Answer) -> bytes:
    record = record_pb2.Record()
    tensor = record.features["target"].int32_tensor
    tensor.SetInParent()  # there also without a word
    tensor.values.extend(answer.ids.tolist())
    return recordio.frame(record.SerializeToString(deterministic=True))
