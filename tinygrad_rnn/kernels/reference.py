"""The kernels in NumPy: they run anywhere, follow the papers' equations, and are what the native kernels are compared with.

Letters: B batch, T time, D input, H units, G gates. A *step* s counts from each row's own first element, so s runs over
time forwards, or backwards when `reverse`. Rows are ordered by descending length, so the rows still running at step s
are always the first n_s. The N = sum of lengths (row, step) pairs are stored step by step in *packed* arrays (N, ...):
padding is never read, and work is proportional to N. The products that do not depend on the recurrence (x W,
dW, dU, dx) are single products over all N pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .check import Array, Lengths, Option, Save, Sizes

if TYPE_CHECKING:  # slow to import
    import numpy.typing as npt

Arrays: TypeAlias = Sequence[Array]
Indices: TypeAlias = "npt.NDArray[np.int64]"


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)) by exp(-|z|), which neither overflows nor loses the small values."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype, copy=False)


class RNN:
    """h' = φ(x W + h U + b), φ = tanh or relu [Elman 1990]."""

    gates, states, kept, extra = 1, ("h",), (), ()

    def __init__(self, activation: str = "tanh") -> None:
        self.activation = activation

    def step(self, z: Array, state: Arrays, U: Array, c: Array) -> tuple[Arrays, Arrays]:
        """One step from z = x W + b; returns (new state, what backward keeps)."""
        (h,) = state
        z = z + h @ U
        return (np.tanh(z) if self.activation == "tanh" else np.maximum(z, 0),), ()

    def step_vjp(
        self, kept: Arrays, before: Arrays, after: Arrays, U: Array, d_after: Arrays
    ) -> tuple[Array, Arrays, Arrays]:
        """From d(new state): (dz, d(previous state), what the gradient of U needs)."""
        (h,), (dh,) = after, d_after
        dz = dh * (1 - h * h) if self.activation == "tanh" else np.where(h <= 0, dh.dtype.type(0), dh)
        return dz, (dz @ U.T,), ()

    def recurrent_vjp(self, before: Arrays, kept: Arrays, dz: Array, extra: Arrays) -> tuple[Array, Array | None]:
        """(dU, d(recurrent bias)) over all packed steps."""
        return before[0].T @ dz, None


class LSTM:
    """i, f, g, o = split(x W + h U + b); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').

    [Gers, Schmidhuber & Cummins 2000]
    """

    gates, states, kept, extra = 4, ("c", "h"), ("i", "f", "g", "o"), ()

    def step(self, z: Array, state: Arrays, U: Array, c: Array) -> tuple[Arrays, Arrays]:
        c, h = state
        zi, zf, zg, zo = np.split(z + h @ U, 4, axis=1)
        i, f, g, o = sigmoid(zi), sigmoid(zf), np.tanh(zg), sigmoid(zo)
        c = f * c + i * g
        return (c, o * np.tanh(c)), (i, f, g, o)

    def step_vjp(
        self, kept: Arrays, before: Arrays, after: Arrays, U: Array, d_after: Arrays
    ) -> tuple[Array, Arrays, Arrays]:
        (i, f, g, o), (c_before, _), (c, _), (dc, dh) = kept, before, after, d_after
        tanh_c = np.tanh(c)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        dz = np.concatenate(
            [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g), dh * tanh_c * o * (1 - o)], axis=1
        )
        return dz, (dc * f, dz @ U.T), ()

    def recurrent_vjp(self, before: Arrays, kept: Arrays, dz: Array, extra: Arrays) -> tuple[Array, Array | None]:
        return before[1].T @ dz, None


