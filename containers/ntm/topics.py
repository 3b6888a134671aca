"""What the topics of a model are about, and how good they look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32, Int64

TOP = 20  # words a topic is told by


def top_words(weights: Float32, count: int = TOP) -> Int64:
    """The words of the largest of (vocabulary, topics) weights, the largest first: (topics, count) ids.

    Fewer columns where the vocabulary is smaller; ties go to the lower id.
    """
    return np.argsort(-weights.T, axis=1, kind="stable")[:, :count]


def uniqueness(top: Int64) -> NDArray[np.float64]:
    """TU of each topic: the mean over its words of 1 / how many topics list the word. (topics,)

    Nan, Ding, Nallapati and Xiang: Topic Modeling with Wasserstein Autoencoders (2019).
    """
    _, inverse, listed = np.unique(top, return_inverse=True, return_counts=True)
    return (1 / listed[inverse.reshape(top.shape)]).mean(axis=1)


def coherence(top: Int64, vectors: Float32) -> NDArray[np.float64]:
    """WETC of each topic: the mean cosine of the vectors of two of its words. (topics,)

    ``vectors`` is (vocabulary, dimension); a word without one has zeros, and is at right angles to all. Ding,
    Nallapati and Xiang: Coherence-Aware Neural Topic Modeling (2018), the pairwise form.
    """
    count = top.shape[1]
    if count < 2:
        return np.ones(len(top))
    chosen = vectors[top].astype(np.float64)
    lengths = np.linalg.norm(chosen, axis=2, keepdims=True)
    chosen = np.divide(chosen, lengths, out=np.zeros_like(chosen), where=lengths > 0)
    together = np.square(chosen.sum(axis=1)).sum(axis=1) - np.square(chosen).sum(axis=(1, 2))
    return together / (count * (count - 1))


def described(weights: Float32, vocabulary: Sequence[str] | None, vectors: Float32 | None) -> list[str]:
    """AWS's lines: how unique and coherent the topics of (vocabulary, topics) weights are, then each's words.

    Without ``vocabulary`` words are ids and there is no coherence.
    """
    top = top_words(weights)
    unique = uniqueness(top)
    head = f"Topics from epoch:final (num_topics:{len(top)})"
    if vocabulary is None or vectors is None:
        return [f"{head} [, tu {unique.mean():.2f}]:", *(" ".join(map(str, words)) for words in top)]
    coherent = coherence(top, vectors)
    return [
        f"{head} [wetc {coherent.mean():.2f}, tu {unique.mean():.2f}]:",
        *(
            f"[{mine:.2f}, {own:.2f}] {' '.join(vocabulary[word] for word in words)}"
            for mine, own, words in zip(coherent, unique, top, strict=True)
        ),
    ]
