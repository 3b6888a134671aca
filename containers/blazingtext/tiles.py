"""Products of a few rows with a few rows, in vector registers: what learning of word vectors is made of.

A row that is loaded is multiplied with several others (Ji et al., "Parallelizing Word2Vec in Shared and
Distributed Memory", 2016), which no compiler makes of loops over a matrix. Rows are as wide as a multiple of
``LANES`` and are chosen by their numbers, so that nothing is copied out of a large matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 8
"""float32 values that are worked on at once: a register of AVX2, two of SSE or NEON."""

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_CONTRACT, _REASSOC = ("contract",), ("reassoc", "contract")


def dots(rows: int, columns: int) -> Callable[..., None]:
    """A kernel ``(left, left_rows, i, right, right_rows, k, scores)`` of rows x columns dot products.

    ``scores[i + u, k + v] = left[left_rows[i + u]] . right[right_rows[k + v]]``, all matrices float32 and
    contiguous, row numbers int32.
    """

    @intrinsic
    def tile(
        typing: Any, left: Any, left_rows: Any, i: Any, right: Any, right_rows: Any, k: Any, scores: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = _Code(context, builder, signature, arguments)
            lefts, rights = code.rows(0, 1, 2, rows), code.rows(3, 4, 5, columns)
            sums = [[code.variable() for _ in rights] for _ in lefts]
            with code.columns_of(0) as at:
                right_values = [code.load(row, at) for row in rights]
                for row, of_row in zip(lefts, sums, strict=True):
                    value = code.load(row, at)
                    for total, other in zip(of_row, right_values, strict=True):
                        code.add_product(total, value, other)
            for u, of_row in enumerate(sums):
                target = code.pointer(6, code.plus(2, u), arguments[5])
                for v, total in enumerate(of_row):
                    place = builder.gep(target, [ir.Constant(ir.IntType(64), v)])
                    builder.store(code.total(total), place)
            return context.get_dummy_value()

        return types.void(left, left_rows, i, right, right_rows, k, scores), generate

    return tile


def updates(columns: int) -> Callable[..., None]:
    """A kernel ``(left, left_rows, count, sums, sum_rows, right, right_rows, k, steps)``.

    With x_i = left[left_rows[i]] for i below count and y_v = right[right_rows[k + v]] for v below columns:
    sums[sum_rows[i]] += sum over v of steps[i, k + v] y_v, and y_v += sum over i of steps[i, k + v] x_i.
    Where a row is there twice in ``right_rows``, one of its updates is lost.
    """

    @intrinsic
    def tile(
        typing: Any,
        left: Any,
        left_rows: Any,
        count: Any,
        sums: Any,
        sum_rows: Any,
        right: Any,
        right_rows: Any,
        k: Any,
        steps: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = _Code(context, builder, signature, arguments)
            rights = code.rows(5, 6, 7, columns)
            changed = [code.variable() for _ in rights]
            with code.columns_of(0) as at:
                values = [code.load(row, at) for row in rights]
                for variable, value in zip(changed, values, strict=True):
                    builder.store(value, variable)
                with cgutils.for_range(builder, arguments[2], intp=ir.IntType(64)) as loop:
                    x = code.load(code.row(0, 1, loop.index), at)
                    target = code.row(3, 4, loop.index)
                    total = code.load(target, at)
                    first = code.pointer(8, loop.index, arguments[7])
                    for v, (variable, value) in enumerate(zip(changed, values, strict=True)):
                        step = code.splat(builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), v)])))
                        total = code.sum(total, code.product(step, value))
                        code.add_product(variable, step, x)
                    code.store(total, target, at)
                for row, variable in zip(rights, changed, strict=True):
                    code.store(builder.load(variable), row, at)
            return context.get_dummy_value()

        return (
            types.void(left, left_rows, count, sums, sum_rows, right, right_rows, k, steps),
            generate,
        )

    return tile


class _Code:
    """Writes LLVM's language for a kernel; matrices and numbers are named by their place as arguments."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self._builder = builder
        self._arguments = arguments
        self._arrays = {
            place: context.make_array(kind)(context, builder, arguments[place])
            for place, kind in enumerate(signature.args)
            if isinstance(kind, types.Array)
        }

    def plus(self, argument: int, number: int) -> Any:
        return self._builder.add(self._arguments[argument], ir.Constant(ir.IntType(64), number))

    def pointer(self, matrix: int, row: Any, column: Any) -> Any:
        """Where ``matrix[row, column]`` is."""
        width = self._builder.extract_value(self._arrays[matrix].shape, 1)
        place = self._builder.add(self._builder.mul(row, width), column)
        return self._builder.gep(self._arrays[matrix].data, [place])

    def row(self, matrix: int, numbers: int, index: Any) -> Any:
        """Where row ``numbers[index]`` of ``matrix`` begins."""
        number = self._builder.load(self._builder.gep(self._arrays[numbers].data, [index]))
        wide = self._builder.sext(number, ir.IntType(64))
        return self.pointer(matrix, wide, ir.Constant(ir.IntType(64), 0))

    def rows(self, matrix: int, numbers: int, first: int, count: int) -> list[Any]:
        return [self.row(matrix, numbers, self.plus(first, index)) for index in range(count)]

    def columns_of(self, matrix: int) -> Any:
        """A loop over the columns of a matrix, LANES at a time; gives the first."""
        return _columns(self._builder, self._builder.extract_value(self._arrays[matrix].shape, 1))

    def variable(self) -> Any:
        """A vector that changes, zero in the beginning."""
        place = cgutils.alloca_once(self._builder, _VECTOR)
        self._builder.store(ir.Constant(_VECTOR, None), place)
        return place

    def _vector(self, row: Any, at: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(row, [at]), _VECTOR.as_pointer())

    def load(self, row: Any, at: Any) -> Any:
        return self._builder.load(self._vector(row, at), align=4)

    def store(self, value: Any, row: Any, at: Any) -> None:
        self._builder.store(value, self._vector(row, at), align=4)

    def splat(self, number: Any) -> Any:
        """A vector of one number throughout."""
        one = self._builder.insert_element(
            ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        return self._builder.shuffle_vector(
            one, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
        )

    def product(self, first: Any, second: Any) -> Any:
        return self._builder.fmul(first, second, flags=_CONTRACT)

    def sum(self, first: Any, second: Any) -> Any:
        return self._builder.fadd(first, second, flags=_CONTRACT)

    def add_product(self, variable: Any, first: Any, second: Any) -> None:
        total = self.sum(self._builder.load(variable), self.product(first, second))
        self._builder.store(total, variable)

    def total(self, variable: Any) -> Any:
        """The sum of a vector's numbers."""
        function = cgutils.get_or_insert_function(
            self._builder.module,
            ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR]),
            f"llvm.vector.reduce.fadd.v{LANES}f32",
        )
        return self._builder.call(
            function, [ir.Constant(_FLOAT, 0.0), self._builder.load(variable)], fastmath=_REASSOC
        )


class _columns:
    def __init__(self, builder: Any, width: Any) -> None:
        step = ir.Constant(width.type, LANES)
        self._loop = cgutils.for_range_slice(builder, ir.Constant(width.type, 0), width, step, inc=True)

    def __enter__(self) -> Any:
        return self._loop.__enter__()[0]

    def __exit__(self, *error: Any) -> None:
        self._loop.__exit__(*error)
