"""Losses, stable for logits of any size."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import primitive
from ..autodiff.work import per_input
from ..kernels import training
from .pointwise import sigmoid
from .reduce import log_softmax, sum
from .select import where
from .shape import expand_dims

__all__ = ["binary_cross_entropy_with_logits", "mse", "softmax_cross_entropy"]

REDUCTIONS = ("mean", "sum", "none")


@primitive(
    label="cross entropy",
    work=per_input(5),
    samples=lambda r: [
        r.call(r(4, 3), targets=r.integers(3, 4)),
        r.call(r(2, 3, 5), targets=r.integers(5, 2, 3), mask=np.array([[1, 1, 0], [1, 0, 0]], bool)),
        r.call(r(2, 3), targets=r.integers(3, 2), reduction="sum"),
        r.call(r(2, 3), targets=r.integers(3, 2), mask=np.array([True, False]), reduction="none"),
    ],
    errors=lambda r: [
        (r.call(r(2, 3), targets=np.array([0, 3])), "targets[1] is 3"),
        (r.call(r(2, 3), targets=r(2)), "expected integers"),
        (r.call(r(2, 3), targets=np.array([0, 1]), reduction="avg"), "reduction is 'avg'"),
        (r.call(r(2, 3), targets=np.array([0, 1]), mask=r(3)), "mask has shape (3,)"),
    ],
)
def softmax_cross_entropy(
    logits: Array, *, targets: Any, mask: Any = None, reduction: str = "mean", keep: bool = False
) -> Any:
    """−log softmax(logits)[target]: the cross entropy of a distribution given by logits with integer classes.

    logits (..., C); targets (...) integers in [0, C); mask (...) booleans: False leaves an entry out (its target and its
    logits may hold anything). reduction: "mean" over the entries left in (0 if there are none), "sum", or "none" (...).
    Raises ValueError for a target out of range, other shapes or an unknown reduction, TypeError for float targets.

    >>> import tinygrad_rnn as tg
    >>> round(tg.softmax_cross_entropy(tg.tensor([[0.0, 0.0]]), [1]).item(), 4)
    0.6931
    """
    logits = np.asarray(logits)
    targets, mask = _check_targets(logits, targets, mask, reduction)
    rows = logits.reshape(targets.size, logits.shape[-1])
    chosen, counts = targets.reshape(-1), None if mask is None else mask.reshape(-1)
    computed = training.cross_entropy(rows, chosen, counts) if training.takes(rows) else None
    if computed is None:
        _check_classes(targets, mask, logits.shape[-1])
        computed = _losses(rows, chosen, counts)
    losses, largest, total = computed
    weight = _weight(chosen.size if mask is None else int(mask.sum()), reduction)
    out = losses.reshape(targets.shape) if reduction == "none" else np.sum(losses) * logits.dtype.type(weight)
    return (out, (chosen, counts, largest, total, weight)) if keep else out


@softmax_cross_entropy.vjp
def _(g: Array, logits: Array, residuals: Any, *, targets: Any, mask: Any, reduction: str) -> Array:
    chosen, mask, largest, total, weight = residuals
    rows, g = logits.reshape(chosen.size, logits.shape[-1]), g.reshape(g.size if g.ndim else ())
    if training.takes(rows, g):
        return training.cross_entropy_back(rows, chosen, mask, largest, total, g, weight).reshape(logits.shape)
    slope = np.exp(rows - largest[:, None])
    slope /= total[:, None]
    slope[np.arange(len(chosen)), chosen if mask is None else np.where(mask, chosen, 0)] -= 1
    slope *= g[..., None] * slope.dtype.type(weight)
    return (slope if mask is None else np.where(mask[:, None], slope, 0)).reshape(logits.shape)


def _losses(logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array, Array]:
    """The loss of each row (0 where the mask is False), its maximum and the sum of exp(logits − maximum)."""
    chosen = targets if mask is None else np.where(mask, targets, 0)
    largest = np.max(logits, axis=-1)
    shifted = logits - largest[:, None]
    total = np.sum(np.exp(shifted), axis=-1)
    losses = np.log(total) - shifted[np.arange(len(chosen)), chosen]
    return losses if mask is None else np.where(mask, losses, 0), largest, total


@softmax_cross_entropy.expands
def _(logits: Array, *, targets: Any, mask: Any, reduction: str) -> Array:
    chosen, mask = _check_targets(logits, targets, mask, reduction)
    _check_classes(chosen, mask, logits.shape[-1])
    if mask is not None:
        logits, chosen = where(mask[..., None], logits, 0), np.where(mask, chosen, 0)
    one_hot = chosen[..., None] == np.arange(logits.shape[-1])
    losses = -sum(where(one_hot, log_softmax(logits), 0), axis=-1)
    if mask is not None:
        losses = where(mask, losses, 0)
    weight = _weight(chosen.size if mask is None else int(mask.sum()), reduction)
    return losses if reduction == "none" else sum(losses) * weight


def _check_targets(logits: Any, targets: Any, mask: Any, reduction: str) -> tuple[Any, Any]:
    """Targets as an index array and the mask as booleans, both of the logits' leading shape."""
    name = "softmax_cross_entropy"
    targets = np.asarray(targets)
    if targets.dtype.kind not in "iu" and targets.size:
        raise TypeError(
            f"{name}: targets have dtype {targets.dtype}, expected integers (class indices); of one-hot rows take "
            "targets.argmax(-1), of whole numbers stored as floats targets.astype(int)"
        )
    if logits.ndim == 0 or targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"{name}: targets have shape {targets.shape}, expected {logits.shape[:-1]} for logits of shape {logits.shape}"
        )
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction is {reduction!r}, expected one of {REDUCTIONS}")
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != targets.shape:
            raise ValueError(f"{name}: mask has shape {mask.shape}, expected the targets' shape {targets.shape}")
        mask = mask.astype(bool, order="C")
    return targets.astype(np.int64, order="C"), mask  # a copy: the targets may change before the backward pass


