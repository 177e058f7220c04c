"""The primitives. Each op is one block: forward, vjp, label, samples (see autodiff/op.py for how to read one)."""

from typing import Any

from ..autodiff.op import check_registry
from ..autodiff.tensor import Tensor, registry
from . import index, linalg, loss, pointwise, reduce, shape
from .index import getitem, repeat, reverse_sequence, scatter_add, take
from .linalg import dot, einsum, matmul, tensordot
from .loss import binary_cross_entropy_with_logits, mse, softmax_cross_entropy
from .pointwise import (
    abs,
    add,
    astype,
    clip,
    cos,
    divide,
    exp,
    expm1,
    gelu,
    log,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    relu,
    sigmoid,
    sin,
    softplus,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)
from .reduce import cumsum, log_softmax, logsumexp, max, mean, min, prod, softmax, std, sum, var
from .shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    flatten,
    flip,
    moveaxis,
    pad,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    transpose,
    unstack,
)

permute_dims, concat = transpose, concatenate  # the array standard's names


def _many(op: Any) -> Any:
    """A method that takes its one option as a tuple or as separate arguments, like ndarray.reshape."""

    def method(self: Tensor, *values: Any) -> Tensor:
        value = values[0] if len(values) == 1 and not isinstance(values[0], int) else values
        result: Tensor = op(self, value) if values else op(self)
        return result

    method.__name__, method.__doc__ = op.name, op.__doc__
    return method


for _name in ("sum", "mean", "var", "max", "min", "prod", "cumsum", "swapaxes", "squeeze", "clip", "astype"):
    setattr(Tensor, _name, registry[_name])
for _f in (flatten, repeat, take, dot, std):
    setattr(Tensor, _f.__name__, _f)
for _op in (reshape, transpose):
    setattr(Tensor, _op.name, _many(_op))

check_registry()

__all__ = [
    "abs",
    "add",
    "astype",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "clip",
    "concat",
    "concatenate",
    "cos",
    "cumsum",
    "divide",
    "dot",
    "einsum",
    "exp",
    "expand_dims",
    "expm1",
    "flatten",
    "flip",
    "gelu",
    "getitem",
    "index",
    "linalg",
    "log",
    "log1p",
    "log_softmax",
    "logsumexp",
    "loss",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moveaxis",
    "mse",
    "multiply",
    "negative",
    "pad",
    "permute_dims",
    "pointwise",
    "power",
    "prod",
    "reduce",
    "relu",
    "repeat",
    "reshape",
    "reverse_sequence",
    "scatter_add",
    "shape",
    "sigmoid",
    "sin",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "swapaxes",
    "take",
    "tanh",
    "tensordot",
    "tile",
    "transpose",
    "unstack",
    "var",
    "where",
]