class GRU:
    """z, r = σ(·); h' = z h + (1 - z) n [Cho et al. 2014].

    reset_after=False: n = tanh(x Wn + (r h) Un + bn).
    reset_after=True: n = tanh(x Wn + bn + r (h Un + cn)), c the recurrent bias.
    """

    gates, states, kept, extra = 3, ("h",), ("z", "r", "n", "q"), ("dq",)

    def __init__(self, reset_after: bool) -> None:
        self.reset_after = reset_after

    def step(self, zx: Array, state: Arrays, U: Array, c: Array) -> tuple[Arrays, Arrays]:
        (h,) = state
        H = h.shape[1]
        z, r = np.split(sigmoid(zx[:, : 2 * H] + h @ U[:, : 2 * H] + c[: 2 * H]), 2, axis=1)
        if self.reset_after:
            q = h @ U[:, 2 * H :] + c[2 * H :]
            n = np.tanh(zx[:, 2 * H :] + r * q)
        else:
            q = r * h
            n = np.tanh(zx[:, 2 * H :] + q @ U[:, 2 * H :])
        return (z * h + (1 - z) * n,), (z, r, n, q)

    def step_vjp(
        self, kept: Arrays, before: Arrays, after: Arrays, U: Array, d_after: Arrays
    ) -> tuple[Array, Arrays, Arrays]:
        (z, r, n, q), (h,), (dh,) = kept, before, d_after
        H = h.shape[1]
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h - n) * z * (1 - z)
        through = dh * z
        if self.reset_after:
            dq = dn * r
            dr = dn * q * r * (1 - r)
            through = through + dq @ U[:, 2 * H :].T
        else:
            dq = dn
            d_reset = dn @ U[:, 2 * H :].T
            dr = d_reset * h * r * (1 - r)
            through = through + d_reset * r
        dzr = np.concatenate([dz, dr], axis=1)
        return np.concatenate([dzr, dn], axis=1), (through + dzr @ U[:, : 2 * H].T,), (dq,)

    def recurrent_vjp(self, before: Arrays, kept: Arrays, dz: Array, extra: Arrays) -> tuple[Array, Array | None]:
        (dq,), H = extra, before[0].shape[1]
        dzr = dz[:, : 2 * H]
        left = before[0] if self.reset_after else kept[3]
        dU = np.concatenate([before[0].T @ dzr, left.T @ dq], axis=1)
        return dU, np.concatenate([dzr, dq], axis=1).sum(axis=0)


Cell: TypeAlias = RNN | LSTM | GRU


class Schedule:
    """The order of work for given lengths: which (row, time) each packed position is."""

    def __init__(self, sizes: Sizes, lengths: Lengths | None, reverse: bool) -> None:
        lengths = np.full(sizes.B, sizes.T) if lengths is None else lengths
        self.order = np.argsort(-lengths, kind="stable")
        steps = int(lengths.max()) if sizes.B else 0
        counts = (lengths[None, :] > np.arange(steps)[:, None]).sum(axis=1)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        step = np.repeat(np.arange(steps), counts)
        self.rows = self.order[np.arange(step.size) - self.starts[step]]
        self.times = lengths[self.rows] - 1 - step if reverse else step

    def at(self, time_major: bool) -> tuple[Indices, Indices]:
        """The index that takes a sequence array to packed order."""
        return (self.times, self.rows) if time_major else (self.rows, self.times)

    def steps(self) -> list[tuple[np.int64, np.int64]]:
        """(first, last) packed position of every step."""
        return list(zip(self.starts[:-1], self.starts[1:], strict=True))


class Saved:
    """What `backward` needs of one forward run. `nbytes` counts what it holds beyond the run's inputs and outputs."""

    cell_type: str
    cell: Cell
    schedule: Schedule
    sizes: Sizes
    mode: Save
    time_major: bool
    torch: bool
    x: Array
    kernel: Array
    recurrent_kernel: Array
    bias: Array
    extra: Array | None
    added: Array  # to h U
    initial: list[Array]
    after: list[Array]
    kept: list[Array]

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (*self.kept, *self.after))

    def trace(self) -> dict[str, Array]:
        """Every gate and state at every step, by letter, as arrays laid out like the outputs (0 past the lengths)."""
        with np.errstate(all="ignore"):
            kept = _recompute(self) if self.mode == "recompute" else self.kept
        named = zip((*self.cell.kept, *self.cell.states), (*kept, *self.after), strict=True)
        return {name: _unpack(self, packed) for name, packed in named if name != "q"}


