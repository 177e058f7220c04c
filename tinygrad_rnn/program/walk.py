"""The walk over what a step reads besides its arguments, which copies it on the way.

What cannot be copied (the bodies of properties, of special methods, of overridden methods that super() reaches, of a
class's own functions) is read in place: it is guarded and part of the key, but must not contain arrays. What cannot be
guarded is replaced by a `Trap`, which ends the trace if the step uses it.
"""

from __future__ import annotations

import builtins
import dis
import enum
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property, lru_cache, partial, partialmethod
from types import (
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.op import Op
from ..autodiff.tensor import Tensor
from .guards import (
    MISSING,
    Guard,
    contents,
    guard_attribute,
    guard_cell,
    guard_class,
    guard_function,
    guard_items,
    guard_list,
    guard_names,
    guard_object,
    guard_set,
    special,
)  # fmt: skip
from .tracer import Trap, checked_import, isinstance_of_traced, type_of_traced


class Reads(NamedTuple):
    """The names that a function's code uses, those of functions defined inside it included."""

    globals: tuple[str, ...]
    attributes: tuple[str, ...]
    imports: tuple[str, ...]


_VALUES = {bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), slice, range}
_FIXED = (
    np.ufunc,
    Op,
    type(np.sum),
    type(len),
    type(str.join),
    type(object.__init__),
)  # functions without an environment
_SLOTS = (GetSetDescriptorType, type(Reads.globals))  # attributes that are kept elsewhere, fields of named tuples
_TRUSTED = {  # modules whose functions return the same results whenever they are called
    *("tinygrad_rnn", "numpy", "builtins", "math", "cmath", "functools", "itertools", "operator", "typing", "types"),
    *("collections", "dataclasses", "enum", "abc", "copy", "contextlib", "numbers", "string", "re"),
}
_STATEFUL = {  # what of these modules depends on more than its arguments
    "numpy": (
        *("random", "load", "loadtxt", "genfromtxt", "fromfile", "fromregex", "memmap"),
        *("geterr", "geterrcall", "getbufsize", "get_printoptions"),
    ),
    "tinygrad_rnn": ("load", "get_num_threads"),
    "tinygrad_rnn.kernels": ("get_num_threads", "info"),
    "tinygrad_rnn.autodiff.steps": ("current_step",),
}
_HIDDEN = {"__globals__", "__subclasses__"}  # attributes through which a function reaches what it does not name
_DYNAMIC = {
    "getattr",
    "vars",
    "dir",
    "__dict__",
    "attrgetter",
    "methodcaller",
}  # what reads attributes by computed names
_EFFECTS = {  # builtins whose effect or result a program would not have
    *("print", "input", "open", "eval", "exec", "compile", "globals", "breakpoint", "delattr"),
}
_NOT_CALLED = {  # special methods that no step calls on an object that is there
    *("__init__", "__new__", "__init_subclass__", "__del__", "__reduce__", "__reduce_ex__", "__getstate__"),
    *("__setstate__", "__copy__", "__deepcopy__", "__class_getitem__", "__set_name__", "__replace__"),
}
_ABOUT_ITSELF = {  # special methods that ask for types of the object alone
    *(
        "__repr__",
        "__str__",
        "__eq__",
        "__ne__",
        "__hash__",
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
        "__len__",
        "__iter__",
    ),
    *("__setattr__", "__delattr__"),
}
MOST = 20_000  # the largest number of objects that a step may reach

Leaf = Callable[[int, Any], Any]


class Unguardable(Exception):
    """The step reads something whose contents cannot be followed."""


class _Is:
    """A part of a key that is equal only to itself. It refers to the object, so the id is not reused."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any):
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Is) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


@lru_cache(maxsize=4096)
def _reads(code: CodeType) -> Reads:
    names: tuple[dict[str, None], dict[str, None], dict[str, None]] = {}, {}, {}
    for instruction in dis.get_instructions(code):
        if isinstance(name := instruction.argval, str):
            opname = instruction.opname
            if "GLOBAL" in opname or opname == "LOAD_NAME":
                names[0][name] = None
            elif opname == "IMPORT_NAME":
                names[2][name] = None
            elif (
                "ATTR" in opname or "METHOD" in opname or opname == "LOAD_CONST"
            ):  # a constant may be a name for getattr
                names[1][name] = None
        elif instruction.opname == "MATCH_CLASS":  # reads the attributes that a tuple names
            names[1]["__dict__"] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            for some, more in zip(names, _reads(constant), strict=True):
                some.update(dict.fromkeys(more))
    return Reads(*map(tuple, names))


def is_trusted(module: Any) -> bool:
    """Whether a module's functions always return the same results for the same arguments."""
    return isinstance(module, str) and module.partition(".")[0] in _TRUSTED and not module.startswith("numpy.random")


