"""Ambient state: whether ops are recorded, the current scope, training mode, and the default random generator.

The first three are in one context variable, so changes are local to a thread or async task, and change only inside context
managers.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from functools import wraps
from itertools import count
from typing import Any

import numpy as np

from ..checks import is_integer

_run_numbers = count()
_new_text = str.__new__


class Run:
    """One loop over time, shared by the scopes of its steps: whether it runs from the last step to the first (`reverse`), the
    `lengths` of its rows, and `initial_states`, the names and edges of its states before the first step. complete: False for
    a single step marked with `step`. `number` increases from run to run, so that such steps can be ordered."""

    __slots__ = ("complete", "initial_states", "lengths", "number", "reverse")

    def __init__(self, reverse: bool = False, lengths: Any = None, complete: bool = True, number: int | None = None):
        self.reverse, self.lengths, self.complete = reverse, lengths, complete
        self.number = next(_run_numbers) if number is None else number
        self.initial_states: list[tuple[str, Any]] = []


class Scope(str):
    """One entry in the path of scopes of an op: a name, which is its text, and a kind.

    kind: "scope" (entered by `scope` and by modules), "layer" (layer `number` of a stack), "direction" (`number` 0 forward,
    1 backward), "step" (time step `number` of `run`), "gate" (the ops of a value named by `rnn.gate`; `number` 1 at the op
    that computes it) or "state" (a state after a step, drawn without a box). Each entry is a new object, so that two calls
    of one module differ.
    """

    kind: str = "scope"
    number: int = 0
    run: Run | None = None

    def __new__(cls, name: str, kind: str = "scope", number: int = 0, run: Run | None = None) -> Scope:
        self = _new_text(cls, name)
        if kind != "scope":
            self.kind, self.number, self.run = kind, number, run
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.kind, self.number


class Ambient:
    """The ambient state. Never changed: a context manager sets a new one."""

    __slots__ = ("recording", "scope", "tracer", "training")

    def __init__(
        self, recording: bool = True, scope: tuple[Scope, ...] = (), training: bool = True, tracer: Any = None
    ):
        self.recording, self.scope, self.training = recording, scope, training
        self.tracer = tracer  # records the ops of a step while it is traced (program/trace.py)

    def within(self, *entries: Scope) -> Ambient:
        """The same state in further scopes."""
        return Ambient(self.recording, (*self.scope, *entries), self.training, self.tracer)


ambient: ContextVar[Ambient] = ContextVar("tinygrad_rnn.ambient", default=Ambient())


class _Change(ContextDecorator):
    """A context manager and decorator that changes one field of the ambient state."""

    def __init__(self, value: Any):
        self._value = value

    def _recreate_cm(self) -> _Change:  # each call of a decorated function uses a new one
        fresh = object.__new__(type(self))
        fresh._value = self._value
        return fresh

    def __call__(self, func: Any) -> Any:
        """Decorate a function. For a generator or coroutine the change applies while it runs, not while it is suspended."""
        if inspect.isasyncgenfunction(func):
            raise TypeError(
                f"{type(self).__name__}: {func.__name__} is an asynchronous generator, which cannot be decorated: put what it "
                "computes between two yields into a with-block"
            )
        if inspect.isgeneratorfunction(func):

            @wraps(func)
            def generate(*args: Any, **options: Any) -> Any:
                return _Inside(self, func(*args, **options))

            return generate
        if inspect.iscoroutinefunction(func):

            @wraps(func)
            async def run(*args: Any, **options: Any) -> Any:
                with self._recreate_cm():
                    return await func(*args, **options)

            return run
        return super().__call__(func)

    def _changed(self, old: Ambient) -> Ambient:
        raise TypeError(f"{type(self).__name__} must say what it changes")

    def __enter__(self) -> None:
        self._token: Token[Ambient] = ambient.set(self._changed(ambient.get()))

    def __exit__(self, *_: object) -> None:
        ambient.reset(self._token)


class _Inside(Generator[Any, Any, Any]):
    """A generator that runs with a change of the ambient state, which is undone at every yield."""

    def __init__(self, change: _Change, generator: Generator[Any, Any, Any]):
        self._change, self._generator = change, generator

    def send(self, value: Any) -> Any:
        with self._change._recreate_cm():
            return self._generator.send(value)

    def throw(self, *error: Any) -> Any:
        with self._change._recreate_cm():
            return self._generator.throw(*error)

    def close(self) -> None:
        with self._change._recreate_cm():
            self._generator.close()


class scope(_Change):
    """Name a part of the computation: nodes created inside carry the path of open scopes.

    kind, number: see `Scope`.

    >>> import tinygrad_rnn as tg
    >>> with tg.scope("encoder"), tg.step(3):
    ...     tg.autodiff.state.ambient.get().scope
    ('encoder', 't=3')
    """

    def __init__(self, name: str, kind: str = "scope", number: int = 0):
        self._value = name, kind, number

    def __enter__(self) -> None:
        self._token = ambient.set(ambient.get().within(Scope(*self._value)))


class scopes(_Change):
    """Several scopes, the outermost first, each as the arguments of `Scope`."""

    def __init__(self, *entries: tuple[Any, ...]):
        self._value = entries

    def __enter__(self) -> None:
        self._token = ambient.set(ambient.get().within(*[Scope(*entry) for entry in self._value]))


class step(_Change):
    """Mark time step t of a loop written by hand, for drawings. `rnn.steps` marks all steps of a loop.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell, x = tg.rnn.GRUCell(3), np.ones((2, 4, 5), np.float32)
    >>> h = cell.zero_state(2)
    >>> for t in range(4):
    ...     with tg.step(t):
    ...         y, h = cell(x[:, t], h)
    >>> tg.viz.unrolled(h)
    Drawing(11 nodes, 10 edges)
    """

    def __init__(self, t: int, run: Run | None = None):
        if isinstance(t, bool) or not isinstance(t, (int, np.integer)):
            raise TypeError(f"step: t is {t!r}, expected an integer, the number of the time step")
        super().__init__((int(t), run))

    def _changed(self, old: Ambient) -> Ambient:
        t, run = self._value
        return old.within(Scope(f"t={t}", "step", t, Run(complete=False) if run is None else run))


class recording(_Change):
    """Record the graph (True) or not (False)."""

    def __init__(self, flag: bool):
        self._value = flag

    def __enter__(self) -> None:
        old = ambient.get()
        self._token = ambient.set(Ambient(self._value, old.scope, old.training, old.tracer))


class training(_Change):
    """Set training mode for the ops in a with-block.

    `with tg.training(False):` evaluates any model (no dropout, no zoneout), whatever its own mode (`module.train()`,
    `module.eval()`), which it does not change. `with tg.training(True):` is the default.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> drop = tg.nn.Dropout(0.5)
    >>> with tg.training(False):
    ...     drop(np.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, flag: bool):
        super().__init__(flag)

    def _changed(self, old: Ambient) -> Ambient:
        return Ambient(old.recording, old.scope, self._value, old.tracer)


