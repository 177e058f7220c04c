"""How an op treats the rows of a batch, so that a traced step can be run for any batch size.

An array has rows if its first axis holds `per_row` consecutive entries of every batch row: `per_row` is 1 for x (B, D), and
S for a memory (B, S, D) reshaped to (B·S, D). A rule computes the layout of the result from those of the inputs.
`primitive(rows=…)` takes one of the rules below; an op without a rule is assumed to mix rows, so a step that uses it is
run step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

from .node import Shape


class Rows(int):
    """A size that is `per_row` times the batch size. The shapes of traced arrays contain it, so that options computed from them
    (such as the shape of a reshape) can be recomputed for another batch size."""

    per_row: int

    def __new__(cls, per_row: int, batch: int) -> Rows:
        size = super().__new__(cls, per_row * batch)
        size.per_row = per_row
        return size

    @property
    def batch(self) -> int:
        """The number of batch rows."""
        return int(self) // self.per_row

    def __mul__(self, other: Any) -> Any:
        if type(other) is int and other > 0:
            return Rows(self.per_row * other, self.batch)
        return int(self) * other

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"{self.per_row}·batch" if self.per_row > 1 else "batch"


def holds_rows(value: Any) -> bool:
    """Whether an option depends on the batch size."""
    return isinstance(value, Rows) or (isinstance(value, (tuple, list)) and any(map(holds_rows, value)))


def with_rows(value: Any, n: int) -> Any:
    """An option for batch size n: Rows are replaced by sizes."""
    if isinstance(value, Rows):
        return value.per_row * n
    if isinstance(value, (tuple, list)):
        return type(value)(with_rows(v, n) for v in value)
    if isinstance(value, dict):
        return {k: with_rows(v, n) for k, v in value.items()}
    return value


class Layout(NamedTuple):
    """The position of the batch rows in an array.

    per_row: the number of entries of each row on axis 0; 0 if the array has no rows. transposed: a matrix that has the rows
    on its last axis. row_sum: a sum over the rows (it has none itself), to be added up over all steps.
    """

    per_row: int = 0
    transposed: bool = False
    row_sum: bool = False


NO_ROWS, ROW_SUM = Layout(), Layout(row_sum=True)


class MixesRows(Exception):
    """An op computes one row's result from other rows."""


class Operand(NamedTuple):
    """An input of an op, for a rule; a plain number has shape () and no rows."""

    shape: Shape
    layout: Layout


Rule: TypeAlias = Callable[[Sequence[Operand], Shape, dict[str, Any]], Layout]


def _common(inputs: Sequence[Operand]) -> int:
    """The `per_row` of all inputs that have rows; 0 if none has."""
    sizes = {i.layout.per_row for i in inputs if i.layout.per_row}
    if len(sizes) > 1 or any(i.layout.transposed for i in inputs):
        raise MixesRows
    return sizes.pop() if sizes else 0


