"""Keras's layers without weights: Activation, Flatten, RepeatVector, pooling over time."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, ops
from ..autodiff.tensor import Tensor
from . import activations
from .base import Layer, LayerOptions, Shape

if TYPE_CHECKING:
    from typing import Unpack


class Activation(Layer):
    """Apply an activation to every element, or to the last axis (softmax): a name that Dense accepts, or a function.

    >>> import tinygrad_rnn as tg
    >>> tg.layers.Activation("relu")([[-1.0, 2.0]]).tolist()
    [[0.0, 2.0]]
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Unpack[LayerOptions]):
        super().__init__(**options)
        self.activation = activations.get("Activation", "activation", activation)

    def call(self, inputs: Tensor) -> Any:
        return self.activation(inputs)


class Flatten(Layer):
    """Flatten all axes but the first: (B, ...) gives (B, ·).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.layers.Flatten()(np.ones((2, 3, 4))).shape
    (2, 12)
    """

    def compute_output_shape(self, input_shape: Shape) -> Any:
        rest = input_shape[1:]
        return (input_shape[0], None if None in rest else prod(rest))

    def call(self, inputs: Tensor) -> Any:
        return inputs.reshape((inputs.shape[0], prod(inputs.shape[1:])))


class RepeatVector(Layer):
    """Repeat a vector n times: (B, D) gives (B, n, D). Raises ValueError for n below 1 and inputs of another rank.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.layers.RepeatVector(3)(np.ones((2, 4))).shape
    (2, 3, 4)
    """

    def __init__(self, n: int, **options: Unpack[LayerOptions]):
        super().__init__(**options)
        self.n = checks.integer("RepeatVector", "n", n)

    def ensure_built(self, input_shape: Shape) -> None:
        if len(input_shape) != 2:
            raise ValueError(f"{self.scope_name}: inputs have shape {tuple(input_shape)}, expected (B, D)")

    def compute_output_shape(self, input_shape: Shape) -> Any:
        return (input_shape[0], self.n, input_shape[1])

    def call(self, inputs: Tensor) -> Any:
        rows, size = inputs.shape
        return ops.broadcast_to(inputs.reshape((rows, 1, size)), shape=(rows, self.n, size))

    def describe(self) -> str:
        return str(self.n)


class _OverTime(Layer):
    """Pooling over all steps: (B, T, D) gives (B, D), with keepdims (B, 1, D)."""

    def __init__(self, keepdims: bool = False, **options: Unpack[LayerOptions]):
        super().__init__(**options)
        self.keepdims = bool(keepdims)

    def ensure_built(self, input_shape: Shape) -> None:
        if len(input_shape) != 3:
            raise ValueError(f"{self.scope_name}: inputs have shape {tuple(input_shape)}, expected (B, T, D)")

    def compute_output_shape(self, input_shape: Shape) -> Any:
        return (input_shape[0], *[1] * self.keepdims, input_shape[2])


class GlobalMaxPooling1D(_OverTime):
    """The maximum of each feature over all steps: (B, T, D) gives (B, D), with keepdims=True (B, 1, D).

    A mask ends here with a warning, as in Keras: masked steps count. Raises ValueError for inputs of other axes.

    >>> import tinygrad_rnn as tg
    >>> tg.layers.GlobalMaxPooling1D()([[[1.0, 5.0], [3.0, 2.0]]]).tolist()
    [[3.0, 5.0]]
    """

    def call(self, inputs: Tensor) -> Any:
        return inputs.max(axis=1, keepdims=self.keepdims)


class GlobalAveragePooling1D(_OverTime):
    """The mean of each feature over all unmasked steps: (B, T, D) gives (B, D), with keepdims=True (B, 1, D).

    The mean of a row with all steps masked is 0 (in Keras NaN). Raises ValueError for inputs of other axes.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.layers.GlobalAveragePooling1D()([[[1.0, 5.0], [3.0, 2.0]]], mask=np.array([[True, False]])).tolist()
    [[1.0, 5.0]]
    """

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None

    def call(self, inputs: Tensor, mask: Any = None) -> Any:
        if mask is None:
            return inputs.mean(axis=1, keepdims=self.keepdims)
        real = np.asarray(mask.data if isinstance(mask, Tensor) else mask, bool)
        if real.shape != inputs.shape[:2]:
            raise ValueError(f"{self.scope_name}: mask has shape {real.shape}, expected {inputs.shape[:2]}")
        counts = np.maximum(real.sum(axis=1), 1).astype(inputs.dtype).reshape((-1, *[1] * (1 + self.keepdims)))
        return ops.where(real[..., None], inputs, 0).sum(axis=1, keepdims=self.keepdims) / counts
