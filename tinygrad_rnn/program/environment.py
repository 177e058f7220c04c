"""What a step reads besides its arguments: closure, globals, defaults, the attributes of its objects.

`Environment(step)` walks all of it once. It gives the arrays in a fixed order (they become inputs of the program), a key
of everything else by value (two steps with equal keys compute the same function of their arrays), and guards that tell
in a few microseconds whether the same step still reads the same objects. `copied(step, leaf)` is a copy of the step that
reads stand-ins for the arrays, so a trace never touches the user's objects and sees every use of an array.

What cannot be copied (the bodies of properties, of special methods, of overridden methods that super() reaches, of a
class's own functions) is read as it stands: it is watched and part of the key, but must not hold arrays. What cannot be
watched is replaced by a `Trap`, which refuses the trace if the step uses it.
"""

from __future__ import annotations

import builtins
import dis
import enum
import random
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property, lru_cache, partial, partialmethod
from threading import RLock
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ..autodiff import state
from ..autodiff.op import Op
from ..autodiff.tensor import Tensor
from .tracer import Trap, checked_import, user_line

_VALUES = {bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), slice, range}
_FIXED = (
    np.ufunc,
    Op,
    type(np.sum),
    type(len),
    type(str.join),
    type(object.__init__),
)  # functions without an environment
_TRUSTED = {  # modules whose functions compute the same whenever they are called
    *("tinygrad_rnn", "numpy", "builtins", "math", "cmath", "functools", "itertools", "operator", "typing", "types"),
    *("collections", "dataclasses", "enum", "abc", "copy", "contextlib", "numbers", "string", "re", "inspect"),
}
_EFFECTS = {  # builtins whose effect or result a program would not have
    *("print", "input", "open", "eval", "exec", "compile", "globals", "breakpoint", "delattr"),
}
_NOT_CALLED = {  # special methods that no step calls on an object that is there
    *("__init__", "__new__", "__init_subclass__", "__del__", "__reduce__", "__reduce_ex__", "__getstate__"),
    *("__setstate__", "__copy__", "__deepcopy__", "__class_getitem__", "__set_name__", "__replace__"),
}
MOST = 20_000  # objects that a step may reach
_MISSING = object()

Leaf = Callable[[int, Any], Any]


class Unwatchable(Exception):
    """The step reads something whose contents cannot be followed."""


class _Is:
    """A part of a key that is equal to itself only. It holds the object, so that the id stands for no other."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any):
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Is) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


class Reads(NamedTuple):
    """The names that a function's code uses, those of functions defined inside it included."""

    globals: tuple[str, ...]
    attributes: tuple[str, ...]
    imports: tuple[str, ...]


@lru_cache(maxsize=4096)
def _reads(code: CodeType) -> Reads:
    names: tuple[dict[str, None], dict[str, None], dict[str, None]] = {}, {}, {}
    for instruction in dis.get_instructions(code):
        if isinstance(name := instruction.argval, str):
            kind = instruction.opname
            if "GLOBAL" in kind or kind == "LOAD_NAME":
                names[0][name] = None
            elif kind == "IMPORT_NAME":
                names[2][name] = None
            elif "ATTR" in kind or "METHOD" in kind or kind == "LOAD_CONST":  # a constant may be a name for getattr
                names[1][name] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            for some, more in zip(names, _reads(constant), strict=True):
                some.update(dict.fromkeys(more))
    return Reads(*map(tuple, names))


