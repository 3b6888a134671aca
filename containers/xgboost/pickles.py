"""Boosters that AWS's images before 1.3-1 pickled, read without executing anything.

A pickle is a program. This reader knows one class, the booster, which it replaces by an empty shell, and what
the booster's state is made of. Any other name in the file is refused before it is looked up.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
from typing import Any

from common.failures import ClientError
from containers.xgboost import forest, legacy
from containers.xgboost.library import xgb

_WITH_CONFIG = b"CONFIG-offset:"


class _Shell:
    """Takes the state that was the booster's."""

    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


def _bytearray(value: Any = b"", encoding: str = "latin-1") -> bytearray:
    # bytearray(n) would take n bytes for a number of a few.
    if isinstance(value, str):
        return bytearray(value.encode("latin-1"))
    if isinstance(value, bytes):
        return bytearray(value)
    raise pickle.UnpicklingError("bytearray of neither bytes nor text")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    # How Python 2's protocols write bytes.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes written in another way than pickle does")
    return text.encode("latin-1")


def _reconstructor(kind: Any, base: Any, state: Any) -> _Shell:
    if kind is not _Shell or base is not object:
        raise pickle.UnpicklingError("an object that is no booster")
    return _Shell()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("xgboost.core", "Booster"): _Shell,
    ("builtins", "bytearray"): _bytearray,
    ("__builtin__", "bytearray"): _bytearray,
    ("_codecs", "encode"): _encode,
    ("builtins", "object"): object,
    ("__builtin__", "object"): object,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("copy_reg", "_reconstructor"): _reconstructor,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ClientError(
                f"the pickle holds {module}.{name}, which is refused; accepted: a pickled Booster alone"
            ) from None

    def persistent_load(self, identity: Any) -> Any:
        raise ClientError("the pickle refers to something outside; accepted: a pickled Booster alone")


def load(data: bytes) -> xgb.Booster:
    """The booster of a pickle. Raises ClientError for any other pickle, and for one that is cut short."""
    try:
        _check_memo(data)
        found = _Reader(io.BytesIO(data)).load()
    except ClientError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise ClientError(f"the pickle can't be read ({type(error).__name__})") from None
    state = getattr(found, "state", None)
    raw = state.get("handle") if isinstance(found, _Shell) and isinstance(state, dict) else None
    if not isinstance(raw, bytes | bytearray):
        raise ClientError("the pickle holds no booster's model; accepted: a pickled xgboost Booster alone")
    return _booster(bytes(raw))


def _check_memo(data: bytes) -> None:
    """Raises ClientError for a place in the memo that no pickle of this size needs: all below take memory."""
    for operation, place, _ in pickletools.genops(data):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(place or 0) > len(data):
            raise ClientError("the pickle numbers its objects beyond its own size")


def _booster(raw: bytes) -> xgb.Booster:
    booster = xgb.Booster()
    if raw[:1] == b"{":
        forest.check(raw)
        booster.__setstate__({"handle": bytearray(raw)})
        return booster
    parallel = None
    if raw.startswith(_WITH_CONFIG):
        start = len(_WITH_CONFIG) + 8
        if len(raw) < start:
            raise ClientError("the pickled model is cut short")
        (size,) = struct.unpack("<q", raw[len(_WITH_CONFIG) : start])
        parallel = _parallel_trees(raw[start + max(size, 0) :])
        raw = raw[start : start + max(size, 0)]
    booster.load_model(bytearray(legacy.as_json(raw, parallel)))
    return booster


def _parallel_trees(config: bytes) -> int | None:
    """The trees of a round, which the binary format of those versions doesn't hold, from the settings."""
    try:
        found = json.loads(config)["learner"]["gradient_booster"]
        found = found.get("gbtree", found)  # dart's are within
        number = int(found["gbtree_train_param"]["num_parallel_tree"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return number if 0 < number < 1 << 20 else None
