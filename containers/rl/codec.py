"""Requests of observations and answers of actions, in the forms that AWS's examples of policies have."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.content_types import CSV, JSON, JSON_LINES, MediaType
from common.failures import ClientError
from common.formats.charsets import as_text


@dataclass(frozen=True)
class Query:
    """Observations in order, and which form of request they came in."""

    observations: Sequence[Any]
    form: str  # "one", "instances", "inputs" or "lines"


@dataclass(frozen=True)
class Answer:
    """Of one observation: the best action, its value, and the policy's probability of each action."""

    action: Any
    value: float
    probabilities: Sequence[float]


@dataclass(frozen=True)
class Answers:
    """In the order of the query, to be told in its form."""

    answers: Sequence[Answer]
    form: str


class PolicyCodec:
    """Bodies of a policy: JSON, JSON Lines and CSV in; JSON and JSON Lines out.

    A JSON list or number is one observation, answered as the ONNX policies of AWS's examples do: the value,
    then the probabilities. ``{"instances": [...]}`` is answered with ``{"predictions": [...]}``,
    ``{"inputs": {"observations": [...]}}`` with ``{"outputs": {...}}``, both TensorFlow Serving's forms.
    """

    def decode(self, body: bytes, content_type: MediaType) -> Query | None:
        """The observations of a request. Raises ClientError; None when it is empty."""
        text = as_text(body, content_type, "the payload")
        if not text.strip():
            return None
        if content_type.name == CSV:
            rows = [[_number(cell) for cell in row] for row in csv.reader(io.StringIO(text)) if row]
            return Query([row[0] if len(row) == 1 else row for row in rows], "instances")
        if content_type.name == JSON_LINES:
            lines = [line for line in text.split("\n") if line.strip()]
            return Query([_json(line, f"line {number}") for number, line in enumerate(lines, 1)], "lines")
        return _query(_json(text, "the payload"))

    def encode(self, found: Answers, accept: MediaType) -> bytes:
        """The response's body."""
        if accept.name == JSON_LINES:
            return "".join(f"{json.dumps(_told(answer))}\n" for answer in found.answers).encode()
        if accept.name != JSON:
            raise ClientError(f"{accept} is not answered; accepted: {JSON} or {JSON_LINES}")
        if found.form == "one":
            (answer,) = found.answers
            return json.dumps([[answer.value], [list(answer.probabilities)]]).encode()
        if found.form == "inputs":
            told = {
                "actions": [answer.action for answer in found.answers],
                "values": [answer.value for answer in found.answers],
                "probabilities": [list(answer.probabilities) for answer in found.answers],
            }
            return json.dumps({"outputs": told}).encode()
        return json.dumps({"predictions": [_told(answer) for answer in found.answers]}).encode()


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "action": answer.action,
        "value": answer.value,
        "probabilities": list(answer.probabilities),
    }


def _query(body: Any) -> Query:
    if isinstance(body, list | int | float) and not isinstance(body, bool):
        return Query([body], "one")
    if isinstance(body, dict):
        if isinstance(body.get("instances"), list):
            return Query(body["instances"], "instances")
        inputs = body.get("inputs")
        if isinstance(inputs, dict) and isinstance(inputs.get("observations"), list):
            return Query(inputs["observations"], "inputs")
    raise ClientError(
        'the payload is no observation; accepted: a list of numbers, {"instances": [...]} or '
        '{"inputs": {"observations": [...]}}'
    )


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ClientError(f"{where} is not JSON: {error}") from None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ClientError(f"'{cell[:40]}' in the payload is not a number") from None