def _is_trusted(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _TRUSTED and not module.startswith("numpy.random")


def _special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


@lru_cache(maxsize=4096)
def _is_plain(kind: type) -> bool:
    """Whether objects of this class are nothing but their attributes."""
    made_by: Any = kind.__new__
    if (made_by is not object.__new__ and not _is_trusted(getattr(made_by, "__module__", None))) or any(
        set(vars(base).get("__slots__", ())) - {"__dict__", "__weakref__"} for base in kind.__mro__
    ):
        return False
    try:
        object.__new__(kind)
    except TypeError:  # a class written in C
        return False
    return True


def _bodies(held: Any) -> list[Any]:
    """The functions behind a class's attribute; an empty list if it is data."""
    if isinstance(held, property):
        return [f for f in (held.fget, held.fset, held.fdel) if f is not None]
    if isinstance(held, (staticmethod, classmethod)):
        return [held.__func__]
    if isinstance(held, (cached_property, partialmethod)):
        return [held.func]
    return [held] if hasattr(type(held), "__get__") else []


def _without_random() -> ModuleType:
    """NumPy without numpy.random, whose draws a program would repeat."""
    copy = ModuleType("numpy")
    vars(copy).update(
        vars(np), random=Trap("np.random (draw before the scan and pass what was drawn in inputs or constants)")
    )
    return copy


_numpy = _without_random()
_builtins = {
    **vars(builtins),
    **{name: Trap(f"{name}, whose effect a program would not have") for name in _EFFECTS},
    "__import__": checked_import(_is_trusted),
}


# -- guards: a holder, and what it held --------------------------------------------------------------------------------------


class Guard(NamedTuple):
    """Says whether a holder holds what it held when it was walked, and can put that back. `path` is for messages."""

    holds: Callable[[Any, Any], bool]
    put_back: Callable[[Any, Any], None]
    holder: Any
    held: Any
    path: str


def _same_items(holder: Any, held: Any) -> bool:
    if len(holder) != len(held):
        return False
    for (k, v), (name, value) in zip(holder.items(), held.items(), strict=True):
        if v is not value or k != name:
            return False
    return True


def _put_items(holder: Any, held: Any) -> None:
    holder.clear()
    holder.update(held)


def _same_names(holder: Any, held: Any) -> bool:
    get = holder.get
    for k, v in held.items():
        if get(k, _MISSING) is not v:
            return False
    return True


def _put_names(holder: Any, held: Any) -> None:
    for k, v in held.items():
        if v is _MISSING:
            holder.pop(k, None)
        else:
            holder[k] = v


def _same_class(kind: Any, held: Any) -> bool:
    return len(vars(kind)) == held[0] and _same_names(vars(kind), held[1])


def _put_class(kind: Any, held: Any) -> None:
    for name in [n for n in vars(kind) if n not in held[1] and not _special(n)]:
        delattr(kind, name)
    for name, value in held[1].items():
        if vars(kind).get(name, _MISSING) is not value:
            setattr(kind, name, value)


def _same_list(holder: Any, held: Any) -> bool:
    return len(holder) == len(held) and all(map(_is, holder, held))


def _is(a: Any, b: Any) -> bool:
    return a is b


def _put_list(holder: Any, held: Any) -> None:
    holder[:] = held


def _same_set(holder: Any, held: Any) -> bool:
    return bool(holder == held)


def _put_set(holder: Any, held: Any) -> None:
    holder.clear()
    holder.update(held)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set, or deleted
        return _MISSING


def _same_cell(holder: Any, held: Any) -> bool:
    return _contents(holder) is held


def _put_cell(holder: Any, held: Any) -> None:
    if held is _MISSING:
        del holder.cell_contents
    else:
        holder.cell_contents = held


_FUNCTION = ("__code__", "__defaults__", "__kwdefaults__")


def _same_function(f: Any, held: Any) -> bool:
    return f.__code__ is held[0] and f.__defaults__ is held[1] and f.__kwdefaults__ is held[2]


def _put_function(f: Any, held: Any) -> None:
    for name, value in zip(_FUNCTION, held, strict=True):
        setattr(f, name, value)


# -- the walk ----------------------------------------------------------------------------------------------------------------


class _Walk:
    """One pass over what a step reads: collects key, arrays and guards, and copies, with leaf(i, array) for arrays."""

    def __init__(self, leaf: Leaf | None):
        self.leaf = leaf
        self.in_place = False  # reading functions that cannot be copied
        self.key: list[Any] = []
        self.arrays: list[Any] = []
        self.guards: list[Guard] = []
        self.copies: list[tuple[str, Any]] = []  # (path, a copy of a container), to be looked at after a trace
        self.seen: dict[
            tuple[int, bool], tuple[int, Any, Any]
        ] = {}  # (id, in place) -> (order, the copy, the original)
        self.globals: dict[tuple[int, bool], dict[str, Any]] = {}
        self.names: dict[str, None] = {}  # of attributes, in any function so far
        self.modules: list[tuple[ModuleType, ModuleType, bool, set[str]]] = []
        self.functions: list[tuple[str, Any, str]] = []  # of classes: walked in place if the name is used

    def whole(self, step: Any) -> Any:
        """Walk all that the step reads; returns its copy."""
        kind = type(step)
        if kind not in (FunctionType, MethodType, partial, BuiltinFunctionType, Op) and not isinstance(step, type):
            if isinstance(called := getattr(kind, "__call__", None), FunctionType):  # noqa: B004 (the class's own)
                step = MethodType(called, step)
        copy = self.visit(step, getattr(step, "__qualname__", "step"))
        while self._functions_of_classes() or self._attributes_of_modules():
            pass
        return copy

    def visit(self, value: Any, path: str) -> Any:
        """Add a value to the key; returns its copy."""
        kind = type(value)
        if kind in _VALUES:
            self.key.append((kind, repr(value) if kind in (float, complex, slice, range) else value))
            return value
        if isinstance(value, (np.generic, np.dtype, enum.Enum)):
            self.key.append((kind, repr(value) if isinstance(value, np.generic) else value))
            return value
        if (known := self.seen.get((id(value), self.in_place))) is not None:
            self.key.append(("again", known[0]))
            return known[1]
        place = len(self.seen)
        if place > MOST:
            raise Unwatchable(f"the step reaches more than {MOST} objects, at {path}")

        def is_copied_as(copy: Any) -> None:
            self.seen[id(value), self.in_place] = (place, copy, value)

        is_copied_as(value)
        copy = self._visit(value, path, is_copied_as)
        is_copied_as(copy)
        return copy

    def _visit(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        kind = type(value)
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value, path)
        if isinstance(value, tuple):
            return self._tuple(value, path)
        if isinstance(value, (list, dict, set, frozenset)) and kind.__module__ in ("builtins", "collections"):
            return self._container(value, path, early)
        if kind is FunctionType:
            return self._function(value, path, early)
        if kind is MethodType:
            self.key.append("method")
            owner = self.visit(value.__self__, path.rpartition(".")[0] or path)
            return MethodType(self.visit(value.__func__, path), owner)
        if kind is partial:
            self.key.append("partial")
            f, args, more = (self.visit(v, path) for v in (value.func, value.args, value.keywords))
            return partial(f, *args, **more)
        if kind is ModuleType:
            return self._module(value, path, early)
        if isinstance(value, type):
            return self._class(value, path)
        if isinstance(value, _FIXED) or kind.__module__ == "typing":
            owner = getattr(value, "__self__", None)
            home = owner.__name__ if isinstance(owner, ModuleType) else getattr(owner, "__module__", None)
            if owner is None or (isinstance(owner, (ModuleType, type)) and _is_trusted(home)):
                self.key.append(_Is(value))
                return value
        elif hasattr(value, "__dict__") and _is_plain(kind):
            return self._object(value, path, early)
        return self._trap(value, path)

    def _trap(self, value: Any, path: str) -> Any:
        what = f"{path}, {'the module' if isinstance(value, ModuleType) else 'a'} {getattr(value, '__name__', None) or type(value).__name__}"
        if isinstance(value, (np.random.Generator, np.random.RandomState)):
            what = f"{path}, a random generator (draw before the scan and pass what was drawn in inputs or constants)"
        elif not isinstance(value, ModuleType):
            what += (
                ", whose contents cannot be watched (keep what it needs as numbers, arrays, lists, dicts or Modules)"
            )
        if self.in_place:
            raise Unwatchable(f"the step reads {what}")
        self.key.append("trap")
        return Trap(what)

    def _array(self, value: Any, path: str) -> Any:
        array = value.data if isinstance(value, Tensor) else value
        if array.dtype.kind not in "fiub":
            return self._trap(value, path)
        if self.in_place:
            raise Unwatchable(
                f"the step reads the array {path} in a property, a special method, an overridden method or through a class, "
                "where it cannot be followed; keep it in an attribute of the object, in a global or in the closure of the step"
            )
        needs = isinstance(value, Tensor) and value.requires_grad
        self.key.append((type(value), array.shape, array.dtype.str, needs))
        self.arrays.append(value)
        return value if self.leaf is None else self.leaf(len(self.arrays) - 1, value)

    def _tuple(self, value: Any, path: str) -> Any:
        kind = type(value)
        if kind is not tuple and not hasattr(kind, "_fields"):
            return self._trap(value, path)
        self.key.append((_Is(kind), len(value)))
        parts = [self.visit(v, f"{path}[{i}]") for i, v in enumerate(value)]
        return tuple(parts) if kind is tuple else kind(*parts)

    def _container(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        self.key.append((type(value), len(value)))
        copy: Any
        if isinstance(value, dict):
            if not all(type(k) in _VALUES or isinstance(k, (np.generic, enum.Enum)) for k in value):
                return self._trap(value, path)
            self.guards.append(Guard(_same_items, _put_items, value, dict(value), path))
            early(copy := type(value)())
            for k, v in value.items():
                self.key.append((type(k), k))
                copy[k] = self.visit(v, f"{path}[{k!r}]")
        elif isinstance(value, list):
            self.guards.append(Guard(_same_list, _put_list, value, list(value), path))
            early(copy := [])
            copy.extend(self.visit(v, f"{path}[{i}]") for i, v in enumerate(value))
        else:
            if not all(type(v) in _VALUES for v in value):
                return self._trap(value, path)
            self.key.append(tuple(sorted(map(repr, value))))
            copy = type(value)(value)
            if isinstance(value, frozenset):
                return copy
            self.guards.append(Guard(_same_set, _put_set, value, set(value), path))
        self.copies.append((path, copy))
        return copy

    def _function(self, f: FunctionType, path: str, early: Callable[[Any], None]) -> Any:
        self.key.append(f.__code__)
        trusted = _is_trusted(f.__globals__.get("__name__"))
        if trusted and not (f.__closure__ or f.__defaults__ or f.__kwdefaults__):
            return f
        held = tuple(getattr(f, name) for name in _FUNCTION)
        self.guards.append(Guard(_same_function, _put_function, f, held, path))
        cells = tuple(CellType() for _ in f.__closure__ or ())
        read = Reads((), (), ()) if trusted else _reads(f.__code__)
        inside = f.__globals__ if trusted else self._copied_globals(f)
        early(copy := FunctionType(f.__code__, inside, f.__name__, None, cells))
        for name, old, new in zip(f.__code__.co_freevars, f.__closure__ or (), cells, strict=True):
            content = _contents(old)
            self.guards.append(Guard(_same_cell, _put_cell, old, content, name))
            if content is _MISSING:
                self.key.append("empty")
            elif name == "__class__":  # of super(): the class's functions are walked with the object
                self.key.append(_Is(content))
                new.cell_contents = content
            else:
                new.cell_contents = self.visit(content, name)
            self.copies.append((name, new))
        self._read(f, read, inside, path)
        copy.__defaults__ = self.visit(f.__defaults__, f"{path}'s defaults")
        copy.__kwdefaults__ = self.visit(f.__kwdefaults__, f"{path}'s defaults")
        if not trusted:
            vars(copy).update(self.visit(vars(f), f.__name__))
            self.copies.append((f.__name__, vars(copy)))
        return copy

    def _copied_globals(self, f: FunctionType) -> dict[str, Any]:
        """The globals of a copy, one dict for all functions of a module."""
        inside = self.globals.get((id(f.__globals__), self.in_place))
        if inside is None:
            inside = self.globals[id(f.__globals__), self.in_place] = {**f.__globals__, "__builtins__": _builtins}
            self.copies.append(("", inside))
        return inside

    def _read(self, f: FunctionType, read: Reads, inside: dict[str, Any], path: str) -> None:
        """The globals and modules that a function reads."""
        self.names.update(dict.fromkeys(read.attributes))
        if self.in_place:
            for name in (*read.globals, *read.imports):
                if (name in _EFFECTS and name not in f.__globals__) or (name in read.imports and not _is_trusted(name)):
                    raise Unwatchable(f"the step uses {name} in {path}, whose effect a program would not have")
        if read.globals:
            held = {name: f.__globals__.get(name, _MISSING) for name in read.globals}
            self.guards.append(Guard(_same_names, _put_names, f.__globals__, held, ""))
        for name in read.globals:
            if name in f.__globals__:
                self.key.append(name)
                inside[name] = self.visit(f.__globals__[name], name)

    def _module(self, module: ModuleType, path: str, early: Callable[[Any], None]) -> Any:
        """A module of the user's is copied with those attributes that any function may read."""
        self.key.append(_Is(module))
        if module is np:
            if self.in_place and "random" in self.names:
                raise Unwatchable(f"the step reads {path}.random")
            return _numpy
        if _is_trusted(module.__name__):
            return module
        if module.__name__.partition(".")[0] in sys.stdlib_module_names or module.__name__.startswith("numpy"):
            return self._trap(module, path)
        early(copy := ModuleType(module.__name__))
        vars(copy).update(vars(module))
        self.copies.append((module.__name__, vars(copy)))
        self.modules.append((module, copy, self.in_place, set()))
        return copy

    def _attributes_of_modules(self) -> bool:
        """Visit what modules hold under the names in use; returns whether any was new."""
        before = len(self.key)
        for module, copy, in_place, done in list(self.modules):
            new = [n for n in self.names if n not in done]
            done.update(new)
            held = {n: vars(module).get(n, _MISSING) for n in new}
            self.guards.append(Guard(_same_names, _put_names, vars(module), held, module.__name__))
            for name in new:
                if held[name] is not _MISSING and not _special(name):
                    self.key.append(name)
                    vars(copy)[name] = self._visited(held[name], f"{module.__name__}.{name}", in_place)
        return len(self.key) > before

    def _visited(self, value: Any, path: str, in_place: bool) -> Any:
        outside, self.in_place = self.in_place, in_place
        try:
            return self.visit(value, path)
        finally:
            self.in_place = outside

    def _class(self, kind: type, path: str) -> Any:
        """A class as a value: its functions and attributes are read in place."""
        self.key.append(_Is(kind))
        if type(kind) is not type and not _is_trusted(type(kind).__module__):
            self._visited(type(kind), f"the class of {path}", True)
        for base in kind.__mro__:
            if self._guarded(base, path):
                for name, held in vars(base).items():
                    if _bodies(held):
                        self.functions.append((name, held, f"{path}.{name}"))
                    elif not _special(name):
                        self.key.append(name)
                        self._visited(held, f"{path}.{name}", True)
        return kind

    def _guarded(self, kind: type, path: str) -> bool:
        """Whether a class is the user's, whose attributes are then watched."""
        if _is_trusted(kind.__module__):
            return False
        held = {n: v for n, v in vars(kind).items() if not _special(n) or _bodies(v)}
        self.guards.append(Guard(_same_class, _put_class, kind, (len(vars(kind)), held), path))
        self.key.append((_Is(kind), len(held)))
        return True

    def _functions_of_classes(self) -> bool:
        """Walk, in place, those functions of classes whose names are in use; returns whether any was."""
        ready = [f for f in self.functions if _special(f[0]) or f[0] in self.names]
        self.functions = [f for f in self.functions if f not in ready]
        for name, held, path in ready:
            self.key.append((name, _Is(type(held))))
            for body in _bodies(held):
                if not isinstance(body, (GetSetDescriptorType, MemberDescriptorType)):
                    self._visited(body, path, True)
        return bool(ready)

    def _object(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        """An object's attributes, and its class's: these become the copy's own, methods bound to it."""
        kind, attributes = type(value), vars(value)
        self.key.append((_Is(kind), len(attributes)))
        self.guards.append(Guard(_same_items, _put_items, attributes, dict(attributes), path))
        early(copy := object.__new__(kind))
        for name, held in attributes.items():
            self.key.append(name)
            vars(copy)[name] = self.visit(held, f"{path}.{name}")
        taken = set(attributes)
        for base in kind.__mro__:
            if self._guarded(base, f"type({path})"):
                for name, held in vars(base).items():
                    bodies = _bodies(held)
                    if bodies and (name in taken or _special(name) or type(held) is not FunctionType):
                        if name not in _NOT_CALLED:
                            self.functions.append((name, held, f"{path}.{name}"))
                    elif not _special(name) and name not in taken:
                        self.key.append(name)
                        own = self.visit(held, f"{path}.{name}")
                        vars(copy)[name] = MethodType(own, copy) if bodies else own
                    elif not _special(name) and name not in attributes:  # data that super().name reaches
                        self.key.append(name)
                        self._visited(held, f"{path}.{name}", True)
            taken.update(vars(base))
        self.copies.append((path, vars(copy)))
        return copy


def _snapshot(container: Any) -> Any:
    return _contents(container) if type(container) is CellType else container.copy()


def _difference(container: Any, before: Any, path: str) -> str | None:
    """What changed in the copy of a container."""
    if type(container) is CellType:
        return None if _contents(container) is before else path
    if isinstance(container, dict):
        for name in (*container, *(n for n in before if n not in container)):
            if container.get(name, _MISSING) is not before.get(name, _MISSING):
                return f"{path}.{name}" if path else str(name)
        return None
    same = _same_list(container, before) if isinstance(container, list) else container == before
    return None if same else path


class _Draws:
    """The states of the generators that any code can reach."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.numpy = np.random.get_state(legacy=False) if "numpy.random" in sys.modules else None
        self.ours = state._default[0].bit_generator.state if state._default else None

    def undone(self) -> bool:
        """Whether any was drawn from since; puts back what it was."""
        now = _Draws()
        same = repr(now.numpy) == repr(self.numpy) and now.python == self.python and now.ours == self.ours
        if not same:
            random.setstate(self.python)
            if self.numpy is not None:
                np.random.set_state(self.numpy)
            if self.ours is None:
                state._default.clear()
            else:
                state._default[0].bit_generator.state = self.ours
        return not same


class Environment:
    """What a step reads besides its arguments, as it is now. reason: why it cannot be followed, if so."""

    def __init__(self, step: Callable[..., Any]):
        walk = _Walk(None)
        self.reason: str | None = None
        try:
            walk.whole(step)
        except Unwatchable as error:
            self.reason = f"{error} ({where(step)})"
        self.key = tuple(walk.key)
        self.arrays = walk.arrays
        self._kinds = [(a, a.shape, a.dtype, isinstance(a, Tensor) and a.requires_grad) for a in walk.arrays]
        root = step.__func__ if type(step) is MethodType else step
        self._root = tuple(getattr(root, name, None) for name in _FUNCTION)
        self._guards = [(g.holds, g.holder, g.held) for g in walk.guards if g.holder is not root]  # keeps no step alive

    def unchanged(self, step: Any) -> bool:
        """Whether every object that the step reads is the very object that it was, and every array of its kind."""
        root = step.__func__ if type(step) is MethodType else step
        if type(root) is FunctionType and not _same_function(root, self._root):
            return False
        for holds, holder, held in self._guards:
            if not holds(holder, held):
                return False
        for array, shape, dtype, needs in self._kinds:
            if (
                array.shape != shape
                or array.dtype != dtype
                or (type(array) is not np.ndarray and array.requires_grad != needs)
            ):
                return False
        return True

    @staticmethod
    def copied(step: Callable[..., Any], leaf: Leaf) -> tuple[Callable[..., Any], Callable[[], str | None]]:
        """A copy of the step that reads leaf(i, array) for the i-th array, and what says what a run of it changed.

        Whatever the run changed outside the copy is then put back.
        """
        walk = _Walk(leaf)
        copy = walk.whole(step)
        before = [(path, container, _snapshot(container)) for path, container in walk.copies]
        draws = _Draws()

        def changed() -> str | None:
            found = [d for path, now, then in before if (d := _difference(now, then, path))]
            for guard in walk.guards:
                if not guard.holds(guard.holder, guard.held):
                    guard.put_back(guard.holder, guard.held)
                    found.append(guard.path)
            if draws.undone():
                found.append("a random generator (draw before the scan and pass what was drawn in inputs or constants)")
            return next(iter(found), None)

        return copy, changed


def where(step: Any) -> str:
    """The file and line of a step's definition; of the caller's if the step is the package's own."""
    while not isinstance(step, FunctionType):
        inner = getattr(step, "__func__", None) or getattr(step, "func", None) or getattr(type(step), "__call__", None)
        if inner is None or inner is step or not isinstance(inner, (FunctionType, MethodType, partial)):
            return user_line()
        step = inner
    if _is_trusted(step.__globals__.get("__name__")):
        return user_line()
    return f"{step.__code__.co_filename}:{step.__code__.co_firstlineno}"


class Environments:
    """The environments of the steps met last, each dropped with the object or function that it belongs to."""

    def __init__(self, most: int = 512):
        self.most = most
        self.lock = RLock()
        self.known: OrderedDict[tuple[int, Any], tuple[Any, Environment]] = OrderedDict()

    def of(self, step: Callable[..., Any], owned: tuple[Any, Any] | None = None) -> Environment:
        """What the step reads, walked anew only if it changed. owned: the object that a step belongs to which is made anew
        at every call, and what tells it from the object's other steps."""
        method = type(step) is MethodType
        owner = owned[0] if owned else step.__self__ if method else step  # type: ignore[attr-defined]
        key = (id(owner), owned[1] if owned else id(step.__func__) if method else 0)  # type: ignore[attr-defined]
        known = self.known.get(key)
        if known is not None and known[0]() is owner and known[1].unchanged(step):
            return known[1]
        environment = Environment(step)
        try:
            held = ref(owner, lambda _: self.known.pop(key, None))
        except TypeError:  # an owner that cannot be referred to weakly
            return environment
        with self.lock:
            self.known[key] = (held, environment)
            self.known.move_to_end(key)
            while len(self.known) > self.most:
                self.known.popitem(last=False)
        return environment
