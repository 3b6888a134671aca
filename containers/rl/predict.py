"""Answers observations with what the learned table thinks best."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.failures import ClientError
from containers.rl import artifact
from containers.rl.codec import Answer, Answers, PolicyCodec, Query
from containers.rl.model import Float64, probabilities
from containers.rl.numbering import Numbering

if TYPE_CHECKING:
    from containers.rl.network_policy import NetworkPolicy


class TablePolicy:
    """A table that answers; ``table`` is (states, actions)."""

    feature_dim: int | None = None

    def __init__(self, table: Float64, states: Numbering, actions: Numbering) -> None:
        self._table, self._states, self._actions = table, states, actions

    def predict(self, query: Query, options: Mapping[str, Any]) -> Answers:
        """An answer an observation. Raises ClientError for what the environment never shows."""
        numbers = [self._number(one, index) for index, one in enumerate(query.observations)]
        rows = self._table[numbers]
        chances = probabilities(rows) if numbers else rows
        found = [
            Answer(self._actions.parts(int(row.argmax())), float(row.max()), share.tolist())
            for row, share in zip(rows, chances, strict=True)
        ]
        return Answers(found, query.form)

    def _number(self, observation: Any, index: int) -> int:
        # A list of one number is that number, as people send what has one part.
        alone = isinstance(observation, list) and len(observation) == 1
        try:
            return self._states.number(observation[0] if alone else observation)
        except (TypeError, ValueError, OverflowError):
            raise ClientError(
                f"observation {index} (counted from 0) is {str(observation)[:80]}; accepted: "
                f"{self._states.accepted()}"
            ) from None


def load(folder: Path) -> TablePolicy | NetworkPolicy:
    """The policy of a folder. Raises ClientError when there is none, or it is damaged."""
    if artifact.method(folder) != artifact.Q_LEARNING:
        from containers.rl import network_policy  # torch takes a while to import

        return network_policy.load(folder)
    table, states, actions, _ = artifact.read(folder)
    return TablePolicy(table, states, actions)


def codec(environment: Mapping[str, str]) -> PolicyCodec:
    """Bodies of policies."""
    return PolicyCodec()
