"""Keras's activations, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import config, ops
from ..rnn.cells import ACTIVATIONS as OF_CELLS


def gelu(x: Any, approximate: bool = False) -> Any:
    """x Φ(x), Φ the standard normal distribution function; approximate: the tanh form [Hendrycks & Gimpel 2016]."""
    return ops.gelu(x) if approximate else 0.5 * x * (1 + ops.erf(x / 2**0.5))


def celu(x: Any) -> Any:
    """x where it is positive, else eˣ − 1; equal to elu for α = 1."""
    return elu(x)


def tanh_shrink(x: Any) -> Any:
    """x − tanh(x)."""
    return x - ops.tanh(x)


def soft_shrink(x: Any) -> Any:
    """x moved by ½ towards 0; 0 between −½ and ½."""
    return x - ops.clip(x, min=-0.5, max=0.5)


def hard_shrink(x: Any) -> Any:
    """x, but 0 between −½ and ½."""
    return ops.where(ops.abs(x) > 0.5, x, 0 * x)


def squareplus(x: Any) -> Any:
    """(x + √(x² + 4)) / 2."""
    return (x + ops.sqrt(x * x + 4)) / 2


def sparse_plus(x: Any) -> Any:
    """(x + 1)² / 4 between −1 and 1, 0 below, x above."""
    return ops.where(x < 1, ops.square(ops.maximum(x, -1) + 1) / 4, x)


def sparse_sigmoid(x: Any) -> Any:
    """(x + 1) / 2, cut to [0, 1]."""
    return ops.clip((x + 1) / 2, min=0, max=1)


def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return x / (1 + ops.abs(x))


def silu(x: Any) -> Any:
    """x σ(x)."""
    return x * ops.sigmoid(x)


def hard_sigmoid(x: Any) -> Any:
    """x / 6 + ½, cut to [0, 1]."""
    return ops.clip(x / 6 + 0.5, min=0, max=1)


def elu(x: Any) -> Any:
    """x where it is positive, else eˣ − 1."""
    return ops.where(x > 0, x, _below_zero(x))


def _below_zero(x: Any) -> Any:
    """eˣ − 1 where x is not positive; elsewhere 0, since eˣ could overflow there."""
    return ops.expm1(ops.where(x > 0, 0, x))


def leaky_relu(x: Any) -> Any:
    """x where it is positive, else x / 5."""
    return ops.where(x > 0, x, 0.2 * x)


def selu(x: Any) -> Any:
    """elu with α = 1.6733, times 1.0507: keeps mean 0 and variance 1 [Klambauer et al. 2017]."""
    return 1.0507009873554805 * ops.where(x > 0, x, 1.6732632423543772 * _below_zero(x))


def relu6(x: Any) -> Any:
    """x cut to [0, 6]; the slope at both ends is 0."""
    return ops.where(x < 6, ops.relu(x), 6)


def hard_tanh(x: Any) -> Any:
    """x cut to [−1, 1]."""
    return ops.clip(x, min=-1, max=1)


def hard_silu(x: Any) -> Any:
    """x times its hard sigmoid."""
    return x * hard_sigmoid(x)


def log_sigmoid(x: Any) -> Any:
    """log σ(x), without overflow."""
    return -ops.softplus(-x)


def mish(x: Any) -> Any:
    """x tanh(softplus(x)) [Misra 2019]."""
    return x * ops.tanh(ops.softplus(x))


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    **OF_CELLS,
    "celu": celu,
    "elu": elu,
    "exponential": ops.exp,
    "gelu": gelu,
    "hard_shrink": hard_shrink,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "log_sigmoid": log_sigmoid,
    "log_softmax": ops.log_softmax,
    "mish": mish,
    "relu6": relu6,
    "selu": selu,
    "silu": silu,
    "soft_shrink": soft_shrink,
    "softmax": ops.softmax,
    "softplus": ops.softplus,
    "softsign": softsign,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "squareplus": squareplus,
    "swish": silu,
    "tanh_shrink": tanh_shrink,
}
config.functions.update(ACTIVATIONS)


def get(owner: str, argument: str, activation: Any) -> Callable[[Any], Any]:
    """The activation of this name, or the function itself; None is the identity.

    >>> get("Dense", "activation", "relu")
    <op relu>
    """
    if activation is None:
        return ACTIVATIONS["linear"]
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    if not callable(activation):
        names = ", ".join(sorted(ACTIVATIONS))
        raise ValueError(f"{owner}: {argument} is {activation!r}, expected one of {names}, or a function of a tensor")
    function: Callable[[Any], Any] = activation
    return function
