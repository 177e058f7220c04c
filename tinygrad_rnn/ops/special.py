"""Special functions that NumPy does not have."""

from __future__ import annotations

import math

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import primitive
from ..autodiff.rows import elementwise
from ..autodiff.work import per_result
from .pointwise import exp

__all__ = ["erf"]
WORK = per_result()

_erf = np.frompyfunc(math.erf, 1, 1)


@primitive(label="erf", rows=elementwise, samples=lambda r: [r(3, 4), r()])
def erf(x: Array) -> Array:
    """The error function 2/√π ∫₀ˣ e^(−t²) dt, element by element.

    >>> import tinygrad_rnn as tg
    >>> tg.erf(tg.tensor([0.0, 1.0]))
    tensor([0.      , 0.842701], float32)
    """
    return np.asarray(_erf(x), x.dtype)


@erf.vjp
def _(g: Array, x: Array) -> Array:
    return g * (2 / math.sqrt(math.pi) * exp(-x * x))
