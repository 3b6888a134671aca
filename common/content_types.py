"""Media types with their parameters, and what of an Accept header can be served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.failures import ClientError

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO_PROTOBUF = "application/x-recordio-protobuf"
LIBSVM = "text/libsvm"
PARQUET = "application/x-parquet"
TEXT = "text/plain"
BYTES = "application/octet-stream"  # whatever it is

# Other spellings that AWS's images take for the same format.
SYNONYMS = {
    "csv": CSV,
    "json": JSON,
    "jsonlines": JSON_LINES,
    "application/x-jsonlines": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    "recordio-protobuf": RECORDIO_PROTOBUF,
    "protobuf": RECORDIO_PROTOBUF,
    "application/x-labeled-vector-protobuf": RECORDIO_PROTOBUF,
    "libsvm": LIBSVM,
    "text/x-libsvm": LIBSVM,
    "parquet": PARQUET,
}


@dataclass(frozen=True, slots=True)
class MediaType:
    """``text/csv; label_size=1`` as a name in AWS's spelling and lower-case parameters."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "; ".join([self.name, *(f"{key}={value}" for key, value in self.parameters.items())])

    def flag(self, name: str) -> bool:
        """Whether a true/false parameter such as ``verbose=true`` is set; ClientError if it is neither."""
        text = self.parameters.get(name, "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise ClientError(f"{name}={text} in '{self}' is not accepted; {name} is true or false")
        return text in ("true", "1")

    def integer(self, name: str, default: int) -> int:
        """A whole-number parameter such as ``label_size=1``; ClientError if it is not one of at least 0."""
        text = self.parameters.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise ClientError(
                f"{name}={text[:40]} in '{self.name}' is not accepted; "
                f"{name} is a whole number from 0 to 999999999"
            )
        return int(text)


def parse(text: str) -> MediaType:
    """Reads one media type. Names are case-insensitive; known synonyms become the standard name."""
    name, *rest = _split(text, ";")
    name = name.strip().lower()
    parameters = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if equals:
            parameters[key.strip().lower()] = _unquoted(value.strip())
    return MediaType(SYNONYMS.get(name, name), parameters)


def negotiate(accept: str | None, offered: Sequence[str], default: MediaType) -> MediaType | None:
    """The best of ``offered`` for an Accept header by the rules of RFC 9110, section 12.5.1.

    An absent header and ``*/*`` give ``default``, which is one of ``offered``. Equal preferences give it
    where it is acceptable, else the earliest offered. Parameters other than ``q`` (``verbose=true``) are
    kept. None when nothing offered is acceptable.
    """
    if accept is None or not accept.strip():
        return default
    ranges = [parse(part) for part in _split(accept, ",") if part.strip()]
    best: tuple[float, MediaType] | None = None
    for name in (default.name, *(name for name in offered if name != default.name)):
        match = _most_specific(name, ranges)
        if match is None:
            continue
        quality = _quality(match)
        if quality > (0 if best is None else best[0]):
            asked = {key: value for key, value in match.parameters.items() if key != "q"}
            kept = default.parameters if name == default.name and match.name != name else {}
            best = (quality, MediaType(name, {**kept, **asked}))
    return None if best is None else best[1]


def _split(text: str, separator: str) -> list[str]:
    """``text`` cut at each separator that is not within quotes."""
    if '"' not in text:
        return text.split(separator)
    return re.findall(rf'(?:"(?:\\.|[^"\\])*"|[^{separator}])+', text) or [""]


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value.strip('"')


def _most_specific(name: str, ranges: Sequence[MediaType]) -> MediaType | None:
    family = name.split("/")[0] + "/*"
    # Some clients, Java's own among them, write * for */*.
    for patterns in ((name,), (family,), ("*/*", "*")):
        matching = [media for media in ranges if media.name in patterns]
        if matching:
            return max(matching, key=_quality)
    return None


def _quality(media: MediaType) -> float:
    try:
        return min(1.0, max(0.0, float(media.parameters.get("q", "1"))))
    except ValueError:
        return 0.0
