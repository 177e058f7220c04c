"""PyTorch's losses as modules: loss(input, target), with classes on axis 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops
from ..autodiff.tensor import Tensor
from ..module import Module
from ..ops.loss import REDUCTIONS
from .basics import as_tensor


class Loss(Module):
    """Base of the losses."""

    def __init__(self, reduction: str = "mean"):
        if reduction not in REDUCTIONS:
            raise ValueError(f"{type(self).__name__}: reduction is {reduction!r}, expected one of {REDUCTIONS}")
        self.reduction = reduction

    def describe(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class _ByClass(Loss):
    """A loss of scores (B, C) or (B, C, ...) or (C) and integer targets without the axis C."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = _numbers(self, "weight", weight)
        if self.weight is not None and self.weight.ndim != 1:
            raise ValueError(
                f"{type(self).__name__}: weight has shape {self.weight.shape}, expected (C,), one number for each class"
            )
        if not checks.is_integer(ignore_index):
            raise TypeError(f"{type(self).__name__}: ignore_index is {ignore_index!r}, expected an integer")
        self.ignore_index = int(ignore_index)

    def prepared(self, value: Any, target: Any) -> tuple[Tensor, Any, Any]:
        """Scores with classes on the last axis, targets, and a mask of those that are not ignored."""
        owner = type(self).__name__
        scores, classes = as_tensor(value), np.asarray(target.data if isinstance(target, Tensor) else target)
        if classes.dtype.kind not in "iu":
            raise TypeError(
                f"{owner}: target has dtype {classes.dtype}, expected integers (class indices); of one-hot rows take "
                "target.argmax(-1), of whole numbers stored as floats target.astype(int)"
            )
        classes = classes.astype(np.int64)  # unsigned ones could not be compared with ignore_index
        if scores.ndim == 0 or classes.shape != scores.shape[:1] * (scores.ndim > 1) + scores.shape[2:]:
            raise ValueError(
                f"{owner}: input has shape {scores.shape} and target {classes.shape}, expected (B, C, ...) and (B, ...), or "
                "(C) and (): the classes are on axis 1, as in PyTorch"
            )
        last = ops.moveaxis(scores, 1, -1) if scores.ndim > 2 else scores
        if self.weight is not None and self.weight.shape != last.shape[-1:]:
            raise ValueError(
                f"{owner}: weight has shape {self.weight.shape}, expected ({last.shape[-1]},) for as many classes"
            )
        counted = classes != self.ignore_index
        low, high = classes[counted].min(initial=0), classes[counted].max(initial=-1)
        if low < 0 or high >= last.shape[-1]:
            raise ValueError(
                f"{owner}: target holds {low if low < 0 else high}, expected 0 <= target < {last.shape[-1]} (the number of "
                f"classes) or ignore_index={self.ignore_index}"
            )
        return last, np.where(counted, classes, 0), counted

    def weighed(self, logs: Tensor, chosen: Any, kept: Any, smoothing: float = 0.0) -> Tensor:
        """−Σ q log p over the classes, q the smoothed one-hot target times the class weights; "mean" divides by the sum of
        the targets' weights."""
        classes = logs.shape[-1]
        weight = np.ones(classes) if self.weight is None else self.weight
        right = chosen[..., None] == np.arange(classes)
        q = np.where(kept[..., None], ((1 - smoothing) * right + smoothing / classes) * weight, 0).astype(logs.dtype)
        losses: Tensor = -ops.sum(ops.where(q != 0, logs * q, 0), axis=-1)
        if self.reduction == "none":
            return losses
        total: Tensor = ops.sum(losses)
        return total if self.reduction == "sum" else total / (float(weight[chosen][kept].sum()) or 1.0)

    def describe(self) -> str:
        rest = super().describe()
        return rest if self.ignore_index == -100 else f"ignore_index={self.ignore_index}" + (rest and f", {rest}")


