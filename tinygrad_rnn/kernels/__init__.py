"""Recurrent nets over whole sequences, arrays in and arrays out: one interface, two implementations.

    outputs, (c, h), saved = lstm_forward(x, kernel, recurrent_kernel, bias, c0, h0, lengths=..., save=...)
    dx, dkernel, drecurrent_kernel, dbias, dc0, dh0 = lstm_backward(saved, d_outputs, d_c, d_h, needs=...)

and likewise `rnn_forward`, `gru_forward`. x is (B, T, D), or (T, B, D) if `time_major`; kernel (D, G·H);
recurrent_kernel (H, G·H); bias (G·H); states (B, H), None for zeros; outputs (B, T, H) or (T, B, H). All of one dtype,
float32 or float64. Gates stand in the order i f g o (LSTM) and z r n (GRU).

* `lengths` (B,): row b ends after lengths[b] steps, 0..T in any order. Past it outputs are 0, the state is carried
  through, x may hold anything and dx is 0. Work is proportional to the sum of the lengths.
* `reverse`: each row runs from its last step to its first; outputs stay at their times and the final state is the one
  at time 0.
* `save`: True keeps what backward needs; "recompute" keeps the states only and backward computes the gates again; False
  keeps nothing.
* `saved.trace()` gives every gate and state at every step by letter; `saved.nbytes` what is held beyond inputs and
  outputs.
* `needs`: which gradients backward computes, one truth value for each; the others are None. Cotangents may be None,
  for 0.

`matmul` is np.matmul on the kernels' own threads, for large float32 and float64 products.

The native kernels (C++) run where they were built, else the NumPy reference; `info()` says which. The environment:
`TINYGRAD_RNN_ISA` = avx512 | avx2 | portable | reference picks one; `TINYGRAD_RNN_REQUIRE_NATIVE=1` makes a missing
extension an error. On the native path, for one instruction set and dtype, each row's outputs, states and dx are bitwise
the same at any batch size and any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from . import check, choice, training
from .check import ACTIVATIONS, GATES, STATES, Array, Inputs, Option, Save
from .choice import get_num_threads, implementations, info, set_num_threads, using
from .product import matmul
from .stepper import Stepper

if TYPE_CHECKING:
    import numpy.typing as npt
if TYPE_CHECKING:
    from . import reference
if TYPE_CHECKING or choice.missing is None:
    from . import compiled

__all__ = [
    "Stepper",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "implementations",
    "info",
    "lstm_backward",
    "lstm_forward",
    "matmul",
    "rnn_backward",
    "rnn_forward",
    "sequence_backward",
    "sequence_forward",
    "set_num_threads",
    "step_forward",
    "training",
    "using",
]

Saved: TypeAlias = "reference.Saved | compiled.Saved"
_PLAIN = frozenset((np.ndarray, type(None)))  # types that go to the native kernels as they are


def _backward(
    cell_type: str,
    saved: Saved,
    d_outputs: Array | None,
    d_final: tuple[Array | None, ...],
    d_states: tuple[Array | None, ...],
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    if getattr(saved, "cell_type", None) != cell_type:
        raise TypeError(
            f"{cell_type}_backward: saved is {_describe(saved)}, expected what {cell_type}_forward returned with save=True or "
            "'recompute'"
        )
    native = saved if choice.missing is None and isinstance(saved, compiled.Saved) else None
    if native is not None and _PLAIN.issuperset(map(type, (d_outputs, *d_final, *d_states))):
        gradients = compiled.backward(native, d_outputs, d_final, d_states, needs)
        if gradients is not None:
            return gradients
    where, (B, T, _, H) = f"{cell_type}_backward", saved.sizes
    dtype, sequence = saved.x.dtype, (T, B, H) if saved.time_major else (B, T, H)
    check.optional(where, "d_outputs", d_outputs, sequence, dtype)
    for name, value in zip(STATES[cell_type], d_final, strict=True):
        check.optional(where, f"d_{name[0]}", value, (B, H), dtype)
    for value in d_states:
        check.optional(where, "d_cells", value, sequence, dtype)
    cotangents = (_maybe(d_outputs), tuple(map(_maybe, d_final)), tuple(map(_maybe, d_states)))
    if native is None:
        from . import reference

        return reference.backward(cast("reference.Saved", saved), *cotangents, needs)
    gradients = compiled.backward(native, *compiled.laid_out_cotangents(*cotangents), needs)
    assert gradients is not None, f"{where}: the native kernels refuse cotangents that passed every check"
    return gradients


def _plain(array: Array) -> Array:
    """An array of a subclass of ndarray as an ndarray: a matrix's * is another."""
    return array if type(array) is np.ndarray else np.asarray(array)


