"""Random inputs on which an op's gradients are checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """One call of an op: its arrays and its options."""

    arrays: tuple[Any, ...]
    options: dict[str, Any]


class Sampler:
    """Draws float64 arrays for the samples of an op; `r(3, 4)` is normal. The methods avoid points where a derivative jumps."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> np.ndarray[Any, Any]:
        return np.asarray(self.rng.normal(size=shape))

    def between(self, low: float, high: float, *shape: int) -> np.ndarray[Any, Any]:
        """Uniform values in [low, high)."""
        return np.asarray(self.rng.uniform(low, high, size=shape))

    def away(self, *shape: int, points: tuple[float, ...] = (0.0,), gap: float = 0.1) -> np.ndarray[Any, Any]:
        """Normal values at least `gap` from every point (where a derivative jumps)."""
        x = self(*shape)
        for p in points:
            x = np.where(np.abs(x - p) < gap, p + np.copysign(gap + np.abs(x - p), x - p), x)
        return np.asarray(x)

    def distinct(self, *shape: int) -> np.ndarray[Any, Any]:
        """Values in random order with gaps of at least 0.1, so that no two tie."""
        n = int(np.prod(shape))
        steps = self.rng.permutation(n) - n / 2
        return np.asarray(0.2 * steps.reshape(shape) + self.between(0, 0.1, *shape))

    def integers(self, high: int, *shape: int) -> np.ndarray[Any, Any]:
        """Integers in [0, high)."""
        return np.asarray(self.rng.integers(high, size=shape))

    def call(self, *arrays: Any, **options: Any) -> Case:
        """A sample with options."""
        return Case(arrays, options)


def as_case(sample: Any) -> Case:
    """A sample as a Case: a bare array is one input, a tuple of arrays several."""
    if isinstance(sample, Case):
        return sample
    return Case(sample if isinstance(sample, tuple) else (sample,), {})
