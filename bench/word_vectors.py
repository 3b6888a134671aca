"""Word2Vec against gensim and fastText: words a second and WordSim-353, the same settings for all.

    python -m bench.word_vectors [TEXT] [--fasttext PROGRAM]

TEXT has a sentence a line, its tokens with blanks between them; without it the sentences of
tests/data/subjectivity.txt.gz are learnt, which are few. gensim reads the file in its fastest form
(``corpus_file``). fastText is measured where its program is given: built from its repository by ``make``.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gensim.models.word2vec import Word2Vec  # type: ignore[import-untyped]

from common.batches import Float32
from common.content_types import MediaType
from common.cores import Cores
from containers.blazingtext import similarity, tokens, vectors_file, word_artifact
from containers.blazingtext.learning import HogwildLearner, Settings, Task, parts_of
from containers.blazingtext.progress import Progress
from containers.blazingtext.text import Block
from containers.blazingtext.vocabulary import Counter
from containers.blazingtext.warm import compile_all

DATA = Path(__file__).parents[1] / "tests" / "data" / "subjectivity.txt.gz"
DIM, WINDOW, NEGATIVES, LEAST, THRESHOLD = 100, 5, 5, 5, 1e-4
Found = tuple[float, list[str], Float32]
"""Seconds of learning alone, words, vectors."""


def ours(mode: str, path: Path, epochs: int, rate: float, threads: int, seed: int) -> Found:
    """BlazingText; as in a job, numbers of words are kept in memory."""
    counter = Counter(labelled=False)
    blocks = tokens.read(io.BytesIO(path.read_bytes()), path.name, MediaType("text/plain"))
    counted = [counter.add(block) for block in blocks]
    vocabulary, entries = counter.vocabulary(LEAST)
    kept = [Block(entries[numbers], vocabulary) for numbers in counted]
    parts = parts_of(vocabulary, None, 0)
    started = time.perf_counter()
    with Cores(threads) as cores:
        settings = Settings(mode, DIM, WINDOW, NEGATIVES, 2 * WINDOW + 1, THRESHOLD, seed)
        learner = HogwildLearner(vocabulary, parts, settings, cores)
        progress, total = Progress(vocabulary.tokens * epochs, rate), 0
        tasks = []
        for number in range(epochs * len(kept)):
            block = kept[number % len(kept)]
            rates = progress.rate_after(total), progress.rate_after(total + len(block))
            total += len(block)
            tasks.append(Task(block, rates, np.uint64((seed + 1) << 32 | number)))
        learner.learn(tasks)
    seconds = time.perf_counter() - started
    words = [word.decode() for word in vocabulary]
    return seconds, words, word_artifact.vectors(learner.matrices(), parts)


def gensims(path: Path, epochs: int, rate: float, threads: int, seed: int) -> Found:
    """gensim's compiled loops over a file."""
    model = Word2Vec(
        vector_size=DIM,
        window=WINDOW,
        negative=NEGATIVES,
        min_count=LEAST,
        sample=THRESHOLD,
        alpha=rate,
        min_alpha=1e-6,
        sg=1,
        workers=threads,
        seed=seed + 1,
    )
    model.build_vocab(corpus_file=str(path))
    started = time.perf_counter()
    model.train(
        corpus_file=str(path),
        total_words=model.corpus_total_words,
        total_examples=model.corpus_count,
        epochs=epochs,
    )
    return time.perf_counter() - started, list(model.wv.index_to_key), model.wv.vectors


def fasttexts(program: str, path: Path, epochs: int, rate: float, threads: int) -> Found:
    """fastText's program; learning is what is left of its time without that of no epoch."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for passes in (0, epochs):
            names = "-dim", "-ws", "-neg", "-minCount", "-t", "-epoch", "-lr", "-thread"
            values = DIM, WINDOW, NEGATIVES, LEAST, THRESHOLD, passes, rate, threads
            options: dict[str, object] = dict(zip(names, values, strict=True))
            options |= {"-input": path, "-output": f"{folder}/model", "-minn": 0, "-maxn": 0, "-verbose": 0}
            command = [program, "skipgram", *(str(part) for pair in options.items() for part in pair)]
            started = time.perf_counter()
            subprocess.run(command, check=True)
            seconds.append(time.perf_counter() - started)
        model = vectors_file.read(Path(folder) / "model.vec")
    return seconds[1] - seconds[0], [word.decode() for word in model.vocabulary], model.inputs.values


def main() -> None:
    """Prints all sides and the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.word_vectors")
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--fasttext", metavar="PROGRAM")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    compile_all()
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.text or _free_text(Path(folder))
        count = len(path.read_bytes().split())
        shared = path, chosen.epochs, chosen.rate, chosen.threads
        sides: dict[str, Callable[[int], Found]] = {"gensim skip-gram": lambda seed: gensims(*shared, seed)}
        if chosen.fasttext:
            sides["fastText skip-gram"] = lambda seed: fasttexts(chosen.fasttext, *shared)
        peers = list(sides)
        for mode in ("skipgram", "batch_skipgram"):
            sides[f"BlazingText {mode}"] = lambda seed, mode=mode: ours(mode, *shared, seed)  # type: ignore[misc]
        times: dict[str, list[float]] = {name: [] for name in sides}
        scores: dict[str, list[float]] = {name: [] for name in sides}
        for seed in range(chosen.repeat):
            for name, run in sides.items():
                seconds, words, vectors = run(seed)
                rows = {word: row for row, word in enumerate(words)}
                times[name].append(seconds)
                scores[name].append(similarity.evaluate(rows, vectors)[similarity.SETS[0]]["spearmans_rho"])
    print(f"{count:,} words, {chosen.epochs} epochs, {DIM} dimensions, {chosen.threads} threads")
    best = min(min(times[name]) for name in peers)
    for name, needed in times.items():
        print(
            f"{name:28} {min(needed):7.2f} s {count * chosen.epochs / min(needed):12,.0f} words/s   "
            f"{best / min(needed):5.2f}x   WordSim-353 {np.mean(scores[name]):.3f}"
        )


def _free_text(folder: Path) -> Path:
    """The sentences of the project's own data, without their labels."""
    path = folder / "sentences.txt"
    path.write_bytes(re.sub(rb"__label__\S+ ", b"", gzip.decompress(DATA.read_bytes())))
    return path


if __name__ == "__main__":
    main()
