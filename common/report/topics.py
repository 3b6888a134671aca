"""What is looked at of topics: their words, and how documents are mixed of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.report import charts, page
from common.report.page import Section

_WORDS, _DOCUMENTS = 12, 24


def described(
    weights: NDArray[Any], vocabulary: Sequence[str] | None, mixtures: NDArray[Any] | None, source: str
) -> Iterator[Section]:
    """Of (topics, words) weights, the larger the more a topic's, and (documents, topics) mixtures.

    Without a vocabulary a word is its number.
    """
    top = np.argsort(-weights, axis=1, kind="stable")[:, :_WORDS]
    shares = None if mixtures is None else np.asarray(mixtures).mean(0)
    rows = [
        (
            topic,
            None if shares is None else float(round(float(shares[topic]), 4)),
            " ".join(vocabulary[word] if vocabulary else str(word) for word in words),
        )
        for topic, words in enumerate(top)
    ]
    words = "words" if vocabulary else "words, by their numbers"
    yield Section("Topics", [page.table(["topic", "share of documents", f"its first {words}"], rows)])
    if mixtures is None or not len(mixtures) or shares is None:
        return
    few = np.asarray(mixtures)[:_DOCUMENTS]
    yield Section(
        "Mixtures",
        [
            page.figures(
                (
                    charts.bars("topics of all documents", range(len(shares)), shares, "topic", "mean share"),
                    "Mean share of each topic",
                ),
                (
                    charts.matrix(
                        "topics of documents", few, range(len(few)), range(few.shape[1]), "topic", "document"
                    ),
                    "The first documents",
                ),
            )
        ],
        f"Of {source}.",
    )
