"""Optimisers, with PyTorch's formulas and defaults.

An optimiser assigns a new array to each parameter (`p.data = …`). Its own arrays (moments) and gradients are changed in
place only if no other reference to them exists, so arrays in the graph, a state_dict or a checkpoint do not change. With
the native kernels, one pass over memory updates all parameters; the method `update` of each class is the same in NumPy,
with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..autodiff.node import may_overwrite
from ..autodiff.sparse import RowGradient
from ..autodiff.tensor import Tensor
from ..kernels import training
from .checks import checked, number

Array = np.ndarray[Any, np.dtype[Any]]


class Optimizer:
    """Base of all optimisers: the parameters, `lr`, and for each parameter a step count and the arrays named in `slots`.

    A subclass defines `update(x, g, i)`, which returns parameter i's new array from its array x and its gradient g;
    `self.counts[i]` is then the number of this step, from 1. Parameters without a gradient are skipped.

    >>> import tinygrad_rnn as tg
    >>> class Signs(tg.optim.Optimizer):
    ...     def update(self, x, g, i):
    ...         return x - self.lr * g / abs(g)
    >>> w = tg.Parameter([1.0, -2.0])
    >>> optimizer = Signs([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, -1.5]
    """

    slots: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ("lr",)  # attributes in state_dict, besides counts and slots
    kernel = ""  # the native equivalent of `update`; "" if there is none
    kernel_slots: tuple[str, ...] = ()  # its slots, in order; those not in `slots` are unused

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kernel" not in vars(cls) and not {"update", "keep", "decayed"}.isdisjoint(vars(cls)):
            cls.kernel = ""  # a subclass overrides update

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0):
        self.name = type(self).__name__
        self.params = checked(self.name, params)
        self.lr = number(self.name, "lr", lr, 0, np.inf)
        self.weight_decay = number(self.name, "weight_decay", weight_decay, 0, np.inf)
        self.counts = [0] * len(self.params)
        self.state = {slot: [np.zeros_like(p.data) for p in self.params] for slot in self.slots}

    def update(self, x: Array, g: Array, i: int) -> Array:
        """Parameter i's new array, from its array x and its gradient g."""
        raise TypeError(f"{self.name} defines no update(x, g, i)")

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        work: dict[Any, list[Any]] = {}  # the arguments of the native rule, by dtype
        constants: dict[int, tuple[float, ...]] = {}  # constants by step number
        changed = []
        for i, p in enumerate(self.params):
            g: Any = p.grad
            if g is None:
                continue
            self.counts[i] = count = self.counts[i] + 1
            if isinstance(g, RowGradient):
                self.step_of_rows(i, p, g.summed())
                continue
            x = p.data
            slots = self.writable(i, x, g) if self.kernel else None
            if slots is None:
                p.data = np.asarray(self.update(x, g, i))
                continue
            if count not in constants:
                constants[count] = self.constants(count)
            out = training.empty(x.shape, x.dtype)
            work.setdefault(x.dtype, []).append((x, np.asarray(g, order="C"), out, slots, constants[count]))
            changed.append((p, out))
        for dtype, parameters in work.items():
            training.update(self.kernel, dtype, parameters)
        for p, out in changed:
            p.data = out

    def step_of_rows(self, i: int, p: Tensor, g: RowGradient) -> None:
        """Update the rows of a table that a RowGradient contains, and their part of the state; the other rows are
        unchanged. The table is changed in place if no other reference to it exists.
        """
        states = {slot: arrays[i] for slot, arrays in self.state.items()}
        for slot, array in states.items():
            self.state[slot][i] = array[g.index]
        rows = self.update(p.data[g.index], g.values, i)
        for slot in states:
            array = states[slot]
            whole = array if may_overwrite(array) else array.copy()
            whole[g.index] = self.state[slot][i]
            self.state[slot][i] = whole
        x = p.data
        x = x if may_overwrite(x) else x.copy()
        x[g.index] = rows
        p.data = x.view()

    def constants(self, count: int) -> tuple[float, ...]:
        """The constants of the native rule at step `count`; see kernels/native/training.h."""
        raise TypeError(f"{self.name} has no native rule")

    def writable(self, i: int, x: Array, g: Array) -> tuple[Array | None, ...] | None:
        """Parameter i's slots as writable arrays for the native rule; None if it cannot be used."""
        if not training.takes(x) or type(g) is not np.ndarray or g.dtype != x.dtype or not g.flags.aligned:
            return None
        arrays: list[Array | None] = []
        for name in self.kernel_slots:
            if name not in self.slots:
                arrays.append(None)
                continue
            array = self.state[name][i]
            if not training.takes(x, array) or array.shape != x.shape:
                return None
            if not may_overwrite(array):
                self.state[name][i] = array = array.copy()
            arrays.append(array)
        return tuple(arrays)

    def keep(self, slot: str, i: int, value: Any) -> Array:
        """Store and return parameter i's array of a slot, converted to an array (arithmetic turns 0-d arrays into
        numbers)."""
        array: Array = np.asarray(value)
        self.state[slot][i] = array
        return array

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for p in self.params:
            p.grad = None

    def decayed(self, x: Array, g: Array) -> Array:
        """The gradient with that of an L2 penalty: g + weight_decay · x."""
        return g + self.weight_decay * x if self.weight_decay else g

    def state_dict(self) -> dict[str, Any]:
        """The values that change during training, as a flat dict: numbers, and arrays by slot and parameter ("m.0"),
        which `tg.save` accepts. The arrays are not copies, but are not changed as long as they are referenced.
        """
        state: dict[str, Any] = {name: getattr(self, name) for name in self.numbers}
        state["counts"] = np.array(self.counts, np.int64)
        for slot in self.slots:
            state |= {f"{slot}.{i}": array for i, array in enumerate(self.state[slot])}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set everything from `state_dict()`. Raises ValueError that lists what does not fit; the optimiser is then
        unchanged."""
        expected = self.state_dict()
        faults = [f"missing {k}" for k in expected if k not in state]
        faults += [f"unexpected {k}" for k in state if k not in expected]
        checks = (self._fault(k, np.asarray(state[k]), np.shape(v)) for k, v in expected.items() if k in state)
        faults += [fault for fault in checks if fault]
        if faults:
            raise ValueError(
                f"load_state_dict: the state does not fit {self.name} of {len(self.params)} parameters: "
                + "; ".join(faults)
            )
        numbers = {name: float(state[name]) for name in self.numbers}
        counts = [int(n) for n in state["counts"]]
        arrays = {
            slot: [np.array(state[f"{slot}.{i}"], p.dtype) for i, p in enumerate(self.params)] for slot in self.slots
        }
        vars(self).update(numbers, counts=counts, state=arrays)

    def _fault(self, key: str, value: Array, shape: tuple[int, ...]) -> str:
        """Why a value cannot be loaded; "" if it can."""
        if value.shape != shape:
            return f"{key} has shape {value.shape}, expected {shape}"
        if value.dtype.kind not in "fiu":
            return f"{key} has dtype {value.dtype}, expected numbers"
        if key in self.numbers and not np.isfinite(value):
            return f"{key} is {value}, expected a finite number"
        if key == "lr" and value < 0:
            return f"lr is {value}, expected a number >= 0"
        if key == "counts" and (value.dtype.kind == "f" or (value < 0).any()):
            return f"counts is {value.tolist()!r:.60}, expected integers >= 0"
        return ""

    def __repr__(self) -> str:
        return f"{self.name}({len(self.params)} parameters, lr={self.lr:g})"


class SGD(Optimizer):
    """Gradient descent, with momentum [Polyak 1964] or Nesterov's [1983; Sutskever et al. 2013].

    v ← momentum · v + g;  x ← x − lr · v, or with nesterov x − lr · (g + momentum · v). weight_decay adds
    weight_decay · x to g. Raises ValueError for numbers out of range and for nesterov without momentum.

    >>> import tinygrad_rnn as tg
    >>> w = tg.Parameter([1.0])
    >>> optimizer = tg.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0.8], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        self.momentum = number("SGD", "momentum", momentum, 0, np.inf)
        self.nesterov = bool(nesterov)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs momentum > 0, which is 0")
        self.slots = ("velocity",) if momentum else ()
        super().__init__(params, lr, weight_decay)

    kernel, kernel_slots = "sgd", ("velocity", "", "")

    def constants(self, count: int) -> tuple[float, ...]:
        return (self.lr, self.weight_decay, self.momentum, float(self.nesterov), 0.0, 0.0, 0.0)

    def update(self, x: Array, g: Array, i: int) -> Array:
        g = self.decayed(x, g)
        if self.momentum:
            v = self.keep("velocity", i, self.momentum * self.state["velocity"][i] + g)
            g = g + self.momentum * v if self.nesterov else v
        return x - self.lr * g


