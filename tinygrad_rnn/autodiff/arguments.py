"""The arguments of an op: separating inputs from options, and converting values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .tensor import Tensor, holds_tensors, plain, registry


class Arguments:
    """Base of `Op`: the inputs and options that an op takes."""

    __slots__ = ()
    name: str
    inputs: tuple[str, ...]
    options: tuple[str, ...]
    optional: frozenset[int]
    constants: frozenset[int]
    variadic: bool
    _known: frozenset[str]

    def input_name(self, index: int) -> str:
        """The name of an input, for messages."""
        return f"arrays[{index}]" if self.variadic else self.inputs[index]

    def _bind(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """Positional arguments beyond the arrays fill the options in order, as NumPy's signatures allow."""
        extra = args[len(self.inputs) :]
        if len(extra) > len(self.options):
            raise TypeError(
                f"{self.name}: got {len(args)} positional arguments, expected at most "
                f"{len(self.inputs) + len(self.options)} {self.inputs + self.options}"
            )
        for name, value in zip(self.options, extra, strict=False):
            if name in options:
                raise TypeError(f"{self.name}: got two values for {name}")
            options[name] = value
        return args[: len(self.inputs)]

    def _unpack(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """The arrays of a variadic op, which takes one sequence, as np.concatenate does; the other arguments are options."""
        if not args or not isinstance(args[0], (list, tuple)):
            came = described(args[0]) if args else "nothing"
            raise TypeError(f"{self.name}: arrays is {came}, expected a list or tuple of tensors or arrays")
        if not args[0]:
            raise ValueError(f"{self.name}: arrays is empty, expected at least one tensor or array")
        for name, value in zip(self.options, args[1:], strict=False):
            options[name] = value
        return tuple(args[0])

    def _check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Check the names of options; tensors among the values become arrays."""
        if self._known.issuperset(options):
            for value in options.values():
                if isinstance(value, Tensor):
                    break
            else:
                return options
        for name, value in options.items():
            if name not in self.options:
                if value is None:  # NumPy passes out=None and the like
                    return self._check_options({k: v for k, v in options.items() if k != name})
                if name in self.inputs:
                    raise TypeError(f"{self.name}: {name} is an array and must be passed by position")
                raise TypeError(f"{self.name}: got an option {name!r}, expected one of {self.options}")
            if isinstance(value, Tensor):
                if value.requires_grad:
                    raise TypeError(
                        f"{self.name}: option {name} is a tensor that requires grad, but no gradient flows through it; "
                        "pass .detach()"
                    )
                options[name] = value.data
        return options

    def _coerce(self, args: Sequence[Any], arrays: list[Any]) -> None:
        """Keep the float dtype of the tensors: scalars, integers and booleans are converted to it, float arrays are not."""
        dtype = None
        for i, a in enumerate(args):
            if isinstance(a, Tensor) and a.data.dtype.kind == "f" and i not in self.constants:
                dtype = a.data.dtype if dtype is None else np.promote_types(dtype, a.data.dtype)
        for i, a in enumerate(arrays):
            if i in self.constants or (a is None and i in self.optional):
                continue
            if type(a) in (float, int, bool):
                if self.variadic:  # NumPy would convert it to float64
                    arrays[i] = np.asarray(a, dtype)
                continue
            if isinstance(a, np.generic):
                a = a.item() if a.dtype.kind in "fiub" else np.asarray(a)
            elif not isinstance(a, np.ndarray):
                a = self._listed(i, a, dtype)
            if isinstance(a, np.ndarray):
                if type(a) is not np.ndarray:
                    a = plain(a, f"{self.name}: {self.input_name(i)}")
                if a.dtype.kind not in "fiub":
                    raise TypeError(f"{self.name}: {self.input_name(i)} has dtype {a.dtype}, expected numbers")
                if dtype is not None and a.dtype.kind != "f":
                    a = a.astype(dtype)
            arrays[i] = a

    def _listed(self, i: int, value: Any, dtype: Any) -> np.ndarray[Any, Any]:
        """A list of numbers as an array."""
        if isinstance(value, (list, tuple)):
            with suppress(TypeError, ValueError):
                return np.asarray(value, dtype)
        raise TypeError(
            f"{self.name}: {self.input_name(i)} is {described(value)}, expected a tensor, an array or a number"
        )


def stacked(value: Any) -> Any:
    """A list of tensors, possibly nested or with numbers, as one tensor; anything else unchanged."""
    return registry["stack"]([stacked(v) for v in value]) if holds_tensors(value) else value


def described(value: Any) -> str:
    """The description of a value in an error message."""
    if isinstance(value, (Tensor, np.ndarray)):
        return f"of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