def _check_classes(targets: Array, mask: Array | None, classes: int) -> None:
    """Raise the error of the first target that counts and is no class."""
    bad = (targets < 0) | (targets >= classes)
    wrong = np.argwhere(bad if mask is None else bad & mask)
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"softmax_cross_entropy: targets[{', '.join(map(str, at))}] is {targets[at]}, expected 0 <= target < {classes} "
            "(the logits' last axis); leave entries out with mask="
        )


def _weight(n: int, reduction: str) -> float:
    """What a sum of n losses is multiplied by."""
    return 1 / n if reduction == "mean" and n else 1.0


@primitive(
    label="binary cross entropy",
    work=per_input(9),
    samples=lambda r: [
        r.call(r(4), targets=r.integers(2, 4)),
        r.call(r.away(2, 3), targets=r.between(0, 1, 2, 3), mask=np.array([[1, 1, 0], [1, 0, 0]], bool)),
        r.call(r(2, 3), targets=r.between(0, 1, 2, 3), reduction="none"),
    ],
    errors=lambda r: [
        (r.call(r(2), targets=np.array([0, 2.0])), "expected [0, 1]"),
        (r.call(r(2), targets=r(3)), "targets have shape (3,)"),
    ],
)
def binary_cross_entropy_with_logits(
    logits: Array, *, targets: Any, mask: Any = None, reduction: str = "mean"
) -> Array:
    """−t log σ(z) − (1 − t) log(1 − σ(z)) as max(z, 0) − z t + log(1 + e^−|z|), which is stable for logits z of any size.

    logits and targets (...), targets in [0, 1] (no gradient flows to them); mask and reduction as in
    softmax_cross_entropy. Raises ValueError for other shapes, targets outside [0, 1] or an unknown reduction.

    >>> import tinygrad_rnn as tg
    >>> round(tg.binary_cross_entropy_with_logits(tg.tensor([0.0, 100.0]), targets=[1, 1]).item(), 4)
    0.3466
    """
    logits = np.asarray(logits)
    targets, mask, weight = _check_binary(logits, targets, mask, reduction)
    losses = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    if mask is not None:
        losses = np.where(mask, losses, 0)
    return losses if reduction == "none" else np.sum(losses) * logits.dtype.type(weight)


@binary_cross_entropy_with_logits.vjp
def _(g: Array, logits: Array, *, targets: Any, mask: Any, reduction: str) -> Array:
    targets, mask, weight = _check_binary(logits, targets, mask, reduction)
    slope = g * weight * (sigmoid(logits) - targets)
    return slope if mask is None else where(mask, slope, 0)


def _check_binary(logits: Any, targets: Any, mask: Any, reduction: str) -> tuple[Any, Any, float]:
    name = "binary_cross_entropy_with_logits"
    targets = np.asarray(targets).astype(logits.dtype)
    if targets.shape != logits.shape:
        raise ValueError(f"{name}: targets have shape {targets.shape}, expected the logits' shape {logits.shape}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction is {reduction!r}, expected one of {REDUCTIONS}")
    if mask is not None:
        mask = np.asarray(mask).astype(bool)
        if mask.shape != targets.shape:
            raise ValueError(f"{name}: mask has shape {mask.shape}, expected the targets' shape {targets.shape}")
    used = targets if mask is None else targets[mask]
    if used.size and not (used.min() >= 0 and used.max() <= 1):
        raise ValueError(f"{name}: targets lie in [{used.min()}, {used.max()}], expected [0, 1]")
    return targets, mask, _weight(logits.size if mask is None else int(mask.sum()), reduction)


@primitive(
    label="mse",
    work=per_input(3),
    samples=lambda r: [
        (r(3, 4), r(3, 4)),
        r.call(r(5), r(5), reduction="sum"),
        r.call(r(2, 2), r(2, 2), reduction="none"),
    ],
    errors=lambda r: [
        ((r(2), r(3)), "target has shape (3,), expected the prediction's shape (2,)"),
        (r.call(r(2), r(2), reduction="avg"), "reduction is 'avg'"),
    ],
)
def mse(prediction: Array, target: Array, *, reduction: str = "mean") -> Array:
    """(prediction − target)², reduced by "mean", "sum" or "none". Both must have one shape: nothing broadcasts here.

    >>> import tinygrad_rnn as tg
    >>> tg.mse(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0])).item()
    2.0
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(f"mse: target has shape {target.shape}, expected the prediction's shape {prediction.shape}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"mse: reduction is {reduction!r}, expected one of {REDUCTIONS}")
    squares = np.square(prediction - target)
    return squares if reduction == "none" else np.sum(squares) * squares.dtype.type(_weight(squares.size, reduction))


@mse.vjp
def _(g: Array, prediction: Array, target: Array, *, reduction: str) -> Any:
    slope = expand(g, prediction.ndim) if reduction != "none" else g
    slope = slope * (prediction - target) * (2 * (_weight(prediction.size, reduction)))
    return slope, -slope


def expand(g: Array, ndim: int) -> Array:
    """A scalar's cotangent with ndim axes of size 1."""
    return expand_dims(g, axis=tuple(range(ndim)))
