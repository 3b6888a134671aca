"""Asks the processor for memory that a kernel is about to need, so that it need not wait for it.

Rows of a large matrix that come in no order are what no processor foresees.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from common.batches import Float32
from common.compiled import compiled

_LINE = 16  # float32 values in a cache line


@intrinsic
def _prefetch(typing: Any, array: Any, row: Any, column: Any) -> Any:
    """LLVM's prefetch of ``array[row, column]``, to be read and written soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        matrix = context.make_array(kind)(context, builder, arguments[0])
        place = cgutils.get_item_pointer2(
            context,
            builder,
            matrix.data,
            cgutils.unpack_tuple(builder, matrix.shape),
            cgutils.unpack_tuple(builder, matrix.strides),
            kind.layout,
            arguments[1:],
        )
        number, address = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [address, number, number, number]),
            "llvm.prefetch.p0i8",
        )
        to_write, keep, data = (ir.Constant(number, value) for value in (1, 3, 1))
        builder.call(function, [builder.bitcast(place, address), to_write, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


@compiled
def prefetch_row(matrix: Float32, row: int) -> None:
    """Asks for a row of a float32 matrix."""
    for column in range(0, matrix.shape[1], _LINE):
        _prefetch(matrix, row, column)  # type: ignore[call-arg]
