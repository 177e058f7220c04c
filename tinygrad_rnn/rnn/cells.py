"""The cells: plain recurrent, LSTM and GRU, written in primitives."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import checks, kernels, ops
from ..autodiff.op import primitive
from ..autodiff.steps import current_step, fields_of, name_states
from ..autodiff.tensor import Tensor
from ..autodiff.work import Work
from ..initializers import GlorotUniform, Orthogonal, get
from ..ops.recurrent import backward, count_biases, in_primitives, step_flops, two_biases
from .cell import LSTMState, RNNCell, gate, kernel_state, leaves, random_source, rebuild


def linear(x: Any) -> Any:
    """x itself."""
    return x


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": ops.tanh,
    "relu": ops.relu,
    "sigmoid": ops.sigmoid,
    "linear": linear,
}


def activation_of(owner: str, activation: Any) -> Callable[[Any], Any]:
    """The activation of this name; a function is returned unchanged."""
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    if activation is None:
        return linear
    if not callable(activation):
        raise ValueError(
            f"{owner}: activation is {activation!r}, expected one of {tuple(ACTIVATIONS)} or a function of a tensor"
        )
    function: Callable[[Any], Any] = activation
    return function


_METHODS = ("project", "recur", "call", "draw")  # by which a cell computes a step
_PACKAGE = __name__.partition(".")[0] + "."


@lru_cache(maxsize=256)
def _users_own(*methods: Any) -> str | None:
    """The name of the first of these methods that is not of this package; None if all are."""
    named = zip(_METHODS, methods, strict=True)
    return next((name for name, method in named if not method.__module__.startswith(_PACKAGE)), None)


class GatedCell(RNNCell):
    """Base of the three: units, a kernel for x, a recurrent kernel for h and a bias, each in `gates` column blocks."""

    gates = 1
    cell_type: str = "rnn"

    @property
    def fused_options(self) -> dict[str, Any]:
        """The options of the kernels."""
        return {}

    def __init__(
        self,
        num_units: int,
        *,
        kernel_initializer: Any = None,
        recurrent_initializer: Any = None,
        bias_initializer: Any = "zeros",
        use_bias: bool = True,
        seed: Any = None,
        name: str | None = None,
        **unknown: Any,
    ):
        if unknown:
            checks.refuse_arguments(self, unknown)
        num_units = checks.integer(type(self).__name__, "num_units", num_units)
        self.num_units = self.state_size = self.output_size = num_units
        self.name, self.use_bias = name, bool(use_bias)
        rng = random_source(seed)
        self.initializers = {
            "kernel": GlorotUniform(rng) if kernel_initializer is None else get(kernel_initializer),
            "recurrent_kernel": Orthogonal(seed=rng) if recurrent_initializer is None else get(recurrent_initializer),
            "bias": get(bias_initializer),
        }

    def build_parameters(self, input_size: int) -> None:
        wide = self.gates * self.num_units
        self.add("kernel", (input_size, wide), self.initializers["kernel"])
        self.add("recurrent_kernel", (self.output_size, wide), self.initializers["recurrent_kernel"])
        if self.use_bias:
            self.add("bias", (wide,), self.initializers["bias"])

    def project(self, x: Any) -> Any:
        """x W + b."""
        return x @ self.kernel + self.bias if self.use_bias else x @ self.kernel

    def recur(self, h: Any, drawn: Any, first: int = 0, last: int | None = None) -> Any:
        """h U for the column blocks first … last − 1; with drawn masks, one per block, (h ∘ mask) U."""
        n, blocks = self.num_units, range(first, self.gates if last is None else last)
        if drawn:
            parts = [(h * drawn[k]) @ self.recurrent_kernel[:, k * n : (k + 1) * n] for k in blocks]
            return ops.concatenate(parts, axis=-1)
        if len(blocks) == self.gates:
            return h @ self.recurrent_kernel
        return h @ self.recurrent_kernel[:, first * n : blocks.stop * n]

    def fused(self) -> str | None:
        return None if self.redefined() else self.cell_type

    def redefined(self) -> str | None:
        """The name of a method of the step that a user's subclass, or this instance, overrides; None if there is none."""
        cell_type, own = type(self), vars(self)
        if own.keys().isdisjoint(_METHODS):
            return _users_own(cell_type.project, cell_type.recur, cell_type.call, cell_type.draw)
        return next(method for method in _METHODS if method in own)

    @property
    def weights(self) -> tuple[Any, Any, Any, Any]:
        """The weights in the order of a fused op's arguments: kernel, recurrent_kernel, bias and recurrent_bias, None for 0."""
        return self.kernel, self.recurrent_kernel, self.bias if self.use_bias else None, None

    def fused_step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        new = kernel_step(self.cell_type, self.fused_options, self.weights, x, state)
        return leaves(new)[-1], new

    def stepper(self, batch: int = 1) -> Any:
        """As for any cell; a cell with a kernel returns a `kernels.Stepper`.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> stepper = tg.rnn.GRUCell(3).build(2).stepper()
        >>> stepper.step(np.ones((1, 2), np.float32)).shape
        (1, 3)
        """
        if self.fused() is None or not self.built:
            return super().stepper(batch)

        def now() -> list[Any]:
            kernel, recurrent_kernel, *biases = (w.data if isinstance(w, Tensor) else w for w in self.weights)
            bias, recurrent_bias = two_biases(*biases)
            return [
                kernel,
                recurrent_kernel,
                np.zeros(kernel.shape[1], self.dtype) if bias is None else bias,
                recurrent_bias,
            ]

        return kernels.Stepper(self.cell_type, *now(), batch=batch, source=now, **self.fused_options)

    def describe(self) -> str:
        return f"{self.num_units}" + (f", input_size={self.input_size}" if self.built else "")


