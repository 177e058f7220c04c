"""What every layer of the Keras face is: built at its first call, weights as a list, masks and the training flag passed on."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, TypedDict

import numpy as np

from .. import initializers, regularizers
from ..autodiff.state import scope, training
from ..autodiff.tensor import Tensor
from ..config import Configured
from ..module import Module, Parameter

Shape = tuple[Any, ...]  # as Keras writes it: None for an axis that may be anything

# training= of the layer around this one
phase: ContextVar[bool] = ContextVar("tinygrad_rnn.layers.phase", default=False)
# where the layers inside a call put what their outputs add to the loss; None outside any layer
added: ContextVar[list[Any] | None] = ContextVar("tinygrad_rnn.layers.added", default=None)


class Masked(Tensor):
    """A layer's output together with the mask of its steps, `mask` (B, T), which the next layer takes up by itself.

    What is computed from it otherwise, y * 2 say, is a plain tensor: as in Keras, only layers hand masks on.
    """

    __slots__ = ("mask",)

    mask: Any

    def __reduce__(self) -> Any:
        rebuild, (_, *rest) = super().__reduce__()
        return masked, (rebuild(Tensor, *rest), self.mask)


def masked(y: Any, mask: Any) -> Any:
    """The output with this mask, of several outputs the first, or with a list of masks each with its own; the mask that a
    layer inside gave it stands."""
    if isinstance(y, tuple):
        masks = mask if isinstance(mask, list) else [mask]
        return (*(masked(one, m) for one, m in zip(y, masks, strict=False)), *y[len(masks) :])
    if mask is None or isinstance(y, Masked) or not isinstance(y, Tensor):
        return y
    found = Masked.__new__(Masked)
    found.data, found._node, found.requires_grad, found.mask = y.data, y._node, y.requires_grad, mask
    return found


def mask_of(x: Any) -> Any:
    """The mask that comes with a layer's output, None if there is none."""
    return x.mask if isinstance(x, Masked) else None