CELLS: dict[str, Callable[[Any], Cell]] = {"rnn": RNN, "lstm": lambda _: LSTM(), "gru": GRU}


def forward(
    cell_type: str,
    option: Option,
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    extra: Array | None,
    initial: Sequence[Array | None],
    *,
    lengths: Lengths | None,
    reverse: bool,
    time_major: bool,
    save: Save,
    torch: bool = False,
) -> tuple[Array, tuple[Array, ...], Saved | None]:
    """Runs a whole sequence; returns (outputs, final states, Saved or None).

    `extra` is the recurrent bias; None is 0. `torch`: the weights are in PyTorch's layout.
    """
    cell = CELLS[cell_type](option)
    if torch:
        kernel, recurrent_kernel = _swapped(cell, kernel).T, _swapped(cell, recurrent_kernel).T
        bias, extra = _swapped(cell, bias), None if extra is None else _swapped(cell, extra)
    B, T = (x.shape[1], x.shape[0]) if time_major else x.shape[:2]
    sizes = Sizes(B, T, x.shape[2], recurrent_kernel.shape[0])
    begin = [np.zeros((B, sizes.H), x.dtype) if s is None else s for s in initial]
    schedule = Schedule(sizes, lengths, reverse)
    with np.errstate(all="ignore"):
        bias, added = _biases(cell, bias, extra)
        z = x[schedule.at(time_major)] @ kernel + bias
        state = [s[schedule.order] for s in begin]
        after = [np.empty((schedule.rows.size, sizes.H), x.dtype) for _ in cell.states]
        kept = [np.empty((schedule.rows.size, sizes.H), x.dtype) for _ in cell.kept] if save is True else []
        for first, last in schedule.steps():
            new, gates = cell.step(z[first:last], [s[: last - first] for s in state], recurrent_kernel, added)
            for k, value in enumerate(new):
                state[k][: last - first] = after[k][first:last] = value
            for store, value in zip(kept, gates, strict=False):  # kept is empty unless save is True
                store[first:last] = value
    saved = Saved(
        cell_type=cell_type, cell=cell, schedule=schedule, sizes=sizes, mode=save, time_major=time_major, torch=torch, x=x,
        kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias, extra=extra, added=added, initial=begin,
        after=after, kept=kept,
    )  # fmt: skip
    outputs = _unpack(saved, after[-1])
    final = tuple(np.empty_like(s) for s in state)
    for value, sorted_rows in zip(final, state, strict=True):
        value[schedule.order] = sorted_rows
    return outputs, final, saved if save else None


