"""Requests of observations and answers of actions, in the forms that AWS's examples of policies have."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from common.content_types import CSV, JSON, JSON_LINES, MediaType
from common.failures import ClientError
from common.formats import objects
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
    probabilities: list[float]


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
            lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
            return Query([objects.loads(line, f"line {number}") for number, line in lines], "lines")
        return _query(objects.loads(text, "the payload"))

    def encode(self, found: Answers, accept: MediaType) -> bytes:
        """The response's body."""
        answers = found.answers
        if accept.name == JSON and found.form == "one":
            return objects.answer([[answers[0].value], [answers[0].probabilities]], accept, None)
        if accept.name == JSON and found.form == "inputs":
            told = {
                "actions": [answer.action for answer in answers],
                "values": [answer.value for answer in answers],
                "probabilities": [answer.probabilities for answer in answers],
            }
            return json.dumps({"outputs": told}).encode()
        return objects.answer([asdict(answer) for answer in answers], accept, "predictions")


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


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ClientError(f"'{cell[:40]}' in the payload is not a number") from None
