"""One step at a time, for streaming."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import check, choice
from .check import ACTIVATIONS, FLOATS, GATES, STATES, Array, Option

if TYPE_CHECKING or choice.missing is None:
    from . import compiled

Weights: TypeAlias = "tuple[Array, Array, Array, Array | None]"  # kernel, recurrent kernel, bias, recurrent bias


class Stepper:
    """One step at a time, for streaming: weights packed once, nothing allocated by a step.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> stepper = tg.kernels.Stepper("rnn", np.ones((2, 3)), np.eye(3), np.zeros(3), batch=1)
    >>> stepper.step(np.zeros((1, 2)))  # x (B, D) -> h (B, H)
    array([[0., 0., 0.]])

    `h` (and the LSTM's `c`) are arrays of the stepper that every step writes anew: copy what should stay. Assign to
    their elements to start from another state; `reset()` makes them 0. The weights are those at the call of the
    constructor, or of `reload()`, which asks `source()` for them where there is one.
    """

    def __init__(
        self,
        cell_type: str,
        kernel: Array,
        recurrent_kernel: Array,
        bias: Array,
        recurrent_bias: Array | None = None,
        *,
        batch: int = 1,
        activation: str = "tanh",
        reset_after: bool | None = None,
        source: Callable[[], list[Any]] | None = None,
    ) -> None:
        check.choice("Stepper", "cell_type", cell_type, tuple(GATES))
        if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)):
            raise TypeError(f"Stepper: batch is {batch!r}, expected an integer")
        if not 0 <= batch < 2**31:
            raise ValueError(f"Stepper: batch is {batch}, expected at least 0")
        option: Option = {"rnn": activation, "lstm": None, "gru": reset_after}[cell_type]
        if cell_type == "gru":
            check.flag("Stepper", "reset_after", reset_after)
        check.choice("Stepper", "activation", activation, ACTIVATIONS)
        if recurrent_bias is not None and not (cell_type == "gru" and reset_after):
            raise ValueError(
                "Stepper: recurrent_bias was given, expected None: only the GRU with reset_after=True has one"
            )
        weights = kernel, recurrent_kernel, bias, recurrent_bias
        self._source = source
        H = _units("Stepper", cell_type, weights)
        self._made, self._isa = (cell_type, bool(option) if cell_type == "gru" else option), choice.active
        self._state = tuple(np.zeros((batch, H), kernel.dtype) for _ in STATES[cell_type])
        self._shape, self._dtype = (int(batch), kernel.shape[0]), kernel.dtype
        self._take(weights)

    @property
    def h(self) -> Array:
        """The state h (B, H), written anew by every step."""
        return self._state[-1]

    @property
    def c(self) -> Array | None:
        """The LSTM's state c (B, H); None for other cells."""
        return self._state[0] if len(self._state) == 2 else None

    def reload(self, *weights: Array | None) -> None:
        """Takes up the weights as they are now, or others: arrays as the constructor was given, alike in shape and dtype."""
        if not weights and self._source is not None:
            weights = tuple(self._source())
        if not weights:
            return self._take(self._weights)
        given: Any = weights if len(weights) == 4 else (*weights, None)
        H = _units("reload", self._made[0], given)
        if (given[0].shape[0], H, given[0].dtype) != (self._shape[1], self.h.shape[1], self._dtype):
            raise ValueError(
                f"reload: kernel has shape {given[0].shape} and dtype {given[0].dtype}, expected those of a cell with "
                f"{self._shape[1]} inputs and {self.h.shape[1]} units of {self._dtype}"
            )
        self._take(given)

    def _take(self, weights: Weights) -> None:
        self._step: Callable[[Array], None]
        self._weights, (W, U, b, extra) = weights, weights
        if self._isa == "reference":
            from . import reference

            self._step = reference.stepper(*self._made, W, U, b, extra, self._state)
        else:
            self._step = compiled.stepper(*self._made, W, U, b, extra, self._state, self._isa)

    def reset(self) -> None:
        """Sets the state to 0."""
        for array in self._state:
            array[...] = 0

    def step(self, x: Array) -> Array:
        """Takes the state one step on by x (B, D); returns h."""
        if type(x) is not np.ndarray or x.dtype != self._dtype or x.shape != self._shape:
            check.array("step", "x", x, self._shape, self._dtype, "the weights have")
        self._step(x)
        return self._state[-1]


def _units(where: str, cell_type: str, weights: Weights) -> int:
    """Checks the weights against each other; returns H."""
    kernel, recurrent_kernel, bias, extra = weights
    for name, value in (("kernel", kernel), ("recurrent_kernel", recurrent_kernel)):
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{where}: {name} is a {type(value).__name__}, expected a NumPy array of rank 2")
        if value.ndim != 2:
            raise ValueError(f"{where}: {name} has shape {value.shape}, expected rank 2")
    H: int = recurrent_kernel.shape[0]
    dtype, gates = kernel.dtype, GATES[cell_type]
    if dtype not in FLOATS:
        raise TypeError(f"{where}: kernel has dtype {dtype}, expected float32 or float64 in native byte order")
    check.array(where, "recurrent_kernel", recurrent_kernel, (H, gates * H), dtype, "kernel has")
    check.array(where, "kernel", kernel, (kernel.shape[0], gates * H), dtype)
    check.array(where, "bias", bias, (gates * H,), dtype, "kernel has")
    check.optional(where, "recurrent_bias", extra, (gates * H,), dtype, "kernel has")
    return H
