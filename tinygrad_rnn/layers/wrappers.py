"""Layers that wrap other layers: Bidirectional and TimeDistributed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autodiff.tensor import Tensor
from ..rnn.cell import RNNCell, described
from .base import Layer, LayerOptions, Shape, accepted_arguments
from .recurrent import RNN

if TYPE_CHECKING:
    from typing import Unpack

MERGES = ("concat", "sum", "ave", "mul", None)


class Bidirectional(Layer):
    """A recurrent layer run forward and backward over time [Schuster & Paliwal 1997].

    layer: a layer such as LSTM(64), which is copied for both directions; backward_layer: a layer with go_backwards=True
    for the backward direction, used without a copy. x (B, T, D) gives (B, 2H) or (B, T, 2H) with merge_mode "concat",
    (…, H) with "sum", "ave" or "mul", and both outputs with None; with return_state a tuple: output, forward states,
    backward states. Backward outputs are in order of time. initial_state lists the forward states, then the backward ones.
    With return_sequences the outputs of masked steps are 0. Raises ValueError for layers with different options and for an
    unknown merge_mode.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> layer = tg.layers.Bidirectional(tg.layers.LSTM(3, return_state=True))
    >>> output, fw_h, fw_c, bw_h, bw_c = layer(np.ones((2, 4, 5)))
    >>> output.shape, bw_c.shape
    ((2, 6), (2, 3))
    """

    def __init__(
        self,
        layer: RNN,
        merge_mode: str | None = "concat",
        backward_layer: RNN | None = None,
        **options: Unpack[LayerOptions],
    ):
        _demand_layer("Bidirectional", "layer", layer, RNN)
        options = {"dtype": layer.dtype, "input_shape": _inner(layer.batch_input_shape)} | options
        super().__init__(**options)
        if merge_mode not in MERGES:
            raise ValueError(f"Bidirectional: merge_mode is {merge_mode!r}, expected one of {MERGES}")
        self.merge_mode = merge_mode
        name = layer.scope_name
        self.forward_layer = _fresh(layer, f"forward_{name.removeprefix('forward_')}")
        if backward_layer is None:
            self.backward_layer = _fresh(layer, f"backward_{name.removeprefix('backward_')}")
            self.backward_layer.go_backwards = True
        else:
            _demand_layer("Bidirectional", "backward_layer", backward_layer, RNN)
            self.backward_layer = backward_layer
        self._check()
        for number, side in enumerate((self.forward_layer, self.backward_layer)):
            side.scope_kind = ("direction", number)
            side.zero_output_for_mask = side.return_sequences
        self.return_sequences, self.return_state = layer.return_sequences, layer.return_state

    def _check(self) -> None:
        fw, bw = self.forward_layer, self.backward_layer
        if fw.go_backwards == bw.go_backwards:
            raise ValueError(
                f"Bidirectional: go_backwards is {fw.go_backwards} in both layers, expected False in layer and True in "
                "backward_layer"
            )
        for flag in ("stateful", "return_sequences", "return_state"):
            if getattr(fw, flag) != getattr(bw, flag):
                raise ValueError(
                    f"Bidirectional: {flag} is {getattr(fw, flag)} in layer and {getattr(bw, flag)} in backward_layer, "
                    "expected the same in both"
                )

    def build(self, input_shape: Shape) -> None:
        self.forward_layer.ensure_built(input_shape)
        self.backward_layer.ensure_built(input_shape)

    @property
    def built(self) -> bool:
        return self.forward_layer.built and self.backward_layer.built

    @built.setter
    def built(self, value: bool) -> None:
        """Ignored: the inner layers store it."""

    def compute_output_shape(self, input_shape: Shape) -> Any:
        fw, bw = (side.compute_output_shape(input_shape) for side in (self.forward_layer, self.backward_layer))
        states = [*fw[1:], *bw[1:]] if self.return_state else []
        first, second = (fw[0], bw[0]) if self.return_state else (fw, bw)
        joined = (*first[:-1], first[-1] + second[-1]) if self.merge_mode == "concat" else first
        outputs = [first, second] if self.merge_mode is None else [joined]
        return (*outputs, *states) if len(outputs) + len(states) > 1 else joined

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        output_mask = mask if self.return_sequences else None
        return [output_mask, output_mask] if self.merge_mode is None else output_mask

    def reset_state(self) -> None:
        """Reset the states of stateful layers to the initial ones."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None) -> Any:
        fw_state = bw_state = None
        if initial_state is not None:
            if not isinstance(initial_state, (list, tuple)) or len(initial_state) % 2:
                raise ValueError(
                    f"{self.scope_name}: initial_state is {described(initial_state)}, expected the list of the forward states "
                    "followed by the backward ones"
                )
            half = len(initial_state) // 2
            fw_state, bw_state = initial_state[:half], initial_state[half:]
        fw = self.forward_layer(sequences, initial_state=fw_state, mask=mask)
        bw = self.backward_layer(sequences, initial_state=bw_state, mask=mask)
        states = [*fw[1:], *bw[1:]] if self.return_state else []
        first, second = (fw[0], bw[0]) if self.return_state else (fw, bw)
        if self.return_sequences:
            second = ops.flip(second, axis=1)
        outputs = self._merged(first, second)
        return (*outputs, *states) if len(outputs) + len(states) > 1 else outputs[0]

    def _merged(self, first: Any, second: Any) -> list[Any]:
        if self.merge_mode is None:
            return [first, second]
        if self.merge_mode == "concat":
            return [ops.concatenate([first, second], axis=-1)]
        if self.merge_mode == "mul":
            return [first * second]
        return [(first + second) / 2 if self.merge_mode == "ave" else first + second]


