"""What the report shows of translations: some of the validation sentences, and what each word looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from common.report import charts, page
from common.report.page import Section
from common.training import Run
from containers.seq2seq import artifact
from containers.seq2seq.codec import Request
from containers.seq2seq.predict import Translator


def sections(run: Run) -> Iterator[Section]:
    """Of the first pairs of the validation data."""
    pairs = run.kept["pairs"]
    model = artifact.read(run.job.model)
    source_words, target_words = _words(model.source), _words(model.target)
    sources = [pairs.source.one(row).astype(np.int64) for row in range(len(pairs))]
    targets = [pairs.target.one(row) for row in range(len(pairs))]
    answers = Translator(model).predict(Request(list(sources), [True] * len(sources)), {})
    rows = [
        (_text(source, source_words), _text(target, target_words), " ".join(answer.words))
        for source, target, answer in zip(sources, targets, answers, strict=True)
    ]
    yield Section(
        "Translations", [page.table(["source", "wanted", "translated"], rows)], "Of channel validation."
    )
    drawn = [
        (
            charts.matrix(
                f"attention of translation {number + 1}",
                answer.matrix[: len(answer.words), : len(source)],
                answer.words,
                [source_words.get(int(word), "?") for word in source],
                by_row=True,
            ),
            f"What each word of translation {number + 1} looked at",
        )
        for number, (source, answer) in enumerate(zip(sources, answers, strict=True))
        if answer.matrix is not None and len(answer.words) and len(source) <= 40
    ]
    if drawn:
        yield Section("Attention", [page.figures(*drawn[:4])])


def _words(vocabulary: Mapping[str, int]) -> dict[int, str]:
    return {number: word.encode("utf-8", "replace").decode() for word, number in vocabulary.items()}


def _text(ids: np.ndarray, words: Mapping[int, str]) -> str:
    return " ".join(words.get(int(word), "?") for word in ids)
