"""Which inputs moved a trained model's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autodiff.functional import jacobian
from ..autodiff.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


def saliency(fn: Callable[[Tensor], Tensor], inputs: Any) -> Array:
    """How much every answer depends on every input: s[t, i] = ‖∂ lead_t / ∂ inputs_i‖ [Simonyan, Vedaldi & Zisserman 2014].

    inputs (S, D): S vectors, of words say. fn(inputs) -> scores (T, C) of T answers, before the softmax or its logarithm.
    The lead of an answer is the score of its likeliest class less that of the next: gradients of probabilities vanish where
    a model is sure, those of leads do not. Returns (T, S). One reverse sweep an answer.

    Raises ValueError for inputs of another rank, and for scores of another rank or of a single class.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x = np.array([[1.0, 2.0], [3.0, 0.0]])
    >>> tg.train.saliency(lambda x: x * [[3.0, 4.0], [1.0, 0.0]], x)
    array([[5., 0.],
           [0., 1.]])
    """
    start = inputs.data if isinstance(inputs, Tensor) else np.asarray(inputs)
    if start.ndim != 2:
        raise ValueError(
            f"saliency: inputs have shape {start.shape}, expected (S, D); fn can add an axis for the batch"
        )

    def leads(x: Tensor) -> Tensor:
        scores = fn(x)
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise ValueError(f"saliency: fn gives scores of shape {scores.shape}, expected (T, C), C at least 2")
        steps, order = np.arange(len(scores.data)), np.argsort(scores.data, axis=1, kind="stable")
        found: Tensor = scores[steps, order[:, -1]] - scores[steps, order[:, -2]]
        return found

    slopes = jacobian(leads, Tensor(start)).data
    return np.asarray(np.sqrt((slopes**2).sum(axis=-1)))
