"""Stand-ins for tensors, and the recorder of the ops called on them. A stand-in has a small batch of random values, which
the step must not read: reading one raises Untraceable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from ..autodiff.node import Shape
from ..autodiff.op import Op
from ..autodiff.rows import NO_ROWS, ROW_SUM, Layout, MixesRows, Operand, Rows, holds_rows
from ..autodiff.state import Ambient, ambient
from ..autodiff.tensor import Tensor, registry
from .program import Instruction, Literal, Slot

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMPY = os.path.dirname(os.path.abspath(np.__file__))
PYTHON = os.path.dirname(os.path.abspath(os.__file__))
_data: Any = vars(Tensor)["data"]  # the slot itself, which the property below covers
get_value, set_value = _data.__get__, _data.__set__


class Untraceable(Exception):
    """Raised where a step cannot be traced into a program; the text says why and, if known, names the line."""


def refuse(reason: str) -> NoReturn:
    """End the current trace. It stays refused if the step catches the exception."""
    error = Untraceable(located(reason))
    tracer = ambient.get().tracer
    if tracer is not None and tracer.refusal is None:
        tracer.refusal = error
    raise error


def located(reason: str) -> str:
    """A reason with the current line of the user's code."""
    line = user_line()
    return f"{reason} ({line})" if line else reason


class Trap:
    """Replaces an object that a program cannot use: any use of it during a trace ends the trace."""

    def __init__(self, what: str):
        object.__setattr__(self, "what", what)

    def __getattribute__(self, name: str) -> Any:
        refuse(f"the step uses {object.__getattribute__(self, 'what')}")


def _trapped(self: Any, *_: Any, **__: Any) -> Any:
    self.used  # noqa: B018 (refuses)


