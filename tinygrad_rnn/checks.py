"""Checks of arguments, with errors of one form: `owner: name is …, expected …`."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn, TypeGuard

import numpy as np


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether this is an integer of Python or NumPy, but not a bool."""
    return type(value) is int or (isinstance(value, (int, np.integer)) and not isinstance(value, bool))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this is a real number of Python or NumPy, but not a bool."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def integer(owner: str, name: str, value: Any, least: int = 1, wanted: str = "") -> int:
    """Return an integer of at least `least`, else raise ValueError. wanted: another description of what is expected."""
    if not is_integer(value) or value < least:
        wanted = wanted or {1: "a positive integer", 0: "a non-negative integer"}.get(
            least, f"an integer of at least {least}"
        )
        raise ValueError(f"{owner}: {name} is {value!r}, expected {wanted}")
    return int(value)


def probability(owner: str, name: str, value: Any, interval: str = "[0, 1]", meaning: str = "") -> float:
    """Return a number between 0 and 1, else raise ValueError. interval: which end points are included, such as "[0, 1)"."""
    low, high = interval[0] == "[", interval[-1] == "]"
    if not is_number(value) or not (0 < value < 1 or (low and value == 0) or (high and value == 1)):
        raise ValueError(f"{owner}: {name} is {value!r}, expected a number in {interval}{meaning and ': ' + meaning}")
    return float(value)


def refuse_arguments(made: Any, unknown: dict[str, Any]) -> NoReturn:
    """Raise TypeError for arguments that the constructor of an object does not take; names those that it takes."""
    cls = type(made)
    inits = (
        [cls]
        if hasattr(cls, "__signature__")
        else [vars(c)["__init__"] for c in cls.__mro__ if "__init__" in vars(c)][:-1]
    )
    parameters = [p for init in inits for p in inspect.signature(init).parameters.values()]
    named = dict.fromkeys(
        p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "self"
    )
    raise TypeError(f"{cls.__name__} takes no argument {', '.join(unknown)}; it takes {', '.join(named)}")