def _maybe(array: Array | None) -> Array | None:
    return None if array is None else _plain(array)


def sequence_forward(
    cell_type: str,
    option: Option,
    arrays: Inputs,
    initial: tuple[Array | None, ...],
    lengths: npt.ArrayLike | None = None,
    reverse: bool = False,
    time_major: bool = False,
    save: Save = False,
    torch: bool = False,
) -> tuple[Array, tuple[Array, ...], Saved | None]:
    """A sequence of any of the cells; returns (outputs, final states, saved).

    option: the RNN's activation, None for the LSTM, the GRU's reset_after. arrays: x, kernel, recurrent_kernel, bias and
    recurrent_bias, where None is 0 (every cell but the GRU with reset_after=False may have both biases). torch: the weights
    are in PyTorch's layout, kernel (G·H, D) and recurrent_kernel (G·H, H), with the GRU's gates in the order r z n.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x, W, U, b = map(np.ones, [(2, 5, 4), (9, 4), (9, 3), 9])
    >>> tg.kernels.sequence_forward("gru", True, (x, W, U, b, b), (None,), torch=True)[0].shape
    (2, 5, 3)
    """
    active, where = choice.active, f"{cell_type}_forward"
    if cell_type == "rnn":
        check.choice(where, "activation", option, ACTIVATIONS)
    elif cell_type == "gru":
        option = check.flag(where, "reset_after", option)
    if save is not True and save is not False:
        check.choice(where, "save", save, (True, False, "recompute"))
    x, kernel, recurrent_kernel, bias, extra = arrays
    if option is False and extra is not None:
        raise ValueError(
            f"{where}: recurrent_bias was given, expected None with reset_after=False, whose gates have one bias"
        )
    if bias is None and isinstance(recurrent_kernel, np.ndarray) and recurrent_kernel.ndim == 2:
        bias = np.zeros(GATES[cell_type] * recurrent_kernel.shape[1 if torch else 0], recurrent_kernel.dtype)
        arrays = (x, kernel, recurrent_kernel, bias, extra)
    if active != "reference" and lengths is None and _PLAIN.issuperset(map(type, arrays + initial)):
        done = compiled.forward(active, cell_type, option, arrays, initial, None, reverse, time_major, save, torch)
        if done is not None:
            return done
    reverse, time_major = check.flag(where, "reverse", reverse), check.flag(where, "time_major", time_major)
    torch = check.flag(where, "torch", torch)
    sizes, dtype = check.inputs(
        where, x, kernel, recurrent_kernel, gates=GATES[cell_type], time_major=time_major, torch=torch
    )
    columns = GATES[cell_type] * sizes.H
    check.array(where, "bias", bias, (columns,), dtype)
    check.optional(where, "recurrent_bias", extra, (columns,), dtype)
    for name, value in zip(STATES[cell_type], initial, strict=True):
        check.optional(where, name, value, (sizes.B, sizes.H), dtype)
    ends = None if lengths is None else check.lengths(where, lengths, sizes.B, sizes.T)
    arrays = (_plain(x), _plain(kernel), _plain(recurrent_kernel), _plain(bias), _maybe(extra))
    initial = tuple(map(_maybe, initial))
    if active == "reference":
        from . import reference

        return reference.forward(
            cell_type,
            option,
            *arrays,
            initial,
            lengths=ends,
            reverse=reverse,
            time_major=time_major,
            save=save,
            torch=torch,
        )
    arrays, initial = compiled.laid_out(arrays, initial, torch)
    done = compiled.forward(active, cell_type, option, arrays, initial, ends, reverse, time_major, save, torch)
    assert done is not None, f"{where}: the native kernels refuse arguments that passed every check"
    return done