def elementwise(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Elementwise with broadcasting."""
    if len(inputs) == 1 and inputs[0].layout.transposed:
        return inputs[0].layout
    per_row = _common(inputs)
    for i in inputs:
        full_rank = len(i.shape) == len(out)
        if (i.layout.per_row and not full_rank) or (
            per_row and not i.layout.per_row and full_rank and out and i.shape[0] != 1
        ):
            raise MixesRows
    return Layout(per_row)


def along_axis(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Combines entries along `axis` (all axes if None), which must not be the axis of rows."""
    per_row = _common(inputs)
    if per_row and 0 in _axes(options.get("axis"), len(inputs[0].shape)):
        raise MixesRows
    return Layout(per_row)


def sums(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """As along_axis; over the axis of rows the result is a sum over rows."""
    per_row = _common(inputs)
    if per_row and 0 in _axes(options.get("axis"), len(inputs[0].shape)):
        return ROW_SUM
    return Layout(per_row)


def between_axes(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Transposes axes (transpose, swapaxes): rows stay on the first axis, or move to the last axis of a matrix."""
    (_shape, layout), ndim = inputs[0], len(inputs[0].shape)
    if not layout.per_row:
        return NO_ROWS
    if "axes" in options:
        order = options["axes"] or tuple(reversed(range(ndim)))
        order = [a % ndim for a in order]
    else:
        order = list(range(ndim))
        a, b = options["axis1"] % ndim, options["axis2"] % ndim
        order[a], order[b] = order[b], order[a]
    if order == list(range(ndim)) or (order[0] == 0 and not layout.transposed):
        return layout
    if order == [1, 0]:
        return Layout(layout.per_row, not layout.transposed)
    raise MixesRows


def reshaped(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Reshapes; the entries of each row must stay together."""
    shape, layout = inputs[0]
    if not layout.per_row:
        return NO_ROWS
    if layout.transposed:
        raise MixesRows
    inside, outside = layout.per_row * prod(shape[1:]), prod(out[1:])
    if not out or not outside or inside % outside:
        raise MixesRows
    return Layout(inside // outside)


def new_axes(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Adds (expand_dims) or removes (squeeze) axes of size 1, but not the first axis."""
    shape, layout = inputs[0]
    if not layout.per_row:
        return NO_ROWS
    axis = options.get("axis")
    ndim = max(len(out), len(shape))
    if layout.transposed or axis is None or 0 in _axes(axis, ndim):
        raise MixesRows
    return layout


def broadcast(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Broadcasts to `shape`; if that contains the batch size, each row gets a copy."""
    shape, layout = inputs[0]
    if layout.transposed or (layout.per_row and len(shape) != len(out)):
        raise MixesRows
    if layout.per_row:
        return layout
    wanted = options["shape"]
    first = wanted[0] if isinstance(wanted, (tuple, list)) and wanted else wanted
    return Layout(first.per_row) if isinstance(first, Rows) else NO_ROWS


def joined(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Arrays are joined or cut along `axis` (concatenate, stack, split, unstack), which is not the rows' axis."""
    per_row = _common(inputs)
    if not per_row:
        return NO_ROWS
    axis = options.get("axis", 0)
    ndim = max(len(out), max(len(i.shape) for i in inputs))
    if axis is None or axis % ndim == 0 or any(not i.layout.per_row for i in inputs):
        raise MixesRows
    return Layout(per_row)


def product(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """matmul: rows times a matrix, each row's own matrices, or, where rows meet rows inside the product, a sum."""
    (a, of_a), (b, of_b) = inputs
    if not of_a.per_row and not of_b.per_row:
        return NO_ROWS
    if (
        of_a.transposed
        and of_b.per_row
        and not of_b.transposed
        and len(a) == len(b) == 2
        and of_a.per_row == of_b.per_row
    ):
        return ROW_SUM
    if of_a.transposed or of_b.transposed:
        raise MixesRows
    if not of_b.per_row:
        if len(a) < 2 or (len(b) > 2 and (len(a) < 3 or (len(a) == len(b) and b[0] != 1) or len(a) < len(b))):
            raise MixesRows
        return of_a
    if not of_a.per_row:
        if len(b) < 3 or len(a) > len(b) or (len(a) == len(b) and a[0] != 1):
            raise MixesRows
        return of_b
    if len(a) != len(b) or len(a) < 3 or of_a.per_row != of_b.per_row:
        raise MixesRows
    return of_a


def contraction(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """einsum: the rows' letter is the first of every operand that has rows, and of nothing else."""
    per_row = _common(inputs)
    if not per_row:
        return NO_ROWS
    terms, _, result = options["formula"].partition("->")
    letters = {t[0] for t, i in zip(terms.split(","), inputs, strict=True) if i.layout.per_row}
    letter = letters.pop()
    if letters or any(letter in t for t, i in zip(terms.split(","), inputs, strict=True) if not i.layout.per_row):
        raise MixesRows
    if letter not in result:
        return ROW_SUM
    if result[0] != letter:
        raise MixesRows
    return Layout(per_row)


def indexed(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Picking by an index that takes every row whole (getitem), and its transpose (scatter_add)."""
    shape, layout = inputs[0]
    if not layout.per_row:
        return NO_ROWS
    index = options["index"] if isinstance(options["index"], tuple) else (options["index"],)
    whole = options.get("shape", shape)
    first = index[0] if index else slice(None)
    if first is Ellipsis:
        if sum(i is not None and i is not Ellipsis for i in index) >= len(whole):
            raise MixesRows
    elif not (isinstance(first, slice) and first == slice(None)):
        raise MixesRows
    if layout.transposed or sum(not isinstance(i, (int, slice, type(None), type(Ellipsis))) for i in index) > 1:
        raise MixesRows
    return layout


def padded(inputs: Sequence[Operand], out: Shape, options: dict[str, Any]) -> Layout:
    """Entries are added around the array, none before or after its rows."""
    layout = inputs[0].layout
    if layout.transposed or (layout.per_row and out[0] != inputs[0].shape[0]):
        raise MixesRows
    return layout


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(int(a) % ndim for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
