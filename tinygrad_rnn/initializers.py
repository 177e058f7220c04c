"""How parameters begin. An initializer is called with a shape and a dtype and returns an array.

Random ones draw from the generator or the seed given to them, else from the default generator that `tg.seed` sets.
Names and defaults are Keras's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .autodiff.node import DType, Shape
from .autodiff.state import generator

Source: TypeAlias = "np.random.Generator | int | None"
Initializer = Callable[[Shape, Any], np.ndarray[Any, DType]]


class Constant:
    """Every element is `value`.

    >>> Constant(0.1)((2,), "float32")
    array([0.1, 0.1], dtype=float32)
    """

    def __init__(self, value: float = 0.0):
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        return np.full(shape, self.value, dtype)


class Zeros(Constant):
    """Every element is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every element is 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


class _Random:
    def __init__(self, seed: Source = None):
        self.seed = seed if seed is None else generator(seed)

    @property
    def rng(self) -> np.random.Generator:
        return generator(self.seed)


class RandomUniform(_Random):
    """Uniform on [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Source = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        return np.asarray(self.rng.uniform(self.minval, self.maxval, shape)).astype(dtype)


class RandomNormal(_Random):
    """Normal with the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Source = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        return np.asarray(self.rng.normal(self.mean, self.stddev, shape)).astype(dtype)


class GlorotUniform(_Random):
    """Uniform on ±√(6 / (fan_in + fan_out)), of a matrix (fan_in, fan_out) [Glorot & Bengio 2010]."""

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        if len(shape) != 2:
            raise ValueError(f"GlorotUniform: got shape {shape}, expected a matrix (fan_in, fan_out)")
        limit = np.sqrt(6 / max(1, shape[0] + shape[1]))
        return self.rng.uniform(-limit, limit, shape).astype(dtype)


class Orthogonal(_Random):
    """A random matrix with orthonormal rows or columns (whichever are fewer), times gain [Saxe et al. 2014]."""

    def __init__(self, gain: float = 1.0, seed: Source = None):
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        if len(shape) != 2:
            raise ValueError(f"Orthogonal: got shape {shape}, expected a matrix")
        rows, columns = shape
        q, r = np.linalg.qr(self.rng.normal(size=(max(rows, columns), min(rows, columns))))
        q = q * np.where(np.diag(r) < 0, -1, 1)  # makes the distribution uniform over orthogonal matrices
        return (self.gain * (q if rows >= columns else q.T)).astype(dtype)


_BY_NAME: dict[str, Callable[[], Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_uniform": RandomUniform,
    "random_normal": RandomNormal,
    "glorot_uniform": GlorotUniform,
    "orthogonal": Orthogonal,
}


def get(initializer: Any) -> Initializer:
    """The initializer of this name, or the callable given.

    >>> get("zeros")((2,), "float32")
    array([0., 0.], dtype=float32)
    """
    if isinstance(initializer, str):
        if initializer not in _BY_NAME:
            raise ValueError(
                f"initializer: unknown name {initializer!r}, expected one of {sorted(_BY_NAME)} or a callable"
            )
        return _BY_NAME[initializer]()
    if not callable(initializer):
        raise TypeError(
            f"initializer: got {type(initializer).__name__}, expected a name, or a callable of (shape, dtype)"
        )
    made: Initializer = initializer
    return made
