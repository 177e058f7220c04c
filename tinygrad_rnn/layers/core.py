"""Keras's Dense, Embedding, Dropout and Masking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, initializers, ops, regularizers
from ..autodiff.tensor import Tensor
from ..nn.basics import Dropout as Drop
from ..nn.basics import look_up
from . import activations
from .base import Layer, LayerOptions, Shape

if TYPE_CHECKING:
    from typing import Unpack


class Dense(Layer):
    """A linear map, a bias and an activation: y = activation(x W + b).

    x (..., D), y (..., units); kernel W (D, units), bias (units) unless use_bias=False. Raises ValueError for units below
    1, an unknown activation and another D than the layer was built for.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> layer = tg.layers.Dense(2, activation="sigmoid")
    >>> layer(np.ones((3, 4))).shape, [w.shape for w in layer.get_weights()]
    ((3, 2), [(4, 2), (2,)])
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        *,
        input_dim: int | None = None,
        **options: Unpack[LayerOptions],
    ):
        if input_dim is not None:
            options = {"input_shape": (input_dim,)} | options
        super().__init__(**options)
        self.units, self.use_bias = checks.integer("Dense", "units", units), bool(use_bias)
        self.activation = activations.get("Dense", "activation", activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer, self.bias_regularizer = map(regularizers.get, (kernel_regularizer, bias_regularizer))

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{self.scope_name}: inputs have shape {tuple(input_shape)}, expected (B, ..., D) with D known"
            )
        shape, of_kernel, of_bias = (input_shape[-1], self.units), self.kernel_regularizer, self.bias_regularizer
        self.kernel = self.add_weight(shape, self.kernel_initializer, name="kernel", regularizer=of_kernel)
        if self.use_bias:
            self.bias = self.add_weight((self.units,), self.bias_initializer, name="bias", regularizer=of_bias)

    def build_from(self, arrays: Mapping[str, Any]) -> None:
        """Build for the shape of a kernel that is to be loaded."""
        shape = np.shape(arrays.get("kernel", ()))
        if len(shape) == 2:
            self.ensure_built((None, shape[0]))

    def compute_output_shape(self, input_shape: Shape) -> Any:
        return (*input_shape[:-1], self.units)

    def call(self, inputs: Tensor) -> Any:
        if inputs.ndim < 2 or inputs.shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"{self.scope_name}: inputs have shape {inputs.shape}, expected the last axis to be {self.kernel.shape[0]}, "
                "the size the layer was built for"
            )
        z = inputs @ self.kernel
        return self.activation(z + self.bias if self.use_bias else z)

    def describe(self) -> str:
        return str(self.units)


class Embedding(Layer):
    """A table of vectors indexed by integers: y[...] = embeddings[inputs[...]].

    inputs (...) integers from 0 to input_dim − 1, y (..., output_dim); embeddings (input_dim, output_dim), by default
    initially uniform on ±0.05. mask_zero: index 0 is padding, and the mask is True elsewhere. Raises IndexError for an
    index out of range, TypeError for inputs that are not integers.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.layers.Embedding(5, 3, mask_zero=True)
    >>> layer([[1, 4, 0]]).shape, layer.compute_mask([[1, 4, 0]]).tolist()
    ((1, 3, 3), [[True, True, False]])
    """

    casts = False

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        *,
        embeddings_regularizer: Any = None,
        input_length: int | None = None,
        **options: Unpack[LayerOptions],
    ):
        super().__init__(**{"input_shape": (input_length,)} | options)
        self.input_dim = checks.integer("Embedding", "input_dim", input_dim)
        self.output_dim = checks.integer("Embedding", "output_dim", output_dim)
        self.embeddings_initializer, self.mask_zero = initializers.get(embeddings_initializer), bool(mask_zero)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)

    def build(self, input_shape: Shape) -> None:
        shape = (self.input_dim, self.output_dim)
        options_ = self.embeddings_initializer, self.embeddings_regularizer
        self.embeddings = self.add_weight(shape, options_[0], name="embeddings", regularizer=options_[1])

    def build_from(self, arrays: Mapping[str, Any]) -> None:
        """Build: the size of the table does not depend on the inputs."""
        self.ensure_built((None, None))

    def compute_output_shape(self, input_shape: Shape) -> Any:
        return (*input_shape, self.output_dim)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if not self.mask_zero:
            return None
        return np.asarray(inputs.data if isinstance(inputs, Tensor) else inputs) != 0

    def looked_up(self) -> tuple[Any, int]:
        """For `rnn.stepper`: the table and the smallest valid index."""
        return self.embeddings, int(self.mask_zero)

    def call(self, inputs: Tensor) -> Any:
        indices = inputs.data
        if indices.dtype.kind == "f" and np.array_equal(indices, np.floor(indices)):
            indices = indices.astype(np.int64)  # Keras accepts integral values of any dtype
        return look_up(self.scope_name, self.embeddings, indices, "input_dim")

    def describe(self) -> str:
        return f"{self.input_dim}, {self.output_dim}"


class Dropout(Layer):
    """Dropout [Srivastava et al. 2014]: with training=True each element is 0 with probability rate, else divided by 1 − rate.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> layer = tg.layers.Dropout(0.5, seed=0)
    >>> layer(np.ones(2)).tolist(), sorted(set(layer(np.ones(99), training=True).tolist()))
    ([1.0, 1.0], [0.0, 2.0])
    """

    supports_masking = True

    def __init__(self, rate: float, seed: Any = None, **options: Unpack[LayerOptions]):
        super().__init__(**options)
        self.rate = checks.probability("Dropout", "rate", rate)
        self.drop = Drop(self.rate, seed=seed)

    def call(self, inputs: Tensor) -> Any:
        return self.drop(inputs)

    def describe(self) -> str:
        return str(self.rate)


class Masking(Layer):
    """Mask the steps whose features all equal mask_value, and set them to 0.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.layers.Masking().compute_mask(np.array([[[1.0, 0.0], [0.0, 0.0]]])).tolist()
    [[True, False]]
    """

    def __init__(self, mask_value: float = 0.0, **options: Unpack[LayerOptions]):
        super().__init__(**options)
        self.mask_value = mask_value

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        data = inputs.data if isinstance(inputs, Tensor) else np.asarray(inputs)
        return (data != self.dtype.type(self.mask_value)).any(axis=-1)

    def streamed(self) -> Any:
        """For `rnn.stepper`: refused."""
        raise ValueError("stepper: Masking leaves steps out of a sequence; when streaming, do not pass them to step(x)")

    def call(self, inputs: Tensor) -> Any:
        return ops.where(self.compute_mask(inputs)[..., None], inputs, 0)
