"""The defaults of callables, to be compared with those in the documentation of the imitated library."""

from __future__ import annotations

import inspect
from typing import Any


def defaults(f: Any) -> dict[str, Any]:
    """The default of every argument by name; of a class also of those that it hands on to its bases."""
    makers = [base.__init__ for base in reversed(f.__mro__) if "__init__" in vars(base)] if isinstance(f, type) else [f]
    parameters = [p for make in makers for p in inspect.signature(make).parameters.values()]
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def differing(f: Any, documented: dict[str, Any]) -> dict[str, Any]:
    """The defaults that are not those documented, in value or in type; a name that is not taken is missing."""
    values = defaults(f)
    return {
        name: values.get(name, "missing")
        for name, value in documented.items()
        if name not in values or values[name] != value or type(values[name]) is not type(value)
    }
