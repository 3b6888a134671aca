"""Arrays for kernels that call other kernels for every few bytes."""

from __future__ import annotations

from typing import Any

from numba import carray, config, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from common.compiled import compiled

_AS_PYTHON = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]


@intrinsic
def _pointer(context: Any, array: Any) -> Any:
    """Where an array's elements are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(array)(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


@compiled
def borrowed(array: Any) -> Any:
    """The same elements as an array that owns nothing.

    Called functions count references to the arrays they are given, atomically: more work than reading a
    short record. There is nothing to count for these. The array itself must stay where it is meanwhile.
    """
    return array if _AS_PYTHON else carray(_pointer(array), array.shape)  # type: ignore[call-arg]
