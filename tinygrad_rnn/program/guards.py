"""Guards: detect whether the objects that a step reads have changed, and restore them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from operator import is_
from types import CellType
from typing import Any, Final, NamedTuple
from weakref import ref

from .. import kernels

MISSING: Final = object()  # the value of an unset name or an empty cell


class Guard(NamedTuple):
    """holds(holder, former): whether a holder still has its former content; restore puts it back. `path` is for messages."""

    holds: Callable[[Any, Any], bool]
    restore: Callable[[Any, Any], None]
    holder: Any
    former: Any
    path: str


def special(name: str) -> bool:
    """Whether a name is one of Python's own, __like_this__."""
    return name.startswith("__") and name.endswith("__")


def guard_items(holder: dict[Any, Any], path: str) -> Guard:
    """All items of a dict, in order."""
    return Guard(_same_items, _restore_all, holder, dict(holder), path)


def _same_items(holder: Any, former: Any) -> bool:
    return (
        len(holder) == len(former) and all(map(is_, holder.values(), former.values())) and all(map(is_, holder, former))
    )


def _restore_all(holder: Any, former: Any) -> None:
    holder.clear()
    holder.update(former)


def guard_names(holder: dict[str, Any], names: Iterable[str], path: str) -> Guard:
    """Some attributes of a module."""
    return Guard(_same_names, _restore_names, holder, {name: holder.get(name, MISSING) for name in names}, path)


def _same_names(holder: Any, former: Any) -> bool:
    return all(map(is_, map(holder.get, former, repeat(MISSING)), former.values()))


def _restore_names(holder: Any, former: Any) -> None:
    for k, v in former.items():
        if v is MISSING:
            holder.pop(k, None)
        else:
            holder[k] = v


def guard_class(cls: type, path: str) -> Guard:
    """The attributes that a class defines itself."""
    return Guard(_same_class, _restore_class, cls, dict(vars(cls)), path)


def _same_class(cls: Any, former: Any) -> bool:
    return len(vars(cls)) == len(former) and all(map(is_, vars(cls).values(), former.values()))


def _restore_class(cls: Any, former: Any) -> None:
    for name in [n for n in vars(cls) if n not in former and not special(n)]:
        delattr(cls, name)
    for name, value in former.items():
        if vars(cls).get(name, MISSING) is not value:
            setattr(cls, name, value)


def guard_list(holder: list[Any], path: str) -> Guard:
    """The elements of a list."""
    return Guard(_same_list, _restore_list, holder, list(holder), path)


def _same_list(holder: Any, former: Any) -> bool:
    return len(holder) == len(former) and all(map(is_, holder, former))


def _restore_list(holder: Any, former: Any) -> None:
    holder[:] = former


def guard_set(holder: set[Any], path: str) -> Guard:
    """The elements of a set, in order."""
    return Guard(_same_set, _restore_all, holder, list(holder), path)


def _same_set(holder: Any, former: Any) -> bool:
    return _same_list(list(holder), former)


def guard_cell(cell: CellType, path: str) -> Guard:
    """A variable of a closure."""
    return Guard(_same_cell, _restore_cell, cell, contents(cell), path)


def contents(cell: CellType) -> Any:
    """What a closure's cell holds; MISSING if nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _same_cell(cell: Any, former: Any) -> bool:
    return contents(cell) is former


def _restore_cell(cell: Any, former: Any) -> None:
    if former is MISSING:
        del cell.cell_contents
    else:
        cell.cell_contents = former


def guard_function(f: Any, path: str) -> Guard:
    """A function's code and defaults."""
    return Guard(same_function, _restore_function, f, of_function(f), path)


def of_function(f: Any) -> tuple[Any, Any, Any]:
    """The code and defaults of a function."""
    return f.__code__, f.__defaults__, f.__kwdefaults__


def same_function(f: Any, former: Any) -> bool:
    """Whether a function's code and defaults are those returned by of_function."""
    return f.__code__ is former[0] and f.__defaults__ is former[1] and f.__kwdefaults__ is former[2]


def _restore_function(f: Any, former: Any) -> None:
    f.__code__, f.__defaults__, f.__kwdefaults__ = former


def guard_object(value: Any, path: str) -> Guard:
    """An object's class and which dict holds its attributes (not what that contains). The guard does not keep it alive."""
    return Guard(_same_object, _restore_object, ref(value), (type(value), vars(value)), path)


def _same_object(alive: Any, former: Any) -> bool:
    value = alive()
    return value is not None and type(value) is former[0] and value.__dict__ is former[1]


def _restore_object(alive: Any, former: Any) -> None:
    value = alive()
    value.__class__, value.__dict__ = former


def guard_attribute(holder: Any, name: str, path: str) -> Guard:
    """One attribute of a class or function."""
    return Guard(_same_attribute, _restore_attribute, holder, (name, getattr(holder, name)), path)


def _same_attribute(holder: Any, former: Any) -> bool:
    return getattr(holder, former[0]) is former[1]


def _restore_attribute(holder: Any, former: Any) -> None:
    setattr(holder, *former)


def same_tensor(tensor: Any, former: Any) -> bool:
    """Whether a tensor still has the shape, dtype and requires_grad in `former`."""
    return same_array(tensor.data, former) and tensor.requires_grad is former[2]


def same_array(array: Any, former: Any) -> bool:
    """Whether an array still has the shape and dtype in `former`."""
    return bool(array.shape == former[0] and array.dtype == former[1])


# The native code (kernels/native/guards.cpp) knows each check by its index here.
CHECKS = (
    *(_same_items, _same_names, _same_class, _same_list, _same_set, _same_cell, same_function),
    *(same_tensor, same_array, _same_object, _same_attribute),
)
GuardRecord = tuple[int, Any, Any]  # (index in CHECKS, holder, former)


def recorded_guard(holds: Callable[[Any, Any], bool], holder: Any, former: Any) -> GuardRecord:
    """A guard as data, which `all_hold` checks."""
    return CHECKS.index(holds), holder, former


def all_hold_in_python(guards: list[GuardRecord]) -> bool:
    """Whether every guard holds."""
    return all(CHECKS[index](holder, former) for index, holder, former in guards)


def all_hold(guards: list[GuardRecord]) -> bool:
    """Whether every guard holds; checked natively if possible, in a third of the time."""
    return all_hold_in_python(guards) if kernels.choice.missing else kernels._native.all_hold(guards, MISSING)


def snapshot(container: Any) -> Any:
    """The content of the copy of a dict, list, set or cell."""
    return contents(container) if type(container) is CellType else container.copy()


def difference(container: Any, before: Any, path: str) -> str | None:
    """The path of the part of a container's copy that has changed, or None."""
    if type(container) is CellType:
        return None if contents(container) is before else path
    if isinstance(container, dict):
        for name in (*container, *(n for n in before if n not in container)):
            if container.get(name, MISSING) is not before.get(name, MISSING):
                return f"{path}.{name}" if path else str(name)
        return None
    same = _same_list(container, before) if isinstance(container, list) else container == before
    return None if same else path
