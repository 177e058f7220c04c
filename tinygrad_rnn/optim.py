"""Optimisers, gradient clipping and learning-rate schedules, with PyTorch's formulas and defaults.

An optimiser gives each parameter a new array (`p.data = …`); arrays are never written into, so what the graph, a
state_dict or a checkpoint holds stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import numpy as np

from . import checks
from .autodiff.tensor import Tensor
from .module import Module

Array = np.ndarray[Any, np.dtype[Any]]


class Optimizer:
    """Base of all: holds the parameters, `lr`, and per parameter a step count and the arrays named in `slots`.

    A subclass defines `update(x, g, i)`, which returns parameter i's new array from its array x and its gradient g;
    `self.counts[i]` is then the number of this step, from 1. Parameters without a gradient are left out.

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
    numbers: tuple[str, ...] = ("lr",)  # what state_dict keeps beside counts and slots

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0):
        self.name = type(self).__name__
        self.params = _checked(self.name, params)
        self.lr = _number(self.name, "lr", lr, 0, np.inf)
        self.weight_decay = _number(self.name, "weight_decay", weight_decay, 0, np.inf)
        self.counts = [0] * len(self.params)
        self.state = {slot: [np.zeros_like(p.data) for p in self.params] for slot in self.slots}

    def update(self, x: Array, g: Array, i: int) -> Array:
        """Parameter i's new array, from its array x and its gradient g."""
        raise TypeError(f"{self.name} defines no update(x, g, i)")

    def step(self) -> None:
        """Give every parameter that has a gradient its new array."""
        for i, p in enumerate(self.params):
            g = p.grad
            if g is not None:
                self.counts[i] += 1
                p.data = np.asarray(self.update(p.data, g, i))

    def keep(self, slot: str, i: int, value: Any) -> Array:
        """Store parameter i's array of a slot, and return it; arithmetic makes numbers of 0-d arrays, this an array again."""
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
        """Everything that changes while training, flat: numbers, and arrays by slot and parameter ("m.0").

        It can go into `tg.save` as it is. The arrays are not copies, and are never written into.
        """
        state: dict[str, Any] = {name: getattr(self, name) for name in self.numbers}
        state["counts"] = np.array(self.counts, np.int64)
        for slot in self.slots:
            state |= {f"{slot}.{i}": array for i, array in enumerate(self.state[slot])}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set everything from `state_dict()`. ValueError lists what does not fit; the optimiser then stays as it was."""
        expected = self.state_dict()
        faults = [f"missing {k}" for k in expected if k not in state]
        faults += [f"unexpected {k}" for k in state if k not in expected]
        found = (self._fault(k, np.asarray(state[k]), np.shape(v)) for k, v in expected.items() if k in state)
        faults += [fault for fault in found if fault]
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
        """What keeps a value from being loaded; "" for nothing."""
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
        self.momentum = _number("SGD", "momentum", momentum, 0, np.inf)
        self.nesterov = bool(nesterov)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs momentum > 0, which is 0")
        self.slots = ("velocity",) if momentum else ()
        super().__init__(params, lr, weight_decay)

    def update(self, x: Array, g: Array, i: int) -> Array:
        g = self.decayed(x, g)
        if self.momentum:
            v = self.keep("velocity", i, self.momentum * self.state["velocity"][i] + g)
            g = g + self.momentum * v if self.nesterov else v
        return x - self.lr * g


class RMSprop(Optimizer):
    """RMSprop [Tieleman & Hinton 2012]: steps divided by a running root mean square of the gradient.

    s ← alpha · s + (1 − alpha) · g²;  x ← x − lr · g / (√s + eps). centered subtracts the square of the running mean
    from s [Graves 2013]; momentum · v + g / (√s + eps) takes the quotient's place; weight_decay adds weight_decay · x
    to g. Raises ValueError for numbers out of range.

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
        self.alpha = _number("RMSprop", "alpha", alpha, 0, 1)
        self.eps = _number("RMSprop", "eps", eps, 0, np.inf)
        self.momentum = _number("RMSprop", "momentum", momentum, 0, np.inf)
        self.centered = bool(centered)
        self.slots = ("square", *["mean"] * self.centered, *["velocity"] * bool(momentum))
        super().__init__(params, lr, weight_decay)

    def update(self, x: Array, g: Array, i: int) -> Array:
        g = self.decayed(x, g)
        s = self.keep("square", i, self.alpha * self.state["square"][i] + (1 - self.alpha) * (g * g))
        if self.centered:
            mean = self.keep("mean", i, self.alpha * self.state["mean"][i] + (1 - self.alpha) * g)
            s = s - mean * mean
        move = g / (np.sqrt(s) + self.eps)
        if self.momentum:
            move = self.keep("velocity", i, self.momentum * self.state["velocity"][i] + move)
        return x - self.lr * move