class BasicRNNCell(GatedCell):
    """The plain recurrent step [Elman 1990]: h' = activation(x W + h U + b).

    x (B, D), state h (B, H), output h'. activation: "tanh", "relu", "sigmoid", "linear" or a function of a tensor. Raises
    ValueError for num_units below 1 and for an unknown activation; so do the other cells.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.BasicRNNCell(2)
    >>> output, state = cell(np.ones((3, 4), np.float32), cell.zero_state(3))
    >>> output.shape
    (3, 2)
    """

    def __init__(self, num_units: int, activation: Any = "tanh", **options: Any):
        super().__init__(num_units, **options)
        self.activation = activation
        self.activate = activation_of("BasicRNNCell", activation)

    def call(self, x: Any, state: Any, drawn: Any = ()) -> tuple[Any, Any]:
        h = gate("h", self.activate(self.project(x) + self.recur(state, drawn)))
        return h, h

    @property
    def fused_options(self) -> dict[str, Any]:
        return {"activation": self.activate.__name__}

    def fused(self) -> str | None:
        return super().fused() if self.activate in (ops.tanh, ops.relu) else None

    def describe(self) -> str:
        return super().describe() + ("" if self.activation == "tanh" else f", activation={self.activation!r}")


class _ActivatedCell(GatedCell):
    """A cell with an activation for its gates (default σ) and one for its states (default tanh)."""

    def __init__(self, num_units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", **options: Any):
        super().__init__(num_units, **options)
        self.activation, self.recurrent_activation = activation, recurrent_activation
        owner = type(self).__name__
        self.functions = activation_of(owner, activation), activation_of(owner, recurrent_activation)

    def fused(self) -> str | None:
        return super().fused() if self.functions == (ops.tanh, ops.sigmoid) else None


class LSTMCell(_ActivatedCell):
    """The long short-term memory step with forget gate [Hochreiter & Schmidhuber 1997; Gers et al. 2000].

    i, f, g, o = split(x W + h U + b); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c'). x (B, D), state LSTMState(c, h),
    each (B, H), output h'. forget_bias is the initial bias of f. activation and recurrent_activation replace tanh and σ;
    use_bias=False omits b. These options are the same in the other cells.

    TensorFlow 1's options, with its names. use_peepholes: the gates also depend on the memory, σ(i + p_i ∘ c), σ(f + p_f
    ∘ c) and, on the new one, σ(o + p_o ∘ c'); parameters peephole_i, peephole_f, peephole_o (H) [Gers & Schmidhuber
    2000]. cell_clip: c' is limited to ±cell_clip before the output is computed from it. num_proj: h' = (σ(o) tanh(c')) P
    with projection_kernel (H, P), so h has P numbers and recurrent_kernel is (P, 4H) [Sak et al. 2014]; proj_clip then
    limits h' to ±proj_clip. The projection is initialised by kernel_initializer, a peephole by the diagonal of an (H, H)
    matrix of it, as in TensorFlow 1. Raises ValueError for a clip or num_proj that is not positive, and for proj_clip
    without num_proj.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.LSTMCell(2)
    >>> output, state = cell(np.ones((3, 4), np.float32), cell.zero_state(3))
    >>> state.c.shape, cell.kernel.shape
    ((3, 2), (4, 8))
    >>> cell = tg.rnn.LSTMCell(5, use_peepholes=True, cell_clip=3.0, num_proj=2)
    >>> outputs, state = tg.rnn.dynamic_rnn(cell, np.ones((3, 6, 4), np.float32))
    >>> outputs.shape, state.c.shape, state.h.shape
    ((3, 6, 2), (3, 5), (3, 2))
    """

    gates = 4
    cell_type = "lstm"

    def __init__(
        self,
        num_units: int,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        *,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        **options: Any,
    ):
        super().__init__(num_units, **options)
        if not state_is_tuple:
            raise ValueError(
                "LSTMCell: state_is_tuple=False is not supported; the state is LSTMState(c, h), read by name"
            )
        for argument, bound in (("cell_clip", cell_clip), ("proj_clip", proj_clip)):
            if bound is not None and not (checks.is_number(bound) and bound > 0):
                raise ValueError(f"LSTMCell: {argument} is {bound!r}, expected a positive number, or None for no limit")
        if num_proj is not None:
            wanted = "a positive integer, or None for no projection"
            num_proj = checks.integer("LSTMCell", "num_proj", num_proj, wanted=wanted)
        if proj_clip is not None and num_proj is None:
            raise ValueError(
                f"LSTMCell: proj_clip is {proj_clip!r} without num_proj, so there is no projection to limit; set num_proj"
            )
        self.forget_bias = forget_bias
        self.use_peepholes, self.cell_clip = bool(use_peepholes), cell_clip
        self.num_proj, self.proj_clip = num_proj, proj_clip
        self.output_size = self.num_units if num_proj is None else int(num_proj)
        self.state_size = LSTMState(self.num_units, self.output_size)

    @property
    def plain(self) -> bool:
        """Whether the step is the one of Gers et al. 2000: no peepholes, clips or projection."""
        return not self.use_peepholes and self.cell_clip is None and self.num_proj is None

    def fused(self) -> str | None:
        return super().fused() if self.plain else None

    def build_parameters(self, input_size: int) -> None:
        super().build_parameters(input_size)
        if self.use_bias:
            forget = self.bias.data.copy()
            forget[self.num_units : 2 * self.num_units] += self.forget_bias
            self.bias.data = forget
        if self.use_peepholes:
            for letter in "ifo":
                self.add(f"peephole_{letter}", (self.num_units,), self._diagonal)
        if self.num_proj is not None:
            self.add("projection_kernel", (self.num_units, self.num_proj), self.initializers["kernel"])

    def _diagonal(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """The initial value of a peephole: the diagonal of a matrix drawn by the kernel's initializer."""
        return np.diag(self.initializers["kernel"](shape * 2, dtype))

    def call(self, x: Any, state: Any, drawn: Any = ()) -> tuple[Any, Any]:
        phi, sigma = self.functions
        i, f, g, o = ops.split(self.project(x) + self.recur(state.h, drawn), 4, axis=-1)
        if self.use_peepholes:
            i, f = i + self.peephole_i * state.c, f + self.peephole_f * state.c
        i, f, g = gate("i", sigma(i)), gate("f", sigma(f)), gate("g", phi(g))
        if not self.use_peepholes:
            o = gate("o", sigma(o))
        c = gate("c", _limited(f * state.c + i * g, self.cell_clip))
        if self.use_peepholes:
            o = gate("o", sigma(o + self.peephole_o * c))
        h = o * phi(c)
        if self.num_proj is not None:
            h = _limited(h @ self.projection_kernel, self.proj_clip)
        h = gate("h", h)
        return h, LSTMState(c, h)

    def describe(self) -> str:
        usual = {"forget_bias": 1.0, "use_peepholes": False, "cell_clip": None, "num_proj": None, "proj_clip": None}
        changed = {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}
        return ", ".join([super().describe(), *(f"{name}={value}" for name, value in changed.items())])


def _limited(x: Any, bound: float | None) -> Any:
    """x limited to ±bound, or x itself."""
    return x if bound is None else ops.clip(x, min=-bound, max=bound)


class GRUCell(_ActivatedCell):
    """The gated recurrent unit [Cho et al. 2014].

    z, r = σ(x W + h U + b) in their columns; h' = z h + (1 − z) n. The candidate n depends on reset_after. False (the
    2014 paper's, TensorFlow 1's): n = tanh(x Wn + bn + (r h) Un); the initial bias of z and r is 1. True (cuDNN's,
    Keras's and PyTorch's): n = tanh(x Wn + bn + r (h Un + b'n)), with a second bias, `recurrent_bias`. x (B, D), state h
    (B, H), output h'.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.GRUCell(2)
    >>> output, state = cell(np.ones((3, 4), np.float32), cell.zero_state(3))
    >>> cell.kernel.shape
    (4, 6)
    """

    gates = 3
    cell_type = "gru"

    @property
    def fused_options(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after}

    def __init__(self, num_units: int, reset_after: bool = False, gate_bias: float | None = None, **options: Any):
        super().__init__(num_units, **options)
        self.reset_after = bool(reset_after)
        self.gate_bias = (0.0 if reset_after else 1.0) if gate_bias is None else gate_bias

    def build_parameters(self, input_size: int) -> None:
        super().build_parameters(input_size)
        if not self.use_bias:
            return
        bias = self.bias.data.copy()
        bias[: 2 * self.num_units] += self.gate_bias
        self.bias.data = bias
        if self.reset_after:
            self.add("recurrent_bias", (3 * self.num_units,), self.initializers["bias"])

    def call(self, x: Any, state: Any, drawn: Any = ()) -> tuple[Any, Any]:
        h, (phi, sigma), n = state, self.functions, self.num_units
        if self.reset_after:
            xz, xr, xn = ops.split(self.project(x), 3, axis=-1)
            product = self.recur(h, drawn)
            hz, hr, hn = ops.split(product + self.recurrent_bias if self.use_bias else product, 3, axis=-1)
            z, r = gate("z", sigma(xz + hz)), gate("r", sigma(xr + hr))
            candidate = gate("n", phi(xn + r * hn))
        else:
            gates, xn = ops.split(self.project(x), [2 * n], axis=-1)
            z, r = ops.split(gates + self.recur(h, drawn, 0, 2), 2, axis=-1)
            z, r = gate("z", sigma(z)), gate("r", sigma(r))
            candidate = gate("n", phi(xn + self.recur(r * h, drawn, 2, 3)))
        h = gate("h", z * h + (1 - z) * candidate)
        return h, h

    @property
    def weights(self) -> tuple[Any, Any, Any, Any]:
        recurrent_bias = self.recurrent_bias if self.reset_after and self.use_bias else None
        return *super().weights[:3], recurrent_bias

    def describe(self) -> str:
        return f"{super().describe()}, reset_after={self.reset_after}"


BasicLSTMCell = LSTMCell


# -- one step as one node ------------------------------------------------------------------------------------------


def kernel_step(cell_type: str, options: dict[str, Any], weights: tuple[Any, ...], x: Tensor, state: Any) -> Any:
    """The new state of a type of cell after one step by its kernel; options: those of its op over time."""
    taken = {
        "cell_type": cell_type,
        "option": options.get(STEP_OPTIONS[cell_type]),
        "torch": options.get("torch", False),
    }
    return kernel_state(cell_step.apply((x, *weights, *leaves(state)), taken))


STEP_OPTIONS = {
    "rnn": "activation",
    "lstm": "",
    "gru": "reset_after",
}  # which option of the op over time is that of a step


def _samples(r: Any) -> list[Any]:
    """Every cell, with its biases and without."""
    variants = (
        ("rnn", 1, "tanh", 1),
        ("rnn", 1, "relu", 1),
        ("lstm", 4, None, 2),
        ("gru", 3, False, 1),
        ("gru", 3, True, 1),
    )
    cases = []
    for cell_type, gates, option, states in variants:
        n, torch = 2 * gates, option == "relu" or cell_type == "gru"
        weights = [r(n, 2), r(n, 2)] if torch else [r(2, n), r(2, n)]
        options = {"cell_type": cell_type, "option": option, "torch": torch}
        state, second = [r(3, 2) for _ in range(states)], None if option is False else r(n)
        cases.append(r.call(r(3, 2), *weights, r(n), second, *state, **options))
        cases.append(r.call(r(3, 2), *weights, None, None, *state, **options))
        if option is True:
            cases.append(r.call(r(3, 2), *weights, r(2, n), None, *state, **options))
    return cases


def _flops(read: Any, made: Any, options: Any) -> int:
    (rows, size), units = read[0], made[0][-1]
    return int(rows * step_flops(options["cell_type"], size, units, count_biases(options["cell_type"], units, read)))


@primitive(label="one step", work=Work(_flops), several=True, converts=False, materialize_grads=False, samples=_samples)
def cell_step(*arrays: Any, cell_type: str, option: Any, torch: bool = False, keep: bool = False) -> Any:
    """One step of a plain cell, LSTM or GRU in one node; returns the new state's parts, h the last.

    arrays: x (B, D), kernel, recurrent_kernel, bias and recurrent_bias (each may be None, or both in one, as in
    ops.gru_sequence), then the state's parts (B, H). cell_type: "rnn", "lstm" or "gru"; option: the RNN's activation, or the
    GRU's reset_after. torch: the weights are in PyTorch's layout.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b, h = map(np.ones, [(4, 3), (3, 3), 3, (2, 3)])
    >>> (new,) = tg.rnn.cells.cell_step([np.ones((2, 4)), W, U, b, None, h], cell_type="rnn", option="tanh")
    >>> new.shape
    (2, 3)
    """
    x, kernel, recurrent_kernel, bias, recurrent_bias, *old = arrays
    weights = (kernel, recurrent_kernel, *two_biases(bias, recurrent_bias))
    state, saved = kernels.step_forward(cell_type, option, (x, *weights), tuple(old), save=keep, torch=torch)
    return (state, saved) if keep else state


cell_step.kind = "step"  # ops of this kind are expanded in drawings and snapshots


@cell_step.vjp
def _(g: Any, needs: Any, residuals: Any, *arrays: Any, cell_type: str, option: Any, torch: bool) -> Any:
    dx, *others = backward(residuals, arrays[3], needs, None, tuple(g))
    return None if dx is None else dx[:, 0], *others


@cell_step.expands
def _(*arrays: Any, cell_type: str, option: Any, torch: bool) -> Any:
    x, *weights = arrays[:5]
    kernel, recurrent_kernel, bias, recurrent_bias = in_primitives(cell_type, weights, torch)
    if bias is None and recurrent_bias is not None:
        bias = np.zeros(recurrent_bias.shape, recurrent_bias.dtype)
    elif option is True and recurrent_bias is None and bias is not None:
        recurrent_bias = np.zeros(bias.shape, bias.dtype)
    units, more = recurrent_kernel.shape[0], {"use_bias": bias is not None}
    cell: Any = LSTMCell(units, **more)
    if cell_type == "rnn":
        cell = BasicRNNCell(units, activation=option, **more)
    elif cell_type == "gru":
        cell = GRUCell(units, reset_after=option, **more)
    cell.kernel, cell.recurrent_kernel, cell.bias, cell.recurrent_bias = kernel, recurrent_kernel, bias, recurrent_bias
    _, new = cell.call(x, rebuild(cell.state_size, tuple(arrays[5:])))
    if current_step() is not None:
        name_states(leaves(new), tuple(fields_of(new)))
    return leaves(new)