class CrossEntropyLoss(_ByClass):
    """−log softmax(input)[target], of logits.

    input (B, C), (B, C, ...) or (C); target (B), (B, ...) or () integers. Entries whose target is ignore_index are ignored.
    "mean" divides by the number of the others (0 if there are none, where PyTorch returns NaN), "sum" adds up, "none"
    returns the target's shape. weight (C): the weight of each class, also in the mean. label_smoothing: the share of the
    target that is spread evenly over all classes [Szegedy et al. 2016]. Raises ValueError for wrong shapes and targets out
    of range, TypeError for float targets.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.CrossEntropyLoss()(tg.tensor([[0.0, 0.0], [5.0, 0.0]]), [1, -100]).item(), 4)
    0.6931
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ):
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"CrossEntropyLoss: label_smoothing is {label_smoothing!r}, expected a number in [0, 1]")
        self.label_smoothing = float(label_smoothing)

    def forward(self, input: Any, target: Any) -> Tensor:
        scores, chosen, kept = self.prepared(input, target)
        if self.weight is not None or self.label_smoothing:
            return self.weighed(ops.log_softmax(scores), chosen, kept, self.label_smoothing)
        result: Tensor = ops.softmax_cross_entropy(scores, targets=chosen, mask=kept, reduction=self.reduction)
        return result


class NLLLoss(_ByClass):
    """−input[target], of log-probabilities (see log_softmax); shapes and options as in CrossEntropyLoss.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.NLLLoss()(tg.log_softmax(tg.tensor([[0.0, 0.0]])), [1]).item(), 4)
    0.6931
    """

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(weight, ignore_index, reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        return self.weighed(*self.prepared(input, target))


class MSELoss(Loss):
    """(input − target)², reduced by "mean", "sum" or "none"; both have the same shape, without broadcasting.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.MSELoss()(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        x = as_tensor(input)
        y = target if isinstance(target, Tensor) else Tensor(target, None if hasattr(target, "dtype") else x.dtype)
        result: Tensor = ops.mse(x, y, reduction=self.reduction)
        return result


class _Binary(Loss):
    """A loss of probabilities or logits and targets in [0, 1] of the same shape."""

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = _numbers(self, "weight", weight)

    def prepared(self, input: Any, target: Any) -> tuple[Tensor, Any]:
        """The input, and the target in its dtype: a tensor if it requires grad, else an array."""
        x, owner = as_tensor(input), type(self).__name__
        t = np.asarray(target.data if isinstance(target, Tensor) else target).astype(x.dtype)
        if t.shape != x.shape:
            raise ValueError(f"{owner}: target has shape {t.shape}, expected the input's shape {x.shape}")
        if t.size and not (t.min() >= 0 and t.max() <= 1):
            raise ValueError(f"{owner}: targets lie in [{t.min()}, {t.max()}], expected [0, 1]")
        return x, target.astype(x.dtype) if isinstance(target, Tensor) and target.requires_grad else t

    def reduced(self, losses: Tensor) -> Tensor:
        """The losses of all elements times their weights, reduced."""
        if self.weight is not None:
            weight = self.weight.astype(losses.dtype)
            try:
                losses = losses * np.broadcast_to(weight, losses.shape)
            except ValueError:
                raise ValueError(
                    f"{type(self).__name__}: weight has shape {weight.shape}, expected one that broadcasts to {losses.shape}"
                ) from None
        if self.reduction == "none":
            return losses
        result: Tensor = ops.sum(losses) if self.reduction == "sum" else ops.mean(losses)
        return result


class BCELoss(_Binary):
    """−t log p − (1 − t) log(1 − p), for probabilities p and targets t in [0, 1] of the same shape.

    Logarithms are not below −100, as in PyTorch, so that the loss is finite; their gradient is 0 there. BCEWithLogitsLoss on
    the logits is more accurate. weight: the weight of each element, broadcast; "mean" divides by the number of elements.
    Raises ValueError for other shapes, and probabilities or targets outside [0, 1].

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.BCELoss()(tg.tensor([0.5, 0.75]), [1.0, 0.0]).item(), 4)
    1.0397
    """

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(weight, reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        p, t = self.prepared(input, target)
        if p.size and not (p.data.min() >= 0 and p.data.max() <= 1):
            raise ValueError(
                f"BCELoss: input lies in [{p.data.min()}, {p.data.max()}], expected probabilities in [0, 1]; for logits use "
                "BCEWithLogitsLoss"
            )
        return self.reduced(-(t * _log(p) + (1 - t) * _log(1 - p)))


class BCEWithLogitsLoss(_Binary):
    """−t log σ(z) − (1 − t) log(1 − σ(z)), for logits z and targets t in [0, 1] of the same shape; stable for any z.

    weight as in BCELoss. pos_weight: multiplies the first term, one number for each class on the last axis, or for all.
    Raises ValueError for other shapes and targets outside [0, 1].

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.BCEWithLogitsLoss()(tg.tensor([0.0]), [1.0]).item(), 4)
    0.6931
    >>> round(tg.nn.BCEWithLogitsLoss(pos_weight=3.0)(tg.tensor([0.0]), [1.0]).item(), 4)
    2.0794
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(weight, reduction)
        self.pos_weight = _numbers(self, "pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        z, t = self.prepared(input, target)
        if self.pos_weight is None and not isinstance(t, Tensor):
            losses = ops.binary_cross_entropy_with_logits(z, targets=t, reduction="none")
        else:
            pos_weight = np.asarray(1 if self.pos_weight is None else self.pos_weight, z.dtype)
            losses = (1 - t) * z + (1 + (pos_weight - 1) * t) * ops.softplus(-z)
        return self.reduced(losses)


def _numbers(loss: Loss, name: str, value: Any) -> Any:
    """Weights as an array, or None."""
    if value is None:
        return None
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{type(loss).__name__}: {name} has dtype {array.dtype}, expected numbers")
    return array


def _log(p: Tensor) -> Tensor:
    """log p, or −100 where that is larger."""
    large = p.data > np.exp(-100.0)
    result: Tensor = ops.where(large, ops.log(ops.where(large, p, 1.0)), -100.0)
    return result
