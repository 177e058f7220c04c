"""Functions with PyTorch's names: import tinygrad_rnn.nn.functional as F."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autodiff.tensor import Tensor
from ..layers.activations import elu, gelu, mish, selu, silu, softsign
from .basics import Dropout, as_tensor, look_up
from .losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, NLLLoss
from .torch_names import L1Loss

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]

relu, sigmoid, tanh, softplus = ops.relu, ops.sigmoid, ops.tanh, ops.softplus


def softmax(input: Any, dim: int = -1) -> Any:
    """eˣ / Σ eˣ along the axis dim.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.softmax(tg.zeros(1, 2), dim=1).tolist()
    [[0.5, 0.5]]
    """
    return ops.softmax(as_tensor(input), axis=dim)


def log_softmax(input: Any, dim: int = -1) -> Any:
    """x − log Σ eˣ along the axis dim.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.functional.log_softmax(tg.zeros(2)).data[0].item(), 4)
    -0.6931
    """
    return ops.log_softmax(as_tensor(input), axis=dim)


def logsigmoid(input: Any) -> Any:
    """log σ(x), without overflow.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.functional.logsigmoid(tg.zeros(1)).item(), 4)
    -0.6931
    """
    return -ops.softplus(-as_tensor(input))


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """x where it is positive, else negative_slope · x.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.leaky_relu(tg.tensor([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
    """
    x = as_tensor(input)
    return ops.where(ops.greater(x, 0), x, negative_slope * x)


def dropout(input: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element is 0 with probability p, else divided by 1 − p; the input itself if training is False.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.dropout(tg.ones(2), training=False).tolist()
    [1.0, 1.0]
    """
    layer = Dropout(p)
    layer.training = bool(training)
    result: Tensor = layer(input)
    return result


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """x Wᵀ + b, weight (out, in).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.linear(tg.ones(1, 2), tg.ones(3, 2)).tolist()
    [[2.0, 2.0, 2.0]]
    """
    return ops.linear(as_tensor(input), as_tensor(weight), None if bias is None else as_tensor(bias), transposed=True)


def embedding(input: Any, weight: Any) -> Tensor:
    """weight[input], of integers.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.embedding([1, 0], tg.tensor([[1.0], [2.0]])).tolist()
    [[2.0], [1.0]]
    """
    return look_up("embedding", as_tensor(weight), input, "weight's rows")


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """1 where the class is, 0 elsewhere: (...) integers give (..., num_classes); −1 means the largest class + 1.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.one_hot([0, 2]).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    classes = np.asarray(tensor.data if isinstance(tensor, Tensor) else tensor)
    count = int(classes.astype(np.int64).max(initial=-1)) + 1 if num_classes == -1 else num_classes
    if classes.dtype.kind not in "iu" or (classes.size and (classes.min() < 0 or classes.max() >= count)):
        raise ValueError(f"one_hot: classes of dtype {classes.dtype}, expected integers from 0 to {count - 1}")
    return Tensor((classes[..., None] == np.arange(count)).astype(np.int64))


def cross_entropy(input: Any, target: Any, weight: Any = None, **options: Any) -> Any:
    """−log softmax(input)[target], options as in nn.CrossEntropyLoss.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.functional.cross_entropy(tg.zeros(1, 2), [1]).item(), 4)
    0.6931
    """
    return CrossEntropyLoss(weight, **options)(input, target)


def nll_loss(input: Any, target: Any, weight: Any = None, **options: Any) -> Any:
    """−input[target] of log-probabilities, options as in nn.NLLLoss.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.nll_loss(tg.tensor([[-1.0, -2.0]]), [1]).item()
    2.0
    """
    return NLLLoss(weight, **options)(input, target)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """(input − target)².

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.mse_loss(tg.zeros(2), tg.ones(2)).item()
    1.0
    """
    return MSELoss(reduction)(input, target)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """|input − target|.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.functional.l1_loss(tg.zeros(2), tg.ones(2), reduction="sum").item()
    2.0
    """
    return L1Loss(reduction)(input, target)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
    """−t log p − (1 − t) log(1 − p), of probabilities; see nn.BCELoss.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.functional.binary_cross_entropy(tg.tensor([0.5]), tg.ones(1)).item(), 4)
    0.6931
    """
    return BCELoss(weight, reduction)(input, target)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """−t log σ(z) − (1 − t) log(1 − σ(z)); see nn.BCEWithLogitsLoss.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.functional.binary_cross_entropy_with_logits(tg.zeros(1), tg.ones(1)).item(), 4)
    0.6931
    """
    return BCEWithLogitsLoss(weight, reduction, pos_weight)(input, target)
