"""Checks of the arguments of optimisers, clipping and schedules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..autodiff.tensor import Tensor
from ..module import Module


def checked(name: str, params: Any) -> list[Tensor]:
    """Check that all parameters are different leaves that require grad; returns them as a list."""
    if isinstance(params, (Tensor, Module, Mapping)) or not isinstance(params, Iterable):
        hint = "; pass model.parameters()" if isinstance(params, Module) else ""
        raise TypeError(f"{name}: params is a {type(params).__name__}, expected an iterable of parameters{hint}")
    parameters = list(params)
    if not parameters:
        raise ValueError(f"{name}: params is empty, expected at least one parameter (or was an iterator read before?)")
    first: dict[int, int] = {}
    for i, p in enumerate(parameters):
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: params[{i}] is a {type(p).__name__}, expected a tg.Parameter")
        if not p.is_leaf:
            raise ValueError(
                f"{name}: params[{i}] of shape {p.shape} was computed by an op, expected a leaf: optimise what it was "
                "computed from, or p.detach() made into a tg.Parameter"
            )
        if not p.requires_grad:
            raise ValueError(
                f"{name}: params[{i}] of shape {p.shape} does not require grad; use tg.Parameter, and leave "
                "frozen ones out: [p for p in model.parameters() if p.requires_grad]"
            )
        if id(p) in first:
            raise ValueError(
                f"{name}: params[{first[id(p)]}] and params[{i}] are the same parameter, expected each once"
            )
        first[id(p)] = i
    return parameters


def number(name: str, argument: str, value: Any, low: float, high: float, below: bool = False) -> float:
    """Check that a value is a number within bounds; returns it as a float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: {argument} is {value!r:.60}, expected a number")
    if not (low <= value < high if below else low <= value <= high) or not np.isfinite(value):
        wanted = f">= {low:g}" if high == np.inf else f"from {low:g} to {'below ' if below else ''}{high:g}"
        raise ValueError(f"{name}: {argument} is {value!r}, expected a number {wanted}")
    return float(value)


def limit(name: str, value: Any) -> None:
    """Raise ValueError for a limit that is not above 0."""
    if not value > 0:
        raise ValueError(f"{name}: the limit is {value!r}, expected a number > 0")
