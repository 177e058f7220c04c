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
from typing import Any, NamedTuple

import numpy as np

from ..checks import is_integer


class Ambient(NamedTuple):
    recording: bool = True
    scope: tuple[str, ...] = ()
    training: bool = True
    tracer: Any = None  # what records the ops of a step that is being traced (program/trace.py)


ambient: ContextVar[Ambient] = ContextVar("tinygrad_rnn.ambient", default=Ambient())


class _Change(ContextDecorator):
    """A with-block (or decorator) inside which one field of the ambient state differs."""

    def __init__(self, value: Any):
        self._value = value

    def _recreate_cm(self) -> _Change:  # a decorated function enters a fresh one at every call
        return type(self)(self._value)

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

    >>> import tinygrad_rnn as tg
    >>> with tg.scope("encoder"), tg.scope("t=3"):
    ...     tg.autodiff.state.ambient.get().scope
    ('encoder', 't=3')
    """

    def __init__(self, name: str):
        self._value = name

    def __enter__(self) -> None:
        old = ambient.get()
        self._token = ambient.set(Ambient(old.recording, (*old.scope, self._value), old.training, old.tracer))


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
