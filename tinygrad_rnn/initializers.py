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
from .config import Configured

Source: TypeAlias = "np.random.Generator | int | None"
Initializer = Callable[[Shape, Any], np.ndarray[Any, DType]]


class Constant(Configured):
    """Every element is `value`.

    >>> import tinygrad_rnn as tg
    >>> tg.initializers.Constant(0.1)((2,), "float32")
    array([0.1, 0.1], dtype=float32)
    """

    def __init__(self, value: float = 0.0):
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        return np.full(shape, self.value, dtype)


class Zeros(Constant):
    """Every element is 0.

    >>> import tinygrad_rnn as tg
    >>> tg.initializers.Zeros()((2,), "float32")
    array([0., 0.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every element is 1.

    >>> import tinygrad_rnn as tg
    >>> tg.initializers.Ones()((2,), "float32")
    array([1., 1.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(1.0)


class _Random(Configured):
    def __init__(self, seed: Source = None):
        self.seed = seed if seed is None else generator(seed)

    @property
    def rng(self) -> np.random.Generator:
        return generator(self.seed)


class RandomUniform(_Random):
    """Uniform on [minval, maxval).

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.RandomUniform(-1, 1, seed=0)((3, 100))
    >>> bool(-1 <= W.min() and W.max() < 1)
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Source = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        return np.asarray(self.rng.uniform(self.minval, self.maxval, shape)).astype(dtype)


class RandomNormal(_Random):
    """Normal with the given mean and standard deviation.

    >>> import tinygrad_rnn as tg
    >>> round(float(tg.initializers.RandomNormal(stddev=2.0, seed=0)((300, 100)).std()), 1)
    2.0
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Source = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        return np.asarray(self.rng.normal(self.mean, self.stddev, shape)).astype(dtype)


class TruncatedNormal(_Random):
    """Normal with the given mean and standard deviation, drawn again where it lies more than two of them away.

    >>> import tinygrad_rnn as tg
    >>> bool(abs(tg.initializers.TruncatedNormal(stddev=1.0, seed=0)((300, 100))).max() <= 2)
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Source = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        rng = self.rng
        drawn = np.asarray(rng.normal(size=shape))
        while (far := np.abs(drawn) > 2).any():
            drawn[far] = rng.normal(size=int(far.sum()))
        return (self.mean + self.stddev * drawn).astype(dtype)


class VarianceScaling(_Random):
    """Variance scale / n of a matrix (fan_in, fan_out), n by mode: "fan_in", "fan_out" or the mean of both, "fan_avg".

    distribution: "uniform" on ±√(3 scale / n), or "truncated_normal" (with the standard deviation of what is left).

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.VarianceScaling(2.0, "fan_in", "uniform", seed=0)((200, 100), "float64")
    >>> round(float(W.var() * 200), 1)
    2.0
    """

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal", seed: Source = None
    ):
        super().__init__(seed)
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"VarianceScaling: mode is {mode!r}, expected 'fan_in', 'fan_out' or 'fan_avg'")
        if distribution not in ("uniform", "truncated_normal"):
            raise ValueError(
                f"VarianceScaling: distribution is {distribution!r}, expected 'uniform' or 'truncated_normal'"
            )
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        if len(shape) != 2:
            raise ValueError(f"{type(self).__name__}: got shape {shape}, expected a matrix (fan_in, fan_out)")
        fans = {"fan_in": shape[0], "fan_out": shape[1], "fan_avg": (shape[0] + shape[1]) / 2}
        variance = self.scale / max(0.5, fans[self.mode])
        if self.distribution == "uniform":
            limit = np.sqrt(3 * variance)
            return self.rng.uniform(-limit, limit, shape).astype(dtype)
        return TruncatedNormal(0.0, float(np.sqrt(variance)) / 0.87962566103423978, self.rng)(shape, dtype)


class GlorotUniform(VarianceScaling):
    """Uniform on ±√(6 / (fan_in + fan_out)), of a matrix (fan_in, fan_out) [Glorot & Bengio 2010].

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.GlorotUniform(seed=0)((300, 100), "float64")
    >>> bool(abs(W).max() <= (6 / 400) ** 0.5), round(float(W.var() * 400), 1)
    (True, 2.0)
    """

    def __init__(self, seed: Source = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out) [Glorot & Bengio 2010].

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.GlorotNormal(seed=0)((300, 100), "float64")
    >>> round(float(W.var() * 400), 1)
    2.0
    """

    def __init__(self, seed: Source = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform on ±√(6 / fan_in) [He et al. 2015].

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.HeUniform(seed=0)((300, 100), "float64")
    >>> round(float(W.var() * 300), 1)
    2.0
    """

    def __init__(self, seed: Source = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal of variance 2 / fan_in [He et al. 2015].

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.HeNormal(seed=0)((300, 100), "float64")
    >>> round(float(W.var() * 300), 1)
    2.0
    """

    def __init__(self, seed: Source = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform on ±√(3 / fan_in) [LeCun et al. 1998].

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.LecunUniform(seed=0)((300, 100), "float64")
    >>> round(float(W.var() * 300), 1)
    1.0
    """

    def __init__(self, seed: Source = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Truncated normal of variance 1 / fan_in [LeCun et al. 1998].

    >>> import tinygrad_rnn as tg
    >>> W = tg.initializers.LecunNormal(seed=0)((300, 100), "float64")
    >>> round(float(W.var() * 300), 1)
    1.0
    """

    def __init__(self, seed: Source = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


class Identity(Configured):
    """The identity matrix, times gain; as a recurrent kernel with relu the IRNN [Le, Jaitly & Hinton 2015].

    >>> import tinygrad_rnn as tg
    >>> tg.initializers.Identity(0.5)((2, 2), "float64")
    array([[0.5, 0. ],
           [0. , 0.5]])
    """

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = np.float32) -> np.ndarray[Any, DType]:
        if len(shape) != 2:
            raise ValueError(f"Identity: got shape {shape}, expected a matrix")
        return (self.gain * np.eye(*shape)).astype(dtype)


class Orthogonal(_Random):
    """A random matrix with orthonormal rows or columns (whichever are fewer), times gain [Saxe et al. 2014].

    As a recurrent kernel it preserves the norm of the state.

    >>> import tinygrad_rnn as tg
    >>> U = tg.initializers.Orthogonal(seed=0)((3, 3), "float64")
    >>> (U @ U.T).round(6) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

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
    "uniform": RandomUniform,
    "random_uniform": RandomUniform,
    "normal": RandomNormal,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
    "identity": Identity,
}


def get(initializer: Any) -> Initializer:
    """The initializer of this name; a callable is returned unchanged.

    >>> import tinygrad_rnn as tg
    >>> tg.initializers.get("zeros")((2,), "float32")
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
