"""What a step reads besides its arguments: closure, globals, defaults, the attributes of its objects.

`Environment(step)` walks all of it once. It gives the arrays in a fixed order (they become inputs of the program), a key
of everything else by value (two steps with equal keys compute the same function of their arrays), and guards that tell
in a microsecond or two whether the same step still reads the same objects. `copied(leaf)` is a copy of the step that
reads stand-ins for the arrays, so a trace never touches the user's objects and sees every use of an array.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..autodiff.op import Op
from ..autodiff.tensor import Tensor
from ..module import Module

_VALUES = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type(Ellipsis),
    slice,
    range,
    np.generic,
    np.dtype,
    enum.Enum,
)
_IDENTITIES = (type, BuiltinFunctionType, np.ufunc, Op, type(np.sum), type(len), type(str.join), property)
_TRUSTED = ("tinygrad_rnn", "numpy", "builtins", "math", "functools", "itertools", "operator", "typing", "collections")

Leaf = Callable[[int, Any], Any]


class Unwatchable(Exception):
    """The step reads something whose contents cannot be followed."""


def _root(module: Any) -> str:
    return (module or "").partition(".")[0]


def _names(code: CodeType) -> Iterator[str]:
    """The global and attribute names that a function's code uses, those of functions defined inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _read_globals(f: FunctionType) -> dict[str, Any]:
    return {name: f.__globals__[name] for name in dict.fromkeys(_names(f.__code__)) if name in f.__globals__}


def _read_attributes(module: ModuleType, names: tuple[str, ...]) -> dict[str, Any]:
    """Of a module of the user's, the attributes that the code may read."""
    if _root(module.__name__) in (*_TRUSTED, *sys.stdlib_module_names):
        return {}
    return {name: vars(module)[name] for name in names if name in vars(module)}