def no_grad() -> recording:
    """Compute without recording: results have no graph. A context manager and a decorator.

    A decorated generator does not record while it runs, and does not affect its caller while it is suspended. A with-block
    that contains a yield does affect the caller after the yield: decorate the generator, or yield after the block.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(2.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     (w * w).requires_grad
    False
    """
    return recording(False)


default_generator: list[np.random.Generator] = []  # holds one, made when first used: np.random is slow to import


def seed(n: int) -> None:
    """Seed the default random generator, which this package uses wherever no seed is given.

    Initial weights, dropout masks and sampled text are then reproducible.

    >>> import tinygrad_rnn as tg
    >>> tg.seed(0)
    >>> first = tg.rnn.LSTMCell(2).build(3).kernel
    >>> tg.seed(0)
    >>> bool((tg.rnn.LSTMCell(2).build(3).kernel == first).all())
    True
    """
    generator().bit_generator.state = np.random.default_rng(n).bit_generator.state


def generator(source: np.random.Generator | int | None = None) -> np.random.Generator:
    """A random generator: `source` itself, a new one seeded with an integer, or the default one for None."""
    if source is None:
        if not default_generator:
            default_generator.append(np.random.default_rng())
        return default_generator[0]
    if isinstance(source, np.random.Generator):
        return source
    if is_integer(source):
        return np.random.default_rng(int(source))
    raise TypeError(
        f"generator: got {type(source).__name__}, expected a numpy.random.Generator, an integer seed, or None for "
        "the default generator that tg.seed sets"
    )
