"""Losses and the accuracy by Keras's names: f(y_true, y_pred, mask), of probabilities as Keras takes them.

Each is a mean over what the mask leaves in. Formulas are those of ops/loss.py; probabilities are turned to logits, cut to
[1e-7, 1 − 1e-7] as in Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..autodiff.tensor import Tensor

Loss = Callable[..., Any]
EPSILON = 1e-7


def binary_crossentropy(y_true: Any, y_pred: Any, mask: Any = None) -> Any:
    """−t log p − (1 − t) log(1 − p), of one shape.

    >>> import tinygrad_rnn as tg
    >>> round(binary_crossentropy([[1.0]], tg.tensor([[0.5]])).item(), 4)
    0.6931
    """
    p = ops.clip(y_pred, min=EPSILON, max=1 - EPSILON)
    targets = _fitted("binary_crossentropy", y_true, y_pred.shape)
    wide = None if mask is None else np.broadcast_to(np.asarray(mask)[..., None], y_pred.shape)
    return ops.binary_cross_entropy_with_logits(ops.log(p) - ops.log(1 - p), targets=targets, mask=wide)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, mask: Any = None) -> Any:
    """−log p[t] of integer classes t, y_pred (..., C), C at least 2."""
    _several("sparse_categorical_crossentropy", y_pred)
    targets = _classes("sparse_categorical_crossentropy", y_true, y_pred)
    return ops.softmax_cross_entropy(ops.log(ops.clip(y_pred, min=EPSILON)), targets=targets, mask=mask)


def categorical_crossentropy(y_true: Any, y_pred: Any, mask: Any = None) -> Any:
    """−Σ t log p, both (..., C), C at least 2."""
    _several("categorical_crossentropy", y_pred)
    targets = _fitted("categorical_crossentropy", y_true, y_pred.shape)
    return _mean(-(ops.log_softmax(ops.log(ops.clip(y_pred, min=EPSILON))) * targets).sum(axis=-1), mask)


def mean_squared_error(y_true: Any, y_pred: Any, mask: Any = None) -> Any:
    """The mean of (y_pred − y_true)²."""
    return _mean(ops.mse(y_pred, _fitted("mse", y_true, y_pred.shape), reduction="none").mean(axis=-1), mask)


def mean_absolute_error(y_true: Any, y_pred: Any, mask: Any = None) -> Any:
    """The mean of |y_pred − y_true|."""
    return _mean(ops.abs(y_pred - _fitted("mae", y_true, y_pred.shape)).mean(axis=-1), mask)


LOSSES: dict[str, Loss] = {
    "binary_crossentropy": binary_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
    "mae": mean_absolute_error,
    "mean_absolute_error": mean_absolute_error,
    "mean_squared_error": mean_squared_error,
    "mse": mean_squared_error,
    "sparse_categorical_crossentropy": sparse_categorical_crossentropy,
}


ACCURACIES = {
    "binary_accuracy": binary_crossentropy,
    "categorical_accuracy": categorical_crossentropy,
    "sparse_categorical_accuracy": sparse_categorical_crossentropy,
}


def get(loss: Any) -> Loss:
    """The loss of this name, or a function f(y_true, y_pred) of one's own."""
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if loss in LOSSES.values():
        known: Loss = loss
        return known
    if not callable(loss):
        names = ", ".join(sorted(LOSSES))
        raise ValueError(f"compile: loss is {loss!r}, expected one of {names}, or a function f(y_true, y_pred)")
    return partial(_unmasked, loss)


def _unmasked(loss: Loss, y_true: Any, y_pred: Any, mask: Any = None) -> Any:
    """A loss that knows no mask."""
    return loss(y_true, y_pred)


def metric(wanted: Any) -> tuple[str, Callable[..., float]]:
    """A metric's name and the function: the accuracy, by the shapes or by its own name, a loss, or a function of one's own."""
    if wanted in ("accuracy", "acc"):
        return wanted, by_shape
    if isinstance(wanted, str) and wanted in ACCURACIES:
        return wanted, partial(accuracy, ACCURACIES[wanted])
    if not callable(wanted) and wanted not in LOSSES:
        names = ", ".join(["accuracy", *ACCURACIES, *sorted(LOSSES)])
        raise ValueError(f"compile: metric is {wanted!r}, expected one of {names}, or a function f(y_true, y_pred)")
    return wanted if isinstance(wanted, str) else getattr(wanted, "__name__", "metric"), partial(_number, get(wanted))


def _number(measure: Loss, y_true: Any, y_pred: Any, mask: Any = None) -> float:
    return float(measure(y_true, y_pred, mask))


def by_shape(y_true: Any, y_pred: Any, mask: Any = None) -> float:
    """Keras's "accuracy": of one output whether it is above ½, of several whether the largest is the right class."""
    if y_pred.shape[-1] == 1:
        return accuracy(binary_crossentropy, y_true, y_pred, mask)
    integers = np.ndim(y_true) < y_pred.ndim or np.shape(y_true)[-1] == 1
    return accuracy(sparse_categorical_crossentropy if integers else categorical_crossentropy, y_true, y_pred, mask)


def accuracy(loss: Loss, y_true: Any, y_pred: Any, mask: Any = None) -> float:
    """The share of right answers, by what the loss takes for an answer: a class, a row of them, or yes and no."""
    p = y_pred.data if isinstance(y_pred, Tensor) else np.asarray(y_pred)
    if loss is sparse_categorical_crossentropy:
        right = p.argmax(-1) == _classes("accuracy", y_true, y_pred)
    elif loss is categorical_crossentropy:
        right = p.argmax(-1) == np.asarray(y_true).argmax(-1)
    else:
        right = ((p > 0.5) == (_fitted("accuracy", y_true, p.shape) > 0.5)).mean(axis=-1)
    return float(right.mean() if mask is None else right[np.asarray(mask, bool)].mean())


def _several(owner: str, y_pred: Any) -> None:
    if y_pred.shape[-1] < 2:
        raise ValueError(
            f"{owner}: predictions have shape {y_pred.shape}, one class, of which the loss is always 0; for yes and no take "
            "binary_crossentropy after a sigmoid, for C classes Dense(C, 'softmax')"
        )


def _fitted(owner: str, y_true: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Targets in the shape of the predictions, from which an axis of 1 at the end may be missing."""
    found = np.asarray(y_true.data if isinstance(y_true, Tensor) else y_true)
    if found.shape != shape and (*found.shape, 1) != shape:
        raise ValueError(f"{owner}: targets have shape {found.shape}, expected the predictions' shape {shape}")
    return found.reshape(shape).astype(np.float64 if found.dtype == np.float64 else np.float32)


def _classes(owner: str, y_true: Any, y_pred: Any) -> np.ndarray[Any, Any]:
    """Integer classes (...) for predictions (..., C), from (...) or (..., 1)."""
    found, shape = np.asarray(y_true.data if isinstance(y_true, Tensor) else y_true), y_pred.shape[:-1]
    if found.shape != shape and found.shape != (*shape, 1):
        raise ValueError(
            f"{owner}: targets have shape {found.shape}, expected {shape}, integers below {y_pred.shape[-1]}"
        )
    return found.reshape(shape).astype(np.int64)


def _mean(values: Any, mask: Any) -> Any:
    if mask is None:
        return values.mean()
    alive = np.asarray(mask, bool)
    return ops.where(alive, values, 0).sum() / max(int(alive.sum()), 1)
