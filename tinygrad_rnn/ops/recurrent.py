"""Whole sequences: fused ops on the kernels, and their expansions into primitives.

The steps are the equations of the cells. `unroll` runs any step over time; a fused op does the same in one node. Letters:
B batch, T time, D input, H units. Past a row's length outputs are 0, the state is copied forward, and the padding, NaN
included, has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from math import prod
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..autodiff.node import Array, Shape
from ..autodiff.op import primitive
from ..autodiff.state import Run, scope
from ..autodiff.state import step as time_step
from ..autodiff.steps import name_states
from ..autodiff.tensor import Tensor
from ..autodiff.work import Work
from .index import reverse_sequence
from .pointwise import relu, sigmoid, tanh
from .select import where
from .shape import split, stack, unstack

Function: TypeAlias = Callable[[Array], Array]

probe: ContextVar[dict[str, Any] | None] = ContextVar("tinygrad_rnn.probe", default=None)  # collects gates by letter


def gate(letter: str, f: Callable[..., Any], *arguments: Any) -> Any:
    """f(*arguments) in the scope of a gate's or state's letter; also passed to the probe, if there is one."""
    with scope(letter, "gate"):
        value = f(*arguments)
    seen = probe.get()
    if seen is not None:
        seen[letter] = value
    return value


# -- steps: (z = x W + b, state, weights) -> new state, whose last part is the output ------------------------------


def rnn_step(z: Array, h: Array, u: Array, activate: Function) -> Array:
    """h' = φ(z + h U) [Elman 1990]."""
    return gate("h", activate, z + h @ u)


def lstm_step(z: Array, c: Array, h: Array, u: Array) -> tuple[Array, Array]:
    """i, f, g, o = split(z + h U); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c') [Gers, Schmidhuber & Cummins 2000]."""
    i, f, g, o = split(z + h @ u, 4, axis=-1)
    i, f, g, o = gate("i", sigmoid, i), gate("f", sigmoid, f), gate("g", tanh, g), gate("o", sigmoid, o)
    c = gate("c", lambda: f * c + i * g)
    return c, gate("h", lambda: o * tanh(c))


def gru_step(x: Array, h: Array, u: Array) -> Array:
    """z, r = σ(x + h U); n = tanh(x + (r h) U); h' = z h + (1 − z) n, in their columns [Cho et al. 2014]."""
    size = h.shape[-1]
    gates, candidate = split(x, [2 * size], axis=-1)
    z, r = split(gates + h @ u[:, : 2 * size], 2, axis=-1)
    z, r = gate("z", sigmoid, z), gate("r", sigmoid, r)
    n = gate("n", lambda: tanh(candidate + (r * h) @ u[:, 2 * size : 3 * size]))
    return gate("h", lambda: z * h + (1 - z) * n)


def gru_step_reset_after(x: Array, h: Array, u: Array, b: Array) -> Array:
    """As gru_step, but n = tanh(x + r (h U + b)): the reset gate comes after the product, as in cuDNN."""
    xz, xr, xn = split(x, 3, axis=-1)
    hz, hr, hn = split(h @ u + b, 3, axis=-1)
    z, r = gate("z", lambda: sigmoid(xz + hz)), gate("r", lambda: sigmoid(xr + hr))
    n = gate("n", lambda: tanh(xn + r * hn))
    return gate("h", lambda: z * h + (1 - z) * n)


# -- time ----------------------------------------------------------------------------------------------------------


def without_padding(x: Array, lengths: Any, axis: int) -> Array:
    """x with the padding of each row replaced by its first step (0 if it has none), so that NaN in the padding cannot
    spread, and the step is evaluated on real inputs only."""
    if lengths is None or lengths.min(initial=x.shape[axis]) >= x.shape[axis]:
        return x
    alive = np.arange(x.shape[axis])[None, :] < lengths[:, None]
    alive = (alive.T if axis == 0 else alive).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
    values = x.data if isinstance(x, Tensor) else x
    started = (lengths > 0).reshape((-1,) + (1,) * (x.ndim - 2))
    first = np.where(started, values[0] if axis == 0 else values[:, 0], values.dtype.type(0))
    return where(alive, x, np.expand_dims(first, axis))


