"""Drivers run any cell over time: dynamic_rnn, its bidirectional form, and static_rnn for lists of steps.

The rule past the end of a sequence, for every driver and cell: outputs are 0, the state is carried through, and what the
padding holds (NaN included) touches neither results nor gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from .. import ops
from ..autodiff.state import ambient, scope
from ..autodiff.tensor import Tensor
from ..ops.recurrent import in_time, probe, unroll, without_padding, zeroed
from .cell import RNNCell, as_cell, kind, leaves, rebuild

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
    from 0 to T: past a row's length its outputs are 0 and its state is carried through, so the final state is the one at
    its length. initial_state: as the cell's state, else zeros. dtype: of the zero state, and of inputs that are integers
    or plain lists; others keep their own. impl: "fused" runs whole sequences as one node and refuses cells that have no
    fused op, "unrolled" runs step by step in primitives, "auto" takes the fused way wherever there is one (rnn.explain
    says which and why).
    recompute: the backward pass computes gates again instead of keeping them. return_trace: a third result, what every
    step gave by letter (i, f, g, o, c, h or z, r, n, h), each (B, T, H); for a stack a tuple of these, one a layer; of a
    cell of one's own its states by name (h; h0, h1, … of a tuple; a NamedTuple's names) and what it shows with rnn.gate.
    States carry gradients; gates do on the unrolled path and are constants on the fused one.

    Cells of `layers` and of `nn` are taken as well; their states are ours here, an LSTM's is LSTMState(c, h).
    Raises ValueError for wrong shapes, lengths out of range and an unknown impl, TypeError for wrong dtypes and for what
    is no cell. Named after TensorFlow 1's tf.nn.dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.LSTMCell(2), np.ones((3, 5, 4), np.float32), sequence_length=[5, 3, 4])
    >>> outputs.shape, state.h.shape
    ((3, 5, 2), (3, 2))
    """
    cell = as_cell(cell)
    name = "dynamic_rnn"
    x, lengths, state = _prepare(name, cell, inputs, sequence_length, initial_state, dtype, time_major, impl)
    run = Run(name, impl, lengths, time_major, False, recompute, return_trace)
    outputs, state = run(cell, x, state)
    return (outputs, state, _trace(run)) if return_trace else (outputs, state)


