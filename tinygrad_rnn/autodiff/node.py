"""The nodes of the graph. A tensor refers to its node, a node to its parents, and there are no references back.

`Leaf` has no parents (a parameter, an input, a constant), `Node` is one call of an op, `Output` is one of several results
of a node. All three have a shape, a dtype and a name; a parent of a node is one of them, or None for a plain number.
`counter` increases with creation: a node is always newer than its parents, so descending counters are a reverse
topological order.
"""

from __future__ import annotations

import sys
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .state import Scope, ambient

if TYPE_CHECKING:
    from .op import Op

Array: TypeAlias = Any  # in rules and ops: an ndarray, or a Tensor where the graph is being recorded
Shape: TypeAlias = tuple[int, ...]
DType: TypeAlias = np.dtype[Any]

next_counter = count(1).__next__


class Leaf:
    """The node of a tensor that is not the result of an op. It holds the gradient, so nodes need no reference to tensors.

    role: "parameter" (of a Parameter), "mask" (a random array drawn by a cell, or a mask of lengths), else "". trained: of a
    frozen tensor, its leaf before, which graphs recorded then refer to."""

    __slots__ = ("counter", "dtype", "grad", "name", "requires_grad", "role", "scope", "shape", "trained")
    op = None

    def __init__(self, shape: Shape, dtype: DType, requires_grad: bool, name: str | None = None, role: str = ""):
        self.shape = shape
        self.dtype = dtype
        self.requires_grad = requires_grad
        self.name = name
        self.role = role
        self.grad: np.ndarray[Any, DType] | None = None
        self.trained: Leaf | None = None
        self.scope = ambient.get().scope
        self.counter = next_counter()

    def switched(self, requires_grad: bool) -> Leaf:
        """The tensor's leaf from now on: graphs recorded while it was frozen send it no gradient, whatever it is later."""
        if requires_grad and self.trained is not None:
            leaf = self.trained
        else:
            leaf = Leaf(self.shape, self.dtype, requires_grad, role=self.role)
            leaf.trained = None if requires_grad else self
        leaf.name, leaf.grad = self.name, self.grad
        self.requires_grad, leaf.requires_grad = False, requires_grad
        return leaf


class Node:
    """One call of an op: its parents, and the values that its vjp needs (`saved`; None once freed)."""

    __slots__ = ("counter", "dtype", "name", "op", "options", "parents", "saved", "scope", "shape")
    requires_grad = True

    def __init__(
        self,
        op: Op,
        parents: tuple[Edge | None, ...],
        saved: Any,
        options: dict[str, Any],
        shape: Any,
        dtype: Any,
        scope: tuple[Scope, ...],
    ):
        self.op = op
        self.parents = parents
        self.saved = saved
        self.options = options
        self.shape = shape  # of a node with several results: the tuple of their shapes
        self.dtype = dtype  # likewise
        self.scope = scope
        self.name: str | None = None
        self.counter = next_counter()


class Output:
    """One of several results of a node."""

    __slots__ = ("dtype", "index", "name", "node", "shape")
    requires_grad = True

    def __init__(self, node: Node, index: int, shape: Shape, dtype: DType):
        self.node = node
        self.index = index
        self.shape = shape
        self.dtype = dtype
        self.name: str | None = None


Edge: TypeAlias = Leaf | Node | Output  # what a tensor refers to: a leaf, a node, or one output of a node with several


class _Holder:
    __slots__ = ("array",)
    array: np.ndarray[Any, Any]


owners: set[type] = set()  # types of buffers that belong to a single array; ops register theirs
_count: Any = getattr(sys, "getrefcount", None)  # other interpreters than CPython may have none


def _seen(array: Any) -> int:
    return _count(array) if _count else 0


def _unshared_count() -> int:
    """The reference count in `may_overwrite` of an array referenced by one attribute and one local variable."""
    holder = _Holder()
    holder.array = np.empty(1)
    array = holder.array
    return _seen(array)


_UNSHARED = _unshared_count()


def may_overwrite(array: np.ndarray[Any, Any], others: int = 0) -> bool:
    """Whether an array may be overwritten: it is held by one attribute or list item, the caller's variable and `others`
    more references, and no other array uses its memory.

    >>> import numpy as np
    >>> held = [np.zeros(3)]
    >>> array = held[0]
    >>> before = may_overwrite(array)
    >>> part = array[1:]
    >>> before, may_overwrite(array)
    (True, False)
    """
    if _count is None or _count(array) > _UNSHARED + others or not array.flags.writeable:
        return False
    while (base := array.base) is not None:
        if _seen(base) > _UNSHARED:
            return False
        if not isinstance(base, np.ndarray):
            return isinstance(base, memoryview) and type(base.obj) in owners
        array = base
    return True
