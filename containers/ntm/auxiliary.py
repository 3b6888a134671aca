"""The auxiliary channel: the vocabulary, and word vectors beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.batches import Float32
from common.channels import Channel
from common.failures import ClientError
from common.metrics import log
from containers.ntm import vectors

VOCABULARY = "vocab.txt"
_SUFFIXES = (".txt", ".vec")


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """Words in the order of their ids, and their (words, dimension) vectors if there are any."""

    words: list[str]
    vectors: Float32 | None


def read(channel: Channel, feature_dim: int) -> Auxiliary:
    """Reads the channel's folder. Raises ClientError for a vocabulary or vectors that can't be used."""
    log.info("Vocab file %s is expected at %s", VOCABULARY, channel.folder)
    words = _words(channel.folder / VOCABULARY, feature_dim)
    others = _others(channel.folder)
    if len(others) > 1:
        raise ClientError(
            f"channel auxiliary holds {len(others)} files beside {VOCABULARY}: "
            f"{', '.join(path.name for path in others[:5])}; accepted: {VOCABULARY} and one of word vectors"
        )
    return Auxiliary(words, _vectors(others[0], words) if others else None)


def _words(path: Path, feature_dim: int) -> list[str]:
    if not path.is_file():
        raise ClientError(
            f"channel auxiliary has no file {VOCABULARY}; accepted: one of that name, with a word a line"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClientError(
            f"channel auxiliary, file {VOCABULARY}: byte {error.start} is not UTF-8; accepted: UTF-8 text"
        ) from None
    # Other separators of lines, which Python knows, may be part of a word.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    if len(lines) != feature_dim:
        raise ClientError(
            f"channel auxiliary, file {VOCABULARY}: it has {len(lines)} lines, and feature_dim is "
            f"{feature_dim}; accepted: a line for each word id"
        )
    return lines


def _others(folder: Path) -> list[Path]:
    """Files that may hold word vectors."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in _SUFFIXES
        and path.name != VOCABULARY
        and not path.name.startswith((".", "_"))
        and path.is_file()
    )


def _vectors(path: Path, words: list[str]) -> Float32:
    log.info("Loading pre-trained token embedding vectors from %s", path)
    found, missing = vectors.read(path, words)
    if missing:
        log.warning(
            "%d out of %d in vocabulary do not have embeddings! Default vector used for unknown embedding!",
            missing,
            len(words),
        )
    return found
