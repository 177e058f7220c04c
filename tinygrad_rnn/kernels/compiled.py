"""The native kernels behind the same two functions as `reference`.

Arrays are made ready, outputs made room for, and the call made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from . import _native
from .check import Array, Inputs, Lengths, Option, Save, Sizes
from .training import empty

FORWARD = {np.dtype(np.float32): _native.forward_float32, np.dtype(np.float64): _native.forward_float64}
BACKWARD = {np.dtype(np.float32): _native.backward_float32, np.dtype(np.float64): _native.backward_float64}
TRACE = {np.dtype(np.float32): _native.trace_float32, np.dtype(np.float64): _native.trace_float64}
CODES: dict[tuple[str, Option], int] = {
    ("rnn", "tanh"): 0,
    ("rnn", "relu"): 1,
    ("lstm", None): 2,
    ("gru", False): 3,
    ("gru", True): 4,
}
STEPPER: dict[np.dtype[Any], type[_native.Stepper_float32] | type[_native.Stepper_float64]] = {
    np.dtype(np.float32): _native.Stepper_float32,
    np.dtype(np.float64): _native.Stepper_float64,
}
GATES = {"rnn": "", "lstm": "ifgo", "gru": "zrn"}
SAVE: dict[Save, int] = {False: 0, True: 1, "recompute": 2}


class Saved:
    """What `backward` needs of one forward run. `nbytes` counts what it holds beyond the run's inputs and outputs."""

    __slots__ = (
        "cell_type",
        "code",
        "inputs",
        "isa",
        "kept",
        "lengths",
        "mode",
        "option",
        "outputs",
        "reverse",
        "time_major",
        "torch",
    )  # fmt: skip
    cell_type: str
    option: Option
    code: int
    isa: str
    mode: Save
    reverse: bool
    time_major: bool
    torch: bool
    lengths: Lengths | None
    inputs: tuple[Array, Array, Array, Array, Array | None, Array | None, Array | None]
    outputs: Array
    kept: _native.Kept

    @property
    def x(self) -> Array:
        return self.inputs[0]

    @property
    def sizes(self) -> Sizes:
        (first, second, D), H = self.x.shape, self.outputs.shape[2]
        return Sizes(second, first, D, H) if self.time_major else Sizes(first, second, D, H)

    @property
    def extra(self) -> Array | None:
        return self.inputs[4]

    @property
    def nbytes(self) -> int:
        return self.kept.nbytes

    def trace(self) -> dict[str, Array]:
        """Every gate and state at every step, by letter, as arrays laid out like the outputs (0 past the lengths)."""
        run: Saved | None = self
        if self.mode == "recompute":
            x, W, U, b, extra, c0, h0 = self.inputs
            initial = (c0, h0) if self.cell_type == "lstm" else (h0,)
            time = (self.lengths, self.reverse, self.time_major)
            done = forward(self.isa, self.cell_type, self.option, (x, W, U, b, extra), initial, *time, True, self.torch)
            assert done is not None
            run = done[2]
        assert run is not None
        trace: dict[str, Array] = {}
        for which, name in enumerate(GATES[self.cell_type] + ("c" if self.cell_type == "lstm" else "")):
            trace[name] = np.empty_like(self.outputs)
            TRACE[self.x.dtype](
                run.kept, self.code, self.reverse, self.time_major, self.torch, which, *self.inputs[:4], trace[name]
            )
        trace["h"] = self.outputs.copy()
        return trace


def _sequence(array: Array) -> Array:
    """A sequence array whose last axis is contiguous and whose elements lie where their type wants them."""
    size, strides = array.itemsize, array.strides
    if strides[2] == size and not strides[0] % size and not strides[1] % size and array.flags.aligned:
        return array
    return np.array(array, order="C")


@overload
def _flat(array: Array) -> Array: ...
@overload
def _flat(array: Array | None) -> Array | None: ...
def _flat(array: Array | None) -> Array | None:
    """An array in C order and aligned."""
    if array is None or (array.flags.c_contiguous and array.flags.aligned):
        return array
    return np.array(array, order="C")


def _matrix(array: Array) -> Array:
    """A matrix by rows or by columns, aligned: the kernels read both."""
    return array if array.flags.f_contiguous and array.flags.aligned else _flat(array)


def laid_out(arrays: Inputs, initial: Sequence[Array | None], torch: bool) -> tuple[Inputs, tuple[Array | None, ...]]:
    """The inputs as the kernels want them to lie in memory, copied where they do not."""
    x, kernel, recurrent_kernel, bias, extra = arrays
    matrix = _flat if torch else _matrix
    flat: Inputs = (_sequence(x), matrix(kernel), matrix(recurrent_kernel), _flat(bias), _flat(extra))
    return flat, tuple(map(_flat, initial))