class RMSprop(Optimizer):
    """RMSprop [Tieleman & Hinton 2012]: steps divided by a running root mean square of the gradient.

    s ← alpha · s + (1 − alpha) · g²; x ← x − lr · g / (√s + eps). centered subtracts the square of the running mean from
    s [Graves 2013]; momentum · v + g / (√s + eps) replaces the quotient; weight_decay adds weight_decay · x to g. Raises
    ValueError for numbers out of range.

    >>> import tinygrad_rnn as tg
    >>> tg.optim.RMSprop([tg.Parameter([1.0])], lr=0.01)
    RMSprop(1 parameters, lr=0.01)
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        self.alpha = number("RMSprop", "alpha", alpha, 0, 1)
        self.eps = number("RMSprop", "eps", eps, 0, np.inf)
        self.momentum = number("RMSprop", "momentum", momentum, 0, np.inf)
        self.centered = bool(centered)
        self.slots = ("square", *["mean"] * self.centered, *["velocity"] * bool(momentum))
        super().__init__(params, lr, weight_decay)

    kernel, kernel_slots = "rmsprop", ("square", "mean", "velocity")

    def constants(self, count: int) -> tuple[float, ...]:
        return (self.lr, self.weight_decay, self.alpha, self.eps, self.momentum, 0.0, 0.0)

    def update(self, x: Array, g: Array, i: int) -> Array:
        g = self.decayed(x, g)
        s = self.keep("square", i, self.alpha * self.state["square"][i] + (1 - self.alpha) * (g * g))
        if self.centered:
            mean = self.keep("mean", i, self.alpha * self.state["mean"][i] + (1 - self.alpha) * g)
            s = s - mean * mean
        move = g / self.root(s)
        if self.momentum:
            move = self.keep("velocity", i, self.momentum * self.state["velocity"][i] + move)
        return x - self.lr * move

    def root(self, s: Array) -> Array:
        """The divisor of the gradient."""
        return np.sqrt(s) + self.eps


class Adam(Optimizer):
    """Adam [Kingma & Ba 2015]: running means of the gradient and its square, both corrected for their start at zero.

    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  x ← x − lr · m̂ / (√v̂ + eps), with m̂ = m / (1 − β₁ᵗ) and
    v̂ = v / (1 − β₂ᵗ) at step t. weight_decay adds weight_decay · x to g. Raises ValueError for numbers out of range.

    >>> import tinygrad_rnn as tg
    >>> w = tg.Parameter([1.0])
    >>> optimizer = tg.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(4)
    array([0.9], dtype=float32)
    """

    slots = ("m", "v")
    kernel, kernel_slots = "adam", ("m", "v", "")
    decoupled = False  # AdamW's weight decay

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        name = type(self).__name__
        if len(betas) != 2:
            raise ValueError(f"{name}: betas is {betas!r}, expected two numbers")
        self.betas = tuple(number(name, f"betas[{i}]", b, 0, 1, below=True) for i, b in enumerate(betas))
        self.eps = number(name, "eps", eps, 0, np.inf)
        super().__init__(params, lr, weight_decay)

    def constants(self, count: int) -> tuple[float, ...]:
        (b1, b2), decay = self.betas, self.weight_decay
        added, shrunk = (0.0, 1 - self.lr * decay) if self.decoupled else (decay, 1.0)
        return (self.lr / (1 - b1**count), added, b1, b2, self.eps, float(np.sqrt(1 - b2**count)), shrunk)

    def update(self, x: Array, g: Array, i: int) -> Array:
        rate, _, b1, b2, eps, root, shrunk = self.constants(self.counts[i])
        if not self.decoupled:
            g = self.decayed(x, g)
        m = self.keep("m", i, b1 * self.state["m"][i] + (1 - b1) * g)
        v = self.keep("v", i, b2 * self.state["v"][i] + (1 - b2) * (g * g))
        return np.asarray(x * shrunk - rate * (m / (np.sqrt(v) / root + eps)))


class AdamW(Adam):
    """Adam with decoupled weight decay [Loshchilov & Hutter 2019]: x ← (1 − lr · weight_decay) · x before Adam's step.

    >>> import tinygrad_rnn as tg
    >>> tg.optim.AdamW([tg.Parameter([1.0])], weight_decay=0.1)
    AdamW(1 parameters, lr=0.001)
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)