class Adam(Optimizer):
    """Adam [Kingma & Ba 2015]: momentum and running squares of the gradient, both freed of their start at zero.

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
        self.betas = tuple(_number(name, f"betas[{i}]", b, 0, 1, below=True) for i, b in enumerate(betas))
        self.eps = _number(name, "eps", eps, 0, np.inf)
        super().__init__(params, lr, weight_decay)

    def update(self, x: Array, g: Array, i: int) -> Array:
        return self.moved(x, self.decayed(x, g), i)

    def moved(self, x: Array, g: Array, i: int) -> Array:
        """Adam's own step."""
        (b1, b2), t = self.betas, self.counts[i]
        m = self.keep("m", i, b1 * self.state["m"][i] + (1 - b1) * g)
        v = self.keep("v", i, b2 * self.state["v"][i] + (1 - b2) * (g * g))
        size: Array = np.asarray(np.sqrt(v))
        size /= float(np.sqrt(1 - b2**t))
        size += self.eps
        np.divide(m, size, out=size)
        size *= self.lr / (1 - b1**t)
        return np.asarray(x - size)


class AdamW(Adam):
    """Adam with decoupled weight decay [Loshchilov & Hutter 2019]: x ← (1 − lr · weight_decay) · x before Adam's step.

    >>> import tinygrad_rnn as tg
    >>> tg.optim.AdamW([tg.Parameter([1.0])], weight_decay=0.1)
    AdamW(1 parameters, lr=0.001)
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)

    def update(self, x: Array, g: Array, i: int) -> Array:
        return self.moved(x * (1 - self.lr * self.weight_decay), g, i)


# -- clipping ------------------------------------------------------------------------------------------------------


def clip_by_value(params: Iterable[Tensor], limit: float) -> None:
    """Bring every element of every gradient into [−limit, limit]. Raises ValueError unless limit > 0.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> w = tg.Parameter([1.0, 2.0])
    >>> w.grad = np.array([-3.0, 0.2])
    >>> tg.optim.clip_by_value([w], 0.5)
    >>> w.grad
    array([-0.5,  0.2], dtype=float32)
    """
    _limit("clip_by_value", limit)
    for p in params:
        if p.grad is not None:
            p.grad = np.clip(p.grad, -limit, limit)


def clip_by_global_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Shrink all gradients by one factor where their joint norm exceeds max_norm; returns the norm before.

    norm = √Σ g² over all parameters; g ← g · min(1, max_norm / (norm + 1e-6)), which is PyTorch's factor [Pascanu,
    Mikolov & Bengio 2013]. Raises ValueError unless max_norm > 0.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> w = tg.Parameter([0.0, 0.0])
    >>> w.grad = np.array([3.0, 4.0])
    >>> tg.optim.clip_by_global_norm([w], 1.0), w.grad.round(3).tolist()
    (5.0, [0.6000000238418579, 0.800000011920929])
    """
    _limit("clip_by_global_norm", max_norm)
    found = [(p, p.grad) for p in params if p.grad is not None]
    squares = [
        float(np.vdot(g, g)) if g.dtype == np.float64 else float(np.sum(np.square(g, dtype=np.float64)))
        for _, g in found
    ]
    norm = float(np.sqrt(sum(squares)))
    factor = max_norm / (norm + 1e-6)
    if factor < 1:
        for p, g in found:
            p.grad = g * factor
    return norm


# -- schedules -----------------------------------------------------------------------------------------------------


class Schedule:
    """Base of schedules: sets `optimizer.lr` to `rate(count)` after `count` calls of step(). count 0 is the start.

    `part` is how much of the run is over, from 0 to 1: `fit` sets it before each step, or None where it cannot know.

    >>> import tinygrad_rnn as tg
    >>> class Halving(tg.optim.Schedule):
    ...     def rate(self, count):
    ...         return self.base / 2**count
    >>> optimizer = tg.optim.SGD([tg.Parameter([1.0])], lr=1.0)
    >>> schedule = Halving(optimizer)
    >>> schedule.step()
    >>> optimizer.lr
    0.5
    """

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer is {type(optimizer).__name__}, expected an Optimizer")
        self.optimizer = optimizer
        self.base = optimizer.lr
        self.count = 0
        self.part: float | None = 0.0

    def rate(self, count: int) -> float:
        """The learning rate after `count` steps."""
        raise TypeError(f"{type(self).__name__} defines no rate(count)")

    def step(self) -> None:
        """One step further: call it after `optimizer.step()`."""
        self.count += 1
        self.optimizer.lr = self.rate(self.count)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, as plain numbers."""
        return {"base": self.base, "count": self.count} | ({} if self.part is None else {"part": self.part})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where `state_dict()` stood, and set the optimiser's rate. Where that cannot be, nothing is changed.

        Raises ValueError or TypeError for what is missing, no number, negative, NaN or infinite, or a part outside 0 to 1.
        """
        if not {"base", "count"} <= set(state) <= {"base", "count", "part"}:
            raise ValueError(
                f"load_state_dict: {type(self).__name__} got {sorted(state)}, expected ['base', 'count', 'part']"
            )
        name = type(self).__name__
        there = copy(self)
        there.base = _number(name, "base", np.asarray(state["base"])[()], 0, np.inf)
        there.count = checks.integer(name, "count", np.asarray(state["count"])[()], 0)
        there.part = _number(name, "part", np.asarray(state["part"])[()], 0, 1) if "part" in state else None
        rate = _number(name, "the rate", there.rate(there.count), 0, np.inf)
        vars(self).update(vars(there))
        self.optimizer.lr = rate