class Weights(Configured, Module):
    """A module's parameters by Keras's conventions: lists of arrays, in its order and layout."""

    regularized: tuple[tuple[Parameter, Any], ...] = ()  # own parameters, and what each adds to the loss
    of_outputs: tuple[Any, ...] = ()  # what the outputs of the last call added to the loss

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        return self.count_parameters()

    @property
    def losses(self) -> list[Tensor]:
        """What is added to the loss: of every regularized weight, as it is now, then of the outputs of the last call.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> layer = tg.layers.Dense(1, kernel_initializer="ones", kernel_regularizer="l2", activity_regularizer="l1")
        >>> output = layer(np.ones((4, 3)))  # what outputs add is divided by the number of rows
        >>> [round(loss.item(), 4) for loss in layer.losses]
        [0.03, 0.03]
        """
        pairs = (pair for m in self.modules() if isinstance(m, Weights) for pair in m.regularized)
        return [regularizer(p) for p, regularizer in pairs] + list(self.of_outputs)

    def regularize(self, parameter: Parameter, regularizer: Any) -> Parameter:
        """Let a parameter add to the loss what a regularizer says of it, None for nothing; returns the parameter."""
        found = regularizers.get(regularizer)
        if found is not None:
            self.regularized = (*self.regularized, (parameter, found))
        return parameter

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Copies of the weights as Keras lists them: (kernel, recurrent_kernel, bias), a GRU's bias (2, 3H) if reset_after.

        >>> import tinygrad_rnn as tg
        >>> [w.shape for w in tg.layers.GRUCell(2).build(3).get_weights()]
        [(3, 6), (2, 6), (2, 6)]
        """
        return [p.data.copy() for p in self.parameters()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set every weight from arrays in the order and shapes of `get_weights`.

        Raises ValueError that names the first one that does not fit; the weights then stay as they were.
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
    """The shape of one example, (T, D) say with None for any length: the first thing in a Sequential whose layers are to be
    built before the first call.

    >>> from tinygrad_rnn import layers, models
    >>> models.Sequential([layers.Input(shape=(None, 5)), layers.GRU(3)]).output_shape
    (None, 3)
    """

    def __init__(self, shape: Sequence[Any]):
        self.batch_input_shape: Shape = (None, *shape)


class LayerOptions(TypedDict, total=False):
    """What every layer takes, for editors and type checkers."""

    name: str | None
    dtype: Any
    input_shape: Shape | None
    batch_input_shape: Shape | None
    activity_regularizer: Any


class Layer(Weights):
    """Base of all layers. Yours defines `call(inputs)`, and `build(input_shape)` if it has weights.

    layer(inputs, mask=None, training=None): inputs are turned into a tensor of the layer's dtype; the first call builds
    the layer for their shape; in a Sequential input_shape (of one example) or batch_input_shape (of the batch) builds
    it before, and so do Keras 1's and 2's input_dim and input_length where they were taken. A `call` that takes mask or
    training is given them. training: None means what the layer around this one was told, and False where there is none,
    as in Keras; `with tg.training(False)` does not matter here. A mask goes with the output from layer to layer
    (Embedding(mask_zero=True) and Masking make one), unless mask= gives another; a layer of yours hands it on if it
    sets supports_masking = True or defines compute_mask(inputs, mask), else the mask ends there with a warning.

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

    casts = True  # inputs to the layer's dtype
    supports_masking = False
    built_from = "input_shape"
    scope_kind: tuple[Any, ...] = ()  # kind and number of its scope, where these are not the usual ones
    hands_on = False  # True where the layers inside gave the output its mask

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
            raise TypeError(
                f"{owner} takes no argument {', '.join(unknown)}; see help(layers.{owner}) for those it takes"
            )
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
        """Make the weights for inputs of this shape, with `self.add_weight`; the first call does it by itself."""

    @property
    def weights(self) -> list[Parameter]:
        """The parameters."""
        return self.parameters()

    trainable_weights = trainable_variables = variables = weights

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        """None: every weight is trained."""
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
        """A new parameter of the layer's dtype; set it as an attribute. Raises ValueError for an initializer that gives
        another shape."""
        data = initializers.get(initializer)(tuple(shape), self.dtype)
        if np.shape(data) != tuple(shape):
            raise ValueError(
                f"{self.scope_name}: the initializer of {name} gave shape {np.shape(data)}, expected {tuple(shape)}"
            )
        return self.regularize(Parameter(data, self.dtype, name), regularizer)

    def add_loss(self, loss: Any) -> None:
        """Add a scalar to the loss, within `call`: what the layer's outputs or inputs are to cost."""
        inside = added.get()
        if inside is None:
            raise ValueError(f"{self.scope_name}: add_loss was called outside of a call; call it within call(inputs)")
        inside.append(loss)

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
        """What the layer computes of inputs of its dtype. A subclass defines it; call the layer itself, layer(inputs)."""
        raise TypeError(f"{type(self).__name__} defines no call(inputs)")

    def __call__(self, inputs: Any, *args: Any, mask: Any = None, training: bool | None = None, **options: Any) -> Any:
        on = phase.get() if training is None else bool(training)
        x = self.cast(inputs)
        mask = mask_of(inputs) if mask is None else mask
        self.ensure_built(x.shape)
        given = {"mask": mask, "training": on}
        takes = _parameters(type(self).call)
        options |= {key: value for key, value in given.items() if key in takes and value is not None}
        outermost = added.get() is None
        tokens = phase.set(on), added.set([] if outermost else added.get())
        try:
            with _training(on), scope(self.scope_name, *self.scope_kind):
                y = self.call(x, *args, **options)
                if self.activity_regularizer is not None:
                    first = y[0] if isinstance(y, tuple) else y
                    self.add_loss(self.activity_regularizer(first) / max(len(first), 1))
                if outermost and (of_outputs := tuple(added.get() or ())) is not self.of_outputs:
                    self.of_outputs = of_outputs
                return y if self.hands_on else masked(y, self.compute_mask(x, mask))
        finally:
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


_training = training  # __call__ has an argument of that name


@cache
def _parameters(call: Any) -> frozenset[str]:
    """The names of what a layer's `call` takes."""
    return frozenset(inspect.signature(call).parameters)
