"""Two text files, a sequence a line in each, to what the channels hold: ``algodock convert --for seq2seq``.

Files and vocabularies are as AWS's example makes them (create_vocab_proto.py of the English-German notebook).
Tokens are what has blanks round it; lines that are empty on either side are left out.
"""

from __future__ import annotations

import argparse
import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import TextIO

from common.failures import ClientError
from common.formats import recordio
from common.formats.record_pb2 import Record
from common.job import written
from containers.seq2seq import vocabulary
from containers.seq2seq.config import SPECIAL, UNK
from containers.seq2seq.vocabulary import SOURCE, TARGET, Vocabulary


def convert(arguments: Sequence[str], program: str) -> Iterator[str]:
    """Does what a command line asks for; yields a sentence on each file that it wrote.

    Raises ClientError for what is wrong with the texts.
    """
    chosen = _parser(program).parse_args(arguments)
    training = (chosen.source, chosen.target)
    both = _given(chosen.vocab) if chosen.vocab else _built(training, chosen)
    for name, tokens in zip((SOURCE, TARGET), both, strict=True):
        path = chosen.output / "vocab" / name
        with written(path) as temporary:
            temporary.write_bytes(vocabulary.dumps(tokens))
        yield f"{path}: {len(tokens)} tokens"
    yield _coded(training, chosen.output / "train" / "train.rec", both)
    if chosen.validation:
        yield _coded(chosen.validation, chosen.output / "validation" / "val.rec", both)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Two text files, a sequence of tokens with blanks between them a line, to RecordIO and "
        "vocabularies. A file that ends in .gz is unpacked.",
        epilog=f"example:\n  {program} train.en train.de data --validation val.en val.de",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="training sources")
    parser.add_argument("target", type=Path, help="training targets, line by line")
    parser.add_argument("output", type=Path, help="folder that gets train/, validation/ and vocab/")
    parser.add_argument("--validation", nargs=2, type=Path, metavar=("SOURCE", "TARGET"))
    parser.add_argument(
        "--vocab", nargs=2, type=Path, metavar=("SOURCE", "TARGET"), help="vocabularies that exist already"
    )
    parser.add_argument("--single-vocab", action="store_true", help="one vocabulary for both sides")
    for side in ("source", "target"):
        parser.add_argument(f"--num-words-{side}", type=int, default=50000, help="most words; default 50000")
        parser.add_argument(
            f"--word-min-count-{side}", type=int, default=1, help="how often a word comes at least; default 1"
        )
    return parser


def _given(paths: Sequence[Path]) -> tuple[Vocabulary, Vocabulary]:
    source, target = (vocabulary.loads(path.read_bytes(), str(path)) for path in paths)
    return source, target


def _built(texts: Sequence[Path], chosen: argparse.Namespace) -> tuple[Vocabulary, Vocabulary]:
    """Vocabularies of the training texts, or one of both that the source's settings bound."""
    counts = [_counts(path) for path in texts]
    source_bounds = chosen.num_words_source, chosen.word_min_count_source
    if chosen.single_vocab:
        shared = _vocabulary(counts[0] + counts[1], *source_bounds)
        return shared, shared
    return (
        _vocabulary(counts[0], *source_bounds),
        _vocabulary(counts[1], chosen.num_words_target, chosen.word_min_count_target),
    )


def _counts(path: Path) -> Counter[str]:
    with _opened(path) as lines:
        return Counter(token for line in lines for token in line.split() if token not in SPECIAL)


def _vocabulary(counts: Counter[str], most: int, least: int) -> Vocabulary:
    """Special tokens, then words by falling count, those of one count in falling order of their letters."""
    ranked = sorted(((count, word) for word, count in counts.items() if count >= least), reverse=True)
    words = islice((word for _, word in ranked), max(most, 0))
    return {word: number for number, word in enumerate([*SPECIAL, *words])}


def _coded(texts: Sequence[Path], path: Path, both: tuple[Vocabulary, Vocabulary]) -> str:
    """Writes a file of pairs; the sentence on it."""
    pairs = left_out = 0
    with written(path) as temporary, temporary.open("wb") as file:
        for lines in _lines(texts):
            tokens = [line.split() for line in lines]
            if not all(tokens):
                left_out += 1
                continue
            pairs += 1
            file.write(recordio.frame(_record(*map(_ids, tokens, both))))
        if not pairs:
            raise ClientError(f"{texts[0]} and {texts[1]} have no line that is a sequence in both")
    return f"{path}: {pairs} pairs" + (f", {left_out} left out with an empty side" if left_out else "")


def _lines(texts: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Both files' lines side by side. Raises ClientError when one has more."""
    with _opened(texts[0]) as sources, _opened(texts[1]) as targets:
        for number, (source, target) in enumerate(zip_longest(sources, targets), 1):
            if source is None or target is None:
                short, other = texts if source is None else reversed(texts)
                raise ClientError(
                    f"{short} ends before line {number}, which {other} has; accepted: files of as many lines"
                )
            yield source, target


def _ids(tokens: Iterable[str], ids: Vocabulary) -> list[int]:
    return [ids.get(token, UNK) for token in tokens]


def _record(source: Sequence[int], target: Sequence[int]) -> bytes:
    record = Record()
    record.features["source"].int32_tensor.values.extend(source)
    record.features["target"].int32_tensor.values.extend(target)
    return record.SerializeToString(deterministic=True)


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")
