"""The cells: plain recurrent, LSTM and GRU. Their equations stand in ops/recurrent.py, as steps and as fused ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels, ops
from ..autodiff.tensor import Tensor
from ..initializers import GlorotUniform, Orthogonal, get
from ..ops.recurrent import gru_step, gru_step_reset_after, gru_weights, lstm_step, rnn_step
from .cell import LSTMState, RNNCell, Step, random_source


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
    """The activation of this name, or the callable given."""
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    if activation is None:
        return linear
    if not callable(activation):
        raise ValueError(
            f"{owner}: activation is {activation!r}, expected one of {tuple(ACTIVATIONS)} or a function of a tensor"
        )
    found: Callable[[Any], Any] = activation
    return found


class GatedCell(RNNCell):
    """What the three share: units, a kernel for x, a recurrent kernel for h, a bias, in `gates` column blocks."""

    gates = 1
    watched: tuple[str, ...] = ("project", "recurrence", "begin", "call")  # a subclass with its own is not run fused
    kind = "rnn"  # the kernels' name for it

    @property
    def fused_options(self) -> dict[str, Any]:
        """What the kernels need to know beside the weights."""
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
    ):
        if isinstance(num_units, bool) or not isinstance(num_units, (int, np.integer)) or num_units < 1:
            raise ValueError(f"{type(self).__name__}: num_units is {num_units!r}, expected a positive integer")
        self.num_units = self.state_size = self.output_size = int(num_units)
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
        self.add("recurrent_kernel", (self.num_units, wide), self.initializers["recurrent_kernel"])
        if self.use_bias:
            self.add("bias", (wide,), self.initializers["bias"])

    def project(self, x: Any) -> Any:
        return x @ self.kernel + self.bias if self.use_bias else x @ self.kernel

    def recurrence(self, u: Any, batch: int, dtype: Any) -> Any:
        """What the state is multiplied by in one sequence: U, or a function in its place."""
        return u

    def unfused(self) -> str | None:
        base = next(kind for kind in type(self).__mro__ if kind.__module__ == __name__)
        for method in self.watched:
            if getattr(type(self), method) is not getattr(base, method):
                return f"{type(self).__name__} defines its own {method}"
        return None

    @property
    def weights(self) -> tuple[Any, ...]:
        """What a fused op takes after x and before the initial state."""
        bias = self.bias if self.use_bias else np.zeros(self.kernel.shape[1], self.dtype)
        return self.kernel, self.recurrent_kernel, bias

    def stepper(self, batch: int = 1) -> kernels.Stepper:
        """This cell for streaming: `stepper.step(x)` takes an array (B, D) and returns h (B, H), recording nothing.

        Nothing is allocated by a step: the result is an array of the stepper, written anew each time, so copy what is to
        stay. `stepper.reset()` begins again; `stepper.reload()` takes up weights that training has changed. Raises
        ValueError for a cell that has no fused op.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> stepper = tg.rnn.GRUCell(3).build(2).stepper()
        >>> stepper.step(np.ones((1, 2), np.float32)).shape
        (1, 3)
        """
        why = self.unfused()
        if why is not None:
            raise ValueError(f"stepper: {self.scope_name} cannot stream: {why}; call the cell itself, cell(x, state)")
        if not self.built:
            raise ValueError(
                f"stepper: {self.scope_name} has no weights yet; call .build(input_size) or run it once first"
            )

        def now() -> list[Any]:
            return [w.data if isinstance(w, Tensor) else w for w in self.weights]

        return kernels.Stepper(self.kind, *now(), batch=batch, source=now, **self.fused_options)

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

    def begin(self, batch: int, dtype: Any) -> Step:
        u = self.recurrence(self.recurrent_kernel, batch, dtype)

        def step(z: Any, h: Any) -> tuple[Any, Any]:
            h = rnn_step(z, h, u, self.activate)
            return h, h

        return step

    @property
    def fused_options(self) -> dict[str, Any]:
        return {"activation": self.activate.__name__}

    def unfused(self) -> str | None:
        if self.activate not in (ops.tanh, ops.relu):
            return f"the fused op knows tanh and relu, not activation={self.activation!r}"
        return super().unfused()

    def sequence(self, run: Any, x: Any, state: Any) -> tuple[Any, Any]:
        outputs, h = ops.rnn_sequence(x, *self.weights, state, **self.fused_options, **run.options)
        run.traced(h=outputs)
        return outputs, h

    def describe(self) -> str:
        return super().describe() + ("" if self.activation == "tanh" else f", activation={self.activation!r}")


class _ActivatedCell(GatedCell):
    """A cell whose gates and states each have a function, σ and φ = tanh unless told otherwise."""

    def __init__(self, num_units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", **options: Any):
        super().__init__(num_units, **options)
        self.activation, self.recurrent_activation = activation, recurrent_activation
        owner = type(self).__name__
        self.functions = activation_of(owner, activation), activation_of(owner, recurrent_activation)

    def unfused(self) -> str | None:
        if self.functions != (ops.tanh, ops.sigmoid):
            given = f"activation={self.activation!r}, recurrent_activation={self.recurrent_activation!r}"
            return f"the fused op knows tanh and sigmoid, not {given}"
        return super().unfused()


class LSTMCell(_ActivatedCell):
    """The long short-term memory step with forget gate [Hochreiter & Schmidhuber 1997; Gers et al. 2000].

    i, f, g, o = split(x W + h U + b); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').
    x (B, D), state LSTMState(c, h), each (B, H), output h'. forget_bias is what the bias of f begins with. activation and
    recurrent_activation stand in the places of tanh and σ, use_bias=False leaves b out; so in the other cells.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.LSTMCell(2)
    >>> output, state = cell(np.ones((3, 4), np.float32), cell.zero_state(3))
    >>> state.c.shape, cell.kernel.shape
    ((3, 2), (4, 8))
    """

    gates = 4
    kind = "lstm"

    def __init__(self, num_units: int, forget_bias: float = 1.0, state_is_tuple: bool = True, **options: Any):
        super().__init__(num_units, **options)
        if not state_is_tuple:
            raise ValueError(
                "LSTMCell: state_is_tuple=False is not supported; the state is LSTMState(c, h), read by name"
            )
        self.forget_bias = forget_bias
        self.state_size = LSTMState(self.num_units, self.num_units)

    def build_parameters(self, input_size: int) -> None:
        super().build_parameters(input_size)
        if not self.use_bias:
            return
        forget = self.bias.data.copy()
        forget[self.num_units : 2 * self.num_units] += self.forget_bias
        self.bias.data = forget

    def begin(self, batch: int, dtype: Any) -> Step:
        u = self.recurrence(self.recurrent_kernel, batch, dtype)

        def step(z: Any, state: Any) -> tuple[Any, LSTMState]:
            c, h = lstm_step(z, state.c, state.h, u, *self.functions)
            return h, LSTMState(c, h)

        return step

    def sequence(self, run: Any, x: Any, state: Any) -> tuple[Any, Any]:
        trace = "gates" if run.trace else None
        outputs, c, h, *more = ops.lstm_sequence(x, *self.weights, state.c, state.h, trace=trace, **run.options)
        run.traced(**dict(zip("cifgo", more, strict=False)), h=outputs)
        return outputs, LSTMState(c, h)

    def describe(self) -> str:
        return super().describe() + ("" if self.forget_bias == 1.0 else f", forget_bias={self.forget_bias}")


class GRUCell(_ActivatedCell):
    """The gated recurrent unit [Cho et al. 2014].

    z, r = σ(x W + h U + b) in their columns; h' = z h + (1 − z) n, where the candidate n is, by reset_after:
    False (the 2014 paper's, TensorFlow 1's): n = tanh(x Wn + bn + (r h) Un); the bias of z and r begins with 1.
    True (cuDNN's, Keras's and PyTorch's): n = tanh(x Wn + bn + r (h Un + b'n)), with a second bias, `recurrent_bias`.
    x (B, D), state h (B, H), output h'.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.GRUCell(2)
    >>> output, state = cell(np.ones((3, 4), np.float32), cell.zero_state(3))
    >>> cell.kernel.shape
    (4, 6)
    """

    gates = 3
    kind = "gru"

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

    def begin(self, batch: int, dtype: Any) -> Step:
        u = self.recurrent_kernel
        if not self.reset_after:
            pair = tuple(self.recurrence(part, batch, dtype) for part in gru_weights(u))

            def step(z: Any, h: Any) -> tuple[Any, Any]:
                h = gru_step(z, h, pair, *self.functions)
                return h, h

        else:
            u, b = self.recurrence(u, batch, dtype), self.recurrent_bias if self.use_bias else 0

            def step(z: Any, h: Any) -> tuple[Any, Any]:
                h = gru_step_reset_after(z, h, u, b, *self.functions)
                return h, h

        return step

    @property
    def weights(self) -> tuple[Any, ...]:
        return *super().weights, self.recurrent_bias if self.reset_after and self.use_bias else None

    def sequence(self, run: Any, x: Any, state: Any) -> tuple[Any, Any]:
        trace = "gates" if run.trace else None
        outputs, h, *more = ops.gru_sequence(x, *self.weights, state, trace=trace, **self.fused_options, **run.options)
        run.traced(**dict(zip("zrn", more, strict=False)), h=outputs)
        return outputs, h

    def describe(self) -> str:
        return f"{super().describe()}, reset_after={self.reset_after}"


BasicLSTMCell = LSTMCell
