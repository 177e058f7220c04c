"""Cells step by step in primitives, which the fused ops of ops/recurrent.py expand into.

The steps are the equations of the cells; `unroll` runs any of them over time. Letters: B batch, T time, D input, H units.
Past a row's length outputs are 0, the state is copied forward, and the padding, NaN included, has no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from ..autodiff.node import Array
from ..autodiff.state import Run, scope
from ..autodiff.state import step as time_step
from ..autodiff.steps import name_states
from ..autodiff.tensor import Tensor
from .index import reverse_sequence
from .pointwise import sigmoid, tanh
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


def projected(x: Array, kernel: Array, bias: Any) -> Array:
    """x W + b; a bias of None is 0."""
    return x @ kernel if bias is None else x @ kernel + bias


def gru_step_reset_after(x: Array, h: Array, u: Array, b: Any) -> Array:
    """As gru_step, but n = tanh(x + r (h U + b)): the reset gate comes after the product, as in cuDNN."""
    xz, xr, xn = split(x, 3, axis=-1)
    hz, hr, hn = split(projected(h, u, b), 3, axis=-1)
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


def expansion(
    step: Step, z: Array, states: Any, letters: str, lengths: Any, reverse: bool, time_major: bool
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


class Step:
    """A step of a fused op's expansion: states in, (output, states) out."""

    def __init__(self, size: int, f: Callable[..., Any]):
        self.size, self.f = size, f

    def run(self, z: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        new = self.f(z, *state)
        new = new if isinstance(new, tuple) else (new,)
        return new[-1], new
