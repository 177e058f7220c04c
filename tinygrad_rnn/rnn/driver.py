"""Drivers run any cell over time: dynamic_rnn, its bidirectional form, and static_rnn for lists of steps.

Past the length of a row, for every driver and cell: its outputs are 0, its state is copied forward, and the content of
the padding (NaN included) affects neither results nor gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..autodiff.state import ambient, scope
from ..autodiff.steps import mask_tensor
from ..autodiff.tensor import Tensor
from ..program.calls import checked_lengths, listener
from .cell import (
    RNNCell,
    as_cell,
    called,
    described,
    gate,
    is_over_time,
    kernel_state,
    leaves,
    map_state,
    scopes_unread,
)

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
Lengths = np.ndarray[Any, np.dtype[np.int64]]


def dynamic_rnn(
    cell: RNNCell,
    inputs: Any,
    sequence_length: Any = None,
    initial_state: Any = None,
    dtype: Any = None,
    time_major: bool = False,
    impl: str = "auto",
    *,
    recompute: bool = False,
    return_trace: bool = False,
) -> Any:
    """Run a cell over time: h_t = cell(x_t, h_{t−1}) for t = 0 … T−1; returns (outputs, final state).

    inputs (B, T, D), or (T, B, D) with time_major; outputs (B, T, H) likewise. sequence_length (B) integers in any order
    from 0 to T: past a row's length its outputs are 0 and its state is copied forward, so the final state is the one at
    its length. initial_state: a state of the cell; default zeros. dtype: of the zero state, and of inputs that are
    integers or plain lists; other inputs keep their dtype. impl: "fused" runs a whole sequence as one node and raises an
    error for cells whose step cannot be traced (see tg.scan), "unrolled" runs step by step in primitives, "auto" is fused
    where possible (rnn.explain says which and why). recompute: the backward pass computes gates again instead of keeping
    them. return_trace: a third result, the gates and states of every step by letter (i, f, g, o, c, h or z, r, n, h),
    each (B, T, H); for a stack a tuple of these, one per layer; for a user-defined cell its states by name (h; h0, h1, …
    of a tuple; a NamedTuple's fields) and the values named by rnn.gate. States have gradients; gates have them on the
    unrolled path and are constants on the fused one.

    Cells of `layers` and `nn` are accepted too, with states as in `rnn`: LSTMState(c, h) for an LSTM. Raises ValueError
    for wrong shapes, lengths out of range and an unknown impl, TypeError for wrong dtypes and an invalid cell. Named
    after TensorFlow 1's tf.nn.dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.LSTMCell(2), np.ones((3, 5, 4), np.float32), sequence_length=[5, 3, 4])
    >>> outputs.shape, state.h.shape
    ((3, 5, 2), (3, 2))
    """
    cell = as_cell(cell)
    name = "dynamic_rnn"
    x, lengths, state = prepare(name, cell, inputs, sequence_length, initial_state, dtype, time_major, impl)
    traces: list[dict[str, Tensor]] | None = [] if return_trace else None
    outputs, state = run_cell(name, cell, x, state, Time(lengths, False, time_major, recompute, impl), traces)
    if traces is None:
        return outputs, state
    return outputs, state, traces[0] if len(traces) == 1 else tuple(traces)


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
    *,
    recompute: bool = False,
) -> tuple[tuple[Tensor, Tensor], tuple[Any, Any]]:
    """Run one cell forward and one backward over time [Schuster & Paliwal 1997].

    Returns ((outputs_fw, outputs_bw), (state_fw, state_bw)), the outputs not concatenated (tg.concatenate(outputs,
    axis=-1) does that). The backward cell reads each row from its own last step (by sequence_length) to its first. Its
    outputs are in order of time; its final state is the one after step 0. Arguments as in dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cells = tg.rnn.GRUCell(2), tg.rnn.GRUCell(2)
    >>> outputs, states = tg.rnn.bidirectional_dynamic_rnn(*cells, np.ones((3, 5, 4), np.float32))
    >>> tg.concatenate(outputs, axis=-1).shape
    (3, 5, 4)
    """
    cell_fw, cell_bw = as_cell(cell_fw), as_cell(cell_bw)
    name = "bidirectional_dynamic_rnn"
    x, lengths, fw = prepare(name, cell_fw, inputs, sequence_length, initial_state_fw, dtype, time_major, impl, "_fw")
    x, lengths, bw = prepare(name, cell_bw, x, lengths, initial_state_bw, dtype, time_major, impl, "_bw")
    with scope("fw", "direction", 0):
        outputs_fw, state_fw = run_cell(name, cell_fw, x, fw, Time(lengths, False, time_major, recompute, impl))
    with scope("bw", "direction", 1):
        outputs_bw, state_bw = run_cell(name, cell_bw, x, bw, Time(lengths, True, time_major, recompute, impl))
    return (outputs_fw, outputs_bw), (state_fw, state_bw)


def static_rnn(
    cell: RNNCell,
    inputs: Sequence[Any],
    initial_state: Any = None,
    dtype: Any = None,
    sequence_length: Any = None,
    impl: str = "auto",
) -> tuple[list[Tensor], Any]:
    """Run a cell over a list of steps, each (B, D); returns (list of outputs, final state). Otherwise as dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> outputs, state = tg.rnn.static_rnn(tg.rnn.GRUCell(2), [np.ones((3, 4), np.float32)] * 5)
    >>> len(outputs), outputs[0].shape
    (5, (3, 2))
    """
    cell = as_cell(cell)
    if not isinstance(inputs, (list, tuple)) or not inputs:
        came = type(inputs).__name__ + " of 0" * isinstance(inputs, (list, tuple))
        raise TypeError(f"static_rnn: inputs is a {came}, expected a list of steps (B, D); dynamic_rnn takes an array")
    shapes = [np.shape(x) for x in inputs]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"static_rnn: inputs have shapes {sorted(set(shapes))}, expected one (B, D) for every step")
    stacked = ops.stack(list(inputs))
    x, lengths, state = prepare("static_rnn", cell, stacked, sequence_length, initial_state, dtype, True, impl)
    outputs, state = run_cell("static_rnn", cell, x, state, Time(lengths, time_major=True, impl=impl))
    return list(ops.unstack(outputs)), state


# -- preparation and checks ----------------------------------------------------------------------------------------


def prepare(
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
    """Check the arguments of a driver and build the cell; returns inputs, lengths and the initial state, None for zeros that
    a kernel does without."""
    if not isinstance(cell, RNNCell):
        raise TypeError(f"{name}: cell{side} is {described(cell)}, expected an rnn.RNNCell such as rnn.LSTMCell(64)")
    if impl not in ("auto", "fused", "unrolled"):
        raise ValueError(f"{name}: impl is {impl!r}, expected 'auto', 'fused' or 'unrolled'")
    if not isinstance(time_major, (bool, np.bool_)):
        raise TypeError(f"{name}: time_major is {time_major!r}, expected True or False")
    x = input_tensor(name, inputs, dtype, cell)
    shape, own = x.shape, x.dtype
    if len(shape) != 3:
        hint = f"; inputs[{':, ' * time_major}None] makes a batch of one" if x.ndim == 2 else ""
        raise ValueError(
            f"{name}: inputs have shape {x.shape}, expected {'(T, B, D)' if time_major else '(B, T, D)'}{hint}"
        )
    batch, steps = shape[1::-1] if time_major else shape[:2]
    cell.check_input(x, 3)
    lengths = checked_lengths(name, sequence_length, batch, steps, "sequence_length")
    if initial_state is not None:
        state = cell.check_state(initial_state, batch, own, f"initial_state{side}")
    elif cell.cell_type is None or getattr(cell.zero_state, "__func__", None) is not RNNCell.zero_state:
        state = cell.zero_state(batch, own)
    else:
        state = None
    cell.build(shape[2], own)
    return x, lengths, state


def input_tensor(name: str, inputs: Any, dtype: Any, cell: RNNCell) -> Tensor:
    """Inputs as a floating-point tensor. Integers and plain lists get the dtype asked for, else that of the built cell,
    else float32."""
    try:
        wanted = None if dtype is None else np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{name}: dtype is {dtype!r}, expected float32 or float64") from None
    if wanted is not None and wanted not in _FLOATS:
        raise TypeError(f"{name}: dtype is {wanted}, expected float32 or float64")
    if isinstance(inputs, Tensor):
        own = inputs.dtype
        if own.kind == "f" and (wanted is None or wanted is own):
            return inputs
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


class Time(NamedTuple):
    """How a cell is run over time: the arguments that drivers share."""

    lengths: Lengths | None = None
    reverse: bool = False
    time_major: bool = False
    recompute: bool = False
    impl: str = "auto"


def run_cell(
    caller: str, cell: RNNCell, x: Tensor, state: Any, time: Time, traces: list[dict[str, Tensor]] | None = None
) -> tuple[Tensor, Any]:
    """Run a cell over checked inputs; returns (outputs, final state). `traces` collects gates and states by name, one
    entry per layer. Each layer of a stack runs over the whole sequence before the next."""
    if not cell.layers and scopes_unread():
        return _run_layer(caller, cell, x, state, time, traces)
    with scope(cell.scope_name):
        if cell.layers and (time.impl != "unrolled" or traces is not None):
            news = []
            for i, (layer, old) in enumerate(zip(cell.layers, state, strict=True)):
                with scope(f"cell_{i}", "layer", i):
                    x, new = run_cell(caller, layer, x, old, time, traces)
                news.append(new)
            return x, tuple(news)
        return _run_layer(caller, cell, x, state, time, traces)


def _run_layer(
    caller: str, cell: RNNCell, x: Tensor, state: Any, time: Time, traces: list[dict[str, Tensor]] | None
) -> tuple[Tensor, Any]:
    """One cell, no stack, by its kernel or by `scan`."""
    if time.impl != "unrolled" and cell.fused() is not None:
        known: Any = cell
        return run_kernel(known.cell_type, known.weights, known.fused_options, x, state, time, traces)
    if state is None:
        state = cell.zero_state(x.shape[1 if time.time_major else 0], x.dtype)
    return _run_scan(caller, cell, x, state, time, traces)


# The op of a whole sequence, the values other than h that it can return for each step, and its initial state of zeros.
_SEQUENCES: dict[str, tuple[Any, str, tuple[None, ...]]] = {
    "rnn": (ops.rnn_sequence, "", (None,)),
    "lstm": (ops.lstm_sequence, "cifgo", (None, None)),
    "gru": (ops.gru_sequence, "zrn", (None,)),
}


def run_kernel(
    cell_type: str,
    weights: tuple[Any, ...],
    options: dict[str, Any],
    x: Tensor,
    state: Any,
    time: Time,
    traces: list[dict[str, Tensor]] | None = None,
) -> tuple[Tensor, Any]:
    """Run the sequence by the kernel of a type of cell, with its weights and options; a state of None is zeros."""
    if (reports := listener.get()) is not None:
        reports.append(("/".join(ambient.get().scope), "fused", "the whole sequence is one node"))
    op, letters, zeros = _SEQUENCES[cell_type]
    options["lengths"], options["reverse"], options["time_major"], options["recompute"] = time[:4]
    if letters and traces is not None:
        options["trace"] = "gates"
    initial = zeros if state is None else leaves(state)
    results = op.apply((x, *weights, *initial), options)
    outputs, n = results[0], 1 + len(initial)
    if traces is not None:
        named = {**dict(zip(letters, results[n:], strict=True)), "h": outputs}
        traces.append({k: v if k in "ch" else v.detach() for k, v in named.items()})
    return outputs, kernel_state(results[1:n])


def _run_scan(
    caller: str, cell: RNNCell, x: Tensor, state: Any, time: Time, traces: list[dict[str, Tensor]] | None
) -> tuple[Tensor, Any]:
    """Run the sequence by `scan`. Random arrays are drawn here, so they do not depend on the path: arrays (B, T, ·) are
    inputs of the scan, arrays (B, ·) and tensors are its constants."""
    from ..program.scan import run_scan  # with all of program: imported when the first cell needs it

    batch, steps = (x.shape[1], x.shape[0]) if time.time_major else x.shape[:2]
    drawn = cell.draw((batch, steps, x.shape[2]), x.dtype)
    names = traces is not None
    inputs: Any = x
    form: Any = ()
    constants: list[Tensor] = []
    if not isinstance(drawn, tuple) or drawn:
        arrays = [a for a in leaves(drawn) if not isinstance(a, tuple)]
        over_time = [np.swapaxes(a, 0, 1) if time.time_major else a for a in arrays if is_over_time(a)]
        constants = [a if isinstance(a, Tensor) else mask_tensor(a) for a in arrays if not is_over_time(a)]
        form = map_state(is_over_time, drawn)
        inputs = (x, *map(mask_tensor, over_time)) if over_time else x
    lengths, reverse, time_major, recompute, impl = time
    outputs, final, seen = run_scan(
        partial(_step, cell, form, names), inputs, state, tuple(constants),
        lengths=lengths, reverse=reverse, time_major=time_major, impl=impl, recompute=recompute,
        names=names, caller=caller, owner=(cell, (form, names)),
        checked=lambda result: cell.check_result(result, batch, x.dtype),
    )  # fmt: skip
    shape = outputs.shape
    if shape[2:] != (cell.output_size,) or outputs.dtype is not x.dtype:
        cell.check_output((batch, *shape[2:]), outputs.dtype, batch, x.dtype)
    if traces is not None:
        traces.append(seen)
    return outputs, final


def _step(cell: RNNCell, form: Any, names: bool, x: Any, state: Any, *constants: Any) -> Any:
    """The step that a scan runs: x is followed by the arrays drawn for this step."""
    drawn: Any = ()
    if form:
        rest, held = iter(()), iter(constants)
        if isinstance(x, tuple):
            x, *now = x
            rest = iter(now)
        drawn = map_state(lambda each: next(rest if each else held), form)
    result = called(cell, x, state, drawn)
    if names:
        _, new = result
        parts = leaves(new)
        fields = getattr(new, "_fields", "h")
        for name, part in zip(
            fields if len(fields) == len(parts) else [f"h{i}" for i in range(len(parts))], parts, strict=True
        ):
            gate(name, part)
    return result
