"""Nested tuples of arrays: states, inputs and outputs; and the signatures of steps, which do not depend on the batch
size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Shape


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves of nested tuples, in order; None is an empty tree."""
    return iter(flat(tree))


def flat(tree: Any) -> list[Any]:
    """The leaves in a list."""
    if not isinstance(tree, tuple):
        return [] if tree is None else [tree]
    parts: list[Any] = []
    for part in tree:
        if isinstance(part, tuple):
            parts += flat(part)
        elif part is not None:
            parts.append(part)
    return parts


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """A tree of the same form with these leaves."""
    if not isinstance(tree, tuple):
        return None if tree is None else next(values)
    parts = [rebuilt(part, values) if isinstance(part, tuple) or part is None else next(values) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def form(tree: Any, found: list[Any]) -> Any:
    """The structure of a tree, for comparison: every leaf is 0. The leaves are appended to `found`."""
    if tree is None:
        return None
    if not isinstance(tree, tuple):
        found.append(tree)
        return 0
    parts: list[Any] = [type(tree)]
    for part in tree:
        if part is None or isinstance(part, tuple):
            parts.append(form(part, found))
        else:
            found.append(part)
            parts.append(0)
    return tuple(parts)


class Signature(NamedTuple):
    """The arguments of a step without the batch size: trees whose leaves are (inner shape, dtype, needs grad)."""

    x: Any
    state: Any
    constants: tuple[Any, ...]


class Spec(NamedTuple):
    """A leaf of a signature. No tuple to `leaves`: wrapped in `Hidden`."""

    shape: Shape
    dtype: np.dtype[Any]
    needs: bool


class Hidden:
    """Wraps a leaf that is itself a tuple."""

    __slots__ = ("spec",)

    def __init__(self, spec: Spec):
        self.spec = spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)
