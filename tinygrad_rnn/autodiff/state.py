"""Ambient state: whether ops record, the scope they stand in, training or not, and the default random generator.

The first three live in one context variable, so threads and async tasks never see each other's changes, and they change
only inside context managers.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from functools import wraps
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ..checks import is_integer

_run_numbers = count()


class Run:
    """One pass over time, which the scopes of its steps share: whether it goes from the last step to the first, the
    lengths of its rows, and `received`: names and edges of the states that it began with. whole: False for a step that
    was marked alone, with `step`; `number` grows, so that such steps can be put in order."""

    __slots__ = ("lengths", "number", "received", "reverse", "whole")

    def __init__(self, reverse: bool = False, lengths: Any = None, whole: bool = True, number: int | None = None):
        self.reverse, self.lengths, self.whole = reverse, lengths, whole
        self.number = next(_run_numbers) if number is None else number
        self.received: list[tuple[str, Any]] = []


class Scope(str):
    """One part of the path of scopes in which an op stands: a name, which is how it prints, and what it encloses.

    kind: "scope" (what `scope` and modules enter), "layer" (place `number` of a stack), "direction" (`number` 0 forward,
    1 backward of a pair), "step" (time step `number` of `run`), "gate" (the ops of a value that `rnn.gate` named) or
    "state" (a state after a step, which drawings put no box around). Every entry makes a new one, so two calls of one
    module can be told apart.
    """

    kind: str
    number: int
    run: Run | None

    def __new__(cls, name: str, kind: str = "scope", number: int = 0, run: Run | None = None) -> Scope:
        self = super().__new__(cls, name)
        self.kind, self.number, self.run = kind, number, run
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.kind, self.number


class Ambient(NamedTuple):
    recording: bool = True
    scope: tuple[Scope, ...] = ()
    training: bool = True
    tracer: Any = None  # what records the ops of a step that is being traced (program/trace.py)


ambient: ContextVar[Ambient] = ContextVar("tinygrad_rnn.ambient", default=Ambient())


class _Change(ContextDecorator):
    """A with-block (or decorator) inside which one field of the ambient state differs."""

    def __init__(self, value: Any):
        self._value = value

    def _recreate_cm(self) -> _Change:  # a decorated function enters a fresh one at every call
        fresh = object.__new__(type(self))
        fresh._value = self._value
        return fresh

    def __call__(self, func: Any) -> Any:
        """As a decorator. A generator or a coroutine runs inside only while it runs itself, not while it is suspended."""
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
    """A generator of which every piece, from one yield to the next, runs inside a change of the ambient state."""

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
    """Name the part of the computation that follows: nodes made inside carry the path of open scopes.

    kind, number: what it encloses, see `Scope`.

    >>> import tinygrad_rnn as tg
    >>> with tg.scope("encoder"), tg.step(3):
    ...     tg.autodiff.state.ambient.get().scope
    ('encoder', 't=3')
    """

    def __init__(self, name: str, kind: str = "scope", number: int = 0):
        self._value = name, kind, number

    def __enter__(self) -> None:
        old = ambient.get()
        path = (*old.scope, Scope(*self._value))
        self._token = ambient.set(Ambient(old.recording, path, old.training, old.tracer))


class step(_Change):
    """Mark what follows as time step t of a loop of one's own, so that drawings know it. `rnn.steps` marks a whole loop.

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
        mark = Scope(f"t={t}", "step", t, Run(whole=False) if run is None else run)
        return Ambient(old.recording, (*old.scope, mark), old.training, old.tracer)


class recording(_Change):
    """Record the graph inside (True) or do not (False)."""

    def __init__(self, flag: bool):
        super().__init__(flag)

    def _changed(self, old: Ambient) -> Ambient:
        return Ambient(self._value, old.scope, old.training, old.tracer)


class training(_Change):
    """Set whether the code inside trains. A module trains where both this and its own `training` flag say so.

    `with tg.training(False):` evaluates a model (no dropout, no zoneout noise) and leaves every flag as it was.

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
    """Compute without recording: results inside carry no graph. Works as a with-block and as a decorator.

    A decorated generator does not record while it runs, and leaves its caller alone while it is suspended. A with-block
    inside a generator that yields from within it does not end at the yield: its caller goes on without recording. Decorate
    the generator, or yield after the block.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(2.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     (w * w).requires_grad
    False
    """
    return recording(False)


_default: list[np.random.Generator] = []  # the default generator, made when first used: np.random is slow to import


def seed(n: int) -> None:
    """Seed the default random generator, from which every unseeded random choice of this package is drawn.

    Weights of cells and layers, dropout masks, sampled text: after the same seed the same program gives the same numbers.

    >>> import tinygrad_rnn as tg
    >>> tg.seed(0)
    >>> first = tg.rnn.LSTMCell(2).build(3).kernel
    >>> tg.seed(0)
    >>> bool((tg.rnn.LSTMCell(2).build(3).kernel == first).all())
    True
    """
    generator().bit_generator.state = np.random.default_rng(n).bit_generator.state


def generator(source: np.random.Generator | int | None = None) -> np.random.Generator:
    """The generator to draw from: the one given, one seeded with the integer given, else the default one."""
    if source is None:
        if not _default:
            _default.append(np.random.default_rng())
        return _default[0]
    if isinstance(source, np.random.Generator):
        return source
    if is_integer(source):
        return np.random.default_rng(int(source))
    raise TypeError(
        f"generator: got {type(source).__name__}, expected a numpy.random.Generator, an integer seed, or None for "
        "the default generator that tg.seed sets"
    )
