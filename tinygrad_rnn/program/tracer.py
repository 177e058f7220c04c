"""Stand-ins for tensors, and what records the ops that are called on them.

A traced tensor holds a small batch of random values, which its step must not look at: reading one raises.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autodiff.node import Shape
from ..autodiff.op import Op
from ..autodiff.rows import NONE, SUMMED, Layout, MixesRows, Operand, Rows
from ..autodiff.state import Ambient, ambient
from ..autodiff.tensor import Tensor
from .program import Instruction, Literal, Slot

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMPY = os.path.dirname(os.path.abspath(np.__file__))
_data: Any = vars(Tensor)["data"]  # the slot itself, which the property below covers
get_value, set_value = _data.__get__, _data.__set__


class Untraceable(Exception):
    """A step cannot be a program; the text says why and, where it is known, which line is the reason."""


class Traced(Tensor):
    """A stand-in for a tensor while a step is traced. Its shape and dtype can be read, its values cannot."""

    __slots__ = ("number", "tracer")
    number: int
    tracer: Tracer

    @property
    def data(self) -> Any:  # type: ignore[override]
        raise Untraceable("the step reads a tensor's value")

    @property
    def shape(self) -> Shape:
        return self.tracer.slots[self.number].shape

    @property
    def dtype(self) -> Any:
        return self.tracer.slots[self.number].dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.shape:
            size = n * size  # Rows first: the product then still names the batch
        return size

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return int(self.shape[0])

    def __repr__(self) -> str:
        return f"<traced tensor of shape {self.shape}, {self.dtype}>"

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function in _SHAPES and isinstance(args[0], Traced):
            return _SHAPES[function](args[0])
        return super().__array_function__(function, types, args, options)

    def __reduce__(self) -> Any:
        raise Untraceable("the step copies or pickles a tensor")


_SHAPES: dict[Any, Callable[[Traced], Any]] = {
    np.shape: lambda t: t.shape,
    np.ndim: lambda t: t.ndim,
    np.size: lambda t: t.size,
}


class Tracer:
    """Records the ops that are called while it is the ambient one. `sums`: sums over rows are allowed (in gradients)."""

    def __init__(self, batch: int, *, sums: bool = False):
        self.batch = batch
        self.sums = sums
        self.slots: list[Slot] = []
        self.values: list[np.ndarray[Any, Any]] = []
        self.instructions: list[Instruction] = []
        self.made_by: dict[int, int] = {}  # slot -> place of its instruction
        self.names: dict[int, str] = {}
        self.known: dict[int, Traced] = {}  # id of a captured array -> its stand-in
        self.detached: set[int] = set()
        self.grads: list[bool] = []  # of each slot, whether a gradient may flow to it
        self.depth = len(ambient.get().scope)

    def stand_in(self, value: np.ndarray[Any, Any], layout: Layout, requires_grad: bool) -> Traced:
        """A new slot with this value."""
        t: Traced = object.__new__(Traced)
        set_value(t, value)
        t._node = None
        t.requires_grad = requires_grad
        t.tracer, t.number = self, len(self.slots)
        shape: Shape = value.shape
        if layout.per:
            rows = Rows(layout.per, self.batch)
            shape = (*shape[:-1], rows) if layout.last else (rows, *shape[1:])
        self.slots.append(Slot(shape, value.dtype, layout))
        self.values.append(value)
        self.grads.append(requires_grad)
        return t

    def record(self, op: Op, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """Run an op on the stand-ins' values and write it down; returns stand-ins of its results."""
        if op.expansion is not None:
            return op.expansion(*args, **{**op.defaults, **options})
        if op.keeps:
            raise Untraceable(f"the step uses {op.name}, which takes a whole batch and cannot be part of a program")
        if op.name == "matmul" and not self.sums and (cut := self._cut_product(*args)) is not None:
            return cut
        traced = [self._found(a) for a in args]
        if not any(isinstance(a, Traced) for a in traced) and not _names_rows(options):
            return _plainly(op, args, options)
        values = [Tensor._made(get_value(a), None) if isinstance(a, Traced) else a for a in traced]
        results = _plainly(op, values, options)
        results = [_plain(r) for r in results] if op.several else [_plain(results)]
        layout = self._layout(op, traced, results[0].shape, options)
        needs = (
            op.differentiable
            and ambient.get().recording
            and any(isinstance(a, Traced) and a.requires_grad for a in traced)
        )
        made = [self.stand_in(r, layout, needs and r.dtype.kind == "f") for r in results]
        dtype = next((v.dtype for v in made if v.dtype.kind == "f"), None)
        inputs = tuple(a.number if isinstance(a, Traced) else Literal(_literal(a, dtype)) for a in traced)
        scope = ambient.get().scope[self.depth :]
        for t in made:
            self.made_by[t.number] = len(self.instructions)
        self.instructions.append(
            Instruction(op, inputs, {**op.defaults, **options}, tuple(t.number for t in made), scope, user_line())
        )
        if not ambient.get().recording or not op.differentiable:
            self.detached.update(t.number for t in made)
        return tuple(made) if op.several else made[0]

    def _found(self, value: Any) -> Any:
        """An argument of an op: a stand-in, a number, or an array that the trace may hold as a constant."""
        if isinstance(value, Traced):
            if value.tracer is not self:
                raise Untraceable("the step keeps a tensor of another trace")
            return value
        if id(value) in self.known:
            return self.known[id(value)]
        if isinstance(value, Tensor):
            if value.requires_grad:
                raise Untraceable("the step makes a tensor that requires grad")
            return value.data
        return value

    def _layout(self, op: Op, args: list[Any], out: Shape, options: dict[str, Any]) -> Layout:
        operands = [
            Operand(a.shape, self.slots[a.number].layout) if isinstance(a, Traced) else Operand(np.shape(a), NONE)
            for a in args
            if a is not None
        ]
        summed = any(o.layout.summed for o in operands)
        if not any(o.layout.per for o in operands) and op.rows is None:
            return SUMMED if summed else NONE
        try:
            if op.rows is None:
                raise MixesRows
            layout = op.rows(operands, out, {**op.defaults, **options})
        except MixesRows:
            raise Untraceable(f"the step's {op.name} computes a row's result from other rows of the batch") from None
        if layout.summed and not self.sums:
            raise Untraceable(f"the step's {op.name} computes a row's result from other rows of the batch")
        return SUMMED if summed and not layout.per else layout

    def _cut_product(self, a: Any, b: Any) -> Any:
        """concatenate([x, h]) @ W is x @ W[:D] + h @ W[D:]: the part of x then needs no loop."""
        if not (isinstance(a, Traced) and isinstance(b, Traced)) or a.ndim != 2 or b.ndim != 2:
            return None
        if self.slots[b.number].layout.per or a.number not in self.made_by:
            return None
        made = self.instructions[self.made_by[a.number]]
        if made.op.name != "concatenate" or made.options["axis"] not in (1, -1):
            return None
        total, start = None, 0
        for part in made.inputs:
            if type(part) is not int:
                return None
        for number in made.inputs:
            left = self._again(number)
            term = left @ b[start : start + left.shape[1]]
            total = term if total is None else total + term
            start += left.shape[1]
        return total

    def _again(self, number: Any) -> Traced:
        """A stand-in for a slot that there is."""
        t: Traced = object.__new__(Traced)
        set_value(t, self.values[number])
        t._node, t.requires_grad, t.tracer, t.number = None, self.grads[number], self, number
        return t


def _plainly(op: Op, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Call an op outside the trace, recording nothing."""
    outside = ambient.get()
    token = ambient.set(Ambient(False, outside.scope, outside.training))
    try:
        with np.errstate(all="ignore"):
            return op(list(args), **options) if op.variadic else op(*args, **options)
    finally:
        ambient.reset(token)


def _plain(value: Any) -> np.ndarray[Any, Any]:
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def _names_rows(options: dict[str, Any]) -> bool:
    shape = options.get("shape")
    return isinstance(shape, tuple) and any(isinstance(n, Rows) for n in shape)


def _literal(value: Any, dtype: Any) -> Any:
    """A constant as the op will get it: numbers as Python's, so that they never promote a float array."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind != "f" and value.dtype.kind != "b" and dtype is not None:
        return value.astype(dtype)
    return value


def user_line() -> str:
    """The file and line of the innermost caller outside this package and NumPy."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((PACKAGE, NUMPY)):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