def sequence_backward(
    saved: Saved,
    d_outputs: Array | None,
    d_final: tuple[Array | None, ...],
    needs: tuple[bool, ...],
    d_cells: Array | None = None,
) -> tuple[Array | None, ...]:
    """The gradients of `sequence_forward`: (dx, dkernel, drecurrent_kernel, dbias, drecurrent_bias, *d initial states), None
    where `needs` says no. d_cells: the cotangent of the LSTM's c at every step.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x, W, U, b = map(np.ones, [(2, 5, 4), (9, 4), (9, 3), 9])
    >>> _, _, saved = tg.kernels.sequence_forward("gru", True, (x, W, U, b, b), (None,), save=True, torch=True)
    >>> tg.kernels.sequence_backward(saved, np.ones((2, 5, 3)), (None,), (True,) * 6)[1].shape
    (9, 4)
    """
    cell_type = saved.cell_type
    states = (d_cells, None) if cell_type == "lstm" else (None,)
    return _backward(cell_type, saved, d_outputs, d_final, states, needs)


def step_forward(
    cell_type: str, option: Option, arrays: Inputs, state: tuple[Array, ...], *, save: bool = False, torch: bool = False
) -> tuple[tuple[Array, ...], Saved | None]:
    """One step of a cell, x (B, D), as a sequence of length 1; returns (new state, saved). Arguments as those of
    `sequence_forward`.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b, h = map(np.ones, [(4, 3), (3, 3), 3, (2, 3)])
    >>> tg.kernels.step_forward("rnn", "tanh", (np.ones((2, 4)), W, U, b, None), (h,))[0][0].shape
    (2, 3)
    """
    arrays = (arrays[0][:, None], *arrays[1:])
    _, state, saved = sequence_forward(cell_type, option, arrays, state, None, False, False, save, torch)
    return state, saved


def _describe(value: object) -> str:
    cell_type = getattr(value, "cell_type", None)
    return f"from {cell_type}_forward" if isinstance(cell_type, str) else f"a {type(value).__name__}"


def rnn_forward(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    h0: Array | None = None,
    *,
    activation: str = "tanh",
    lengths: npt.ArrayLike | None = None,
    reverse: bool = False,
    time_major: bool = False,
    save: Save = True,
) -> tuple[Array, Array, Saved | None]:
    """h' = φ(x W + h U + b) over a sequence; returns (outputs, h, saved).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.kernels.rnn_forward(*map(np.ones, [(2, 5, 4), (4, 3), (3, 3), 3]))[0].shape
    (2, 5, 3)
    """
    arrays = (x, kernel, recurrent_kernel, bias, None)
    outputs, (h,), saved = sequence_forward("rnn", activation, arrays, (h0,), lengths, reverse, time_major, save)
    return outputs, h, saved


def lstm_forward(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    c0: Array | None = None,
    h0: Array | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    reverse: bool = False,
    time_major: bool = False,
    save: Save = True,
) -> tuple[Array, tuple[Array, Array], Saved | None]:
    """i, f, g, o = split(x W + h U + b); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').

    Returns (outputs, (c, h), saved).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x, W, U, b = map(np.ones, [(2, 5, 4), (4, 12), (3, 12), 12])
    >>> tg.kernels.lstm_forward(x, W, U, b, lengths=[5, 2])[0].shape
    (2, 5, 3)
    """
    arrays = (x, kernel, recurrent_kernel, bias, None)
    outputs, (c, h), saved = sequence_forward("lstm", None, arrays, (c0, h0), lengths, reverse, time_major, save)
    return outputs, (c, h), saved