def _trace(run: Run) -> Any:
    return run.traces[0] if len(run.traces) == 1 else tuple(run.traces)


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

    Returns ((outputs_fw, outputs_bw), (state_fw, state_bw)), the outputs not joined: tg.concatenate(outputs, axis=-1)
    does that. The backward cell reads each row from its own last step (by sequence_length) to its first; its output at
    step t stands at t, and its final state is the one after step 0. Arguments as in dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cells = tg.rnn.GRUCell(2), tg.rnn.GRUCell(2)
    >>> outputs, states = tg.rnn.bidirectional_dynamic_rnn(*cells, np.ones((3, 5, 4), np.float32))
    >>> tg.concatenate(outputs, axis=-1).shape
    (3, 5, 4)
    """
    cell_fw, cell_bw = as_cell(cell_fw), as_cell(cell_bw)
    name = "bidirectional_dynamic_rnn"
    x, lengths, fw = _prepare(name, cell_fw, inputs, sequence_length, initial_state_fw, dtype, time_major, impl, "_fw")
    x, lengths, bw = _prepare(name, cell_bw, x, lengths, initial_state_bw, dtype, time_major, impl, "_bw")
    with scope("fw"):
        outputs_fw, state_fw = Run(name, impl, lengths, time_major, False, recompute, False)(cell_fw, x, fw)
    with scope("bw"):
        outputs_bw, state_bw = Run(name, impl, lengths, time_major, True, recompute, False)(cell_bw, x, bw)
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
    cell = as_cell(cell)
    if not isinstance(inputs, (list, tuple)) or not inputs:
        came = type(inputs).__name__ + " of 0" * isinstance(inputs, (list, tuple))
        raise TypeError(f"static_rnn: inputs is a {came}, expected a list of steps (B, D); dynamic_rnn takes an array")
    shapes = [np.shape(x) for x in inputs]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"static_rnn: inputs have shapes {sorted(set(shapes))}, expected one (B, D) for every step")
    stacked = ops.stack(list(inputs))
    x, lengths, state = _prepare("static_rnn", cell, stacked, sequence_length, initial_state, dtype, True, impl)
    outputs, state = Run("static_rnn", impl, lengths, True, False, False, False)(cell, x, state)
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
    if impl not in ("auto", "fused", "unrolled"):
        raise ValueError(f"{name}: impl is {impl!r}, expected 'auto', 'fused' or 'unrolled'")
    if not isinstance(time_major, (bool, np.bool_)):
        raise TypeError(f"{name}: time_major is {time_major!r}, expected True or False")
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


def _lengths(name: str, lengths: Any, batch: int, steps: int, argument: str = "sequence_length") -> Lengths | None:
    """Sequence lengths as integers within 0 … T, one per row."""
    if lengths is None:
        return None
    try:
        found = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    except ValueError:
        raise ValueError(f"{name}: {argument} is {lengths!r:.60}, expected {batch} integers") from None
    if found.shape != (batch,):
        raise ValueError(f"{name}: {argument} has shape {found.shape}, expected ({batch},): one length for each row")
    if found.dtype.kind not in "iu" and found.size:
        at = np.flatnonzero(np.isnan(found)) if found.dtype.kind == "f" else np.zeros(0, int)
        hint = f"; {argument}[{at[0]}] is NaN" if len(at) else f"; use np.asarray({argument}, dtype=int)"
        raise TypeError(f"{name}: {argument} has dtype {found.dtype}, expected integers{hint}")
    bad = np.flatnonzero((found < 0) | (found > steps))
    if len(bad):
        raise ValueError(
            f"{name}: {argument}[{bad[0]}] is {found[bad[0]]}, expected 0 <= length <= {steps} (the number of steps)"
        )
    return found.astype(np.int64)


# -- running -------------------------------------------------------------------------------------------------------

# While `explain` listens: (cell, path, why) of every cell that runs.
watched: ContextVar[list[tuple[str, str, str]] | None] = ContextVar("tinygrad_rnn.rnn.watched", default=None)


class Run:
    """One run of a driver: how time is laid out, and which path each cell takes. Calling it runs a cell."""

    def __init__(
        self,
        name: str,
        impl: str,
        lengths: Lengths | None,
        time_major: bool,
        reverse: bool,
        recompute: bool,
        trace: bool,
    ):
        self.name, self.impl, self.lengths, self.trace = name, impl, lengths, trace
        self.axis = 0 if time_major else 1
        self.time: dict[str, Any] = {"lengths": lengths, "reverse": reverse, "time_major": time_major}
        self.options = {**self.time, "recompute": recompute}  # of a fused op
        self.traces: list[dict[str, Tensor]] = []

    def __call__(self, cell: RNNCell, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        why = cell.unfused()
        if self.impl == "fused" and why is not None:
            raise ValueError(f"{self.name}: impl='fused' cannot run {cell.scope_name}: {why}; use impl='auto'")
        with scope(cell.scope_name):
            if self.impl != "unrolled" and why is None:
                self._told("fused", "the whole sequence is one node")
                outputs, state = cell.sequence(self, x, state)
                return outputs, state
            self._told("unrolled", why or "impl='unrolled'")
            return self._unrolled(cell, x, state)

    def _told(self, path: str, why: str) -> None:
        if (paths := watched.get()) is not None:
            paths.append(("/".join(ambient.get().scope), path, why))

    def without_padding(self, x: Any) -> Any:
        """x with each row's first step in the place of what lies past its length."""
        return without_padding(x, self.lengths, self.axis)

    def zeroed(self, x: Any) -> Any:
        """x with 0 past each row's length."""
        return zeroed(x, self.lengths, self.axis)

    def traced(self, **arrays: Any) -> None:
        """Keep what a fused op gave by letter: states carry gradients, gates are constants."""
        if self.trace:
            self.traces.append({k: v if k in "ch" else v.detach() for k, v in arrays.items()})

    def _unrolled(self, cell: RNNCell, x: Any, state: Any) -> tuple[Tensor, Any]:
        """Step by step: time is cut once by `unstack`, the input's projection is one product for all steps."""
        batch, steps = x.shape[1 - self.axis], x.shape[self.axis]
        last = steps if self.lengths is None else int(self.lengths.max(initial=0))
        cut = x if last == steps else x[:last] if self.axis == 0 else x[:, :last]
        z = cell.project(self.without_padding(cut))
        step = cell.begin(batch, x.dtype)
        first, shown, names = True, dict[str, Any](), getattr(state, "_fields", "h")
        if len(names) != len(leaves(state)):
            names = [f"h{i}" for i, _ in enumerate(leaves(state))]

        def flat(z: Any, parts: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
            nonlocal first
            shown.clear()
            result = step(z, rebuild(state, parts))
            output, new = cell.check_result(result, batch, x.dtype) if first else result
            first, parts = False, leaves(new)
            for name, part in zip(names, parts, strict=True):
                shown.setdefault(name, part)  # a state that no gate has shown
            return output, parts

        token = probe.set(shown if self.trace else None)
        try:
            outputs, states, seen = unroll(flat, z, leaves(state), **self.time)
        finally:
            probe.reset(token)
        if self.trace:
            letters = seen[0] if seen else {}
            self.traces.append({k: self._whole([s[k] for s in seen], x, letters[k].shape[-1]) for k in letters})
        final = rebuild(state, states[-1]) if states else state
        return self._whole(outputs, x, cell.output_size), final

    def _whole(self, steps: list[Any], x: Tensor, size: int) -> Tensor:
        """A list of steps as one tensor in order of time, 0 where no step was run."""
        missing = x.shape[self.axis] - len(steps) if steps else 0
        steps = steps + [np.zeros((x.shape[1 - self.axis], size), x.dtype)] * missing
        whole = in_time(steps, x, size, **self.time)
        return whole if isinstance(whole, Tensor) else Tensor(whole)
