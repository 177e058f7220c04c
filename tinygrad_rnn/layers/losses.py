"""Keras's losses and accuracies, f(y_true, y_pred, mask), of probabilities.

Each is the mean over the unmasked elements. Formulas are those of ops/loss.py; probabilities are clipped to
[1e-7, 1 − 1e-7] as in Keras and converted to logits.
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
    """−t log p − (1 − t) log(1 − p), for t and p of the same shape.

    >>> import tinygrad_rnn as tg
    >>> round(binary_crossentropy([[1.0]], tg.tensor([[0.5]])).item(), 4)
    0.6931
    """
    p = ops.clip(y_pred, min=EPSILON, max=1 - EPSILON)
    targets = _fitted("binary_crossentropy", y_true, y_pred.shape)
    expanded = None if mask is None else np.broadcast_to(np.asarray(mask)[..., None], y_pred.shape)
    return ops.binary_cross_entropy_with_logits(ops.log(p) - ops.log(1 - p), targets=targets, mask=expanded)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, mask: Any = None) -> Any:
    """−log p[t] for integer classes t and p (..., C), C at least 2."""
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
    """The loss of this name, or a user's function f(y_true, y_pred)."""
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
    """Adapts a loss that takes no mask."""
    return loss(y_true, y_pred)


def metric(name_or_function: Any) -> tuple[str, Callable[..., float]]:
    """The name and function of a metric: an accuracy (chosen by shape or by name), a loss, or a user's function."""
    if name_or_function in ("accuracy", "acc"):
        return name_or_function, by_shape
    if isinstance(name_or_function, str) and name_or_function in ACCURACIES:
        return name_or_function, partial(accuracy, ACCURACIES[name_or_function])
    if not callable(name_or_function) and name_or_function not in LOSSES:
        names = ", ".join(["accuracy", *ACCURACIES, *sorted(LOSSES)])
        raise ValueError(
            f"compile: metric is {name_or_function!r}, expected one of {names}, or a function f(y_true, y_pred)"
        )
    return name_or_function if isinstance(name_or_function, str) else getattr(
        name_or_function, "__name__", "metric"
    ), partial(_number, get(name_or_function))


def _number(measure: Loss, y_true: Any, y_pred: Any, mask: Any = None) -> float:
    return float(measure(y_true, y_pred, mask))


def by_shape(y_true: Any, y_pred: Any, mask: Any = None) -> float:
    """Keras's "accuracy": for one output the threshold ½, for several the class of the largest."""
    if y_pred.shape[-1] == 1:
        return accuracy(binary_crossentropy, y_true, y_pred, mask)
    integers = np.ndim(y_true) < y_pred.ndim or np.shape(y_true)[-1] == 1
    return accuracy(sparse_categorical_crossentropy if integers else categorical_crossentropy, y_true, y_pred, mask)


def accuracy(loss: Loss, y_true: Any, y_pred: Any, mask: Any = None) -> float:
    """The fraction of correct predictions: integer classes, one-hot classes or binary targets, as the loss defines them."""
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
    """Targets in the shape of the predictions; a last axis of size 1 may be missing."""
    targets = np.asarray(y_true.data if isinstance(y_true, Tensor) else y_true)
    if targets.shape != shape and (*targets.shape, 1) != shape:
        raise ValueError(f"{owner}: targets have shape {targets.shape}, expected the predictions' shape {shape}")
    return targets.reshape(shape).astype(np.float64 if targets.dtype == np.float64 else np.float32)


def _classes(owner: str, y_true: Any, y_pred: Any) -> np.ndarray[Any, Any]:
    """Integer classes (...) for predictions (..., C), from (...) or (..., 1)."""
    targets, shape = np.asarray(y_true.data if isinstance(y_true, Tensor) else y_true), y_pred.shape[:-1]
    if targets.shape != shape and targets.shape != (*shape, 1):
        raise ValueError(
            f"{owner}: targets have shape {targets.shape}, expected {shape}, integers below {y_pred.shape[-1]}"
        )
    return targets.reshape(shape).astype(np.int64)


def _mean(values: Any, mask: Any) -> Any:
    if mask is None:
        return values.mean()
    selected = np.asarray(mask, bool)
    return ops.where(selected, values, 0).sum() / max(int(selected.sum()), 1)