def laid_out_cotangents(
    d_outputs: Array | None, d_final: Sequence[Array | None], d_states: Sequence[Array | None]
) -> tuple[Array | None, tuple[Array | None, ...], tuple[Array | None, ...]]:
    """The cotangents as the kernels want them to lie in memory, copied where they do not."""
    sequences = [None if d is None else _sequence(d) for d in (d_outputs, *d_states)]
    return sequences[0], tuple(map(_flat, d_final)), tuple(sequences[1:])


def forward(
    isa: str,
    cell_type: str,
    option: Option,
    arrays: Inputs,
    initial: Sequence[Array | None],
    lengths: Lengths | None,
    reverse: bool,
    time_major: bool,
    save: Save,
    torch: bool,
) -> tuple[Array, tuple[Array, ...], Saved | None] | None:
    """Runs a whole sequence; returns (outputs, final states, Saved or None), or None where the kernels cannot take the
    arrays as they are."""
    x, recurrent_kernel = arrays[0], arrays[2]
    if x is None or recurrent_kernel is None or x.ndim != 3 or recurrent_kernel.ndim != 2 or x.dtype not in FORWARD:
        return None
    (first, second, _), H, dtype = x.shape, recurrent_kernel.shape[1 if torch else 0], x.dtype
    B = second if time_major else first
    outputs, h = empty((first, second, H), dtype), np.empty((B, H), dtype)
    code, c = CODES[cell_type, option], np.empty((B, H), dtype) if cell_type == "lstm" else None
    final = (h,) if c is None else (c, h)
    c0, h0 = (None, *initial) if c is None else initial
    inputs = (*arrays, c0, h0)
    kept = FORWARD[dtype](isa, code, reverse, time_major, torch, SAVE[save], *inputs, lengths, outputs, c, h)
    if kept is False:
        return None
    if kept is None:
        return outputs, final, None
    saved = Saved()
    saved.cell_type, saved.option, saved.code, saved.isa = cell_type, option, code, isa
    saved.mode, saved.reverse, saved.time_major, saved.torch, saved.lengths = save, reverse, time_major, torch, lengths
    saved.inputs, saved.outputs, saved.kept = inputs, outputs, kept
    return outputs, final, saved


def backward(
    saved: Saved,
    d_outputs: Array | None,
    d_final: Sequence[Array | None],
    d_states: Sequence[Array | None],
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...] | None:
    """From cotangents (None = 0) to (dx, dW, dU, db, d recurrent bias, d initial states), None where not needed.

    Returns None where the kernels cannot take the cotangents as they are."""
    x, W, U, b, *_ = saved.inputs
    dtype, lstm = x.dtype, saved.cell_type == "lstm"
    d_c, d_h = d_final if lstm else (None, *d_final)
    dx = empty(x.shape, dtype) if needs[0] else None
    made = empty if saved.torch else np.zeros
    dW = made(W.shape, dtype) if needs[1] else None
    dU = made(U.shape, dtype) if needs[2] else None
    db = np.zeros(b.shape, dtype) if needs[3] else None
    dc = np.zeros(b.shape, dtype) if needs[4] else None
    state = (x.shape[1 if saved.time_major else 0], saved.outputs.shape[2])
    d_initial = [np.empty(state, dtype) if wanted else None for wanted in needs[5:]]
    states = d_initial if lstm else (None, *d_initial)
    cotangents = (d_outputs, d_states[0], d_c, d_h)
    done = BACKWARD[dtype](
        saved.kept, saved.code, saved.reverse, saved.time_major, saved.torch, *saved.inputs, saved.outputs,
        *cotangents, dx, dW, dU, db, dc, *states,
    )  # fmt: skip
    if not done:
        return None
    return dx, dW, dU, db, dc, *d_initial


def stepper(
    cell_type: str,
    option: Option,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    extra: Array | None,
    state: tuple[Array, ...],
    isa: str,
) -> Callable[[Array], None]:
    """A function x -> None that takes `state` (the tuple's own arrays) one step on, by the weights as they are now."""
    c, h = state[0] if cell_type == "lstm" else None, state[-1]
    weights = (_flat(kernel), _flat(recurrent_kernel), _flat(bias), _flat(extra))
    step = STEPPER[kernel.dtype](isa, CODES[cell_type, option], *weights, c, h).step
    return lambda x: step(_flat(x))
