"""What the report shows of BlazingText: words near each other and a map; or how sentences were labelled."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import cast

import numpy as np

from common import content_types
from common.channels.streams import Stream
from common.report import neighbours, page, supervised
from common.report.page import Section
from common.training import Run
from containers.blazingtext import predict
from containers.blazingtext.codec import Request
from containers.blazingtext.hyperparameters import SUPERVISED
from containers.blazingtext.labelling import Labeller

_WORDS, _FREQUENT, _SENTENCES = 20_000, 50, 2000
_LABEL = "__label__"


def sections(run: Run) -> Iterator[Section]:
    """Of the words of the text, or of sentences of channel validation, else train."""
    if run.hyperparameters["mode"] == SUPERVISED:
        yield from _labelled(run)
    else:
        yield from _words(run)


def _words(run: Run) -> Iterator[Section]:
    names, rows = [], []
    with (run.job.model / "vectors.txt").open("rb") as file:
        next(file)  # how many, and how long
        for line in itertools.islice(file, _WORDS):
            word, _, numbers = line.rstrip().partition(b" ")
            names.append(word.decode("utf-8", "replace"))
            rows.append(np.fromstring(numbers, np.float32, sep=" "))
    if len(names) < 3:
        return
    # The commonest words are articles and commas; of the rest, words that mean something are longer.
    asked = [
        number for number in range(min(_FREQUENT, len(names) // 4), len(names)) if len(names[number]) > 3
    ]
    some = asked[:600] or list(range(len(names)))
    source = f"Of the {len(names):,} commonest words, by the cosine of their vectors."
    yield from neighbours.described(names, np.stack(rows), some[:: max(1, len(some) // 90)], source)


def _labelled(run: Run) -> Iterator[Section]:
    name = "validation" if "validation" in run.channels else "train"
    lines = _sentences(run, name)
    if not lines:
        return
    labeller = predict.load(run.job.model)
    assert isinstance(labeller, Labeller)
    answers = labeller.predict(Request([text for _, text in lines], [1] * len(lines)), {})
    found = [
        (label, text, answer) for (label, text), answer in zip(lines, answers, strict=True) if answer["label"]
    ]
    if not found:
        return
    labels = sorted({label for label, *_ in found} | {answer["label"][0] for *_, answer in found})
    truth = np.array([labels.index(label) for label, *_ in found])
    guess = np.array([labels.index(answer["label"][0]) for *_, answer in found])
    shown = [label.removeprefix(_LABEL) for label in labels]
    yield from supervised.classes(truth, guess, f"{len(found):,} sentences of channel {name}", shown)
    surest = sorted(
        (i for i in np.flatnonzero(truth != guess).tolist()), key=lambda i: -float(found[i][2]["prob"][0])
    )
    rows = [
        (shown[truth[i]], shown[guess[i]], float(round(float(found[i][2]["prob"][0]), 3)), found[i][1][:160])
        for i in surest[:8]
    ]
    if rows:
        yield Section(
            "Surest mistakes", [page.table(["label", "predicted", "probability", "sentence"], rows)]
        )


def _sentences(run: Run, name: str) -> list[tuple[str, str]]:
    """The first sentences with their first label; none in Pipe mode, where they have gone by."""
    channel = run.channels[name]
    if channel.piped:
        return []
    as_json = channel.media_type.name == content_types.JSON_LINES

    def decode(stream: Stream, shown: str) -> Iterator[list[tuple[str, str]]]:
        for line in _beginning(stream).split(b"\n")[:_SENTENCES]:
            yield list(_sentence(line.decode("utf-8", "replace"), as_json))

    def join(parts: object) -> list[tuple[str, str]]:
        return list(itertools.chain.from_iterable(cast("list[list[tuple[str, str]]]", parts)))

    with closing(
        cast(
            "Generator[list[tuple[str, str]], None, None]",
            channel.read(decode, join, _SENTENCES, stoppable=False),
        )
    ) as blocks:
        return next(blocks, [])


def _beginning(stream: Stream) -> bytes:
    """The first whole lines of a stream, up to a megabyte."""
    buffer, filled = bytearray(1 << 20), 0
    while filled < len(buffer) and (count := stream.readinto(memoryview(buffer)[filled:])):
        filled += count
    text = bytes(buffer[:filled])
    return text if filled < len(buffer) else text[: text.rfind(b"\n") + 1]


def _sentence(line: str, as_json: bool) -> Iterator[tuple[str, str]]:
    if as_json:
        try:
            record = json.loads(line)
            label = record["label"]
            yield f"{_LABEL}{label[0] if isinstance(label, list) else label}", str(record["source"])
        except (ValueError, KeyError, TypeError, IndexError):
            return
    else:
        labels = [token for token in line.split() if token.startswith(_LABEL)]
        if labels:
            yield labels[0], " ".join(token for token in line.split() if not token.startswith(_LABEL))
