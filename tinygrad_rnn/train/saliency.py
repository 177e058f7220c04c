"""Saliency: how much each input of a trained model affects its outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autodiff.functional import jacobian
from ..autodiff.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


def saliency(fn: Callable[[Tensor], Tensor], inputs: Any) -> Array:
    """How much each output depends on each input: s[t, i] = ‖∂ margin_t / ∂ inputs_i‖ [Simonyan, Vedaldi & Zisserman 2014].

    inputs (S, D): S vectors, such as word embeddings. fn(inputs) -> scores (T, C) of T outputs, before the softmax or its
    logarithm. The margin is the score of the likeliest class minus that of the second: its gradient does not vanish where
    the model is certain, as that of a probability does. Returns (T, S). One reverse sweep per output.

    Raises ValueError for inputs of another rank, and for scores of another rank or of a single class.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x = np.array([[1.0, 2.0], [3.0, 0.0]])
    >>> tg.train.saliency(lambda x: x * [[3.0, 4.0], [1.0, 0.0]], x)
    array([[5., 0.],
           [0., 1.]])
    """
    data = inputs.data if isinstance(inputs, Tensor) else np.asarray(inputs)
    if data.ndim != 2:
        raise ValueError(f"saliency: inputs have shape {data.shape}, expected (S, D); fn can add an axis for the batch")

    def margins(x: Tensor) -> Tensor:
        scores = fn(x)
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise ValueError(f"saliency: fn gives scores of shape {scores.shape}, expected (T, C), C at least 2")
        steps, order = np.arange(len(scores.data)), np.argsort(scores.data, axis=1, kind="stable")
        margin: Tensor = scores[steps, order[:, -1]] - scores[steps, order[:, -2]]
        return margin

    gradients = jacobian(margins, Tensor(data)).data
    return np.asarray(np.sqrt((gradients**2).sum(axis=-1)))