def unroll(
    step: Callable[[Array, tuple[Array, ...]], tuple[Array, tuple[Array, ...]]],
    z: Array,
    state: tuple[Array, ...],
    *,
    lengths: Any,
    reverse: bool,
    time_major: bool,
) -> tuple[list[Array], list[tuple[Array, ...]], list[dict[str, Array]]]:
    """Run step(z_t, state) -> (output, state) over time, which is unstacked once; returns outputs, states and probed
    gates by step.

    z (B, T, ·), already without padding; the state is a flat tuple of arrays (B, ·). With `reverse` each row runs from its
    own last step to its first, and lists are in the order of running.
    """
    axis = 0 if time_major else 1
    if reverse:
        z = reverse_sequence(z, lengths=lengths, time_axis=axis)
    outputs, states, gates = [], [], []
    run, names = Run(reverse, lengths), ("c", "h")[-len(state) :]
    for t, z_t in enumerate(unstack(z, axis=axis)):
        with time_step(t, run):
            output, new = step(z_t, state)
            name_states(new, names, state)
            seen = probe.get()
            values = dict(seen) if seen is not None else {}
            if lengths is not None and t >= lengths.min(initial=t + 1):
                alive = (t < lengths)[:, None]
                output = where(alive, output, 0)
                values = {letter: where(alive, g, 0) for letter, g in values.items()}
                new = tuple(where(alive, n, o) for n, o in zip(new, state, strict=True))
                name_states(new, names)
        outputs.append(output)
        states.append(new)
        gates.append(values)
        state = new
    return outputs, states, gates


def in_time(steps: list[Array], like: Array, size: int, *, lengths: Any, reverse: bool, time_major: bool) -> Array:
    """A list of the values of each step (B, size) as one array (B, T, size) in order of time."""
    axis = 0 if time_major else 1
    if not steps:
        return np.zeros((*like.shape[:2], size), like.dtype)
    whole = stack(steps, axis=axis)
    return reverse_sequence(whole, lengths=lengths, time_axis=axis) if reverse else whole


def _expansion(
    step: _Step, z: Array, states: Any, letters: str, lengths: Any, reverse: bool, time_major: bool
) -> tuple[Array, ...]:
    """The results of a fused op from its step: outputs, final states, and the traced letters of every step."""
    batch = z.shape[1 if time_major else 0]
    states = tuple(Tensor(np.zeros((batch, step.size), z.dtype)) if s is None else s for s in states)
    time = {"lengths": lengths, "reverse": reverse, "time_major": time_major}
    token = probe.set({})
    try:
        outputs, after, seen = unroll(step.run, z, states, **time)
    finally:
        probe.reset(token)
    final = after[-1] if after else states
    return (
        in_time(outputs, z, step.size, **time),
        *final,
        *(in_time([s[letter] for s in seen], z, step.size, **time) for letter in letters),
    )


