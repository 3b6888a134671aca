"""Several hosts, or GPUs, learn one model: the mean of their models, again and again."""

from __future__ import annotations

from common.cluster import Cluster
from containers.blazingtext.model import Matrices

_MOST = 8


def boost(learners: int) -> int:
    """By how much larger steps are where the mean of some models is taken.

    The mean makes a step of one model that many times smaller. In larger steps a word that comes up
    everywhere moves as far as its gradients let it, and a rare one, from which one model has learnt, as far
    as alone; the sum of all changes instead overshoots from four hosts on. Steps of more than eight times
    the size don't converge.
    """
    return min(learners, _MOST)


def combine(cluster: Cluster, matrices: Matrices) -> None:
    """Gives all hosts the mean of their matrices."""
    for matrix in (matrices.inputs, matrices.outputs):
        matrix[:] = cluster.all_reduce(matrix)
        matrix /= cluster.size
