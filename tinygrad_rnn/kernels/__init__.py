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

The native kernels (C++) run where they were built, else the NumPy reference; `info()` says which. The environment:
`TINYGRAD_RNN_ISA` = avx512 | avx2 | portable | reference picks one; `TINYGRAD_RNN_REQUIRE_NATIVE=1` makes a missing
extension an error. On the native path, for one instruction set and dtype, each row's outputs, states and dx are bitwise
the same at any batch size and any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from . import check, reference
from .check import FLOATS, Array, Inputs, Option, Save

_missing: str | None = None
try:
    import_module("._native", __name__)
except ImportError as error:
    if os.environ.get("TINYGRAD_RNN_REQUIRE_NATIVE", "") not in ("", "0"):
        raise ImportError(
            f"TINYGRAD_RNN_REQUIRE_NATIVE is set and the native kernels cannot be loaded: {error}"
        ) from error
    _missing = str(error)
else:
    from . import _native, compiled

__all__ = [
    "Stepper",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "implementations",
    "info",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
    "set_num_threads",
    "using",
]

Saved: TypeAlias = "reference.Saved | compiled.Saved"


class Info(TypedDict):
    """What `info` tells."""

    implementation: str
    isa: str | None
    threads: int
    compiler: str | None
    missing: str | None


def implementations() -> tuple[str, ...]:
    """Names of what can run here, the fastest first; "reference" is always the last.

    >>> import tinygrad_rnn as tg
    >>> tg.kernels.implementations()[-1]
    'reference'
    """
    return (*(_native.isas() if _missing is None else ()), "reference")


def _choose() -> str:
    name = os.environ.get("TINYGRAD_RNN_ISA", "")
    if not name:
        return implementations()[0]
    if name not in implementations():
        names = ", ".join(implementations())
        raise ImportError(f"TINYGRAD_RNN_ISA is {name!r}, expected one of {names}, which this build and processor have")
    return name


_active = _choose()


@contextmanager
def using(name: str) -> Iterator[None]:
    """Within the block every thread of the process runs the implementation `name` (one of `implementations()`).

    >>> import tinygrad_rnn as tg
    >>> with tg.kernels.using("reference"):
    ...     tg.kernels.info()["implementation"]
    'reference'
    """
    global _active
    if name not in implementations():
        raise ValueError(f"using: name is {name!r}, expected one of {', '.join(implementations())}")
    before, _active = _active, name
    try:
        yield
    finally:
        _active = before


def info() -> Info:
    """What runs: a dict with implementation, isa, threads, compiler and missing.

    implementation is "native" or "reference"; missing says why native is missing, or is None.

    >>> import tinygrad_rnn as tg
    >>> sorted(tg.kernels.info())
    ['compiler', 'implementation', 'isa', 'missing', 'threads']
    """
    native = _active != "reference"
    return {
        "implementation": "native" if native else "reference",
        "isa": _active if native else None,
        "threads": get_num_threads() if native else 1,
        "compiler": _native.compiler() if _missing is None else None,
        "missing": _missing,
    }


