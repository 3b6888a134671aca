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
from common.formats import objects
from common.formats.charsets import as_text


@dataclass(frozen=True)
class Query:
    """Observations in order, and which form of request they came in."""

    observations: Sequence[Any]
    form: str  # "one", "instances", "inputs" or "lines"
    policy: str | None = None  # of several, by name


@dataclass(frozen=True)
class Answer:
    """Of one observation: the best action, the state's value, and the policy's probability of each action.

    A policy of real-valued actions has its means in place of probabilities, and their deviations. The value
    is None where a method has none.
    """

    action: Any
    value: float | None
    probabilities: list[Any]
    deviations: list[float] | None = None

    def told(self) -> dict[str, Any]:
        """As an object of an answer."""
        if self.deviations is None:
            return {"action": self.action, "value": self.value, "probabilities": self.probabilities}
        means = {"mean": self.probabilities, "standard_deviation": self.deviations}
        return {"action": self.action, "value": self.value, **means}


_MANY = {
    "action": "actions",
    "value": "values",
    "probabilities": "probabilities",
    "mean": "means",
    "standard_deviation": "standard_deviations",
}


@dataclass(frozen=True)
class Answers:
    """In the order of the query, to be told in its form."""

    answers: Sequence[Answer]
    form: str


class PolicyCodec:
    """Bodies of a policy: JSON, JSON Lines and CSV in; JSON and JSON Lines out.

    A JSON list or number is one observation, answered as the ONNX policies of AWS's examples do: the value,
    then the probabilities. ``{"instances": [...]}`` is answered with ``{"predictions": [...]}``,
    ``{"inputs": {"observations": [...]}}`` with ``{"outputs": {...}}``, both TensorFlow Serving's forms;
    beside them ``"policy"`` names one of several policies.
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
            (answer,) = answers
            deviations = [] if answer.deviations is None else [[answer.deviations]]
            return objects.answer([[answer.value], [answer.probabilities], *deviations], accept, None)
        if accept.name == JSON and found.form == "inputs":
            rows = [answer.told() for answer in answers]
            told = {_MANY[name]: [row[name] for row in rows] for name in (rows[0] if rows else ())}
            return json.dumps({"outputs": told}).encode()
        return objects.answer([answer.told() for answer in answers], accept, "predictions")


def _query(body: Any) -> Query:
    if isinstance(body, list | int | float) and not isinstance(body, bool):
        return Query([body], "one")
    if isinstance(body, dict):
        policy = None if body.get("policy") is None else str(body["policy"])
        if isinstance(body.get("instances"), list):
            return Query(body["instances"], "instances", policy)
        inputs = body.get("inputs")
        if isinstance(inputs, dict) and isinstance(inputs.get("observations"), list):
            return Query(inputs["observations"], "inputs", policy)
    raise ClientError(
        'the payload is no observation; accepted: a list of numbers, {"instances": [...]} or '
        '{"inputs": {"observations": [...]}}'
    )


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ClientError(f"'{cell[:40]}' in the payload is not a number") from None
