"""The trigonometric and hyperbolic functions, their inverses, and functions of triangles."""

from __future__ import annotations

from math import factorial, pi
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import composite, primitive
from ..autodiff.rows import elementwise
from ..autodiff.work import per_result
from .pointwise import sqrt

# fmt: off
__all__ = [
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cosh", "deg2rad", "degrees", "hypot",
    "rad2deg", "radians", "sinc", "sinh", "tan",
]
# fmt: on
KIND = "pointwise"
WORK = per_result()


@primitive(
    label="tan", rows=elementwise, numpy=np.tan, samples=lambda r: [r.between(-1.2, 1.2, 3, 4), r.between(-1, 1)]
)
def tan(x: Array) -> Array:
    """Tangent of x in radians; its derivative is 1 + tan² x.

    >>> import tinygrad_rnn as tg
    >>> tg.tan(tg.tensor([0.0, 1.0]))
    tensor([0.      , 1.557408], float32)
    """
    return np.tan(x)


@tan.vjp
def _(g: Array, out: Array) -> Array:
    return g * (1 + out * out)


@primitive(label="sinh", rows=elementwise, numpy=np.sinh, samples=lambda r: [r(3, 4), r()])
def sinh(x: Array) -> Array:
    """Hyperbolic sine (e^x − e^−x) / 2; its derivative is cosh x.

    >>> import tinygrad_rnn as tg
    >>> tg.sinh(tg.tensor([0.0, 1.0]))
    tensor([0.      , 1.175201], float32)
    """
    return np.sinh(x)


@sinh.vjp
def _(g: Array, x: Array) -> Array:
    return g * cosh(x)


@primitive(label="cosh", rows=elementwise, numpy=np.cosh, samples=lambda r: [r(3, 4), r()])
def cosh(x: Array) -> Array:
    """Hyperbolic cosine (e^x + e^−x) / 2; its derivative is sinh x.

    >>> import tinygrad_rnn as tg
    >>> tg.cosh(tg.tensor([0.0, 1.0]))
    tensor([1.      , 1.543081], float32)
    """
    return np.cosh(x)


@cosh.vjp
def _(g: Array, x: Array) -> Array:
    return g * sinh(x)


@primitive(
    label="arcsin",
    rows=elementwise,
    numpy=np.arcsin,
    samples=lambda r: [r.between(-0.9, 0.9, 3, 4), r.between(-0.5, 0.5)],
)
def arcsin(x: Array) -> Array:
    """The angle in [−π/2, π/2] whose sine is x; its derivative 1 / √(1 − x²) is infinite at ±1.

    >>> import tinygrad_rnn as tg
    >>> tg.arcsin(tg.tensor([0.0, 1.0]))
    tensor([0.      , 1.570796], float32)
    """
    return np.arcsin(x)


@arcsin.vjp
def _(g: Array, x: Array) -> Array:
    return g / sqrt((1 - x) * (1 + x))


@primitive(
    label="arccos",
    rows=elementwise,
    numpy=np.arccos,
    samples=lambda r: [r.between(-0.9, 0.9, 3, 4), r.between(-0.5, 0.5)],
)
def arccos(x: Array) -> Array:
    """The angle in [0, π] whose cosine is x; its derivative −1 / √(1 − x²) is infinite at ±1.

    >>> import tinygrad_rnn as tg
    >>> tg.arccos(tg.tensor([0.0, 1.0]))
    tensor([1.570796, 0.      ], float32)
    """
    return np.arccos(x)


@arccos.vjp
def _(g: Array, x: Array) -> Array:
    return -g / sqrt((1 - x) * (1 + x))


@primitive(label="arctan", rows=elementwise, numpy=np.arctan, samples=lambda r: [r(3, 4), r()])
def arctan(x: Array) -> Array:
    """The angle in (−π/2, π/2) whose tangent is x; its derivative is 1 / (1 + x²).

    >>> import tinygrad_rnn as tg
    >>> tg.arctan(tg.tensor([0.0, 1.0]))
    tensor([0.      , 0.785398], float32)
    """
    return np.arctan(x)


@arctan.vjp
def _(g: Array, x: Array) -> Array:
    return g / (1 + x * x)


@primitive(label="arcsinh", rows=elementwise, numpy=np.arcsinh, samples=lambda r: [r(3, 4), r()])
def arcsinh(x: Array) -> Array:
    """The inverse of sinh, log(x + √(x² + 1)); its derivative is 1 / √(x² + 1).

    >>> import tinygrad_rnn as tg
    >>> tg.arcsinh(tg.tensor([0.0, 1.0]))
    tensor([0.      , 0.881374], float32)
    """
    return np.arcsinh(x)


@arcsinh.vjp
def _(g: Array, x: Array) -> Array:
    return g / hypot(x, 1.0)


@primitive(
    label="arccosh", rows=elementwise, numpy=np.arccosh, samples=lambda r: [r.between(1.3, 4, 3, 4), r.between(1.5, 2)]
)
def arccosh(x: Array) -> Array:
    """The inverse of cosh for x ≥ 1, log(x + √(x² − 1)); its derivative 1 / √(x² − 1) is infinite at 1.

    >>> import tinygrad_rnn as tg
    >>> tg.arccosh(tg.tensor([1.0, 2.0]))
    tensor([0.      , 1.316958], float32)
    """
    return np.arccosh(x)