def _class_attributes(kind: type) -> dict[str, Any]:
    """What the user's own classes of an object define, but for special methods."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found |= _own_attributes(base)
    return found


def _own_attributes(kind: type) -> dict[str, Any]:
    if _root(kind.__module__) in _TRUSTED:
        return {}
    return {
        k: v
        for k, v in vars(kind).items()
        if not (k.startswith("__") or k.startswith("_abc")) and not hasattr(type(v), "__set__")
    }


def _is_plain(kind: Any) -> bool:
    """Whether objects of this class are nothing but their attributes."""
    return bool(kind.__new__ is object.__new__)


class _Walk:
    """One pass over what a step reads: collects key, arrays and guards, and copies if there is a `leaf`."""

    def __init__(self, leaf: Leaf | None):
        self.leaf = leaf
        self.key: list[Any] = []
        self.arrays: list[Any] = []
        self.guards: list[tuple[Any, Any, int | None]] = []  # (holder, what it held, how many items if that counts)
        self.watched: list[tuple[str, Any, Any]] = []  # (name, the copy's attributes or items, a copy of these)
        self.generators: list[tuple[np.random.Generator, Any]] = []
        self.seen: dict[int, tuple[int, Any, Any]] = {}  # id -> place in the order of visits, the copy, the original

    def visit(self, value: Any, path: str) -> Any:
        """Add a value to the key; returns its copy."""
        if isinstance(value, _VALUES):
            self.key.append(
                (type(value), repr(value) if isinstance(value, (float, np.generic, slice, range)) else value)
            )
            return value
        known = self.seen.get(id(value))
        if known is not None:
            self.key.append(("again", known[0]))
            return known[1]
        place = len(self.seen)
        self.seen[id(value)] = (place, value, value)
        copy = self._visit(value, path, lambda c: self.seen.__setitem__(id(value), (place, c, value)))
        self.seen[id(value)] = (place, copy, value)
        return copy

    def _visit(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value, path)
        if isinstance(value, (tuple, list, dict, set, frozenset)) and type(value).__module__ in (
            "builtins",
            "collections",
        ):
            return self._container(value, path, early)
        if isinstance(value, tuple):  # a NamedTuple
            self.key.append((type(value), len(value)))
            return type(value)(*[self.visit(v, f"{path}[{i}]") for i, v in enumerate(value)])
        if isinstance(value, FunctionType):
            return self._function(value, path, early)
        if isinstance(value, MethodType):
            self.key.append("method")
            function, owner = (
                self.visit(value.__func__, path),
                self.visit(value.__self__, path.rpartition(".")[0] or path),
            )
            return MethodType(function, owner)
        if isinstance(value, partial):
            self.key.append("partial")
            return partial(
                self.visit(value.func, path), *self.visit(value.args, path), **self.visit(value.keywords, path)
            )
        if isinstance(value, (np.random.Generator, np.random.RandomState)):
            self.key.append("generator")
            if isinstance(value, np.random.Generator):
                self.generators.append((value, value.bit_generator.state))
            return value
        if isinstance(value, (*_IDENTITIES, ModuleType)):
            self.key.append(("is", id(value)))
            return value
        if isinstance(value, (staticmethod, classmethod)):
            self.key.append(("is", id(value.__func__)))
            return value
        if isinstance(value, Module) or (hasattr(value, "__dict__") and _is_plain(type(value))):
            return self._object(value, path, early)
        raise Unwatchable(
            f"the step reads {path}, a {type(value).__name__}, whose contents cannot be watched; keep what it needs as "
            "numbers, arrays, lists, dicts or Modules"
        )

    def _array(self, value: Any, path: str) -> Any:
        array = value.data if isinstance(value, Tensor) else value
        if array.dtype.kind not in "fiub":
            raise Unwatchable(f"the step reads {path}, an array of dtype {array.dtype}")
        needs = isinstance(value, Tensor) and value.requires_grad
        self.key.append((type(value), array.shape, array.dtype.str, needs))
        self.arrays.append(value)
        return value if self.leaf is None else self.leaf(len(self.arrays) - 1, value)

    def _container(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        self.key.append((type(value), len(value)))
        if isinstance(value, dict):
            self.guards.append((value, dict(value), len(value)))
            copy: Any = type(value)()
            early(copy)
            for k, v in value.items():
                if not isinstance(k, _VALUES):
                    raise Unwatchable(f"the step reads {path}, a dict with a key of type {type(k).__name__}")
                self.key.append(k)
                copy[k] = self.visit(v, f"{path}[{k!r}]")
            self.watched.append((path, copy, dict(copy)))
            return copy
        if isinstance(value, (set, frozenset)):
            if not all(isinstance(v, _VALUES) for v in value):
                raise Unwatchable(f"the step reads {path}, a {type(value).__name__} of objects")
            self.key.append(tuple(sorted(map(repr, value))))
            copy = type(value)(value)
            if isinstance(value, set):
                self.guards.append((value, set(value), None))
                self.watched.append((path, copy, set(copy)))
            return copy
        if isinstance(value, tuple):
            return tuple(self.visit(v, f"{path}[{i}]") for i, v in enumerate(value))
        if type(value) is not list:
            raise Unwatchable(f"the step reads {path}, a {type(value).__name__}, whose contents cannot be watched")
        self.guards.append((value, list(value), None))
        copy = []
        early(copy)
        copy.extend(self.visit(v, f"{path}[{i}]") for i, v in enumerate(value))
        self.watched.append((path, copy, list(copy)))
        return copy

    def _function(self, f: FunctionType, path: str, early: Callable[[Any], None]) -> Any:
        self.key.append(f.__code__)
        trusted = _root(f.__module__) in (*_TRUSTED, *sys.stdlib_module_names)
        if trusted and not f.__closure__ and not f.__defaults__ and not f.__kwdefaults__:
            return f
        cells = tuple(CellType() for _ in f.__closure__ or ())
        read = {} if trusted else _read_globals(f)
        inside = f.__globals__ if trusted else dict(f.__globals__)
        copy = FunctionType(f.__code__, inside, f.__name__, None, cells)
        early(copy)
        for name, old, new in zip(f.__code__.co_freevars, f.__closure__ or (), cells, strict=True):
            try:
                held = old.cell_contents
            except ValueError:  # not set yet
                self.key.append("empty")
                continue
            self.guards.append((old, held, None))
            new.cell_contents = self.visit(held, name)
            self.watched.append((name, new, new.cell_contents))
        used = tuple(_names(f.__code__))
        if read:
            self.guards.append((f.__globals__, read, None))
        for name, value in read.items():
            self.key.append(name)
            inside[name] = self.visit(value, name)
            if isinstance(value, ModuleType) and (attributes := _read_attributes(value, used)):
                self._module(value, attributes)
        if read:
            self.watched.append(("the globals", inside, dict(inside)))
        copy.__defaults__ = self.visit(f.__defaults__, f"{path}'s defaults")
        copy.__kwdefaults__ = self.visit(f.__kwdefaults__, f"{path}'s defaults")
        return copy

    def _module(self, module: ModuleType, attributes: dict[str, Any]) -> None:
        """Of a module only numbers and the like count: what else it holds is read through the original."""
        self.guards.append((vars(module), attributes, None))
        for name, value in attributes.items():
            if isinstance(value, _VALUES):
                self.key.append((name, repr(value)))
            elif isinstance(value, (Tensor, np.ndarray)):
                raise Unwatchable(
                    f"the step reads {module.__name__}.{name}, an array inside a module; import the name itself"
                )
            else:
                self.key.append((name, id(value)))

    def _object(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        kind, attributes = type(value), vars(value)
        self.key.append((kind, len(attributes)))
        self.guards.append((attributes, dict(attributes), len(attributes)))
        for base in kind.__mro__:
            if own := _own_attributes(base):
                self.guards.append((vars(base), own, None))
        copy = object.__new__(kind)
        early(copy)
        for name, held in attributes.items():
            self.key.append(name)
            vars(copy)[name] = self.visit(held, f"{path}.{name}")
        for name, held in _class_attributes(kind).items():
            if name not in attributes:
                self._class_attribute(copy, name, held, f"{path}.{name}")
        self.watched.append((path, vars(copy), dict(vars(copy))))
        return copy

    def _class_attribute(self, copy: Any, name: str, held: Any, path: str) -> None:
        self.key.append(name)
        if isinstance(held, FunctionType):
            vars(copy)[name] = MethodType(self.visit(held, path), copy)
        elif (
            isinstance(held, (staticmethod, classmethod, property)) or callable(held) or hasattr(type(held), "__get__")
        ):
            self.key.append(id(held))
        else:
            vars(copy)[name] = self.visit(held, path)


class Environment:
    """What a step reads besides its arguments, as it is now."""

    def __init__(self, step: Callable[..., Any]):
        walk = _Walk(None)
        walk.visit(step, getattr(step, "__qualname__", "step"))
        self.step = step
        self.key = tuple(walk.key)
        self.arrays = walk.arrays
        self._guards = walk.guards

    def unchanged(self) -> bool:
        """Whether every object that the step reads is the very object that it was."""
        for holder, held, size in self._guards:
            kind = type(holder)
            if kind is dict or kind is MappingProxyType:
                if size is not None and len(holder) != size:
                    return False
                for k, v in held.items():
                    if holder.get(k, held) is not v:
                        return False
            elif kind is CellType:
                if holder.cell_contents is not held:
                    return False
            elif kind is list:
                if len(holder) != len(held) or any(a is not b for a, b in zip(holder, held, strict=True)):
                    return False
            elif holder != held:
                return False
        return True

    @staticmethod
    def copied(step: Callable[..., Any], leaf: Leaf) -> tuple[Callable[..., Any], Callable[[], str | None]]:
        """A copy of the step that reads leaf(i, array) for the i-th array, and what says which object a run of it changed."""
        walk = _Walk(leaf)
        copy = walk.visit(step, getattr(step, "__qualname__", "step"))

        def changed() -> str | None:
            for path, now, before in walk.watched:
                if type(now) is CellType:
                    if now.cell_contents is not before:
                        return path
                elif isinstance(now, dict):
                    for name in now.keys() | before.keys():
                        if now.get(name, walk) is not before.get(name, walk):
                            return f"{path}.{name}" if isinstance(name, str) and path != "the globals" else str(name)
                elif len(now) != len(before) or (
                    (isinstance(now, list) and any(a is not b for a, b in zip(now, before, strict=True)))
                    or now != before
                ):
                    return path
            for generator, state in walk.generators:
                if generator.bit_generator.state != state:
                    generator.bit_generator.state = state
                    return "a random generator (draw before the scan and pass what was drawn in inputs or constants)"
            return None

        return copy, changed
