"""vocab.src.json and vocab.trg.json: one JSON object that gives each token its id."""

from __future__ import annotations

import json

from common.channels import Channel
from common.failures import ClientError
from common.formats.lines import shown
from containers.seq2seq.config import SPECIAL

SOURCE, TARGET = "vocab.src.json", "vocab.trg.json"

Vocabulary = dict[str, int]


def read(channel: Channel) -> tuple[Vocabulary, Vocabulary]:
    """Those of source and target in a channel's folder. Raises ClientError for one missing or wrong."""
    channel.check()
    missing = [name for name in (SOURCE, TARGET) if not (channel.folder / name).is_file()]
    if missing:
        raise ClientError(
            f"Vocab files not present: channel {channel.name} has no {' and no '.join(missing)}; "
            f"accepted: {SOURCE} and {TARGET}"
        )
    source, target = (
        loads((channel.folder / name).read_bytes(), f"channel {channel.name}, file {name}")
        for name in (SOURCE, TARGET)
    )
    return source, target


def loads(text: bytes, name: str) -> Vocabulary:
    """The ids of all tokens, from 0 to their number less 1.

    Raises ClientError, naming ``name``, for what is no such object, and where <pad>, <unk>, <s> and </s>
    aren't the first four.
    """
    try:
        vocabulary = json.loads(text)
    except (ValueError, RecursionError):
        vocabulary = None
    if not isinstance(vocabulary, dict):
        raise ClientError(f"{name} is not a JSON object; accepted: an object that maps tokens to ids")
    for token, number in vocabulary.items():
        if type(number) is not int or not 0 <= number < len(vocabulary):
            raise ClientError(
                f"{name} gives the token {shown(token)} the id {str(number)[:40]}; accepted: integers from 0 "
                f"to {len(vocabulary) - 1}, one less than its tokens"
            )
    if len(set(vocabulary.values())) < len(vocabulary):
        raise ClientError(f"{name} gives several tokens the same id; accepted: an id of its own for each")
    for number, token in enumerate(SPECIAL):
        if vocabulary.get(token) != number:
            found = vocabulary.get(token, "none")
            raise ClientError(f"{name} gives {token} the id {found}; accepted: {number}")
    return vocabulary


def dumps(vocabulary: Vocabulary) -> bytes:
    """The file, as the preparation script of AWS's example writes it."""
    return json.dumps(vocabulary, indent=4, ensure_ascii=False).encode("utf-8", "surrogatepass")
