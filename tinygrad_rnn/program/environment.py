"""What a step reads besides its arguments: closure, globals, defaults, the attributes of its objects.

`Environment(step)` walks all of it once. It gives the arrays in a fixed order (they become inputs of the program), a key
of everything else by value (two steps with equal keys compute the same function of their arrays), and guards that tell
in a few microseconds whether the same step still reads the same objects. `copied(step, leaf)` is a copy of the step that
reads stand-ins for the arrays, so a trace never touches the user's objects and sees every use of an array.
"""

from __future__ import annotations

import sys
from _thread import RLock
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from types import (
    FunctionType,
    MethodType,
)
from typing import Any
from weakref import ref

import numpy as np

from ..autodiff import state
from ..autodiff.tensor import Tensor
from .guards import all_hold, difference, of_function, recorded_guard, same_array, same_function, same_tensor, snapshot
from .tracer import user_line
from .walk import Leaf, Unguardable, Walk, defined, is_trusted


class _Draws:
    """The states of the global random generators."""

    def __init__(self) -> None:
        random = sys.modules.get("random")  # slow to import, and unused unless it was imported
        self.python = random.getstate() if random is not None else None
        self.numpy = np.random.get_state(legacy=False) if "numpy.random" in sys.modules else None
        self.package = state.default_generator[0].bit_generator.state if state.default_generator else None

    def undone(self) -> bool:
        """Whether a generator was used since its state was stored; if so, all of them get their stored states back."""
        now = _Draws()
        same = self.python in (None, now.python)  # a step cannot import random (see checked_import)
        if same and _frozen(now.numpy) == _frozen(self.numpy) and now.package == self.package:
            return False
        if self.python is not None:
            sys.modules["random"].setstate(self.python)
        if self.numpy is not None:
            np.random.set_state(self.numpy)
        if self.package is None:
            state.default_generator.clear()
        else:
            state.default_generator[0].bit_generator.state = self.package
        return True


def _frozen(tree: Any) -> Any:
    """The state of a bit generator, to be compared."""
    if isinstance(tree, dict):
        return [(k, _frozen(v)) for k, v in tree.items()]
    return tree.tobytes() if isinstance(tree, np.ndarray) else tree


class Environment:
    """What a step reads besides its arguments, as it is now. reason: why it cannot be followed, if so."""

    def __init__(self, step: Callable[..., Any]):
        walk = Walk(None)
        self.reason: str | None = None
        try:
            walk.whole(step)
        except Unguardable as error:
            self.reason = f"{error} ({where(step)})"
        self.key = tuple(walk.key)
        self.arrays = walk.arrays
        self.calls: dict[Any, Any] = {}  # results of scan's lookup, by the shapes of the arguments (program/scan.py)
        root = step.__func__ if type(step) is MethodType else step
        self._root = of_function(root) if type(root) is FunctionType else None
        self._guards = [recorded_guard(g.holds, g.holder, g.former) for g in walk.guards if g.holder is not root]
        for a in walk.arrays:  # the guards keep the step's arrays alive, not the step
            former = (a.shape, a.dtype, getattr(a, "requires_grad", False))
            self._guards.append(recorded_guard(same_tensor if isinstance(a, Tensor) else same_array, a, former))

    def unchanged(self, step: Any) -> bool:
        """Whether every object that the step reads is the same object as before, and every array has the same shape and
        dtype."""
        root = step.__func__ if type(step) is MethodType else step
        if type(root) is FunctionType and not same_function(root, self._root):
            return False
        return all_hold(self._guards)

    @staticmethod
    def copied(step: Callable[..., Any], leaf: Leaf) -> tuple[Callable[..., Any], Callable[[], str | None]]:
        """A copy of the step that reads leaf(i, array) for the i-th array, and what says what a run of it changed.

        Whatever the run changed outside the copy is then put back.
        """
        walk = Walk(leaf)
        copy = walk.whole(step)
        before = [(path, container, snapshot(container)) for path, container in walk.copies]
        draws = _Draws()

        def changed() -> str | None:
            changes = [d for path, now, then in before if (d := difference(now, then, path))]
            for path, value, cls, attributes in walk.objects:
                if type(value) is not cls or vars(value) is not attributes:
                    changes.append(path)
            for guard in walk.guards:
                if not guard.holds(guard.holder, guard.former):
                    guard.restore(guard.holder, guard.former)
                    changes.append(guard.path)
            if draws.undone():
                changes.append(
                    "a random generator (draw before the scan and pass what was drawn in inputs or constants)"
                )
            return next(iter(changes), None)

        return copy, changed


def where(step: Any) -> str:
    """The file and line of a step's definition; of the caller's if the step is the package's own."""
    while not isinstance(step, FunctionType):
        inner = getattr(step, "__func__", None) or getattr(step, "func", None) or defined(type(step)).get("__call__")
        if not isinstance(inner, (FunctionType, MethodType, partial)):
            return user_line()
        step = inner
    if is_trusted(step.__globals__.get("__name__")):
        return user_line()
    return f"{step.__code__.co_filename}:{step.__code__.co_firstlineno}"


class Environments:
    """The environments of the steps met last, each dropped with the object or function that it belongs to."""

    def __init__(self, most: int = 512):
        self.most = most
        self.lock = RLock()
        self.known: OrderedDict[tuple[int, Any], tuple[Any, Environment]] = OrderedDict()

    def of(self, step: Callable[..., Any], owned: tuple[Any, Any] | None = None) -> Environment:
        """What the step reads, walked anew only if it changed. owned: the object that the step belongs to, and what tells
        it from the owner's other steps, where the step itself is made anew at every call."""
        if owned is not None:
            owner, step_id = owned
        elif type(step) is MethodType:
            owner, step_id = step.__self__, id(step.__func__)
        else:
            owner, step_id = step, None
        key = (id(owner), step_id)
        known = self.known.get(key)
        if known is not None and known[0]() is owner and known[1].unchanged(step):
            return known[1]
        environment = Environment(step)
        try:
            alive = ref(owner, lambda _: self.known.pop(key, None))
        except TypeError:  # an owner that cannot be referred to weakly
            return environment
        with self.lock:
            self.known[key] = (alive, environment)
            self.known.move_to_end(key)
            while len(self.known) > self.most:
                self.known.popitem(last=False)
        return environment
