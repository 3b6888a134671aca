"""The job of reinforcement learning."""

from __future__ import annotations

from common.metrics import log
from common.training import Run


def train(run: Run) -> None:
    """Learns a policy, or runs the user's program that does. Raises ClientError."""
    if run.hyperparameters.get("sagemaker_program"):
        from containers.rl import script

        script.execute(run)
        return
    if not run.cluster.leader:
        log.info("Q-learning is the first host's: a table is learned on one core")
        return
    from containers.rl import q_learning  # Gymnasium takes a while to import

    q_learning.train(run)
