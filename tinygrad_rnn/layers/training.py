"""Training of Sequential: batches of arrays, the loss and metrics of a batch, the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import checks, ops
from ..autodiff.state import ambient
from ..autodiff.tensor import Tensor
from ..parallel.serial import Serial
from .base import Shape, mask_of
from .wrappers import TimeDistributed

Array = np.ndarray[Any, Any]
Totals = dict[str, tuple[float, int]]  # by name: the sum of values times weights, and the sum of weights


class History:
    """The result of Sequential.fit: `history`, a dict of lists with one value per epoch; `epoch`, the epochs' numbers.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> model = tg.models.Sequential([tg.layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile("sgd", "mse")
    >>> result = model.fit(np.zeros((4, 2)), np.ones((4, 1)), epochs=2, batch_size=4)
    >>> result.epoch, [round(loss, 4) for loss in result.history["loss"]]
    ([0, 1], [1.0, 0.9604])
    >>> result
    History(2 epochs: loss 0.9604)
    """

    def __init__(self, history: dict[str, list[float]], stopped: str = "epochs"):
        self.history, self.stopped = history, stopped
        self.epoch = list(range(len(history["loss"])))

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items() if values)
        return f"History({len(self.epoch)} epoch{'s' * (len(self.epoch) != 1)}{': ' + last if last else ''})"


class Tally:
    """The loss of a batch, as train.fit calls it, and running means of loss and metrics. The weight of a batch is its number
    of rows, for masked metrics the number of real steps."""

    def __init__(self, model: Any):
        self.model = model
        self.clear()

    def clear(self) -> None:
        """Reset the means."""
        self.totals: Totals = dict.fromkeys(("loss", *self.model._metrics), (0.0, 0))
        self.count = 0  # of batches

    def loss(self, batch: tuple[Array, Array]) -> Any:
        """The loss of a batch; adds it and the metrics to the means."""
        x, y = batch
        model = self.model
        y_pred = model(x, training=ambient.get().training)
        if model.layers:
            _demand_choice(model.layers[-1], y_pred.shape)
        mask = mask_of(y_pred)
        loss = sum(model.losses, model._loss(y, y_pred, mask))
        self.count += 1
        self._add("loss", float(loss), len(x))
        for name, measure in model._metrics.items():
            self._add(name, measure(y, y_pred, mask), len(x) if mask is None else int(np.sum(mask)))
        return loss

    def _add(self, name: str, value: float, weight: int) -> None:
        total, weights = self.totals[name]
        self.totals[name] = total + value * weight, weights + weight

    def means(self, group: Serial | None = None) -> dict[str, float]:
        """The means so far, over all processes of a group."""
        return means_of(self.totals, group or Serial())


def means_of(totals: Totals, group: Serial) -> dict[str, float]:
    """The mean of loss and metrics over all processes; empty without a batch."""
    sums = {name: group.sum(*pair) for name, pair in totals.items()}
    return {name: total / max(weight, 1) for name, (total, weight) in sums.items()} if sums["loss"][1] else {}


def _demand_choice(layer: Any, shape: Shape) -> None:
    """Raise ValueError for a softmax over one unit, which is always 1."""
    while isinstance(layer, TimeDistributed):
        layer = layer.layer
    if shape[-1:] == (1,) and getattr(layer, "activation", None) in (ops.softmax, ops.log_softmax):
        raise ValueError(
            f"{layer.scope_name}: softmax over one unit gives 1 whatever comes; use activation='sigmoid', or a unit for each "
            "class"
        )


def split(data: tuple[Array, Array], share: float) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Split the data into those for training and the share at their end for validation."""
    cut = int(len(data[0]) * (1 - share))
    if not 0 < cut < len(data[0]):
        raise ValueError(f"fit: validation_split is {share!r} of {len(data[0])} examples, expected some on both sides")
    return (data[0][:cut], data[1][:cut]), (data[0][cut:], data[1][cut:])


class Epochs:
    """The batches of an epoch, created at every iteration, with a length for the progress bar."""

    def __init__(self, make: Callable[[], Iterator[tuple[Array, Array]]], count: int):
        self.make, self.count = make, count

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return self.make()

    def __len__(self) -> int:
        return self.count


def batches(x: Array, y: Array, size: int, order: Array | None = None) -> Iterator[tuple[Array, Array]]:
    """The batches of one epoch, optionally in a given order of examples."""
    for i in range(0, len(x), size):
        part: Any = slice(i, i + size) if order is None else order[i : i + size]
        yield x[part], y[part]


def batch_size_of(owner: str, batch_size: int | None) -> int:
    """The batch size, by default 32 as in Keras."""
    return 32 if batch_size is None else checks.integer(owner, "batch_size", batch_size)


def numbers(name: str, value: Any) -> Array:
    """The value as a numeric array; the error otherwise explains how to convert it."""
    try:
        array = np.asarray(value.data if isinstance(value, Tensor) else value)
    except ValueError as error:
        hint = "of unequal lengths" if isinstance(value, (list, tuple)) else "that form no array"
        raise ValueError(
            f"{name} holds sequences {hint}, expected one array; data.pad(sequences).values pads them ({error})"
        ) from None
    if array.dtype.kind in "US":
        raise TypeError(
            f"{name} holds strings, expected numbers; np.unique(labels, return_inverse=True) numbers labels, "
            "data.Vocabulary numbers tokens"
        )
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected numbers; of unequal sequences data.pad(sequences).values makes an array"
        )
    return array
