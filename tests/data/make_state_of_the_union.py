"""Makes state_of_the_union.npz out of the corpus `state_union` of the NLTK data.

`python tests/data/make_state_of_the_union.py state_union.zip`; README.md beside this file says where the
archive comes from. scikit-learn's English stop words are left out.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

TARGET = Path(__file__).with_name("state_of_the_union.npz")
SHORTEST_DOCUMENT = 150  # words of running text; paragraphs are joined up to that
FEWEST_DOCUMENTS, LARGEST_SHARE = 15, 0.25  # a word of the vocabulary is in that many documents
FEWEST_WORDS = 20  # of the vocabulary, in a document that is kept


def passages(address: str) -> list[list[str]]:
    """An address's paragraphs, joined in order until each passage is long enough, as words in lower case."""
    passages: list[list[str]] = [[]]
    for paragraph in address.splitlines():
        if len(passages[-1]) >= SHORTEST_DOCUMENT:
            passages.append([])
        text = re.sub(r"\[.*?\]|'[a-z]+", "", paragraph.lower())  # [Laughter], and endings as in nation's
        passages[-1].extend(re.findall("[a-z]+", text))
    return passages


def main() -> None:
    """Read the archive named on the command line and write the counts beside this file."""
    documents, labels = [], []
    with zipfile.ZipFile(sys.argv[1]) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".txt")):
            for passage in passages(archive.read(name).decode("latin-1").replace("\x92", "'")):
                documents.append([w for w in passage if len(w) > 2 and w not in ENGLISH_STOP_WORDS])
                labels.append(Path(name).stem)
    frequency = Counter(word for document in documents for word in set(document))
    most = LARGEST_SHARE * len(documents)
    vocabulary = sorted(word for word, n in frequency.items() if FEWEST_DOCUMENTS <= n <= most)
    ids = {word: i for i, word in enumerate(vocabulary)}
    bags = [Counter(ids[word] for word in document if word in ids) for document in documents]
    kept = [i for i, bag in enumerate(bags) if sum(bag.values()) >= FEWEST_WORDS]
    rows = [sorted(bags[i].items()) for i in kept]
    np.savez_compressed(
        TARGET,
        words=np.array([word for row in rows for word, _ in row], np.uint16),
        counts=np.array([count for row in rows for _, count in row], np.uint8),
        indptr=np.cumsum([0, *map(len, rows)], dtype=np.int32),
        labels=np.array([labels[i] for i in kept]),
        vocabulary=np.array(vocabulary),
    )


if __name__ == "__main__":
    main()
