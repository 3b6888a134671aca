"""Text in the character encoding that a media type names, as UTF-8."""

from __future__ import annotations

import codecs
import io
import json

from common.content_types import MediaType
from common.failures import ClientError, one_of
from common.formats.layout import Stream
from common.formats.reading import BLOCK, read_full

# Encodings by Python's name for them. In the first kind the ASCII characters are ASCII's bytes, and rows of
# numbers hold no others, so nothing has to be done.
_LIKE_ASCII = ("utf-8", "ascii", "iso8859-1", "cp1252")
_UTF8 = ("utf-8", "ascii")
_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_SPELLINGS = ("utf-8", "us-ascii", "iso-8859-1", "windows-1252", "utf-16", "utf-32")


def wide_encoding(media_type: MediaType, name: str, *, letters: bool = False) -> str | None:
    """Python's name of the media type's ``charset`` if its text must be transcoded, else None.

    With ``letters`` the text holds more than numbers, so that only UTF-8 can be left as it is. Raises
    ClientError for an encoding that is not read.
    """
    charset = media_type.parameters.get("charset")
    if charset is None:
        return None
    try:
        encoding = codecs.lookup(charset).name
    except (LookupError, ValueError):
        encoding = ""
    if encoding in (_UTF8 if letters else _LIKE_ASCII):
        return None
    if encoding not in (*_LIKE_ASCII, *_WIDE):
        raise ClientError(f"the charset '{charset}' of {name} is not accepted; {one_of(_SPELLINGS)} is")
    return encoding


def as_utf8(stream: Stream, media_type: MediaType, name: str, *, letters: bool = False) -> Stream:
    """``stream``, transcoded if its media type names an encoding that does not look like ASCII.

    With ``letters``, if it names one that is not UTF-8.
    """
    encoding = wide_encoding(media_type, name, letters=letters)
    return stream if encoding is None else _Transcoded(stream, encoding, name)


def as_text(body: bytes, media_type: MediaType, name: str) -> str:
    """A body of JSON as text. Raises ClientError when it is not in its media type's ``charset``, or UTF-8."""
    charset = media_type.parameters.get("charset", "utf-8").lower()
    try:
        # A byte order mark is no part of JSON, but editors write one.
        return body.decode("utf-8-sig" if charset in ("utf-8", "utf8") else charset)
    except UnicodeDecodeError as error:
        raise ClientError(f"byte {error.start} of {name} is not {charset}") from None
    except (LookupError, ValueError):  # some codecs have errors of their own
        raise ClientError(f"charset {json.dumps(charset[:40])} is not accepted; accepted: utf-8") from None


class _Transcoded(io.RawIOBase):
    def __init__(self, stream: Stream, encoding: str, name: str) -> None:
        self._stream = stream
        self._name = name
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray, /) -> int:  # type: ignore[override]
        while not self._ready:
            block = bytearray(BLOCK)
            count = read_full(self._stream, memoryview(block))
            try:
                self._ready = self._decoder.decode(bytes(block[:count]), final=count == 0).encode()
            except UnicodeError:
                raise ClientError(
                    f"{self._name} is not text in {self._encoding}, which its content type says it is"
                ) from None
            if count == 0 and not self._ready:
                return 0
        part = self._ready[: len(buffer)]
        buffer[: len(part)] = part
        self._ready = self._ready[len(part) :]
        return len(part)