def gru_forward(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    recurrent_bias: Array | None = None,
    h0: Array | None = None,
    *,
    reset_after: bool,
    lengths: npt.ArrayLike | None = None,
    reverse: bool = False,
    time_major: bool = False,
    save: Save = True,
) -> tuple[Array, Array, Saved | None]:
    """h' = z h + (1 - z) n over a sequence; returns (outputs, h, saved).

    `recurrent_bias` (3H) or None goes with reset_after=True.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x, W, U, b = map(np.ones, [(2, 5, 4), (4, 9), (3, 9), 9])
    >>> tg.kernels.gru_forward(x, W, U, b, reset_after=True)[0].shape
    (2, 5, 3)
    """
    arrays = (x, kernel, recurrent_kernel, bias, recurrent_bias)
    outputs, (h,), saved = sequence_forward("gru", reset_after, arrays, (h0,), lengths, reverse, time_major, save)
    return outputs, h, saved


def rnn_backward(
    saved: Saved, d_outputs: Array | None = None, d_h: Array | None = None, *, needs: Sequence[object] | None = None
) -> tuple[Array | None, Array | None, Array | None, Array | None, Array | None]:
    """Returns (dx, dkernel, drecurrent_kernel, dbias, dh0).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> _, _, saved = tg.kernels.rnn_forward(*map(np.ones, [(2, 5, 4), (4, 3), (3, 3), 3]))
    >>> tg.kernels.rnn_backward(saved, d_h=np.ones((2, 3)))[0].shape
    (2, 5, 4)
    """
    n = check.needs("rnn_backward", needs, ("x", "kernel", "recurrent_kernel", "bias", "h0"))
    dx, dW, dU, db, _, dh0 = _backward("rnn", saved, d_outputs, (d_h,), (None,), (*n[:4], False, n[4]))
    return dx, dW, dU, db, dh0


def lstm_backward(
    saved: Saved,
    d_outputs: Array | None = None,
    d_c: Array | None = None,
    d_h: Array | None = None,
    *,
    d_cells: Array | None = None,
    needs: Sequence[object] | None = None,
) -> tuple[Array | None, Array | None, Array | None, Array | None, Array | None, Array | None]:
    """Returns (dx, dkernel, drecurrent_kernel, dbias, dc0, dh0).

    `d_cells` is the cotangent of c at every step, laid out like the outputs.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x, W, U, b = map(np.ones, [(2, 5, 4), (4, 12), (3, 12), 12])
    >>> tg.kernels.lstm_backward(tg.kernels.lstm_forward(x, W, U, b)[2], np.ones((2, 5, 3)))[0].shape
    (2, 5, 4)
    """
    n = check.needs("lstm_backward", needs, ("x", "kernel", "recurrent_kernel", "bias", "c0", "h0"))
    dx, dW, dU, db, _, dc0, dh0 = _backward(
        "lstm", saved, d_outputs, (d_c, d_h), (d_cells, None), (*n[:4], False, *n[4:])
    )
    return dx, dW, dU, db, dc0, dh0


def gru_backward(
    saved: Saved, d_outputs: Array | None = None, d_h: Array | None = None, *, needs: Sequence[object] | None = None
) -> tuple[Array | None, Array | None, Array | None, Array | None, Array | None, Array | None]:
    """Returns (dx, dkernel, drecurrent_kernel, dbias, drecurrent_bias, dh0).

    drecurrent_bias is None if there was none.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x, W, U, b = map(np.ones, [(2, 5, 4), (4, 9), (3, 9), 9])
    >>> tg.kernels.gru_backward(tg.kernels.gru_forward(x, W, U, b, reset_after=True)[2], np.ones((2, 5, 3)))[0].shape
    (2, 5, 4)
    """
    n = check.needs("gru_backward", needs, ("x", "kernel", "recurrent_kernel", "bias", "recurrent_bias", "h0"))
    has_bias = getattr(saved, "extra", None) is not None
    dx, dW, dU, db, dc, dh0 = _backward("gru", saved, d_outputs, (d_h,), (None,), (*n[:4], n[4] and has_bias, n[5]))
    return dx, dW, dU, db, dc, dh0