class Wrapper(Layer):
    """Base of layers that wrap one layer, `self.layer`, which is built for the same inputs.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> class Twice(tg.layers.Wrapper):
    ...     def call(self, inputs):
    ...         return 2 * self.layer(inputs)
    >>> Twice(tg.layers.Dense(1, kernel_initializer="ones"))(np.ones((1, 3))).tolist()
    [[6.0]]
    """

    def __init__(self, layer: Layer, **options: Unpack[LayerOptions]):
        _demand_layer(type(self).__name__, "layer", layer, Layer)
        super().__init__(**{"dtype": layer.dtype} | options)
        self.layer, self.casts = layer, layer.casts

    def build(self, input_shape: Shape) -> None:
        self.layer.ensure_built(input_shape)

    @property
    def built(self) -> bool:
        return self.layer.built

    @built.setter
    def built(self, value: bool) -> None:
        """Ignored: the inner layer stores it."""

    def compute_output_shape(self, input_shape: Shape) -> Any:
        return self.layer.compute_output_shape(input_shape)


class TimeDistributed(Wrapper):
    """Apply one layer at every step: x (B, T, ...) is reshaped to (B·T, ...), and the output back to (B, T, ...).

    A mask of more than two axes, (B, T, ...), is passed on to the layer; a mask (B, T) is passed as (B·T) to a layer of
    vectors (B, D) that takes one. A step of the output is masked if all its elements were. Raises TypeError for a layer
    that is not one, ValueError for inputs of fewer than three axes and for a mask that does not begin with (B, T).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.layers.TimeDistributed(tg.layers.Dense(3))(np.ones((2, 4, 5))).shape
    (2, 4, 3)
    """

    def build(self, input_shape: Shape) -> None:
        self.layer.ensure_built(self._step(input_shape))

    def _step(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 3:
            raise ValueError(f"{self.scope_name}: inputs have shape {tuple(input_shape)}, expected (B, T, ...)")
        return (input_shape[0], *input_shape[2:])

    def streamed(self) -> list[Any]:
        """For `rnn.stepper`: the inner layer."""
        return [self.layer]

    def compute_output_shape(self, input_shape: Shape) -> Any:
        inner = self.layer.compute_output_shape(self._step(input_shape))
        return (inner[0], input_shape[1], *inner[1:])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask if mask is None or np.ndim(mask) == 2 else np.asarray(mask).any(axis=tuple(range(2, np.ndim(mask))))

    def call(self, inputs: Tensor, mask: Any = None) -> Any:
        batch, steps, *rest = inputs.shape
        if mask is not None and np.shape(mask)[:2] != (batch, steps):
            raise ValueError(
                f"{self.scope_name}: The `mask` passed to the `TimeDistributed` layer has a shape {np.shape(mask)}, expected "
                f"({batch}, {steps}, ...) to follow inputs of shape {inputs.shape}"
            )
        to_layer = mask is not None and (np.ndim(mask) > 2 or self._one_each(inputs))
        inner = np.reshape(mask, (batch * steps, *np.shape(mask)[2:])) if to_layer else None
        outputs = self.layer(inputs.reshape((batch * steps, *rest)), mask=inner)
        return outputs.reshape((batch, steps, *outputs.shape[1:]))

    def _one_each(self, inputs: Tensor) -> bool:
        """Whether a mask (B, T) is passed on as (B·T): to a layer of vectors that takes a mask."""
        return (
            inputs.ndim == 3 and not self.layer.sets_output_mask and "mask" in accepted_arguments(type(self.layer).call)
        )


def _demand_layer(owner: str, argument: str, layer: Any, expected: type) -> None:
    if not isinstance(layer, expected):
        hint = "; RNN(cell) makes a layer of a cell" if isinstance(layer, RNNCell) else ""
        raise TypeError(f"{owner}: {argument} is {described(layer)}, expected a layer such as LSTM(64){hint}")


def _inner(shape: Shape | None) -> Shape | None:
    return None if shape is None else shape[1:]


def _fresh(layer: RNN, name: str) -> RNN:
    """A copy of a layer without weights and state."""
    other = copy.deepcopy(layer)
    for module in other.modules():
        module.unbuild()
    other.name, other.states = name, None
    return other