class _Step:
    """A step of a fused op's expansion: states in, (output, states) out."""

    def __init__(self, size: int, f: Callable[..., Any]):
        self.size, self.f = size, f

    def run(self, z: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        new = self.f(z, *state)
        new = new if isinstance(new, tuple) else (new,)
        return new[-1], new


STEP_OPERATIONS = {
    "rnn": (1, 2),
    "lstm": (4, 13),
    "gru": (3, 11),
}  # gates; elementwise operations a unit, without biases


def step_flops(cell_type: str, size: int, units: int, biases: int) -> int:
    """The operations of one step of a cell for one row, whose input is of this size."""
    gates, each = STEP_OPERATIONS[cell_type]
    return units * (2 * (size + units) * gates + each + biases * gates)


def _over_time(cell_type: str) -> Work:
    def flops(read: Sequence[Shape], made: Sequence[Shape], options: dict[str, Any]) -> int:
        (*leading, units), lengths = made[0], options.get("lengths")
        steps = prod(leading) if lengths is None else int(np.sum(lengths))
        return steps * step_flops(cell_type, read[0][-1], units, 2 if options.get("reset_after") else 1)

    return Work(flops)


def _save(recompute: bool, keep: bool, letters: str = "") -> Any:
    return "recompute" if keep and recompute else keep or bool(letters)


def _letters(trace: str | None, cells: str, gates: str) -> str:
    """The letters whose arrays a fused op also returns."""
    if trace not in (None, "cells", "gates"):
        raise ValueError(f"trace is {trace!r}, expected None, 'cells' or 'gates'")
    return "" if trace is None else cells if trace == "cells" else cells + gates


def _traced(saved: Any, letters: str) -> tuple[Any, ...]:
    if not letters:
        return ()
    arrays = saved.trace()
    return tuple(arrays[letter] for letter in letters)


# -- the fused ops -------------------------------------------------------------------------------------------------


def _samples(gates: int, states: int, *, extra: bool = False, **options: Any) -> Callable[[Any], list[Any]]:
    """Samples of a fused op: full and ragged (0 and T among the lengths), both directions, both layouts."""

    def draw(r: Any) -> list[Any]:
        out = []
        for lengths, reverse, time_major, recompute in [
            (None, False, False, False),
            ([3, 0, 2], False, False, True),
            ([1, 3, 2], True, True, False),
        ]:
            x = r(3, 3, 2)
            weights = [r(2, 2 * gates), r(2, 2 * gates), r(2 * gates), *([r(2 * gates)] if extra else [])]
            given = None if lengths is None else np.array(lengths)
            more = {"lengths": given, "reverse": reverse, "time_major": time_major, "recompute": recompute}
            out.append(r.call(x, *weights, *[r(3, 2) for _ in range(states)], **options, **more))
        return out

    return draw


@primitive(
    label="RNN over time",
    work=_over_time("rnn"),
    several=True,
    materialize_grads=False,
    optional=("h0",),
    samples=lambda r: [*_samples(1, 1)(r), *_samples(1, 1, activation="relu")(r)[:1]],
)
def rnn_sequence(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    h0: Array,
    *,
    activation: str = "tanh",
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    recompute: bool = False,
    keep: bool = False,
) -> Any:
    """h' = φ(x W + h U + b) over a whole sequence [Elman 1990]; returns (outputs, h).

    x (B, T, D), or (T, B, D) with time_major; kernel (D, H), recurrent_kernel (H, H), bias (H); h0 (B, H) or None for 0;
    lengths (B) integers or None; outputs (B, T, H). activation: "tanh" or "relu". reverse: each row runs from its last
    step to its first. recompute: backward recomputes values instead of keeping them. Raises ValueError and TypeError that
    name the argument.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b = np.ones((4, 3)), np.eye(3), np.zeros(3)
    >>> outputs, h = tg.ops.rnn_sequence(tg.tensor(np.ones((2, 5, 4))), W, U, b, None, lengths=[5, 2])
    >>> outputs.shape, h.shape, bool((outputs[1, 2:] == 0).all())
    ((2, 5, 3), (2, 3), True)
    """
    outputs, h, saved = kernels.rnn_forward(
        x, kernel, recurrent_kernel, bias, h0,
        activation=activation, lengths=lengths, reverse=reverse, time_major=time_major, save=_save(recompute, keep),
    )  # fmt: skip
    return ((outputs, h), saved) if keep else (outputs, h)


@rnn_sequence.vjp
def _(
    g: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, h0: Any, residuals: Any, needs: Any,
    *, activation: Any, lengths: Any, reverse: Any, time_major: Any, recompute: Any,
) -> Any:  # fmt: skip
    return kernels.rnn_backward(residuals, g[0], g[1], needs=needs)


@rnn_sequence.expands
def _(
    x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, h0: Array,
    *, activation: str, lengths: Any, reverse: bool, time_major: bool, recompute: bool,
) -> Any:  # fmt: skip
    x = without_padding(x, lengths, 0 if time_major else 1)
    activate = {"tanh": tanh, "relu": relu}[activation]
    step = _Step(recurrent_kernel.shape[0], lambda x, h: rnn_step(x @ kernel + bias, h, recurrent_kernel, activate))
    return _expansion(step, x, (h0,), "", lengths, reverse, time_major)


@primitive(
    label="LSTM over time",
    work=_over_time("lstm"),
    several=True,
    materialize_grads=False,
    optional=("c0", "h0"),
    samples=lambda r: [*_samples(4, 2)(r), *_samples(4, 2, trace="cells")(r)],
)
def lstm_sequence(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    c0: Array,
    h0: Array,
    *,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    recompute: bool = False,
    trace: str | None = None,
    keep: bool = False,
) -> Any:
    """An LSTM over a whole sequence [Gers, Schmidhuber & Cummins 2000]; returns (outputs, c, h).

    i, f, g, o = split(x W + h U + b); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c'). kernel (D, 4H), recurrent_kernel
    (H, 4H), bias (4H), c0 and h0 (B, H) or None for 0. trace: "cells" adds every c (B, T, H) to the results, "gates" also
    every i, f, g, o, which have no gradient. Otherwise as rnn_sequence.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b = np.ones((4, 12)), np.ones((3, 12)), np.zeros(12)
    >>> outputs, c, h = tg.ops.lstm_sequence(tg.tensor(np.ones((2, 5, 4))), W, U, b, None, None)
    >>> outputs.shape, bool((outputs[:, -1] == h).all())
    ((2, 5, 3), True)
    """
    letters = _letters(trace, "c", "ifgo")
    outputs, (c, h), saved = kernels.lstm_forward(
        x, kernel, recurrent_kernel, bias, c0, h0,
        lengths=lengths, reverse=reverse, time_major=time_major, save=_save(recompute, keep, letters),
    )  # fmt: skip
    results = (outputs, c, h, *_traced(saved, letters))
    return (results, saved) if keep else results


@lstm_sequence.vjp
def _(
    g: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, c0: Any, h0: Any, residuals: Any, needs: Any,
    *, lengths: Any, reverse: Any, time_major: Any, recompute: Any, trace: Any,
) -> Any:  # fmt: skip
    return kernels.lstm_backward(residuals, g[0], g[1], g[2], d_cells=g[3] if trace else None, needs=needs)


@lstm_sequence.expands
def _(
    x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, c0: Array, h0: Array,
    *, lengths: Any, reverse: bool, time_major: bool, recompute: bool, trace: str | None,
) -> Any:  # fmt: skip
    x = without_padding(x, lengths, 0 if time_major else 1)
    step = _Step(recurrent_kernel.shape[0], lambda x, c, h: lstm_step(x @ kernel + bias, c, h, recurrent_kernel))
    return _expansion(step, x, (c0, h0), _letters(trace, "c", "ifgo"), lengths, reverse, time_major)


@primitive(
    label="GRU over time",
    work=_over_time("gru"),
    several=True,
    materialize_grads=False,
    optional=("recurrent_bias", "h0"),
    samples=lambda r: [
        *[r.call(*c.arrays[:4], None, *c.arrays[4:], **c.options) for c in _samples(3, 1, reset_after=False)(r)],
        *_samples(3, 1, extra=True, reset_after=True)(r),
    ],
)
def gru_sequence(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    recurrent_bias: Array,
    h0: Array,
    *,
    reset_after: bool,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    recompute: bool = False,
    trace: str | None = None,
    keep: bool = False,
) -> Any:
    """A GRU over a whole sequence [Cho et al. 2014]; returns (outputs, h).

    h' = z h + (1 − z) n, with n = tanh(x Wn + bn + (r h) Un), or by reset_after n = tanh(x Wn + bn + r (h Un + b'n)).
    kernel (D, 3H), recurrent_kernel (H, 3H), bias (3H); recurrent_bias (3H) or None, with reset_after=True only; h0 (B,
    H) or None for 0. trace: "gates" adds every z, r, n (B, T, H), which have no gradient. Otherwise as rnn_sequence.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b = np.ones((4, 9)), np.ones((3, 9)), np.zeros(9)
    >>> outputs, h = tg.ops.gru_sequence(tg.tensor(np.ones((2, 5, 4))), W, U, b, None, None, reset_after=True)
    >>> outputs.shape, h.shape
    ((2, 5, 3), (2, 3))
    """
    letters = _letters(trace, "", "zrn")
    outputs, h, saved = kernels.gru_forward(
        x, kernel, recurrent_kernel, bias, recurrent_bias, h0, reset_after=reset_after,
        lengths=lengths, reverse=reverse, time_major=time_major, save=_save(recompute, keep, letters),
    )  # fmt: skip
    results = (outputs, h, *_traced(saved, letters))
    return (results, saved) if keep else results


@gru_sequence.vjp
def _(
    g: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, recurrent_bias: Any, h0: Any, residuals: Any, needs: Any,
    *, reset_after: Any, lengths: Any, reverse: Any, time_major: Any, recompute: Any, trace: Any,
) -> Any:  # fmt: skip
    return kernels.gru_backward(residuals, g[0], g[1], needs=needs)


@gru_sequence.expands
def _(
    x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, recurrent_bias: Array, h0: Array,
    *, reset_after: bool, lengths: Any, reverse: bool, time_major: bool, recompute: bool, trace: str | None,
) -> Any:  # fmt: skip
    x = without_padding(x, lengths, 0 if time_major else 1)
    size = recurrent_kernel.shape[0]
    if reset_after:
        b = np.zeros(3 * size, x.dtype) if recurrent_bias is None else recurrent_bias
        step = _Step(size, lambda x, h: gru_step_reset_after(x @ kernel + bias, h, recurrent_kernel, b))
    else:
        step = _Step(size, lambda x, h: gru_step(x @ kernel + bias, h, recurrent_kernel))
    return _expansion(step, x, (h0,), _letters(trace, "", "zrn"), lengths, reverse, time_major)


def _first_steps(arrays: Any, options: dict[str, Any], steps: int) -> tuple[list[Array], dict[str, Any]]:
    x, *rest = arrays
    return [x[:steps] if options["time_major"] else x[:, :steps], *rest], {**options, "lengths": None}


for _op in (rnn_sequence, lstm_sequence, gru_sequence):
    _op.first_steps = _first_steps
