"""Views: where the interpreter finds a value, in the rows of a slot or in a weight, with an offset and strides."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..checks import is_integer

TEMP, SEQUENCE, STATE, CONSTANT, ONCE, SCRATCH = range(6)  # storage classes of slots (kernels/native/README.md)
ROW, WEIGHT, NUMBER = range(3)  # what an operand is


class Unsupported(Exception):
    """The interpreter does not have an op; the text names it."""


class View(NamedTuple):
    """The location of a value: in the rows of a slot (where = ROW) or in a weight, with an inner shape and strides."""

    where: int
    number: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    value: float = 0.0

    @property
    def flat(self) -> bool:
        """Whether the elements are contiguous, in order."""
        return all(s == w or n == 1 for n, s, w in zip(self.shape, self.strides, steps(self.shape), strict=True))

    def to(self, shape: tuple[int, ...]) -> View:
        """Broadcast to a shape."""
        if shape == self.shape and 1 not in shape:
            return self
        extra = len(shape) - len(self.shape)
        strides = (0,) * extra + tuple(0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True))
        return View(self.where, self.number, self.offset, shape, strides, self.value)

    def moved(self, number: int) -> View:
        """The same place in another slot."""
        if number == self.number:
            return self
        return View(self.where, number, self.offset, self.shape, self.strides, self.value)


def steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous array."""
    out, step = [], 1
    for n in reversed(shape):
        out.append(step)
        step *= n
    return tuple(reversed(out))


def number(value: float) -> View:
    """A plain number as an operand."""
    return View(NUMBER, 0, 0, (), (), value)


def in_order(index: Any) -> bool:
    """Whether an index is basic and keeps the order: integers, slices that step forwards, new axes."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or (isinstance(part, slice) and (part.step is None or part.step > 0))
        or (isinstance(part, (int, np.integer)) and not isinstance(part, bool))
        for part in parts
    )  # fmt: skip


def sliced(view: View, index: Any, per: int) -> View:
    """A view by a basic index of the whole array, whose first part takes every row."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [p for p in parts if not isinstance(p, np.ndarray)]:
        at = next(k for k, p in enumerate(parts) if p is Ellipsis)
        named = sum(p is not None and p is not Ellipsis for p in parts)
        parts[at : at + 1] = [slice(None)] * (len(view.shape) + (per == 1) - named)
    if per == 1:
        parts = parts[1:]
    offset, shape, strides, axis = view.offset, [], [], 0
    for p in parts:
        if p is None:
            shape.append(1)
            strides.append(0)
            continue
        n, s = view.shape[axis], view.strides[axis]
        axis += 1
        if is_integer(p):
            offset += (int(p) % n) * s
        elif isinstance(p, slice):
            first, last, step = p.indices(n)
            size = len(range(first, last, step))
            if step < 0:
                raise Unsupported("getitem with a negative step")
            offset += first * s if size else 0
            shape.append(size)
            strides.append(s * step)
        else:
            raise Unsupported("getitem with an array of indices")
    return view._replace(offset=offset, shape=(*shape, *view.shape[axis:]), strides=(*strides, *view.strides[axis:]))


def merged(shape: tuple[int, ...], views: list[View]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """A shape and the strides of views in it, with as few dimensions as can be."""
    dims: list[int] = []
    strides: list[list[int]] = [[] for _ in views]
    for d, n in enumerate(shape):
        if n == 1:
            continue
        if dims and all(s[-1] == v.strides[d] * n for s, v in zip(strides, views, strict=True)):
            dims[-1] *= n
            for s, v in zip(strides, views, strict=True):
                s[-1] = v.strides[d]
            continue
        dims.append(n)
        for s, v in zip(strides, views, strict=True):
            s.append(v.strides[d])
    return tuple(dims), [tuple(s) for s in strides]


def shared_scratch(slots: list[list[int]], lists: dict[str, list[Any]]) -> None:
    """Let scratch slots of one size share memory where their live ranges, within one list, do not overlap."""
    for instructions in lists.values():
        last: dict[int, int] = {}
        for at, (_, _, out, inputs, _) in enumerate(instructions):
            for view in (out, *inputs):
                if view.where == ROW and slots[view.number][0] == SCRATCH:
                    last[view.number] = at
        shared: dict[int, int] = {}
        free: dict[int, list[int]] = {}
        for at, (code, shape, out, inputs, extra) in enumerate(instructions):
            moved = [v.moved(shared.get(v.number, v.number)) if v.where == ROW else v for v in inputs]
            done = [v.number for v in inputs if v.where == ROW and last.get(v.number) == at]
            index = out.number
            if slots[index][0] == SCRATCH and index not in shared:
                spare = free.setdefault(slots[index][2], [])
                shared[index] = spare.pop() if spare else index
            new = out.moved(shared.get(index, index))
            instructions[at] = (code, shape, new, tuple(moved), extra)
            for i in {*done, *([index] if last.get(index) == at else [])}:
                free.setdefault(slots[i][2], []).append(shared.get(i, i))
