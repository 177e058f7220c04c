"""Base of the Keras layers: building at the first call, weights as a list, masks and the training flag."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, TypedDict

import numpy as np

from .. import checks, initializers, regularizers
from ..autodiff.state import Ambient, Scope, ambient, scope
from ..autodiff.tensor import Tensor
from ..config import Configured
from ..module import Module, Parameter

Shape = tuple[Any, ...]  # as in Keras: None for an axis of any size

# training= of the enclosing layer
phase: ContextVar[bool] = ContextVar("tinygrad_rnn.layers.phase", default=False)
# losses added by the layers of the current call; None outside a call
added: ContextVar[list[Any] | None] = ContextVar("tinygrad_rnn.layers.added", default=None)


class Masked(Tensor):
    """A layer's output with the mask of its steps, `mask` (B, T), which the next layer uses.

    Any other computation, such as y * 2, returns a plain tensor: as in Keras, only layers pass masks on.
    """

    __slots__ = ("mask",)

    mask: Any

    def __reduce__(self) -> Any:
        rebuild, (_, *rest) = super().__reduce__()
        return masked, (rebuild(Tensor, *rest), self.mask)


def masked(y: Any, mask: Any) -> Any:
    """The output with this mask. Of several outputs the first gets it, or with a list of masks each its own. An output that
    already has a mask keeps it."""
    if isinstance(y, tuple):
        masks = mask if isinstance(mask, list) else [mask]
        return (*(masked(y_i, m) for y_i, m in zip(y, masks, strict=False)), *y[len(masks) :])
    if mask is None or isinstance(y, Masked) or not isinstance(y, Tensor):
        return y
    output = Masked.__new__(Masked)
    output.data, output._node, output._needs, output.mask = y.data, y._node, y.requires_grad, mask
    return output


def mask_of(x: Any) -> Any:
    """The mask of a layer's output, None if it has none."""
    return x.mask if isinstance(x, Masked) else None


class Weights(Configured, Module):
    """A module's parameters in Keras's form: lists of arrays, in its order and layout."""

    regularized: tuple[tuple[Parameter, Any], ...] = ()  # own parameters with their regularizers
    of_outputs: tuple[Any, ...] = ()  # losses added by the last call

    def count_params(self) -> int:
        """The number of elements of all weights."""
        return self.count_parameters()

    @property
    def losses(self) -> list[Tensor]:
        """The terms to add to the loss: those of the regularized weights, then those of the last call.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> layer = tg.layers.Dense(1, kernel_initializer="ones", kernel_regularizer="l2", activity_regularizer="l1")
        >>> output = layer(np.ones((4, 3)))  # terms of outputs are divided by the number of rows
        >>> [round(loss.item(), 4) for loss in layer.losses]
        [0.03, 0.03]
        """
        pairs = (pair for m in self.modules() if isinstance(m, Weights) for pair in m.regularized)
        return [regularizer(p) for p, regularizer in pairs] + list(self.of_outputs)

    def regularize(self, parameter: Parameter, regularizer: Any) -> Parameter:
        """Add a regularizer (None for none) of a parameter to the losses; returns the parameter."""
        penalty = regularizers.get(regularizer)
        if penalty is not None:
            self.regularized = (*self.regularized, (parameter, penalty))
        return parameter

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Copies of the weights in Keras's order: kernel, recurrent_kernel, bias; a GRU's bias is (2, 3H) if reset_after.

        >>> import tinygrad_rnn as tg
        >>> [w.shape for w in tg.layers.GRUCell(2).build(3).get_weights()]
        [(3, 6), (2, 6), (2, 6)]
        """
        return [p.data.copy() for p in self.parameters()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set every weight from arrays in the order and shapes of `get_weights`.

        Raises ValueError that names the first wrong shape; the weights are then unchanged.
        """
        parameters, name = self.parameters(), self.scope_name
        if len(weights) != len(parameters):
            raise ValueError(f"{name}: set_weights got {len(weights)} arrays, expected {len(parameters)}")
        arrays = [np.asarray(w.data if isinstance(w, Tensor) else w) for w in weights]
        for i, (p, array) in enumerate(zip(parameters, arrays, strict=True)):
            if array.shape != p.shape:
                raise ValueError(
                    f"{name}: weights[{i}] ({p.name}) has shape {array.shape}, expected {p.shape}; the weights stay as they "
                    "were"
                )
            if array.dtype.kind not in "fiu":
                raise TypeError(f"{name}: weights[{i}] ({p.name}) has dtype {array.dtype}, expected numbers")
        for p, array in zip(parameters, arrays, strict=True):
            p.data = np.array(array, p.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "of_outputs"}  # these are part of a graph