def backward(
    saved: Saved,
    d_outputs: Array | None,
    d_final: Sequence[Array | None],
    d_states: Sequence[Array | None],
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """From cotangents of outputs, final states and every step's states (None = 0) to gradients.

    They are (dx, dW, dU, db, d recurrent bias, d initial).
    """
    cell, schedule, sizes, U = saved.cell, saved.schedule, saved.sizes, saved.recurrent_kernel
    dtype, H, N = saved.x.dtype, sizes.H, schedule.rows.size
    at = schedule.at(saved.time_major)
    with np.errstate(all="ignore"):
        kept = _recompute(saved) if saved.mode == "recompute" else saved.kept
        arriving = [None if d is None else d[at] for d in d_states]
        if d_outputs is not None:
            arriving[-1] = d_outputs[at] if arriving[-1] is None else arriving[-1] + d_outputs[at]
        d_state = [np.zeros((sizes.B, H), dtype) if d is None else d[schedule.order] for d in d_final]
        before = _before(saved)
        dz = np.empty((N, cell.gates * H), dtype)
        extra = [np.empty((N, H), dtype) for _ in cell.extra]
        for first, last in reversed(schedule.steps()):
            n, now = last - first, slice(first, last)
            d_after = [d[:n] if a is None else d[:n] + a[now] for d, a in zip(d_state, arriving, strict=True)]
            dz[now], d_before, more = cell.step_vjp(
                [k[now] for k in kept], [b[now] for b in before], [a[now] for a in saved.after], U, d_after
            )
            for d, value in zip(d_state, d_before, strict=True):
                d[:n] = value
            for store, value in zip(extra, more, strict=True):
                store[now] = value
        dx = dW = dU = db = dc = None
        if needs[0]:
            dx = np.zeros_like(saved.x, order="C")
            dx[at] = dz @ saved.kernel.T
        if needs[1]:
            dW = saved.x[at].T @ dz
        if needs[2] or needs[4]:
            dU, dc = cell.recurrent_vjp(before, kept, dz, extra)
        if needs[3] or needs[4]:
            db = dz.sum(axis=0)
            dc = db if dc is None else dc  # of one sum of two biases
        if saved.torch:
            dW, dU = (None if d is None else _swapped(cell, np.ascontiguousarray(d.T)) for d in (dW, dU))
            db, dc = (None if d is None else _swapped(cell, d) for d in (db, dc))
        d_initial: list[Array | None] = []
        for wanted, sorted_rows in zip(needs[5:], d_state, strict=True):
            d_first = np.empty_like(sorted_rows) if wanted else None
            if d_first is not None:
                d_first[schedule.order] = sorted_rows
            d_initial.append(d_first)
    return dx, dW, dU if needs[2] else None, db if needs[3] else None, dc if needs[4] else None, *d_initial


def _before(saved: Saved) -> list[Array]:
    """The states each packed step started from."""
    schedule = saved.schedule
    before: list[Array] = []
    for initial, after in zip(saved.initial, saved.after, strict=True):
        value = np.empty_like(after)
        for s, (first, last) in enumerate(schedule.steps()):
            n = last - first
            value[first:last] = initial[schedule.order[:n]] if s == 0 else after[schedule.starts[s - 1] :][:n]
        before.append(value)
    return before


def _recompute(saved: Saved) -> list[Array]:
    """The gates again, all steps at once: the states are known, so nothing waits for anything."""
    z = saved.x[saved.schedule.at(saved.time_major)] @ saved.kernel + saved.bias
    return list(saved.cell.step(z, _before(saved), saved.recurrent_kernel, saved.added)[1])


def _biases(cell: Cell, bias: Array, extra: Array | None) -> tuple[Array, Array]:
    """What is added to x W, and to h U: for all but the GRU the sum of both biases, and 0."""
    if extra is None:
        return bias, np.zeros_like(bias)
    return (bias, extra) if isinstance(cell, GRU) else (bias + extra, np.zeros_like(bias))


def _swapped(cell: Cell, weight: Array) -> Array:
    """A weight whose rows are in PyTorch's order of gates in ours, and the other way round: a GRU's first two change
    places."""
    if not isinstance(cell, GRU):
        return weight
    H = len(weight) // 3
    return np.concatenate([weight[H : 2 * H], weight[:H], weight[2 * H :]])


def _unpack(saved: Saved, packed: Array) -> Array:
    """A packed array (N, H) as a sequence array, 0 past the lengths."""
    B, T, _, H = saved.sizes
    sequence = np.zeros((T, B, H) if saved.time_major else (B, T, H), packed.dtype)
    sequence[saved.schedule.at(saved.time_major)] = packed
    return sequence


def stepper(
    cell_type: str,
    option: Option,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    extra: Array | None,
    state: tuple[Array, ...],
) -> Callable[[Array], None]:
    """A function x -> None that takes `state` (the tuple's own arrays) one step on, by the weights as they are now."""
    cell, U = CELLS[cell_type](option), recurrent_kernel.copy()
    W, b, added = kernel.copy(), bias.copy(), np.zeros_like(bias) if extra is None else extra.copy()

    def step(x: Array) -> None:
        with np.errstate(all="ignore"):
            for array, value in zip(state, cell.step(x @ W + b, state, U, added)[0], strict=True):
                array[...] = value

    return step