@arccosh.vjp
def _(g: Array, x: Array) -> Array:
    return g / (sqrt(x - 1) * sqrt(x + 1))


@primitive(
    label="arctanh",
    rows=elementwise,
    numpy=np.arctanh,
    samples=lambda r: [r.between(-0.9, 0.9, 3, 4), r.between(-0.5, 0.5)],
)
def arctanh(x: Array) -> Array:
    """The inverse of tanh, ½ log((1 + x) / (1 − x)); its derivative 1 / (1 − x²) is infinite at ±1.

    >>> import tinygrad_rnn as tg
    >>> tg.arctanh(tg.tensor([0.0, 0.5]))
    tensor([0.      , 0.549306], float32)
    """
    return np.arctanh(x)


@arctanh.vjp
def _(g: Array, x: Array) -> Array:
    return g / ((1 - x) * (1 + x))


def _planes(r: Any) -> list[Any]:
    """Samples of two coordinates away from the origin, of equal shapes and broadcast."""
    return [(r.away(3, 4, gap=0.3), r.away(3, 4, gap=0.3)), (r.away(4, gap=0.3), r.away(2, 3, 1, gap=0.3)), (2.0, r(3))]


@primitive(label="arctan2", rows=elementwise, numpy=np.arctan2, broadcasts=True, samples=_planes)
def arctan2(y: Array, x: Array) -> Array:
    """The angle of the point (x, y) in (−π, π]: arctan(y / x) in the right quadrant. Its derivative at the origin is NaN.

    >>> import tinygrad_rnn as tg
    >>> tg.arctan2(tg.tensor([1.0, 1.0]), tg.tensor([1.0, -1.0]))
    tensor([0.785398, 2.356194], float32)
    """
    return np.arctan2(y, x)


@arctan2.vjp
def _(g: Array, y: Array, x: Array, needs: Any) -> Any:
    r = hypot(y, x)
    g = g / r
    return g * (x / r) if needs[0] else None, -g * (y / r) if needs[1] else None


@primitive(label="hypot", rows=elementwise, numpy=np.hypot, broadcasts=True, samples=_planes)
def hypot(a: Array, b: Array) -> Array:
    """√(a² + b²) without overflow. Its derivative at the origin is NaN.

    >>> import tinygrad_rnn as tg
    >>> tg.hypot(tg.tensor([3.0, 5.0]), tg.tensor([4.0, 12.0])).tolist()
    [5.0, 13.0]
    """
    return np.hypot(a, b)


@hypot.vjp
def _(g: Array, a: Array, b: Array, out: Array, needs: Any) -> Any:
    return g * (a / out) if needs[0] else None, g * (b / out) if needs[1] else None


@composite(np.degrees, np.rad2deg)
def degrees(x: Array) -> Array:
    """Radians as degrees: x · 180 / π.

    >>> import tinygrad_rnn as tg
    >>> tg.degrees(tg.tensor([0.0, 0.5]))
    tensor([ 0.     , 28.64789], float32)
    """
    return x * (180 / pi)


@composite(np.radians, np.deg2rad)
def radians(x: Array) -> Array:
    """Degrees as radians: x · π / 180.

    >>> import tinygrad_rnn as tg
    >>> tg.radians(tg.tensor([0.0, 180.0]))
    tensor([0.      , 3.141593], float32)
    """
    return x * (pi / 180)


rad2deg, deg2rad = degrees, radians


@primitive(
    label="sinc",
    rows=elementwise,
    numpy=np.sinc,
    samples=lambda r: [r.away(3, 4, gap=0.01), np.array([0.0, 0.05, -0.2, 0.4, 3.0]), r()],
)
def sinc(x: Array, *, order: int = 0) -> Array:
    """sin(πx) / (πx), 1 at 0; order=k gives its k-th derivative.

    x · sinc(x) = sin(πx) / π, differentiated k times, gives x f_k + k f_{k−1} = π^(k−1) sin(πx + kπ/2); near 0 the power
    series Σ (−1)^n (πx)^2n / (2n + 1)! is used instead.

    >>> import tinygrad_rnn as tg
    >>> tg.sinc(tg.tensor([0.0, 0.5, 1.5]))
    tensor([ 1.      ,  0.63662 , -0.212207], float32)
    """
    if not order:
        return np.sinc(x)
    near = np.abs(x) < 0.4
    far = np.where(near, 1, x)
    out = np.sinc(far)
    for k in range(1, order + 1):
        out = (pi ** (k - 1) * np.sin(pi * far + k * pi / 2) - k * out) / far
    small = np.where(near, x, 0)
    series = np.zeros_like(small)
    for n in range(12 + order, (order - 1) // 2, -1):
        power = 2 * n - order
        series += (-1) ** n * pi ** (2 * n) / (2 * n + 1) * small**power / factorial(power)
    return np.where(near, series, out)


@sinc.vjp
def _(g: Array, x: Array, *, order: int) -> Array:
    return g * sinc(x, order=order + 1)
