"""Machine code for the CPU: what torch would pass over the memory many times for."""

from __future__ import annotations

from common.batches import Float32, Int64
from common.compiled import compiled


@compiled
def scatter(words: Int64, counts: Float32, starts: Int64, rows: Float32, out: Float32) -> None:
    """Adds ``rows[i]`` times its count to ``out[word]`` for each word of document ``i``.

    Document ``i`` has the words ``words[starts[i]:starts[i + 1]]``; ``rows`` is (documents, columns) and
    ``out`` (vocabulary, columns).
    """
    for row in range(len(rows)):
        for at in range(starts[row], starts[row + 1]):
            count, word = counts[at], words[at]
            for column in range(rows.shape[1]):
                out[word, column] += count * rows[row, column]