def set_num_threads(n: int) -> None:
    """The most threads a native kernel uses, 1 to 1024; small shapes take fewer by themselves. Results are bitwise the
    same for any number. Raises TypeError and ValueError for another n.

    >>> import tinygrad_rnn as tg
    >>> tg.set_num_threads(tg.get_num_threads())
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"set_num_threads: n is {n!r}, expected an integer of at least 1")
    if not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: n is {n}, expected 1..1024")
    if _missing is None:
        _native.set_num_threads(int(n))


def get_num_threads() -> int:
    """The most threads a native kernel uses.

    >>> import tinygrad_rnn as tg
    >>> tg.get_num_threads() >= 1
    True
    """
    return _native.get_num_threads() if _missing is None else 1


def _forward(
    where: str,
    kind: str,
    option: Option,
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    extra: Array | None,
    initial: tuple[Array | None, ...],
    lengths: npt.ArrayLike | None,
    reverse: bool,
    time_major: bool,
    save: Save,
) -> tuple[Array, tuple[Array, ...], Saved | None]:
    arrays: Inputs = (x, kernel, recurrent_kernel, bias, extra)
    if _active != "reference" and lengths is None and _all_plain(*arrays, *initial):
        with suppress(TypeError, ValueError, AttributeError, LookupError):  # looked at more closely below
            return compiled.forward(_active, kind, option, arrays, initial, None, reverse, time_major, save)
    reverse, time_major = check.flag(where, "reverse", reverse), check.flag(where, "time_major", time_major)
    sizes, dtype = check.inputs(where, x, kernel, recurrent_kernel, gates=GATES[kind], time_major=time_major)
    columns = GATES[kind] * sizes.H
    check.array(where, "bias", bias, (columns,), dtype)
    check.optional(where, "recurrent_bias", extra, (columns,), dtype)
    for name, value in zip(STATES[kind], initial, strict=True):
        check.optional(where, name, value, (sizes.B, sizes.H), dtype)
    ends = None if lengths is None else check.lengths(where, lengths, sizes.B, sizes.T)
    check.choice(where, "save", save, (True, False, "recompute"))
    arrays = (_plain(x), _plain(kernel), _plain(recurrent_kernel), _plain(bias), _maybe(extra))
    initial = tuple(map(_maybe, initial))
    if _active == "reference":
        return reference.forward(
            kind, option, *arrays, initial, lengths=ends, reverse=reverse, time_major=time_major, save=save
        )
    arrays, initial = compiled.laid_out(arrays, initial)
    return compiled.forward(_active, kind, option, arrays, initial, ends, reverse, time_major, save)


def _all_plain(*arrays: object) -> bool:
    """Whether all are NumPy's own arrays, or None."""
    return {np.ndarray, type(None)}.issuperset(map(type, arrays))


def _backward(
    where: str,
    kind: str,
    saved: Saved,
    d_outputs: Array | None,
    d_final: tuple[Array | None, ...],
    d_states: tuple[Array | None, ...],
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    if getattr(saved, "kind", None) != kind:
        raise TypeError(
            f"{where}: saved is {_describe(saved)}, expected what {kind}_forward returned with save=True or 'recompute'"
        )
    if not isinstance(saved, reference.Saved) and _all_plain(d_outputs, *d_final, *d_states):
        with suppress(TypeError, ValueError):
            return compiled.backward(saved, d_outputs, d_final, d_states, needs)
    B, T, _, H = saved.sizes
    dtype, sequence = saved.x.dtype, (T, B, H) if saved.time_major else (B, T, H)
    check.optional(where, "d_outputs", d_outputs, sequence, dtype)
    for name, value in zip(STATES[kind], d_final, strict=True):
        check.optional(where, f"d_{name[0]}", value, (B, H), dtype)
    for value in d_states:
        check.optional(where, "d_cells", value, sequence, dtype)
    cotangents = (_maybe(d_outputs), tuple(map(_maybe, d_final)), tuple(map(_maybe, d_states)))
    if isinstance(saved, reference.Saved):
        return reference.backward(saved, *cotangents, needs)
    return compiled.backward(saved, *compiled.laid_out_cotangents(*cotangents), needs)


def _plain(array: Array) -> Array:
    """An array of a subclass of ndarray as an ndarray: a matrix's * is another."""
    return array if type(array) is np.ndarray else np.asarray(array)


def _maybe(array: Array | None) -> Array | None:
    return None if array is None else _plain(array)


class Stepper:
    """One step at a time, for streaming: weights packed once, nothing allocated by a step.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> stepper = tg.kernels.Stepper("rnn", np.ones((2, 3)), np.eye(3), np.zeros(3), batch=1)
    >>> stepper.step(np.zeros((1, 2)))  # x (B, D) -> h (B, H)
    array([[0., 0., 0.]])

    `h` (and the LSTM's `c`) are arrays of the stepper that every step writes anew: copy what should stay. Assign to
    their elements to start from another state; `reset()` makes them 0. The weights are those at the call of the
    constructor, or of `reload()`.
    """

    def __init__(
        self,
        kind: str,
        kernel: Array,
        recurrent_kernel: Array,
        bias: Array,
        recurrent_bias: Array | None = None,
        *,
        batch: int = 1,
        activation: str = "tanh",
        reset_after: bool | None = None,
    ) -> None:
        check.choice("Stepper", "kind", kind, tuple(GATES))
        if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)):
            raise TypeError(f"Stepper: batch is {batch!r}, expected an integer")
        if not 0 <= batch < 2**31:
            raise ValueError(f"Stepper: batch is {batch}, expected at least 0")
        option: Option = {"rnn": activation, "lstm": None, "gru": reset_after}[kind]
        if kind == "gru":
            check.flag("Stepper", "reset_after", reset_after)
        check.choice("Stepper", "activation", activation, ACTIVATIONS)
        if recurrent_bias is not None and not (kind == "gru" and reset_after):
            raise ValueError(
                "Stepper: recurrent_bias was given, expected None: only the GRU with reset_after=True has one"
            )
        for name, value in (("kernel", kernel), ("recurrent_kernel", recurrent_kernel)):
            if not isinstance(value, np.ndarray):
                raise TypeError(f"Stepper: {name} is a {type(value).__name__}, expected a NumPy array of rank 2")
            if value.ndim != 2:
                raise ValueError(f"Stepper: {name} has shape {value.shape}, expected rank 2")
        (H, _), dtype, gates = recurrent_kernel.shape, kernel.dtype, GATES[kind]
        if dtype not in FLOATS:
            raise TypeError(f"Stepper: kernel has dtype {dtype}, expected float32 or float64 in native byte order")
        check.array("Stepper", "recurrent_kernel", recurrent_kernel, (H, gates * H), dtype)
        check.array("Stepper", "kernel", kernel, (kernel.shape[0], gates * H), dtype)
        check.array("Stepper", "bias", bias, (gates * H,), dtype)
        check.optional("Stepper", "recurrent_bias", recurrent_bias, (gates * H,), dtype)
        self._weights = (kernel, recurrent_kernel, bias, recurrent_bias)
        self._made, self._isa = (kind, bool(option) if kind == "gru" else option), _active
        self._state = tuple(np.zeros((batch, H), dtype) for _ in STATES[kind])
        self._shape, self._dtype = (int(batch), kernel.shape[0]), dtype
        self.reload()

    @property
    def h(self) -> Array:
        """The state h (B, H), written anew by every step."""
        return self._state[-1]

    @property
    def c(self) -> Array | None:
        """The LSTM's state c (B, H); None for other cells."""
        return self._state[0] if len(self._state) == 2 else None

    def reload(self) -> None:
        """Takes up the weights as they are now."""
        self._step: Callable[[Array], None]
        W, U, b, extra = self._weights
        if self._isa == "reference":
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
            check.array("step", "x", x, self._shape, self._dtype)
        self._step(x)
        return self._state[-1]