def defined(cls: type) -> dict[str, Any]:
    """What a class defines, its bases' included."""
    return {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}


def _is_ordinary(cls: Any) -> bool:
    """Whether the attributes of objects of this class determine what they do."""
    new: Any = cls.__new__
    if (new is not object.__new__ and not is_trusted(getattr(new, "__module__", None))) or any(
        set(vars(base).get("__slots__", ())) - {"__dict__", "__weakref__"} for base in cls.__mro__
    ):
        return False
    try:
        object.__new__(cls)
    except TypeError:  # a class written in C
        return False
    return True


def _bodies(attribute: Any) -> list[Any]:
    """The functions behind a class's attribute; an empty list if it is data."""
    if isinstance(attribute, property):
        return [f for f in (attribute.fget, attribute.fset, attribute.fdel) if f is not None]
    if isinstance(attribute, (staticmethod, classmethod)):
        return [attribute.__func__]
    if isinstance(attribute, (cached_property, partialmethod)):
        return [attribute.func]
    return [attribute] if hasattr(type(attribute), "__get__") else []


@lru_cache
def _without_state(module: ModuleType) -> ModuleType:
    """A trusted module without what depends on more than its arguments: a program would repeat it."""
    copy = ModuleType(module.__name__)
    vars(copy).update(vars(module))
    for name in _STATEFUL[module.__name__]:
        vars(copy)[name] = Trap(_stateful_name(f"{module.__name__}.{name}"))
    for name, value in vars(module).items():
        if (
            type(value) is ModuleType
            and value.__name__ in _STATEFUL
            and value.__name__.startswith(module.__name__ + ".")
        ):
            vars(copy)[name] = _without_state(value)
    return copy


def _stateful_name(path: str) -> str:
    drawn = " (draw before the scan and pass what was drawn in inputs or constants)" if path == "numpy.random" else ""
    return f"{path}, which depends on more than its arguments{drawn}"


@lru_cache
def _stateful_functions() -> frozenset[Any]:
    modules = [(sys.modules[m], names) for m, names in _STATEFUL.items() if m in sys.modules]
    return frozenset(vars(module)[name] for module, names in modules for name in names if name in vars(module))


_builtins = {
    **vars(builtins),
    **{name: Trap(f"{name}, whose effect a program would not have") for name in _EFFECTS},
    "__import__": checked_import(is_trusted),
    "isinstance": isinstance_of_traced,
    "type": type_of_traced,
}