class StepLR(Schedule):
    """The rate times gamma after every step_size steps: lr = base · gamma^⌊count / step_size⌋.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.Parameter([1.0])], lr=1.0)
    >>> schedule = tg.optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> optimizer.lr
    0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        super().__init__(optimizer)
        self.step_size = checks.integer("StepLR", "step_size", step_size)
        self.gamma = _number("StepLR", "gamma", gamma, 0, np.inf)

    def rate(self, count: int) -> float:
        return self.base * self.gamma ** (count // self.step_size)


class CosineLR(Schedule):
    """Half a cosine from base down to `floor` over `total` steps, where it stays [Loshchilov & Hutter 2017].

    lr = floor + (base − floor) · (1 + cos(π · count / total)) / 2. Without a total it is spread over the run that `fit`
    makes, be it limited by epochs, steps or seconds; each run then begins with base again.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.Parameter([1.0])], lr=1.0)
    >>> schedule = tg.optim.CosineLR(optimizer, total=10)
    >>> for _ in range(5):
    ...     schedule.step()
    >>> round(optimizer.lr, 6)
    0.5
    """

    def __init__(self, optimizer: Optimizer, total: int | None = None, floor: float = 0.0):
        super().__init__(optimizer)
        self.total = None if total is None else checks.integer("CosineLR", "total", total)
        self.floor = _number("CosineLR", "floor", floor, 0, np.inf)

    def rate(self, count: int) -> float:
        part = self.part if self.total is None else min(count, self.total) / self.total
        if part is None:
            raise ValueError(
                "CosineLR: total is None and the length of the run is not known; give total, or limit the run by steps or "
                "seconds"
            )
        return self.floor + (self.base - self.floor) * (1 + float(np.cos(np.pi * part))) / 2


# -- checks --------------------------------------------------------------------------------------------------------


def _checked(name: str, params: Any) -> list[Tensor]:
    """The parameters as a list: tensors, each once, each a leaf that requires grad."""
    if isinstance(params, (Tensor, Module, Mapping)) or not isinstance(params, Iterable):
        hint = "; pass model.parameters()" if isinstance(params, Module) else ""
        raise TypeError(f"{name}: params is a {type(params).__name__}, expected an iterable of parameters{hint}")
    found = list(params)
    if not found:
        raise ValueError(f"{name}: params is empty, expected at least one parameter (or was an iterator read before?)")
    first: dict[int, int] = {}
    for i, p in enumerate(found):
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: params[{i}] is a {type(p).__name__}, expected a tg.Parameter")
        if not p.is_leaf:
            raise ValueError(
                f"{name}: params[{i}] of shape {p.shape} was computed by an op, expected a leaf: optimise what it was "
                "computed from, or p.detach() made into a tg.Parameter"
            )
        if not p.requires_grad:
            raise ValueError(f"{name}: params[{i}] of shape {p.shape} does not require grad; use tg.Parameter")
        if id(p) in first:
            raise ValueError(
                f"{name}: params[{first[id(p)]}] and params[{i}] are the same parameter, expected each once"
            )
        first[id(p)] = i
    return found


def _number(name: str, argument: str, value: Any, low: float, high: float, below: bool = False) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: {argument} is {value!r:.60}, expected a number")
    if not (low <= value < high if below else low <= value <= high) or not np.isfinite(value):
        wanted = f">= {low:g}" if high == np.inf else f"from {low:g} to {'below ' if below else ''}{high:g}"
        raise ValueError(f"{name}: {argument} is {value!r}, expected a number {wanted}")
    return float(value)


def _limit(name: str, value: Any) -> None:
    if not value > 0:
        raise ValueError(f"{name}: the limit is {value!r}, expected a number > 0")


__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineLR",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "StepLR",
    "clip_by_global_norm",
    "clip_by_value",
]