def _describe(value: object) -> str:
    kind = getattr(value, "kind", None)
    return f"from {kind}_forward" if isinstance(kind, str) else f"a {type(value).__name__}"


GATES = {"rnn": 1, "lstm": 4, "gru": 3}
STATES = {"rnn": ("h0",), "lstm": ("c0", "h0"), "gru": ("h0",)}
ACTIVATIONS = ("tanh", "relu")


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
    check.choice("rnn_forward", "activation", activation, ACTIVATIONS)
    outputs, (h,), saved = _forward(
        "rnn_forward", "rnn", activation, x, kernel, recurrent_kernel, bias, None, (h0,),
        lengths, reverse, time_major, save,
    )  # fmt: skip
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
    outputs, (c, h), saved = _forward(
        "lstm_forward", "lstm", None, x, kernel, recurrent_kernel, bias, None, (c0, h0),
        lengths, reverse, time_major, save,
    )  # fmt: skip
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
    reset_after = check.flag("gru_forward", "reset_after", reset_after)
    if recurrent_bias is not None and not reset_after:
        raise ValueError(
            "gru_forward: recurrent_bias was given, expected None with reset_after=False, whose gates have one bias"
        )
    outputs, (h,), saved = _forward(
        "gru_forward", "gru", reset_after, x, kernel, recurrent_kernel, bias, recurrent_bias, (h0,),
        lengths, reverse, time_major, save,
    )  # fmt: skip
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
    dx, dW, dU, db, _, dh0 = _backward("rnn_backward", "rnn", saved, d_outputs, (d_h,), (None,), (*n[:4], False, n[4]))
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
        "lstm_backward", "lstm", saved, d_outputs, (d_c, d_h), (d_cells, None), (*n[:4], False, *n[4:])
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
    dx, dW, dU, db, dc, dh0 = _backward(
        "gru_backward", "gru", saved, d_outputs, (d_h,), (None,), (*n[:4], n[4] and has_bias, n[5])
    )
    return dx, dW, dU, db, dc, dh0
