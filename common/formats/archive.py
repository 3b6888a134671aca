"""model_algo-1 as a zip: how several built-in algorithms keep an MXNet symbol, arrays and JSON together."""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from common.failures import ClientError
from common.formats import ndarray

_PIECE = 1 << 20
# What a file of a model may take unpacked: a zip is data from anywhere.
_LARGEST_JSON = 16 << 20
_LARGEST_ARRAYS = 16 << 30
# Deflate makes no more bytes of one.
_MOST_INFLATED = 1032
# What zipfile raises for an archive that is none, or whose members can't be inflated.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
)
# Operators with more outputs than one, as MXNet counts them; so has the maximum of a Pooling.
_OUTPUTS = {"BatchNorm": 3, "_contrib_MultiBoxTarget": 3}
# Inputs, by their places, that an operator writes to: running statistics. Edges to them have version 1.
_WRITTEN = {"BatchNorm": (3, 4)}


def write(path: Path, members: Mapping[str, bytes | Sequence[bytes | memoryview]]) -> None:
    """Writes a zip of ``members``, each of bytes or of pieces of them, uncompressed.

    Equal members make equal bytes.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            pieces = [content] if isinstance(content, bytes) else content
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.file_size = sum(map(len, pieces))
            with archive.open(member, "w") as file:
                for piece in pieces:
                    file.write(piece)


class Archive:
    """An open zip. Members are read by their names alone, and never unpacked to disk."""

    def __init__(self, archive: zipfile.ZipFile, name: str, size: int) -> None:
        self._archive = archive
        self._name = name
        self._size = size

    @property
    def members(self) -> list[str]:
        """The names of all members."""
        return self._archive.namelist()

    def json(self, member: str) -> dict[str, Any]:
        """A member's JSON object. Raises ClientError when there is none."""
        try:
            value = json.loads(self._read(member, _LARGEST_JSON))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ClientError(f"{member} in {self._name} is not a JSON object")
        return value

    def arrays(self, member: str) -> dict[str, ndarray.Array]:
        """A member's named NDArrays, in memory of their own. Raises ClientError when it holds none."""
        arrays = ndarray.load(self._read(member, _LARGEST_ARRAYS))
        if not isinstance(arrays, dict):
            raise ClientError(f"{member} in {self._name} holds arrays without names")
        return arrays

    def _read(self, member: str, largest: int) -> bytearray:
        try:
            info = self._archive.getinfo(member)
        except KeyError:
            raise ClientError(f"{self._name} holds no {member}") from None
        if info.file_size > largest:
            raise ClientError(
                f"{member} in {self._name} takes {info.file_size} bytes; at most {largest} are read"
            )
        # No memory is taken for what such a file can't hold.
        if info.file_size <= self._size * _MOST_INFLATED and (content := self._content(info)) is not None:
            return content
        raise ClientError(f"{member} in {self._name} is not of the size that the archive tells")

    def _content(self, info: zipfile.ZipInfo) -> bytearray | None:
        """A member's bytes, read once; None when there are more or fewer than the archive tells."""
        content = bytearray(info.file_size)
        left = memoryview(content)
        with self._archive.open(info) as file:
            while piece := file.read(min(_PIECE, len(left) + 1)):
                if len(piece) > len(left):
                    return None
                left[: len(piece)] = piece
                left = left[len(piece) :]
        return None if left else content


@contextmanager
def opened(path: Path, whose: str) -> Iterator[Archive]:
    """The zip at ``path``; ``whose`` model it should be, for messages.

    Raises ClientError when there is no file, or no zip, or when a member can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield Archive(archive, path.name, path.stat().st_size)
    except FileNotFoundError:
        raise ClientError(f"there is no {path.name} in the model folder") from None
    except _DAMAGED as error:
        raise ClientError(f"{path.name} is not {whose}'s zip archive: {error}") from None


class Graph:
    """An MXNet 1.x symbol: nodes as they are added, then `dumps`, its JSON file.

    ``variable`` and ``operator`` return a node's number, which is what later nodes name as their input.
    """

    def __init__(self) -> None:
        self._nodes: list[dict[str, Any]] = []

    def variable(self, name: str, **attributes: object) -> int:
        """An input of the graph: data, a label or a parameter."""
        return self._add("null", name, (), attributes)

    def operator(
        self, op: str, name: str, inputs: Sequence[int | tuple[int, int]], **attributes: object
    ) -> int:
        """What ``op`` makes of its inputs' first outputs, or of a node's output of a number."""
        return self._add(op, name, inputs, attributes)

    def dumps(self, *heads: int) -> bytes:
        """The JSON file of the graph, whose outputs are the nodes ``heads``, in the order that MXNet has."""
        order = self._ordered(heads)
        places = {number: place for place, number in enumerate(order)}
        nodes = [
            {**node, "inputs": [[places[source], *rest] for source, *rest in node["inputs"]]}
            for node in (self._nodes[number] for number in order)
        ]
        symbol = {
            "nodes": nodes,
            "arg_nodes": [number for number, node in enumerate(nodes) if node["op"] == "null"],
            "node_row_ptr": list(accumulate(map(_outputs, nodes), initial=0)),
            "heads": [[places[head], 0, 0] for head in heads],
            "attrs": {"mxnet_version": ["int", 10901]},
        }
        return json.dumps(symbol, indent=2).encode()

    def _ordered(self, heads: Sequence[int]) -> list[int]:
        """The nodes that ``heads`` need, each behind its inputs, in the order in which they are needed."""
        order: list[int] = []
        done: set[int] = set()
        waiting = [(head, False) for head in reversed(heads)]
        while waiting:
            number, complete = waiting.pop()
            if number in done:
                continue
            if complete:
                done.add(number)
                order.append(number)
                continue
            waiting.append((number, True))
            waiting += [(source, False) for source, *_ in reversed(self._nodes[number]["inputs"])]
        return order

    def _add(
        self, op: str, name: str, inputs: Sequence[int | tuple[int, int]], attributes: Mapping[str, object]
    ) -> int:
        sources = [source if isinstance(source, tuple) else (source, 0) for source in inputs]
        written = _WRITTEN.get(op, ())
        edges = [[*source, int(place in written)] for place, source in enumerate(sources)]
        node: dict[str, Any] = {"op": op, "name": name, "inputs": edges}
        if attributes:
            node["attrs"] = {key: str(value) for key, value in attributes.items()}
        self._nodes.append(node)
        return len(self._nodes) - 1


def _outputs(node: Mapping[str, Any]) -> int:
    if node["op"] == "Pooling":
        return 2 if node.get("attrs", {}).get("pool_type") == "max" else 1
    return _OUTPUTS.get(node["op"], 1)
