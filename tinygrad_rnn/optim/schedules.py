"""Learning-rate schedules, with PyTorch's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np

from ..checks import integer
from .checks import number
from .optimizers import Optimizer


class Schedule:
    """Base of schedules: sets `optimizer.lr` to `rate(count)` after `count` calls of step(). count 0 is the start.

    `part` is the fraction of the run that is done, from 0 to 1; `fit` sets it before each step, to None if it is unknown.

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
        """Advance by one step; call it after `optimizer.step()`."""
        self.count += 1
        self.optimizer.lr = self.rate(self.count)

    def state_dict(self) -> dict[str, Any]:
        """The state of the schedule, as numbers."""
        return {"base": self.base, "count": self.count} | ({} if self.part is None else {"part": self.part})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()` and set the optimiser's rate. Raises ValueError or TypeError for values
        that are missing, not numbers, negative, NaN or infinite, and for a part outside 0 to 1; nothing is changed then.
        """
        if not {"base", "count"} <= set(state) <= {"base", "count", "part"}:
            raise ValueError(
                f"load_state_dict: {type(self).__name__} got {sorted(state)}, expected ['base', 'count', 'part']"
            )
        name = type(self).__name__
        there = copy(self)
        there.base = number(name, "base", np.asarray(state["base"])[()], 0, np.inf)
        there.count = integer(name, "count", np.asarray(state["count"])[()], 0)
        there.part = number(name, "part", np.asarray(state["part"])[()], 0, 1) if "part" in state else None
        rate = number(name, "the rate", there.rate(there.count), 0, np.inf)
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
        self.step_size = integer("StepLR", "step_size", step_size)
        self.gamma = number("StepLR", "gamma", gamma, 0, np.inf)

    def rate(self, count: int) -> float:
        return self.base * self.gamma ** (count // self.step_size)


class CosineLR(Schedule):
    """Half a cosine from base down to `floor` over `total` steps, where it stays [Loshchilov & Hutter 2017].

    lr = floor + (base − floor) · (1 + cos(π · count / total)) / 2. Without a total it extends over a run of `fit`,
    limited by epochs, steps or seconds; each run then starts at base again.

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
        self.total = None if total is None else integer("CosineLR", "total", total)
        self.floor = number("CosineLR", "floor", floor, 0, np.inf)

    def rate(self, count: int) -> float:
        part = self.part if self.total is None else min(count, self.total) / self.total
        if part is None:
            raise ValueError(
                "CosineLR: total is None and the length of the run is not known; give total, or limit the run by steps or "
                "seconds"
            )
        return self.floor + (self.base - self.floor) * (1 + float(np.cos(np.pi * part))) / 2
