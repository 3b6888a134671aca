"""What the report shows of Object2Vec: how pairs were judged, and which tokens lie near each other."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, cast

import numpy as np

from common.channels.streams import Stream
from common.formats import objects
from common.report import neighbours, supervised
from common.report.page import Section
from common.training import Run
from containers.object2vec import artifact
from containers.object2vec.codec import Asked
from containers.object2vec.predict import Object2Vec

_PAIRS, _TOKENS = 500, 5000


def sections(run: Run) -> Iterator[Section]:
    """Of the test pairs, or else of those of validation or training."""
    model = artifact.read(run.job.model)
    name = next(name for name in ("test", "validation", "train") if name in run.channels)
    found = [one for one in _instances(run, name) if "label" in one]
    if found:
        asked = Asked(found, (0, 1), None, lambda index: f"row {index}")
        scores = np.asarray(Object2Vec(model).predict(asked, {})["scores"])
        labels = np.array([float(one["label"]) for one in found])
        source = f"{len(found):,} pairs of channel {name}"
        if run.hyperparameters["output_layer"] != "softmax":
            yield from supervised.regression(labels, scores[:, 0], source)
        elif scores.shape[1] == 2:
            yield from supervised.binary(labels, scores[:, 1], 0.5, source)
        else:
            yield from supervised.classes(labels, scores.argmax(1), source)
    for side, table in enumerate(model.tables):
        vectors = table.detach().cpu().numpy()[:_TOKENS]
        used = _used(found, side, len(vectors), both=len(model.tables) == 1)
        which = "both sides" if len(model.tables) == 1 else f"in{side}"
        if len(used) > 2:
            names = [str(token) for token in range(len(vectors))]
            source = f"Token embeddings of {which}, by their cosines; a token is told by its number."
            yield from neighbours.described(names, vectors, used, source)


def _instances(run: Run, name: str) -> list[dict[str, Any]]:
    """The first pairs of a channel as JSON has them."""
    channel = run.channels[name]

    def decode(stream: Stream, shown: str) -> Iterator[list[dict[str, Any]]]:
        for _, value in itertools.islice(objects.lines(stream, shown, channel.media_type), _PAIRS):
            yield [value]

    def join(parts: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        return list(itertools.chain.from_iterable(parts))

    blocks = channel.read(decode, join, _PAIRS, stoppable=False)
    with closing(cast("Generator[list[dict[str, Any]], None, None]", blocks)):
        return next(blocks, [])


def _used(found: Sequence[dict[str, Any]], side: int, size: int, *, both: bool) -> list[int]:
    """The tokens that the pairs hold, the commonest first."""
    keys = ("in0", "in1") if both else (f"in{side}",)
    tokens = [token for one in found for key in keys for token in one[key]]
    values, counts = np.unique(np.array(tokens, np.int64), return_counts=True)
    return [int(one) for one in values[np.argsort(-counts, kind="stable")] if one < size]