for _name in (
    *("call", "iter", "next", "len", "bool", "contains", "getitem", "setitem", "delitem", "enter", "exit", "hash"),
    *("eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "int", "float", "index", "round", "str", "repr", "format"),
    *(s + op for op in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul") for s in ("", "r", "i")),
    *("setattr", "delattr", "array", "array_ufunc", "array_function"),
):
    setattr(Trap, f"__{_name}__", _trapped)
Trap.__setattr__ = _trapped  # type: ignore[method-assign]


def checked_import(trusted: Callable[[Any], bool]) -> Callable[..., Any]:
    """__import__ during a trace: only modules whose functions may run once per trace are allowed."""

    def imported(name: str, *args: Any, **options: Any) -> Any:
        if not trusted(name):
            refuse(f"the step imports {name}")
        return __import__(name, *args, **options)

    return imported


def _function_called() -> str:
    """The function of this package that the user's code has called, as "'s sort"; "" for a protocol such as __bool__."""
    frame: Any = sys._getframe(2)
    name = ""
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(PACKAGE):
            name = frame.f_code.co_name
        frame = frame.f_back
    return "" if frame is None or not name or name.startswith(("_", "<")) else f"'s {name}"


class Traced(Tensor):
    """A stand-in for a tensor while a step is traced. Its shape and dtype can be read, its values cannot."""

    __slots__ = ("number", "tracer")
    number: int
    tracer: Tracer

    @property
    def data(self) -> Any:  # type: ignore[override]
        refuse(f"the step{_function_called()} reads a tensor's value")

    @property
    def requires_grad(self) -> bool:  # type: ignore[override]
        if not sys._getframe(1).f_code.co_filename.startswith(PACKAGE):
            refuse("the step asks whether a tensor requires grad")
        return self.tracer.grads[self.number]

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

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # what isinstance asks next: a module finds its parameters by it
        kind = self.tracer.type_of(self.number)
        return Traced if kind is np.ndarray and _caller_is_ours() else kind

    def __getattr__(self, name: str) -> Any:
        kind = self.tracer.type_of(self.number)
        if hasattr(kind, name) and not _caller_is_ours():
            refuse(f"the step uses {name} of a captured {kind.__name__}")
        raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return int(self.shape[0])

    def __repr__(self) -> str:
        refuse("the step prints a tensor")

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        refuse("the step prints a tensor")

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function in _SHAPES and isinstance(args[0], Traced):
            return _SHAPES[function](args[0])
        return super().__array_function__(function, types, args, options)

    def __reduce__(self) -> Any:
        refuse("the step copies or pickles a tensor")


def _caller_is_ours() -> bool:
    """Whether the function that reads an attribute of a stand-in is one of this package or of NumPy."""
    return sys._getframe(2).f_code.co_filename.startswith((PACKAGE, NUMPY))


def _only_of_tensors(name: str) -> property:
    """An attribute that an array does not have and that a step must not read: it does not hold for every call."""
    inherited = vars(Tensor)[name]

    def read(self: Traced) -> Any:
        if _caller_is_ours():
            return inherited.__get__(self)
        if self.tracer.type_of(self.number) is np.ndarray:
            raise AttributeError(f"'ndarray' object has no attribute {name!r}", name=name, obj=self)
        if name == "detach":
            return inherited.__get__(self)
        refuse(f"the step reads {name} of a tensor")

    return property(read, getattr(inherited, "fset", None))


for _name in ("backward", "detach", "grad", "is_leaf", "name", "numpy"):
    setattr(Traced, _name, _only_of_tensors(_name))


class _TypeOfTraced(type):
    """The metaclass of what steps see as `type`: a class whose call and attributes are those of `type`."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        if len(args) != 1 or type(args[0]) is not Traced:
            kind = type(*args, **options)
            return type_of_traced if kind is type else kind
        value = args[0]
        kind = value.tracer.type_of(value.number)
        if kind is np.ndarray and not value.shape and value.number in value.tracer.made_by:
            refuse("the step asks for the type of a number computed from arrays")
        return kind

    def __getattr__(cls, name: str) -> Any:
        return getattr(type, name)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, type)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, type)


type_of_traced = _TypeOfTraced(
    "type", (), {"__doc__": "type, as steps see it: a stand-in is of the type of what it stands for."}
)


def isinstance_of_traced(value: Any, kinds: Any) -> bool:
    """isinstance, as steps see it: a stand-in is of the type of what it stands for."""
    return issubclass(value.tracer.type_of(value.number), kinds) if type(value) is Traced else isinstance(value, kinds)


def _in_place(self: Traced, other: Any) -> Any:
    """t ∘= x binds t to a new tensor, but changes an array."""
    if self.number in self.tracer.ndarray_slots:
        refuse("the step changes an array in place")
    return NotImplemented


for _name in ("add", "sub", "mul", "truediv", "pow", "mod", "matmul", "floordiv", "and", "or", "xor"):
    setattr(Traced, f"__i{_name}__", _in_place)


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
        self.made_by: dict[int, int] = {}  # slot -> index of its instruction
        self.names: dict[int, str] = {}
        self.known: dict[int, Traced] = {}  # id of a captured array -> its stand-in
        self.refusal: Untraceable | None = None
        self.ndarray_slots: set[int] = set()  # slots that are ndarrays where the step runs unrolled
        self.types: dict[int, type] = {}  # of captured tensors that are no plain ones, by slot
        self.grads: list[bool] = []  # of each slot, whether a gradient may flow to it
        self.depth = len(ambient.get().scope)

    def type_of(self, number: int) -> type:
        """The type of what a slot's stand-in stands for."""
        return np.ndarray if number in self.ndarray_slots else self.types.get(number, Tensor)

    def stand_in(self, value: np.ndarray[Any, Any], layout: Layout, requires_grad: bool) -> Traced:
        """A new slot with this value."""
        t: Traced = object.__new__(Traced)
        set_value(t, value)
        t._node, t._needs = None, False
        t.tracer, t.number = self, len(self.slots)
        shape: Shape = value.shape
        if layout.per_row:
            rows = Rows(layout.per_row, self.batch)
            shape = (*shape[:-1], rows) if layout.transposed else (rows, *shape[1:])
        self.slots.append(Slot(shape, value.dtype, layout))
        self.values.append(value)
        self.grads.append(requires_grad)
        return t

    @staticmethod
    def name(value: Any, name: str) -> bool:
        """Name a stand-in, unless it has a name; False for any other value."""
        if not isinstance(value, Traced):
            return False
        value.tracer.names.setdefault(value.number, name)
        return True

    def record(self, op: Op, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """Run an op on the stand-ins' values and record it; returns stand-ins for its results."""
        if op.expansion is not None:
            return op.expansion(*args, **{**op.defaults, **options})
        if op.residuals:
            refuse(f"the step uses {op.name}, which takes a whole batch and cannot be part of a program")
        if op.name == "matmul" and not self.sums and (cut := self._distributed_product(*args)) is not None:
            return cut
        traced = self._coerced(op, [self._argument(a) for a in args])
        for name, value in options.items():
            if name != "shape" and holds_rows(value):
                refuse(f"an option of the step's {op.name} depends on the batch")
        slots = [a.number for a in traced if type(a) is Traced]
        if not slots and not holds_rows(options.get("shape")):
            return _untraced(op, args, options)
        values = with_inner_size_1(op, [self.values[a.number] if type(a) is Traced else a for a in traced])
        of_arrays = self.ndarray_slots.issuperset(slots)  # NumPy's rules for dtypes hold, else those of tensors
        if not of_arrays:
            values = [Tensor._from_array(a, None) if type(a) is np.ndarray else a for a in values]
        results = _untraced(op, values, options)
        results = [_as_array(r) for r in results] if op.several else [_as_array(results)]
        options = op.defaults | options
        layout = self._layout(op, traced, results[0].shape, options)
        state = ambient.get()
        flows = op.differentiable and state.recording
        needs = flows and any(self.grads[slot] for slot in slots)
        made = [self.stand_in(r, layout, needs and r.dtype.kind == "f") for r in results]
        inputs = tuple([a.number if type(a) is Traced else Literal(a) for a in traced])
        outputs = tuple([t.number for t in made])
        if of_arrays:
            self.ndarray_slots.update(outputs)
        self.made_by.update(dict.fromkeys(outputs, len(self.instructions)))
        scope = state.scope[self.depth :]
        self.instructions.append(Instruction(op, inputs, options, outputs, scope, user_line(), not flows))
        return tuple(made) if op.several else made[0]

    def _coerced(self, op: Op, args: list[Any]) -> list[Any]:
        """Arguments as converted by the op (see `Op._coerce`): integers beside float tensors get their dtype; NumPy
        converts booleans itself."""
        dtypes = {
            self.slots[a.number].dtype
            for i, a in enumerate(args)
            if type(a) is Traced and i not in op.constants and a.number not in self.ndarray_slots
        }
        floats = [d for d in dtypes if d.kind == "f"]
        dtype = floats[0] if floats else None
        if len(floats) > 1:
            dtype = np.result_type(*floats)
        out = []
        for i, a in enumerate(args):
            if isinstance(a, Rows):
                refuse(f"a number in the step's {op.name} is computed from the batch's size")
            if isinstance(a, np.generic):
                a = a.item() if dtypes else np.asarray(a)
            elif isinstance(a, (list, tuple)):
                a = np.asarray(a, dtype)
            if dtype is not None and i not in op.constants and op.differentiable:
                if isinstance(a, Traced) and self._is_number(a) and a.dtype.kind == "f" and a.dtype != dtype:
                    refuse(f"the step uses a number computed from arrays of {a.dtype} beside a tensor of {dtype}")
                if isinstance(a, Traced) and a.dtype.kind in "iu":
                    a = registry["astype"](a, dtype=dtype)
                elif isinstance(a, np.ndarray) and a.dtype.kind != "f":
                    a = a.astype(dtype)
                elif op.variadic and type(a) in (bool, int, float):
                    a = np.asarray(a, dtype)
            out.append(a)
        return out

    def _is_number(self, value: Traced) -> bool:
        """Whether this stands for a number computed from arrays: it does not promote a tensor, as an array does."""
        return not value.shape and value.number in self.ndarray_slots and value.number in self.made_by

    def _argument(self, value: Any) -> Any:
        """An argument of an op: a stand-in, a number, or an array that can be a constant of the program."""
        if isinstance(value, Traced):
            if value.tracer is not self:
                refuse("the step keeps a tensor of another trace")
            return value
        if id(value) in self.known:
            return self.known[id(value)]
        if isinstance(value, Tensor):
            if value.requires_grad:
                refuse("the step makes a tensor that requires grad")
            return value.data
        return value

    def _layout(self, op: Op, args: list[Any], out: Shape, options: dict[str, Any]) -> Layout:
        operands = [
            Operand(slot.shape, slot.layout)
            if type(a) is Traced and (slot := self.slots[a.number])
            else Operand(np.shape(a), NO_ROWS)
            for a in args
            if a is not None
        ]
        summed = any(o.layout.row_sum for o in operands)
        if op.rows is None and not any(o.layout.per_row for o in operands):
            return ROW_SUM if summed else NO_ROWS
        try:
            if op.rows is None:
                raise MixesRows
            layout = op.rows(operands, out, options)
            if (layout.row_sum and not self.sums) or (
                layout.per_row and out[-1 if layout.transposed else 0] != layout.per_row * self.batch
            ):
                raise MixesRows
        except MixesRows:
            if op.rows is None:
                refuse(
                    f"the step's {op.name} declares no rule for the rows of a batch (@primitive(rows=...), see "
                    "autodiff/rows.py), so it is taken to mix them"
                )
            refuse(
                f"the step's {op.name} computes a row's result from other rows of the batch, puts the rows on another axis, or "
                "reads an array with a row for each of the batch, which goes in inputs or constants"
            )
        return ROW_SUM if summed and not layout.per_row else layout

    def _distributed_product(self, a: Any, b: Any) -> Any:
        """concatenate([x, h]) @ W is x @ W[:D] + h @ W[D:]: the part of x then needs no loop."""
        if not (isinstance(a, Traced) and isinstance(b, Traced)) or a.ndim != 2 or b.ndim != 2:
            return None
        if self.slots[b.number].layout.per_row or a.number not in self.made_by:
            return None
        made = self.instructions[self.made_by[a.number]]
        if made.op.name != "concatenate" or made.options["axis"] not in (1, -1):
            return None
        total, start = None, 0
        for part in made.inputs:
            if type(part) is not int or self.slots[part].dtype != a.dtype:
                return None
        for number in made.inputs:
            left = self._alias(number)
            term = left @ b[start : start + left.shape[1]]
            total = term if total is None else total + term
            start += left.shape[1]
        return total

    def _alias(self, number: Any) -> Traced:
        """A new stand-in for an existing slot."""
        t: Traced = object.__new__(Traced)
        set_value(t, self.values[number])
        t._node, t._needs, t.tracer, t.number = None, False, self, number
        return t


def with_inner_size_1(op: Op, values: list[Any]) -> list[Any]:
    """The arrays of a product with one element of the inner axis, others unchanged: a trace needs only the shape of the
    result, and large products would take most of its time."""
    if op.name != "matmul" or not all(isinstance(v, np.ndarray) and v.ndim for v in values):
        return values
    a, b = values
    if a.shape[-1] != (b.shape[-2] if b.ndim > 1 else len(b)):
        return values  # an error, which the op reports
    return [a[..., :1], b[..., :1, :] if b.ndim > 1 else b[:1]]


def _untraced(op: Op, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Call an op outside the trace, recording nothing."""
    outside = ambient.get()
    token = ambient.set(Ambient(False, outside.scope, outside.training))
    try:
        return op(list(args), **options) if op.variadic else op(*args, **options)
    finally:
        ambient.reset(token)


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    return value.data if isinstance(value, Tensor) else np.asarray(value)


@lru_cache(maxsize=4096)
def is_user_file(file: str) -> bool:
    """Whether a file is user code, whose lines error messages name."""
    return not file.startswith((PACKAGE, NUMPY, "<frozen")) and ("site-packages" in file or not file.startswith(PYTHON))


def user_line() -> str:
    """The file and line of the innermost caller outside this package, NumPy and Python's own modules."""
    frame: Any = sys._getframe(1)
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
