"""The cell: one step of a recurrent network. A driver (rnn/driver.py) runs any cell over time.

Conventions of every cell here (letters: B batch, T time, D input, H units, G gates):
  kernel (D, G·H), recurrent_kernel (H, G·H), bias (G·H); LSTM gates in the order i f g o, GRU gates z r n.
  A state is a tensor (B, H), a NamedTuple of such (LSTMState), or for a stack the tuple of its cells' states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from .. import checks, initializers
from ..autodiff.state import ambient, generator, scope
from ..autodiff.steps import current_step, fields_of, mask_tensor, name_states
from ..autodiff.tensor import Tensor
from ..module import Module, Parameter
from ..program.calls import listener
from ..program.naming import gate
from ..program.tree import rebuilt


class LSTMState(NamedTuple):
    """State of an LSTM: the memory c and the output h. Access them by name; other libraries have another order.

    >>> import tinygrad_rnn as tg
    >>> state = tg.rnn.LSTMCell(3).zero_state(2)
    >>> state.c.shape, state.h.shape
    ((2, 3), (2, 3))
    """

    c: Any
    h: Any


def map_state(f: Callable[..., Any], *states: Any) -> Any:
    """f on corresponding leaves of states of the same structure."""
    first = states[0]
    if isinstance(first, tuple):
        parts = [map_state(f, *parts) for parts in zip(*states, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return f(*states)


def leaves(state: Any) -> tuple[Any, ...]:
    """The tensors of a state, in order."""
    if not isinstance(state, tuple):
        return (state,)
    found: list[Any] = []
    for part in state:
        if isinstance(part, tuple):
            found += leaves(part)
        else:
            found.append(part)
    return tuple(found)


def rebuild(like: Any, parts: tuple[Any, ...]) -> Any:
    """A state of the structure of `like` from its leaves."""
    return rebuilt(like, iter(parts))


def kernel_state(parts: tuple[Any, ...]) -> Any:
    """The state of a cell with a kernel from its parts: c and h of an LSTM, else h alone."""
    return LSTMState(*parts) if len(parts) == 2 else parts[0]


def zeros(size: Any, batch: int, dtype: Any) -> Any:
    """Zeros (B, ·) for a state of this size."""
    if isinstance(size, tuple):
        parts = [zeros(part, batch, dtype) for part in size]
        return type(size)(*parts) if hasattr(size, "_fields") else tuple(parts)
    return Tensor._from_array(np.zeros((batch, size), dtype), None)


def detach(state: Any) -> Any:
    """The state as constants, as initial state of the next chunk of a sequence (truncated backpropagation through time).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell, state = tg.rnn.LSTMCell(3), None
    >>> for chunk in np.ones((4, 2, 5, 3), np.float32):  # four chunks of five steps
    ...     outputs, state = tg.rnn.dynamic_rnn(cell, chunk, initial_state=state)
    ...     state = tg.rnn.detach(state)
    >>> state.h.requires_grad
    False
    """
    return map_state(lambda s: s.detach() if isinstance(s, Tensor) else s, state)


class RNNCell(Module):
    """Base of all cells. To write your own, set `state_size` and `output_size` and define `call(x, state)`.

    cell(x, state) -> (output, new state), with x (B, D), output (B, output_size). Parameters are created in
    `build_parameters(input_size)`, at the first call, in the dtype of its x.

    A cell that needs random numbers (a dropout mask) defines `draw(shape, dtype)`, which a driver calls once before a
    sequence; the result is passed as third argument to `call(x, state, drawn)`. Tensors that are the same at all steps,
    such as the memory of an attention, are passed in the same way.

    >>> import tinygrad_rnn as tg
    >>> class Decay(tg.rnn.RNNCell):
    ...     state_size = output_size = 3
    ...     def call(self, x, state):
    ...         h = 0.5 * state + x
    ...         return h, h
    >>> outputs, state = tg.rnn.dynamic_rnn(Decay(), tg.tensor([[[1.0, 2, 3], [0, 0, 0]]]))
    >>> state.tolist()
    [[0.5, 1.0, 1.5]]
    """

    state_size: Any
    output_size: int
    name: str | None = None
    dtype: Any = None
    input_size: int | None = None  # known once built
    cell_type: str | None = None  # the name of its kernel, if its class has one
    _blank = False

    # -- building --------------------------------------------------------------------------------------------------

    def build_parameters(self, input_size: int) -> None:
        """Create the parameters with `self.add(...)`. The default has none."""

    @property
    def built(self) -> bool:
        return self.input_size is not None or type(self).build_parameters is RNNCell.build_parameters

    def build(self, input_size: int, dtype: Any = np.float32) -> Any:
        """Create the parameters for inputs of this size and dtype, as the first call does. Returns the cell.

        Raises ValueError or TypeError if the cell was already built for another size or dtype.
        """
        if type(input_size) is int and input_size == self.input_size and dtype is self.dtype:
            return self
        checks.integer(self.scope_name, "input_size", input_size, least=0)
        if self.input_size not in (None, input_size):
            raise ValueError(
                f"{self.scope_name}: inputs have {input_size} features, the cell was built for {self.input_size}; use a new "
                "cell for other inputs"
            )
        if self.input_size is not None and self.dtype != np.dtype(dtype):
            raise TypeError(
                f"{self.scope_name}: inputs have dtype {np.dtype(dtype)}, the cell was built in {self.dtype}; use "
                f"cell.astype(np.{np.dtype(dtype)})"
            )
        if not self.built:
            if np.dtype(dtype) not in (np.float32, np.float64):
                raise TypeError(f"{self.scope_name}: dtype is {np.dtype(dtype)}, expected float32 or float64")
            self.dtype = np.dtype(dtype)
            with scope(self.scope_name):
                self.build_parameters(int(input_size))
            self.input_size = int(input_size)
        return self

    def build_from(self, arrays: Mapping[str, Any]) -> None:
        kernel = np.asarray(arrays.get("kernel", 0))
        if kernel.ndim != 2 or kernel.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"load_state_dict: {self.scope_name} is not built yet, and the state holds no floating matrix 'kernel' that "
                "tells its input_size; call build(input_size, dtype) first"
            )
        # No initial values are drawn: the loaded ones replace them, and a load that fails leaves the generators unchanged.
        self._blank = True
        try:
            self.build(kernel.shape[0], kernel.dtype)
        finally:
            del self._blank

    def unbuild(self) -> None:
        for name in [k for k, v in vars(self).items() if isinstance(v, Parameter)]:
            delattr(self, name)
        self.input_size = self.dtype = None

    def add(self, name: str, shape: tuple[int, ...], initializer: Any) -> Parameter:
        """Create a parameter in the cell's dtype and set it as an attribute."""
        data = np.zeros(shape, self.dtype) if self._blank else initializers.get(initializer)(shape, self.dtype)
        if np.shape(data) != tuple(shape):
            raise ValueError(
                f"{self.scope_name}: the initializer of {name} gave shape {np.shape(data)}, expected {tuple(shape)}"
            )
        p = Parameter(data, self.dtype, name)
        setattr(self, name, p)
        return p

    def __getattr__(self, name: str) -> Any:
        if name in ("kernel", "recurrent_kernel", "bias", "recurrent_bias") and not self.built:
            raise AttributeError(
                f"{self.scope_name} has no {name} yet: it is built at the first call, or by cell.build(input_size)"
            )
        if name in ("state_size", "output_size"):
            raise AttributeError(
                f"{type(self).__name__} sets no {name}: a cell sets state_size and output_size, on the class or in __init__"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # -- running ---------------------------------------------------------------------------------------------------

    layers: tuple[
        RNNCell, ...
    ] = ()  # the cells of a stack, each of which drivers run over the whole sequence before the next

    def call(self, x: Any, state: Any) -> tuple[Any, Any]:
        """One step: x (B, D) and the state to (output, new state)."""
        raise TypeError(f"{type(self).__name__} defines no call(x, state) that returns (output, new state)")

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        """Further arguments of the steps of one sequence of inputs of this shape (B, T, D), in nested tuples: random
        arrays, (B, T, ·) with an entry for each step or (B, ·) shared by all steps; and tensors (B, …) that are the same
        at all steps and have a gradient, such as the memory of an attention. They are passed to `call` in the same nested
        tuples, the arrays as (B, ·)."""
        return ()

    def fused(self) -> str | None:
        """The name of the kernel for this cell, or None if it has none."""
        return None

    def fused_step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step as one node, for a cell with a kernel."""
        raise TypeError(f"{type(self).__name__} has no kernel of its own")

    def __call__(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        x = x if isinstance(x, Tensor) else Tensor(x)
        if state is None:
            batch = x.shape[0] if x.ndim else "batch_size"
            raise TypeError(
                f"{self.scope_name}: the state is missing: one step is cell(x, state), from cell.zero_state({batch}, "
                f"np.{x.dtype}) for example; a whole sequence is rnn.dynamic_rnn(cell, inputs)"
            )
        self.check_input(x, 2)
        state = self.check_state(state, x.shape[0], x.dtype, "state")
        self.build(x.shape[1], x.dtype)
        with UNSCOPED if scopes_unread() else scope(self.scope_name):
            if self.fused() is not None and ambient.get().tracer is None:
                output, new = self.fused_step(x, state)
            else:
                drawn = map_state(
                    lambda a: a if isinstance(a, Tensor) else mask_tensor(a[:, 0] if is_over_time(a) else a),
                    self.draw((x.shape[0], 1, x.shape[1]), x.dtype),
                )
                output, new = self.check_result(called(self, x, state, drawn), x.shape[0], x.dtype)
        if current_step() is not None:
            name_states(leaves(new), tuple(fields_of(new)), leaves(state))
        return output, new

    def stepper(self, batch: int = 1) -> Any:
        """This cell for streaming, in inference mode: `stepper.step(x)` takes an array (B, D) and returns the output.

        Nothing is recorded. The result is an array of the stepper that the next step overwrites: copy it to keep it.
        `stepper.reset()` returns to the zero state; `stepper.reload()` loads the cell's weights again. `rnn.stepper`
        combines cells with the layers after them. Raises ValueError for a cell without weights.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> stepper = tg.rnn.ResidualWrapper(tg.rnn.GRUCell(3)).build(3).stepper()
        >>> stepper.step(np.ones((1, 3), np.float32)).shape
        (1, 3)
        """
        from .stepper import stepper

        return stepper(self, batch=batch)

    def zero_state(self, batch_size: int, dtype: Any = np.float32) -> Any:
        """A state of zeros, (B, ·) for each part."""
        size = self.state_size
        if type(batch_size) is not int or batch_size < 0:
            batch_size = checks.integer("zero_state", "batch_size", batch_size, least=0)
        try:
            return zeros(size, batch_size, dtype)
        except (TypeError, ValueError):
            if all(checks.is_integer(part) and part >= 0 for part in leaves(size)):
                raise
            raise TypeError(
                f"{self.scope_name}: state_size is {size!r}, expected an integer or a tuple of such"
            ) from None

    # -- checks ----------------------------------------------------------------------------------------------------

    def check_input(self, x: Tensor, ndim: int) -> None:
        """Raise an error for an x that does not have `ndim` axes, is not floating-point, or does not fit the cell."""
        shape = x.shape
        if len(shape) == ndim and shape[-1] == self.input_size and x.dtype is self.dtype:
            return
        wanted = "(B, D)" if ndim == 2 else "(B, T, D)"
        if len(shape) != ndim:
            raise ValueError(f"{self.scope_name}: x has shape {shape}, expected {wanted}")
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"{self.scope_name}: x has dtype {x.dtype}, expected floats; use x.astype(np.float32)")
        if self.input_size is not None:
            if x.shape[-1] != self.input_size:
                raise ValueError(
                    f"{self.scope_name}: x has shape {x.shape}, expected the last axis to be {self.input_size}, the size "
                    "the cell was built for"
                )
            if x.dtype != self.dtype:
                raise TypeError(
                    f"{self.scope_name}: x has dtype {x.dtype}, the cell was built in {self.dtype}; use "
                    f"x.astype(np.{self.dtype}) or cell.astype(np.{x.dtype})"
                )

    def check_state(self, state: Any, batch: int, dtype: Any, argument: str) -> Any:
        """The state as tensors of this dtype, after a check of structure, shapes and dtypes."""
        if _fits(state, self.state_size, batch, dtype):
            return state
        return _check_state(self.scope_name, state, self.state_size, batch, dtype, argument)

    def check_result(self, result: Any, batch: int, dtype: Any) -> tuple[Any, Any]:
        """The result of a step, after a check that it is (output, new state) with the cell's sizes."""
        if not isinstance(result, tuple) or len(result) != 2:
            came = f"{type(result).__name__}{f' of {len(result)}' if isinstance(result, tuple) else ''}"
            raise TypeError(f"{self.scope_name}: the step returned {came}, expected the pair (output, new state)")
        output, state = result
        self.check_output(np.shape(output), getattr(output, "dtype", np.dtype(dtype)), batch, dtype)
        self.check_state(state, batch, dtype, "the step's new state")
        if named := _unnamed(state, self.state_size):
            raise TypeError(
                f"{self.scope_name}: the step's new state has a plain tuple where the state is {named.__name__}"
                f"{named._fields}; return {named.__name__}({', '.join(f'{f}=…' for f in named._fields)}), so that no part "
                "is taken for another"
            )
        return output, state

    def check_output(self, shape: tuple[int, ...], came: Any, batch: int, dtype: Any) -> None:
        """Raise an error for an output of another shape or dtype than the cell's."""
        if shape != (batch, self.output_size):
            raise ValueError(
                f"{self.scope_name}: the step's output has shape {shape}, expected ({batch}, {self.output_size}): the batch "
                "and the cell's output_size"
            )
        if came.kind == "f" and came != dtype:
            raise TypeError(
                f"{self.scope_name}: the step's output has dtype {came}, x has {dtype}; use .astype(np.{dtype})"
            )


def _unnamed(state: Any, size: Any) -> Any:
    """The NamedTuple in `size` for which `state` has a plain tuple instead; None if there is none."""
    if not isinstance(size, tuple):
        return None
    if hasattr(size, "_fields") and not hasattr(state, "_fields"):
        return type(size)
    return next((named for s, n in zip(state, size, strict=True) if (named := _unnamed(s, n))), None)


def _fits(state: Any, size: Any, batch: int, dtype: Any) -> bool:
    """Whether _check_state would return the state unchanged."""
    if isinstance(size, tuple):
        return (
            type(state) is type(size)
            and len(state) == len(size)
            and all(_fits(s, n, batch, dtype) for s, n in zip(state, size, strict=False))
        )
    return isinstance(state, Tensor) and state.dtype is dtype and state.shape == (batch, size)


def _check_state(owner: str, state: Any, size: Any, batch: int, dtype: Any, path: str) -> Any:
    remedy = f"cell.zero_state({batch}, np.{dtype}) makes one of zeros"
    if isinstance(size, tuple):
        names = getattr(size, "_fields", None)
        form = type(size).__name__ if names else "tuple"
        if not isinstance(state, (tuple, list)) or len(state) != len(size):
            came = f"{type(state).__name__}{f' of {len(state)}' if isinstance(state, (tuple, list)) else ''}"
            wanted = f"{form} of {len(size)} parts{f' {names}' if names else ''}"
            raise TypeError(f"{owner}: {path} is {came}, expected {wanted}; {remedy}")
        paths = [f"{path}.{n}" for n in names] if names else [f"{path}[{i}]" for i in range(len(size))]
        parts = [_check_state(owner, s, n, batch, dtype, p) for s, n, p in zip(state, size, paths, strict=True)]
        return type(size)(*parts) if names else tuple(parts)
    if state is None or isinstance(state, (tuple, dict, str)):
        raise TypeError(
            f"{owner}: {path} is {type(state).__name__}, expected a tensor of shape ({batch}, {size}); {remedy}"
        )
    t = state if isinstance(state, Tensor) else Tensor(state, None if hasattr(state, "dtype") else dtype)
    if t.shape != (batch, size):
        raise ValueError(
            f"{owner}: {path} has shape {t.shape}, expected ({batch}, {size}): the batch of x and the cell's size; {remedy}"
        )
    if t.dtype.kind != "f":
        return Tensor(t.data.astype(dtype))
    if t.dtype != dtype:
        raise TypeError(
            f"{owner}: {path} has dtype {t.dtype}, x has {dtype}; use .astype(np.{dtype}) on the state, or {remedy}"
        )
    return t


def is_over_time(drawn: Any) -> bool:
    """Whether a drawn array has an entry for each step, (B, T, ·); tensors are shared by all steps."""
    return not isinstance(drawn, Tensor) and drawn.ndim == 3


UNSCOPED: Any = nullcontext()  # instead of a scope that nothing reads


def scopes_unread() -> bool:
    """Whether nothing reads the scopes of ops now: no graph or trace is recorded, and nobody listens."""
    now = ambient.get()
    return not (now.recording or now.tracer) and listener.get() is None


def called(cell: RNNCell, x: Any, state: Any, drawn: Any) -> tuple[Any, Any]:
    """One step of a cell, with its drawn arrays, if any."""
    return cell.call(x, state, drawn) if leaves(drawn) else cell.call(x, state)  # type: ignore[call-arg]


def as_cell(given: Any) -> Any:
    """A cell of `nn` or `layers` as a cell of `rnn`, with its current weights; anything else unchanged."""
    return given.as_cell() if hasattr(type(given), "as_cell") else given


def random_source(seed: Any) -> np.random.Generator | None:
    """A new generator for a seed. None stays None and means the default generator at the time of use."""
    return None if seed is None else generator(seed)


def described(value: Any) -> str:
    """A description of a value for error messages; it distinguishes a class from an instance."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"{type(value).__name__} {value!r:.60}"


__all__ = [
    "LSTMState",
    "RNNCell",
    "called",
    "described",
    "detach",
    "gate",
    "is_over_time",
    "kernel_state",
    "leaves",
    "map_state",
    "random_source",
    "rebuild",
    "scopes_unread",
    "zeros",
]