class Input:
    """The shape of one example, such as (None, D) for any length. As the first entry of a Sequential it builds the layers
    before the first call.

    >>> from tinygrad_rnn import layers, models
    >>> models.Sequential([layers.Input(shape=(None, 5)), layers.GRU(3)]).output_shape
    (None, 3)
    """

    def __init__(self, shape: Sequence[Any]):
        self.batch_input_shape: Shape = (None, *shape)


class LayerOptions(TypedDict, total=False):
    """The options of every layer, for editors and type checkers."""

    name: str | None
    dtype: Any
    input_shape: Shape | None
    batch_input_shape: Shape | None
    activity_regularizer: Any


class Layer(Weights):
    """Base of all layers. A subclass defines `call(inputs)`, and `build(input_shape)` if it has weights.

    layer(inputs, mask=None, training=None) casts the inputs to a tensor of the layer's dtype. The first call builds the
    layer for their shape; in a Sequential input_shape (of one example) or batch_input_shape (of the batch) builds it
    earlier, as do input_dim and input_length of Keras 1 and 2. mask and training are passed to a `call` that has these
    parameters. training=None means the value of the enclosing layer, False without one, as in Keras; `tg.training` has no
    effect here. Masks, created by Embedding(mask_zero=True) and Masking, pass from layer to layer with the output; mask=
    overrides them. A layer of your own passes them on if it sets supports_masking = True or defines
    compute_mask(inputs, mask); otherwise it drops the mask with a warning.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> class Scale(tg.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")
    ...     def call(self, inputs):
    ...         return inputs * self.factor
    >>> layer = Scale()
    >>> layer(np.ones((2, 3))).shape, layer.count_params()
    ((2, 3), 3)
    """

    casts = True  # whether inputs are cast to the layer's dtype
    supports_masking = False
    built_from = "input_shape"
    scope_kind: tuple[Any, ...] = ()  # kind and number of its scope, if not the defaults
    sets_output_mask = False  # True if the inner layers set the mask of the output

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = "float32",
        input_shape: Shape | None = None,
        batch_input_shape: Shape | None = None,
        activity_regularizer: Any = None,
        **unknown: Any,
    ):
        owner = type(self).__name__
        if unknown:
            checks.refuse_arguments(self, unknown)
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            self.dtype = np.dtype(object)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"{owner}: dtype is {dtype!r}, expected 'float32' or 'float64'")
        self.name = name
        if batch_input_shape is None and input_shape is not None:
            batch_input_shape = (None, *input_shape)
        self.batch_input_shape = batch_input_shape
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._ready = False

    @property
    def built(self) -> bool:
        return self._ready or type(self).build is Layer.build

    @built.setter
    def built(self, value: bool) -> None:
        self._ready = value

    def build(self, input_shape: Shape) -> Any:
        """Create the weights for inputs of this shape with `self.add_weight`; called by the first call."""

    @property
    def weights(self) -> list[Parameter]:
        """The parameters."""
        return self.parameters()

    trainable_weights = trainable_variables = variables = weights

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        """An empty list: every weight is trained."""
        return []

    def ensure_built(self, input_shape: Shape) -> None:
        """Build the layer if it is not."""
        if not self.built:
            with scope(self.scope_name):
                self.build(tuple(input_shape))
            self._ready = True

    def unbuild(self) -> None:
        for name in [k for k, v in vars(self).items() if isinstance(v, Parameter)]:
            delattr(self, name)
        self._ready, self.regularized = False, ()

    def add_weight(
        self, shape: Shape, initializer: Any = "glorot_uniform", *, name: str = "weight", regularizer: Any = None
    ) -> Parameter:
        """Create a parameter of the layer's dtype, to be set as an attribute. Raises ValueError if the initializer returns
        another shape."""
        data = initializers.get(initializer)(tuple(shape), self.dtype)
        if np.shape(data) != tuple(shape):
            raise ValueError(
                f"{self.scope_name}: the initializer of {name} gave shape {np.shape(data)}, expected {tuple(shape)}"
            )
        return self.regularize(Parameter(data, self.dtype, name), regularizer)

    def add_loss(self, loss: Any) -> None:
        """Add a scalar to the loss, inside `call`, such as a penalty on inputs or outputs."""
        losses = added.get()
        if losses is None:
            raise ValueError(f"{self.scope_name}: add_loss was called outside of a call; call it within call(inputs)")
        losses.append(loss)

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """The shape of the output for inputs of this shape. The default: the same."""
        return tuple(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output. The default: that of the inputs, for a layer with supports_masking."""
        if mask is None or self.supports_masking:
            return mask
        warnings.warn(
            f"{self.scope_name}: the mask of its inputs ends here; if the layer keeps the steps apart, set "
            "supports_masking = True, or define compute_mask(inputs, mask)",
            stacklevel=3,
        )
        return None

    def call(self, inputs: Any) -> Any:
        """Compute the output from inputs of the layer's dtype. Subclasses define it; users call layer(inputs)."""
        raise TypeError(f"{type(self).__name__} defines no call(inputs)")

    def __call__(self, inputs: Any, *args: Any, mask: Any = None, training: bool | None = None, **options: Any) -> Any:
        on = phase.get() if training is None else bool(training)
        x = self.cast(inputs)
        mask = mask_of(inputs) if mask is None else mask
        self.ensure_built(x.shape)
        arguments = {"mask": mask, "training": on}
        accepted = accepted_arguments(type(self).call)
        options |= {key: value for key, value in arguments.items() if key in accepted and value is not None}
        outermost, now = added.get() is None, ambient.get()
        path = (*now.scope, Scope(self.scope_name, *self.scope_kind))
        tokens = phase.set(on), added.set([] if outermost else added.get())
        inside = ambient.set(Ambient(now.recording, path, on, now.tracer))  # quicker than with-blocks
        try:
            y = self.call(x, *args, **options)
            if self.activity_regularizer is not None:
                first = y[0] if isinstance(y, tuple) else y
                self.add_loss(self.activity_regularizer(first) / max(len(first), 1))
            if outermost and (of_outputs := tuple(added.get() or ())) is not self.of_outputs:
                self.of_outputs = of_outputs
            return y if self.sets_output_mask else masked(y, self.compute_mask(x, mask))
        finally:
            ambient.reset(inside)
            phase.reset(tokens[0])
            added.reset(tokens[1])

    def cast(self, inputs: Any) -> Tensor:
        """Inputs as a tensor of the layer's dtype."""
        try:
            x = inputs if isinstance(inputs, Tensor) else Tensor(np.asarray(inputs))
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"{self.scope_name}: inputs are {type(inputs).__name__}, expected an array of numbers: {error}"
            ) from None
        if not self.casts or x.dtype == self.dtype:
            return x
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{self.scope_name}: inputs have dtype {x.dtype}, expected numbers")
        return x.astype(self.dtype) if x.dtype.kind == "f" else Tensor(x.data.astype(self.dtype))


@cache
def accepted_arguments(call: Any) -> frozenset[str]:
    """The names of what a layer's `call` takes."""
    return frozenset(inspect.signature(call).parameters)
