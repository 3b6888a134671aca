"""The job of reinforcement learning."""

from __future__ import annotations

from common.training import Run


def train(run: Run) -> None:
    """Learns a policy by the algorithm that is asked for. Raises ClientError."""
    from containers.rl import q_learning  # Gymnasium takes a while to import

    q_learning.train(run)
