"""Answers words with vectors, or sentences with labels: whichever the model's file is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.failures import ClientError, one_of
from containers.blazingtext import fasttext_file, vectors_file
from containers.blazingtext.codec import Request, TextCodec
from containers.blazingtext.fasttext_file import Kind
from containers.blazingtext.labelling import Labeller
from containers.blazingtext.word_vectors import WordVectors

_BINARY = ("model.bin", "vectors.bin")  # of fastText, ours or not; the first is what is served
_TEXT = "vectors.txt"


def load(folder: Path) -> Labeller | WordVectors:
    """The model of a folder. Raises ClientError when there is none."""
    for name in _BINARY:
        if (folder / name).is_file():
            model = fasttext_file.read(folder / name)
            break
    else:
        if not (folder / _TEXT).is_file():
            raise ClientError(f"the model has none of the files {one_of([*_BINARY, _TEXT])}; accepted: one")
        model = vectors_file.read(folder / _TEXT)
    predictor = Labeller(model) if model.arguments.kind == Kind.SUPERVISED else WordVectors(model)
    predictor.predict(Request(["a"], [1]), {})  # kernels are loaded here, and not while a request waits
    return predictor


def codec(environment: Mapping[str, str]) -> TextCodec:
    """How requests and answers are written."""
    return TextCodec()
