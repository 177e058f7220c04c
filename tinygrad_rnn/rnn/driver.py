"""Drivers run any cell over time: dynamic_rnn, its bidirectional form, and static_rnn for lists of steps.

The rule past the end of a sequence, for every driver and cell: outputs are 0, the state is carried through, and what the
padding holds (NaN included) touches neither results nor gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autodiff.state import scope
from ..autodiff.tensor import Tensor
from .cell import RNNCell, kind, map_state

Lengths = np.ndarray[Any, np.dtype[np.int64]]


def dynamic_rnn(
    cell: RNNCell,
    inputs: Any,
    sequence_length: Any = None,
    initial_state: Any = None,
    dtype: Any = None,
    time_major: bool = False,
    impl: str = "auto",
) -> tuple[Tensor, Any]:
    """Run a cell over time: h_t = cell(x_t, h_{t−1}) for t = 0 … T−1; returns (outputs, final state).

    inputs (B, T, D), or (T, B, D) with time_major; outputs (B, T, H) likewise. sequence_length (B) integers in any order
    from 0 to T: past a row's length its outputs are 0 and its state is carried through, so the final state is the one at
    its length. initial_state: as the cell's state, else zeros. dtype: of the zero state, and of inputs
    that are integers or plain lists; others keep their own. impl: "unrolled" runs step by step in primitives; "auto" picks
    the fastest way there is.

    Raises ValueError for wrong shapes, lengths out of range and an unknown impl, TypeError for wrong dtypes and for what
    is no cell. Named after TensorFlow 1's tf.nn.dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.LSTMCell(2), np.ones((3, 5, 4), np.float32), sequence_length=[5, 3, 4])
    >>> outputs.shape, state.h.shape
    ((3, 5, 2), (3, 2))
    """
    x, lengths, state = _prepare("dynamic_rnn", cell, inputs, sequence_length, initial_state, dtype, time_major, impl)
    return _unrolled(cell, x, lengths, state, time_major)


def bidirectional_dynamic_rnn(
    cell_fw: RNNCell,
    cell_bw: RNNCell,
    inputs: Any,
    sequence_length: Any = None,
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    dtype: Any = None,
    time_major: bool = False,
    impl: str = "auto",
) -> tuple[tuple[Tensor, Tensor], tuple[Any, Any]]:
    """Run one cell forward and one backward over time [Schuster & Paliwal 1997].

    Returns ((outputs_fw, outputs_bw), (state_fw, state_bw)), the outputs not joined: tg.concatenate(outputs, axis=-1)
    does that. The backward cell reads each row from its own last step (by sequence_length) to its first; its output at
    step t stands at t, and its final state is the one after step 0. Arguments as in dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cells = tg.rnn.GRUCell(2), tg.rnn.GRUCell(2)
    >>> outputs, states = tg.rnn.bidirectional_dynamic_rnn(*cells, np.ones((3, 5, 4), np.float32))
    >>> tg.concatenate(outputs, axis=-1).shape
    (3, 5, 4)
    """
    name = "bidirectional_dynamic_rnn"
    x, lengths, fw = _prepare(name, cell_fw, inputs, sequence_length, initial_state_fw, dtype, time_major, impl, "_fw")
    x, lengths, bw = _prepare(name, cell_bw, x, lengths, initial_state_bw, dtype, time_major, impl, "_bw")
    with scope("fw"):
        outputs_fw, state_fw = _unrolled(cell_fw, x, lengths, fw, time_major)
    with scope("bw"):
        axis = 0 if time_major else 1
        turned = ops.reverse_sequence(_without_padding(x, lengths, axis), lengths=lengths, time_axis=axis)
        outputs_bw, state_bw = _unrolled(cell_bw, turned, lengths, bw, time_major)
        outputs_bw = ops.reverse_sequence(outputs_bw, lengths=lengths, time_axis=axis)
    return (outputs_fw, outputs_bw), (state_fw, state_bw)


def static_rnn(
    cell: RNNCell,
    inputs: Sequence[Any],
    initial_state: Any = None,
    dtype: Any = None,
    sequence_length: Any = None,
    impl: str = "auto",
) -> tuple[list[Tensor], Any]:
    """Run a cell over a list of steps, each (B, D); returns (list of outputs, final state). The rest as dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> outputs, state = tg.rnn.static_rnn(tg.rnn.GRUCell(2), [np.ones((3, 4), np.float32)] * 5)
    >>> len(outputs), outputs[0].shape
    (5, (3, 2))
    """
    if not isinstance(inputs, (list, tuple)) or not inputs:
        came = (
            f"{type(inputs).__name__} of {len(inputs)}" if isinstance(inputs, (list, tuple)) else type(inputs).__name__
        )
        raise TypeError(
            f"static_rnn: inputs is a {came}, expected a list of at least one step (B, D); dynamic_rnn takes an array"
        )
    shapes = [np.shape(x) for x in inputs]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(
            f"static_rnn: inputs have shapes {sorted(set(shapes))}, expected one shape (B, D) for every step"
        )
    stacked = ops.stack(list(inputs))
    x, lengths, state = _prepare("static_rnn", cell, stacked, sequence_length, initial_state, dtype, True, impl)
    outputs, state = _unrolled(cell, x, lengths, state, time_major=True)
    return list(ops.unstack(outputs)), state


# -- preparation and checks ----------------------------------------------------------------------------------------


def _prepare(
    name: str,
    cell: Any,
    inputs: Any,
    sequence_length: Any,
    initial_state: Any,
    dtype: Any,
    time_major: bool,
    impl: str,
    side: str = "",
) -> tuple[Tensor, Lengths | None, Any]:
    """Inputs as a checked tensor, lengths as checked integers, the initial state; the cell built."""
    if not isinstance(cell, RNNCell):
        raise TypeError(f"{name}: cell{side} is {kind(cell)}, expected an rnn.RNNCell such as rnn.LSTMCell(64)")
    if impl not in ("auto", "unrolled"):
        raise ValueError(f"{name}: impl is {impl!r}, expected 'auto' or 'unrolled'")
    x = _input_tensor(name, inputs, dtype, cell)
    if x.ndim != 3:
        hint = f"; inputs[{':, ' * time_major}None] makes a batch of one" if x.ndim == 2 else ""
        raise ValueError(
            f"{name}: inputs have shape {x.shape}, expected {'(T, B, D)' if time_major else '(B, T, D)'}{hint}"
        )
    batch, steps = (x.shape[1], x.shape[0]) if time_major else x.shape[:2]
    cell.check_input(x, 3)
    lengths = _lengths(name, sequence_length, batch, steps)
    if initial_state is None:
        state = cell.zero_state(batch, x.dtype)
    else:
        state = cell.check_state(initial_state, batch, x.dtype, f"initial_state{side}")
    cell.build(x.shape[2], x.dtype)
    return x, lengths, state


def _input_tensor(name: str, inputs: Any, dtype: Any, cell: RNNCell) -> Tensor:
    """Inputs as a floating tensor. Integers and plain lists, which have no floating dtype, take the one asked for, else
    the one that the cell was built in, else float32."""
    try:
        wanted = None if dtype is None else np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{name}: dtype is {dtype!r}, expected float32 or float64") from None
    if wanted is not None and wanted not in (np.float32, np.float64):
        raise TypeError(f"{name}: dtype is {wanted}, expected float32 or float64")
    built = (m.dtype for m in cell.modules() if isinstance(m, RNNCell) and m.input_size is not None)
    default = wanted or next(built, np.dtype(np.float32))
    try:
        x = inputs if isinstance(inputs, Tensor) else Tensor(inputs)
        if not hasattr(inputs, "dtype") and default == np.float64:
            x = Tensor(inputs, default)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name}: inputs are {type(inputs).__name__}, expected an array of numbers: {error}"
        ) from None
    if x.dtype.kind != "f":
        return Tensor(x.data.astype(default))
    if wanted is not None and x.dtype != wanted:
        raise TypeError(
            f"{name}: inputs have dtype {x.dtype}, but dtype={wanted} was asked for; use inputs.astype(np.{wanted})"
        )
    return x


def _lengths(name: str, lengths: Any, batch: int, steps: int) -> Lengths | None:
    """Sequence lengths as integers within 0 … T, one per row."""
    if lengths is None:
        return None
    try:
        found = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    except ValueError:
        raise ValueError(f"{name}: sequence_length is {lengths!r:.60}, expected {batch} integers") from None
    if found.shape != (batch,):
        raise ValueError(
            f"{name}: sequence_length has shape {found.shape}, expected ({batch},): one length for each row of the batch"
        )
    if found.dtype.kind not in "iu" and found.size:
        at = np.flatnonzero(np.isnan(found)) if found.dtype.kind == "f" else np.zeros(0, int)
        hint = f"; sequence_length[{at[0]}] is NaN" if len(at) else "; use np.asarray(sequence_length, dtype=int)"
        raise TypeError(f"{name}: sequence_length has dtype {found.dtype}, expected integers{hint}")
    bad = np.flatnonzero((found < 0) | (found > steps))
    if len(bad):
        raise ValueError(
            f"{name}: sequence_length[{bad[0]}] is {found[bad[0]]}, expected 0 <= length <= {steps} (the number of steps)"
        )
    return found.astype(np.int64)


# -- the unrolled path ---------------------------------------------------------------------------------------------


def _unrolled(cell: RNNCell, x: Tensor, lengths: Lengths | None, state: Any, time_major: bool) -> tuple[Tensor, Any]:
    """Step by step: time is cut once by `unstack`, the input's projection is one product for all steps."""
    axis = 0 if time_major else 1
    batch, steps = x.shape[1 - axis], x.shape[axis]
    run = steps if lengths is None else int(lengths.max(initial=0))
    if run < steps:
        x = x[:run] if time_major else x[:, :run]
    x = _without_padding(x, lengths, axis)
    with scope(cell.scope_name):
        projected = cell.project(x)
        step = cell.begin(batch, x.dtype)
    outputs = []
    full = run if lengths is None else int(lengths.min(initial=run))
    for t, z in enumerate(ops.unstack(projected, axis=axis)):
        with scope(f"t={t}"):
            with scope(cell.scope_name):
                result = step(z, state)
            output, new = cell.check_result(result, batch, x.dtype) if t == 0 else result
            if t >= full and lengths is not None:
                output, new = _hold(t < lengths, output, new, state)
        outputs.append(output)
        state = new
    missing = np.zeros((batch, cell.output_size), x.dtype)
    outputs += [missing] * (steps - run)
    if not outputs:
        return Tensor(
            np.zeros((0, batch, cell.output_size) if time_major else (batch, 0, cell.output_size), x.dtype)
        ), state
    stacked = ops.stack(outputs, axis=axis)
    return stacked if isinstance(stacked, Tensor) else Tensor(stacked), state


def _hold(alive: Any, output: Any, new: Any, old: Any) -> tuple[Any, Any]:
    """Rows past their end: output 0, the state as before."""
    mask = alive[:, None]
    return ops.where(mask, output, 0), map_state(lambda n, o: ops.where(mask, n, o), new, old)


def _without_padding(x: Tensor, lengths: Lengths | None, axis: int) -> Tensor:
    """A row's first step in place of what lies past its length: NaN there cannot spread, and a cell whose step is not
    finite at, say, 0 (a logarithm) meets no input that it was not given. A row without steps gets zeros."""
    if lengths is None or lengths.min(initial=x.shape[axis]) >= x.shape[axis]:
        return x
    alive = np.arange(x.shape[axis])[None, :] < lengths[:, None]
    first = np.where(lengths[:, None] > 0, x.data[0] if axis == 0 else x.data[:, 0], x.dtype.type(0))
    result: Tensor = ops.where((alive.T if axis == 0 else alive)[:, :, None], x, np.expand_dims(first, axis))
    return result