class Walk:
    """One pass over what a step reads: collects key, arrays and guards, and copies, with leaf(i, array) for arrays."""

    def __init__(self, leaf: Leaf | None):
        self.leaf = leaf
        self.in_place = False  # reading functions that cannot be copied
        self.key: list[Any] = []
        self.arrays: list[Any] = []
        self.guards: list[Guard] = []
        self.copies: list[tuple[str, Any]] = []  # (path, a copy of a container), to be looked at after a trace
        self.objects: list[tuple[str, Any, type, Any]] = []  # likewise (path, a copy of an object, its class, its dict)
        # (id, in place) -> (order, the copy, the original)
        self.seen: dict[tuple[int, bool], tuple[int, Any, Any]] = {}
        self.globals: dict[tuple[int, bool], dict[str, Any]] = {}
        self.names: dict[str, None] = {}  # of attributes, in any function so far
        self.modules: list[tuple[ModuleType, ModuleType, bool, set[str]]] = []
        self.functions: list[tuple[str, Any, str]] = []  # of classes: walked in place if the name is used
        self.dynamic = False  # attributes are read by computed names: all are in use

    def whole(self, step: Any) -> Any:
        """Walk all that the step reads; returns its copy."""
        called = defined(type(step)).get("__call__")
        if type(called) is FunctionType:
            step = MethodType(called, step)
        copy = self.visit(step, getattr(step, "__qualname__", "step"))
        while self._functions_of_classes() or self._attributes_of_modules():
            pass
        return copy

    def visit(self, value: Any, path: str) -> Any:
        """Add a value to the key; returns its copy."""
        cls = type(value)
        if cls in _VALUES:
            self.key.append((cls, repr(value) if cls in (float, complex, slice, range) else value))
            return value
        if isinstance(value, (np.generic, np.dtype)):
            if cls is np.void:
                return self._trap(value, path)
            self.key.append((cls, repr(value) if isinstance(value, np.generic) else value))
            return value
        if (known := self.seen.get((id(value), self.in_place))) is not None:
            self.key.append(("again", known[0]))
            return known[1]
        order = len(self.seen)
        if order > MOST:
            raise Unguardable(f"the step reaches more than {MOST} objects, at {path}")

        def is_copied_as(copy: Any) -> None:
            self.seen[id(value), self.in_place] = (order, copy, value)

        is_copied_as(value)
        copy = self._visit(value, path, is_copied_as)
        is_copied_as(copy)
        return copy

    def _visit(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        cls = type(value)
        if isinstance(value, enum.Enum):
            return self._enum(value, path)
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value, path)
        if isinstance(value, tuple):
            return self._tuple(value, path)
        if isinstance(value, (list, dict, set, frozenset)) and cls.__module__ in ("builtins", "collections"):
            return self._container(value, path, early)
        if cls is FunctionType:
            return self._trap(value, path) if value in _stateful_functions() else self._function(value, path, early)
        if cls is MethodType:
            self.key.append("method")
            owner = self.visit(value.__self__, path.rpartition(".")[0] or path)
            return MethodType(self.visit(value.__func__, path), owner)
        if cls is partial:
            self.key.append(("partial", len(value.args)))
            f, more = self.visit(value.func, path), self.visit(value.keywords, path)
            args = [self.visit(argument, type(argument).__name__) for argument in value.args]
            return partial(f, *args, **more)
        if cls is ModuleType:
            return self._module(value, path, early)
        if isinstance(value, type):
            return self._class(value, path)
        if isinstance(value, _FIXED) or cls.__module__ == "typing":
            owner = getattr(value, "__self__", None)
            home = owner.__name__ if isinstance(owner, ModuleType) else getattr(owner, "__module__", None)
            if owner is None or (isinstance(owner, (ModuleType, type)) and is_trusted(home)):
                self.key.append(_Is(value))
                return value
        elif hasattr(value, "__dict__") and _is_ordinary(cls):
            return self._object(value, path, early)
        return self._trap(value, path)

    def _trap(self, value: Any, path: str) -> Any:
        what = f"{path}, a {type(value).__name__}"
        if isinstance(value, (np.random.Generator, np.random.RandomState)):
            what = f"{path}, a random generator (draw before the scan and pass what was drawn in inputs or constants)"
        elif isinstance(value, ModuleType):
            what = f"{path}, the module {value.__name__}"
        elif type(value) is FunctionType:
            what = _stateful_name(path)
        else:
            what += (
                ", whose contents cannot be followed (keep what it needs as numbers, arrays, lists, dicts or Modules)"
            )
        if self.in_place:
            raise Unguardable(f"the step reads {what}")
        self.key.append("trap")
        return Trap(what)

    def _array(self, value: Any, path: str) -> Any:
        array = value.data if isinstance(value, Tensor) else value
        cls = type(value)
        trusted = is_trusted(cls.__module__) if isinstance(value, Tensor) else cls in (np.ndarray, np.memmap)
        if array.dtype.kind not in "fiub" or not trusted:  # a subclass may define what its operators do
            return self._trap(value, path)
        if self.in_place:
            raise Unguardable(
                f"the step reads the array {path} in a property, a special method, an overridden method or through a class, "
                "where it cannot be followed; keep it in an attribute of the object, in a global or in the closure of the step"
            )
        needs = isinstance(value, Tensor) and value.requires_grad
        self.key.append((type(value), array.shape, array.dtype.str, needs))
        self.arrays.append(value)
        return value if self.leaf is None else self.leaf(len(self.arrays) - 1, value)

    def _enum(self, member: enum.Enum, path: str) -> Any:
        """A member of an enumeration: its attributes are read in place, and the functions of its class."""
        cls = type(member)
        self.key.append((cls, member))
        if is_trusted(cls.__module__):
            return member
        self.guards.append(guard_items(vars(member), path))
        for name, attribute in vars(member).items():
            if not special(name):
                self.key.append(name)
                self._visited(attribute, f"{path}.{name}", True)
        for base in cls.__mro__:
            if self._guarded(base, path):
                self.functions += [(n, a, f"{path}.{n}") for n, a in vars(base).items() if _bodies(a)]
        return member

    def _tuple(self, value: Any, path: str) -> Any:
        cls = type(value)
        if cls is not tuple and not hasattr(cls, "_fields"):
            return self._trap(value, path)
        self.key.append((_Is(cls), len(value)))
        parts = [self.visit(v, f"{path}[{i}]") for i, v in enumerate(value)]
        return tuple(parts) if cls is tuple else cls(*parts)

    def _container(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        self.key.append((type(value), len(value)))
        copy: Any
        if isinstance(value, dict):
            if not all(type(k) in _VALUES or isinstance(k, (np.generic, enum.Enum)) for k in value):
                return self._trap(value, path)
            self.guards.append(guard_items(value, path))
            early(copy := type(value)())
            if isinstance(value, defaultdict):
                copy.default_factory = self.visit(value.default_factory, f"{path}.default_factory")
            for k, v in value.items():
                self.key.append((type(k), k))
                copy[k] = self.visit(v, f"{path}[{k!r}]")
        elif isinstance(value, list):
            self.guards.append(guard_list(value, path))
            early(copy := [])
            copy.extend(self.visit(v, f"{path}[{i}]") for i, v in enumerate(value))
        else:
            if not all(type(v) in _VALUES for v in value):
                return self._trap(value, path)
            self.key.append(tuple(map(repr, value)))  # in the order in which a step would iterate
            copy = type(value)(value)
            if list(copy) != list(value):
                return self._trap(value, path)
            if isinstance(value, frozenset):
                return copy
            self.guards.append(guard_set(value, path))
        self.copies.append((path, copy))
        return copy

    def _function(self, f: FunctionType, path: str, early: Callable[[Any], None]) -> Any:
        self.key.append(f.__code__)
        trusted = is_trusted(f.__globals__.get("__name__"))
        if trusted and not (f.__closure__ or f.__defaults__ or f.__kwdefaults__):
            return f
        self.key.append(f.__name__)
        self.guards += [guard_function(f, path), guard_object(f, path), guard_attribute(f, "__name__", path)]
        cells = tuple(CellType() for _ in f.__closure__ or ())
        read = Reads((), (), ()) if trusted else _reads(f.__code__)
        inside = f.__globals__ if trusted else self._copied_globals(f)
        early(copy := FunctionType(f.__code__, inside, f.__name__, None, cells))
        for name, old, new in zip(f.__code__.co_freevars, f.__closure__ or (), cells, strict=True):
            content = contents(old)
            self.guards.append(guard_cell(old, name))
            if content is MISSING:
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
        self.dynamic = self.dynamic or not _DYNAMIC.isdisjoint((*read.globals, *read.attributes))
        if hidden := _HIDDEN.intersection(read.attributes):
            raise Unguardable(f"the step reads {min(hidden)} in {path}")
        if self.in_place:
            for name in (*read.globals, *read.imports):
                if (name in _EFFECTS and name not in f.__globals__) or (name in read.imports and not is_trusted(name)):
                    raise Unguardable(f"the step uses {name} in {path}, whose effect a program would not have")
                if name == "type" and name not in f.__globals__ and f.__name__ not in _ABOUT_ITSELF:
                    raise Unguardable(f"the step asks for a type in {path}, where a stand-in is not what it stands for")
        if read.globals:
            self.guards.append(guard_names(f.__globals__, read.globals, ""))
        for name in read.globals:
            if name in f.__globals__:
                self.key.append(name)
                inside[name] = self.visit(f.__globals__[name], name)

    def _module(self, module: ModuleType, path: str, early: Callable[[Any], None]) -> Any:
        """Copy a user's module with the attributes that any function may read."""
        self.key.append(_Is(module))
        if stateful := _STATEFUL.get(module.__name__):
            if self.in_place and (used := [name for name in stateful if name in self.names]):
                raise Unguardable(f"the step reads {_stateful_name(f'{path}.{used[0]}')}")
            return _without_state(module)
        if is_trusted(module.__name__):
            return module
        if module.__name__.partition(".")[0] in sys.stdlib_module_names or module.__name__.startswith("numpy"):
            return self._trap(module, path)
        if "__getattr__" in vars(module):
            return self._trap(module, path)
        early(copy := ModuleType(module.__name__))
        vars(copy).update(vars(module))
        self.copies.append((module.__name__, vars(copy)))
        self.modules.append((module, copy, self.in_place, set()))
        return copy

    def _attributes_of_modules(self) -> bool:
        """Visit the attributes of modules under the names in use; returns whether any was new."""
        before = len(self.key)
        for module, copy, in_place, done in list(self.modules):
            used = {**self.names, **dict.fromkeys(vars(module))} if self.dynamic else self.names
            new = [n for n in used if n not in done]
            done.update(new)
            self.guards.append(guard_names(vars(module), new, module.__name__))
            for name in new:
                if name in vars(module) and (not special(name) or type(vars(module)[name]) in _VALUES):
                    self.key.append(name)
                    vars(copy)[name] = self._visited(vars(module)[name], f"{module.__name__}.{name}", in_place)
        return len(self.key) > before

    def _visited(self, value: Any, path: str, in_place: bool) -> Any:
        outside, self.in_place = self.in_place, in_place
        try:
            return self.visit(value, path)
        finally:
            self.in_place = outside

    def _class(self, cls: type, path: str) -> Any:
        """A class as a value: its functions and attributes are read in place."""
        self.key.append(_Is(cls))
        if type(cls) is not type and not is_trusted(type(cls).__module__):
            self._visited(type(cls), f"the class of {path}", True)
        for base in cls.__mro__:
            if self._guarded(base, path):
                for name, attribute in vars(base).items():
                    if _bodies(attribute):
                        self.functions.append((name, attribute, f"{path}.{name}"))
                    elif not special(name):
                        self.key.append(name)
                        self._visited(attribute, f"{path}.{name}", True)
        return cls

    def _guarded(self, cls: type, path: str) -> bool:
        """Whether a class is defined by the user, so that its attributes are guarded."""
        if is_trusted(cls.__module__):
            return False
        self.guards.append(guard_class(cls, path))
        self.guards += [guard_attribute(cls, name, path) for name in ("__bases__", "__name__")]
        self.key += [_Is(cls), cls.__bases__, cls.__name__]
        return True

    def _functions_of_classes(self) -> bool:
        """Walk, in place, those functions of classes whose names are in use; returns whether any was."""
        ready = [f for f in self.functions if self.dynamic or special(f[0]) or f[0] in self.names]
        self.functions = [f for f in self.functions if f not in ready]
        for name, attribute, path in ready:
            self.key.append((name, _Is(type(attribute))))
            for body in _bodies(attribute):
                if not isinstance(body, _SLOTS):
                    self._visited(body, path, True)
        return bool(ready)

    def _object(self, value: Any, path: str, early: Callable[[Any], None]) -> Any:
        """An object's attributes, and its class's: these become the copy's own, methods bound to it."""
        cls, attributes = type(value), vars(value)
        self.key.append((_Is(cls), len(attributes)))
        self.guards += [guard_items(attributes, path), guard_object(value, path)]
        early(copy := object.__new__(cls))
        for name, attribute in attributes.items():
            self.key.append(name)
            vars(copy)[name] = self.visit(attribute, f"{path}.{name}")
        taken = set(attributes)
        for base in cls.__mro__:
            if self._guarded(base, f"type({path})"):
                for name, attribute in vars(base).items():
                    bodies = _bodies(attribute)
                    if bodies and (name in taken or special(name) or type(attribute) is not FunctionType):
                        if name not in _NOT_CALLED:
                            self.functions.append((name, attribute, f"{path}.{name}"))
                    elif not special(name) and name not in taken:
                        self.key.append(name)
                        own = self.visit(attribute, f"{path}.{name}")
                        vars(copy)[name] = MethodType(own, copy) if bodies else own
                    elif not special(name) and name not in attributes:  # data that super().name reaches
                        self.key.append(name)
                        self._visited(attribute, f"{path}.{name}", True)
            taken.update(vars(base))
        self.copies.append((path, vars(copy)))
        self.objects.append((path, copy, cls, vars(copy)))
        return copy
