"""Activations by Keras's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops
from ..rnn.cells import ACTIVATIONS as OF_CELLS


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
    return ops.where(x > 0, x, ops.expm1(ops.minimum(x, 0)))


def leaky_relu(x: Any) -> Any:
    """x where it is positive, else x / 5."""
    return ops.where(x > 0, x, 0.2 * x)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    **OF_CELLS,
    "elu": elu,
    "exponential": ops.exp,
    "hard_sigmoid": hard_sigmoid,
    "leaky_relu": leaky_relu,
    "log_softmax": ops.log_softmax,
    "silu": silu,
    "softmax": ops.softmax,
    "softplus": ops.softplus,
    "softsign": softsign,
    "swish": silu,
}


def get(owner: str, argument: str, activation: Any) -> Callable[[Any], Any]:
    """The activation of this name, or the function given; None is the identity.

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
    found: Callable[[Any], Any] = activation
    return found
