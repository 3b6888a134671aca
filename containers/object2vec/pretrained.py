"""Token embeddings from the auxiliary channel: a text file as GloVe's, and a JSON file of words and ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.batches import Float32
from common.channels import Channel
from common.failures import ClientError
from common.formats import objects


def read(channel: Channel, file: str, vocabulary_file: str, table: Float32) -> int:
    """Puts the vectors of the vocabulary's words into their rows of ``table``, (ids, dimension).

    Returns how many words of the vocabulary have none, whose rows stay as they are. Raises ClientError for
    files that are missing or of another form.
    """
    ids = _vocabulary(_path(channel, vocabulary_file), len(table))
    path = _path(channel, file)
    wanted = {word.encode("utf-8", "surrogatepass"): row for word, row in ids.items()}
    found = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            # From the right: some of GloVe's words have blanks in them.
            word, *values = line.rstrip().rsplit(b" ", table.shape[1])
            row = wanted.get(word)
            if row is None and (number > 1 or len(values) == table.shape[1]):
                continue
            vector = _numbers(values)
            if vector is None or len(vector) != table.shape[1]:
                raise ClientError(
                    f"channel auxiliary, file {file}, line {number}: not a word and {table.shape[1]} finite "
                    "numbers, as the token embedding dimension is; accepted: a word and its numbers a line, "
                    "one blank between them, no header"
                )
            if row is not None:
                table[row] = vector
                found += 1
                del wanted[word]
    if not found:
        raise ClientError(
            f"channel auxiliary: no word of {vocabulary_file} is in {file}; accepted: files of the same words"
        )
    return len(ids) - found


def _path(channel: Channel, file: str) -> Path:
    path = channel.folder / file
    if not path.is_file():
        raise ClientError(f"channel auxiliary has no file {file}; accepted: one of that name")
    return path


def _vocabulary(path: Path, size: int) -> dict[str, int]:
    what = f"channel auxiliary, file {path.name}"
    found = objects.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), what)
    if not isinstance(found, dict):
        raise ClientError(f"{what} is no JSON object; accepted: one of words and their ids")
    for word, row in found.items():
        if type(row) is not int or not 0 <= row < size:
            shown = str(row)[:40]
            raise ClientError(f"{what}: the id of {word[:40]!r} is {shown}; accepted: 0 to {size - 1}")
    return found


def _numbers(values: list[bytes]) -> Float32 | None:
    try:
        vector = np.array(values, np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None
