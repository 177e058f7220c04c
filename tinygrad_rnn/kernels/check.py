"""Arguments of the kernels, checked once for every implementation.

A call that passes here is safe to run: ranks, shapes and dtypes agree, lengths lie in 0..T. What does not pass raises
TypeError (wrong kind of thing) or ValueError (wrong shape or value) naming the function, the argument, what came and
what was wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:  # slow to import
    import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.floating[Any]]"  # float32 or float64
Lengths: TypeAlias = "npt.NDArray[np.int64]"
Option: TypeAlias = str | bool | None  # the RNN's activation, None for the LSTM, the GRU's reset_after
Inputs: TypeAlias = "tuple[Array, Array, Array, Array, Array | None]"  # x, kernels, bias, recurrent bias
Save: TypeAlias = bool | Literal["recompute"]
T_ = TypeVar("T_")

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
STATES = {"rnn": ("h0",), "lstm": ("c0", "h0"), "gru": ("h0",)}
ACTIVATIONS = ("tanh", "relu")


class Sizes(NamedTuple):
    """The letters of the conventions: B batch, T time, D input, H units."""

    B: int
    T: int
    D: int
    H: int


def array(
    where: str, name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any], like: str = "x has"
) -> Array:
    """Holds one array to a shape and dtype, which something else has, and returns it."""
    if type(value) is not np.ndarray and not isinstance(value, np.ndarray):
        raise TypeError(f"{where}: {name} is a {type(value).__name__}, expected a NumPy array of shape {shape}")
    if value.dtype != dtype:
        raise TypeError(f"{where}: {name} has dtype {value.dtype}, expected {dtype} as {like}")
    if value.shape != shape:
        raise ValueError(f"{where}: {name} has shape {value.shape}, expected {shape}")
    return value


def optional(
    where: str, name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any], like: str = "x has"
) -> Array | None:
    """Like `array`, but None stays None."""
    return None if value is None else array(where, name, value, shape, dtype, like)


def inputs(
    where: str,
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    *,
    gates: int,
    time_major: bool,
    torch: bool = False,
) -> tuple[Sizes, np.dtype[np.floating[Any]]]:
    """Checks x and both kernels; returns (Sizes, dtype)."""
    for name, value, rank in (("x", x, 3), ("kernel", kernel, 2), ("recurrent_kernel", recurrent_kernel, 2)):
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{where}: {name} is a {type(value).__name__}, expected a NumPy array of rank {rank}")
        if value.ndim != rank:
            raise ValueError(f"{where}: {name} has shape {value.shape}, expected rank {rank}")
    dtype = x.dtype
    if dtype not in FLOATS:
        raise TypeError(f"{where}: x has dtype {dtype}, expected float32 or float64 in native byte order")
    T, B, D = x.shape if time_major else (x.shape[1], x.shape[0], x.shape[2])
    H = recurrent_kernel.shape[1 if torch else 0]
    array(where, "recurrent_kernel", recurrent_kernel, (gates * H, H) if torch else (H, gates * H), dtype)
    array(where, "kernel", kernel, (gates * H, D) if torch else (D, gates * H), dtype)
    return Sizes(B, T, D, H), dtype


def lengths(where: str, value: npt.ArrayLike, B: int, T: int) -> Lengths:
    """Checks the lengths; returns them as int64 (B,)."""
    try:
        counts = np.asarray(value)
    except Exception as error:
        raise TypeError(f"{where}: lengths cannot be read as an array of {B} integers: {error}") from None
    if counts.dtype.kind not in "iu" and not (counts.size == 0 and isinstance(value, (list, tuple))):
        raise TypeError(f"{where}: lengths has dtype {counts.dtype}, expected integers")
    if counts.shape != (B,):
        raise ValueError(f"{where}: lengths has shape {counts.shape}, expected ({B},), one for each row of the batch")
    if B and (counts.min() < 0 or counts.max() > T):
        worst = int(np.flatnonzero((counts < 0) | (counts > T))[0])
        raise ValueError(f"{where}: lengths[{worst}] is {counts[worst]}, expected 0..{T}, x having {T} steps")
    return np.array(counts, dtype=np.int64)


def choice(where: str, name: str, value: T_, allowed: Sequence[object]) -> T_:
    """Holds an option to its allowed values (True and 1 are told apart)."""
    for one in allowed:
        if type(value) is type(one) and value == one:
            return value
    raise ValueError(f"{where}: {name} is {value!r}, expected one of {', '.join(map(repr, allowed))}")


def flag(where: str, name: str, value: object) -> bool:
    """A truth value, Python's or NumPy's."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{where}: {name} is {value!r}, expected True or False")


def needs(where: str, value: Sequence[object] | None, names: Sequence[str]) -> tuple[bool, ...]:
    """Which gradients are asked for: None means all."""
    if value is None:
        return (True,) * len(names)
    if not isinstance(value, (tuple, list)) or len(value) != len(names):
        raise ValueError(f"{where}: needs is {value!r}, expected {len(names)} truth values, for {', '.join(names)}")
    return tuple(bool(one) for one in value)
