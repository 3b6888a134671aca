"""The text that word vectors are learnt from: read once for its vocabulary, then once an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common import instances
from common.channels import Channel
from common.channels.streams import Stream
from containers.blazingtext import tokens
from containers.blazingtext.text_kernels import Int32
from containers.blazingtext.tokens import Tokens
from containers.blazingtext.vocabulary import Counter, Vocabulary

_SHARE = 4  # a quarter of the memory that is free may hold the text


@dataclass(frozen=True, slots=True)
class Block:
    """Some words of the text: their numbers, or tokens that are yet to be looked up."""

    words: Int32 | Tokens
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.words)

    def part(self, rank: int, hosts: int) -> Block:
        """What one of some hosts learns from."""
        bounds = [len(self) * number // hosts for number in (rank, rank + 1)]
        return Block(self.words[slice(*bounds)], self.vocabulary)

    def numbers(self) -> Int32:
        """The words' numbers, -1 for those that aren't in the vocabulary."""
        return self.vocabulary.ids(self.words) if isinstance(self.words, Tokens) else self.words


class Text:
    """A channel's text.

    Of files the numbers of words are kept, 4 bytes a word, where they take at most a quarter of the memory
    that is free. Else, and always in Pipe mode, each epoch reads the text anew, in constant memory; both ways
    give the same blocks.
    """

    def __init__(self, channel: Channel, min_count: int) -> None:
        self._channel = channel
        self.count = 0  # blocks
        counter = Counter(labelled=False)
        kept = self._count(counter)
        self.vocabulary, entries = counter.vocabulary(min_count)
        if kept is not None:
            for number, words in enumerate(kept):
                kept[number] = entries[words]
        self._kept = kept

    def _count(self, counter: Counter) -> list[Int32] | None:
        """Counts all words; the numbers that the counter gave them, or None where they are too many."""
        room = 0 if self._channel.piped else instances.available_memory() // _SHARE
        kept: list[Int32] | None = [] if room else None
        for block in self._read(stoppable=True):
            words = counter.add(block)
            self.count += 1
            room -= words.nbytes
            if room < 0:
                kept = None
            if kept is not None:
                kept.append(words)
        return kept

    def blocks(self) -> Iterator[Block]:
        """The text once."""
        words: Iterator[Int32 | Tokens] = self._read() if self._kept is None else iter(self._kept)
        for block in words:
            yield Block(block, self.vocabulary)

    def _read(self, *, stoppable: bool = False) -> Iterator[Tokens]:
        media_type = self._channel.media_type

        def decode(stream: Stream, name: str) -> Iterator[Tokens]:
            return tokens.read(stream, name, media_type)

        return self._channel.read(decode, _alone, None, stoppable=stoppable)


def _alone(blocks: Sequence[Tokens]) -> Tokens:
    """Blocks are never joined: none is cut."""
    raise NotImplementedError


def end_of_sentence(vocabulary: Vocabulary) -> int:
    """The number of the token that ends a line; -1 where no line ends."""
    return int(vocabulary.ids(tokens.split(b"\n"))[0])
