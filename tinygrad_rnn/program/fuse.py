"""`fuse`: a function of tensors that runs as one node."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from functools import partial, update_wrapper
from math import prod
from types import MethodType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..autodiff.state import ambient, recording
from ..autodiff.tensor import Tensor
from ..ops import broadcast_to
from .calls import listener
from .environment import Environment
from .fused import Fused, fused
from .scan import Prepared, TracedStep, store
from .steps import tensor_of
from .tracer import Untraceable
from .tree import Hidden, Signature, Spec, leaves, rebuilt

MOST = 256  # the largest number of sets of shapes kept for a function


class Placeholder(enum.Enum):
    """Stands for an array in a function's arguments."""

    ROWS = 1
    WEIGHT = 2


class Known(NamedTuple):
    """The result of tracing a function for one set of shapes."""

    traced: TracedStep
    sources: tuple[tuple[bool, int], ...]  # of the environment's arrays: whether an argument, and which


class _Arrays(NamedTuple):
    """Arrays that replace those of an environment."""

    arrays: list[Any]


_known: WeakKeyDictionary[Any, OrderedDict[Any, Known]] = WeakKeyDictionary()


class FusedFunction:
    """The result of `tg.fuse`: the function, run as one node. `explain(*args)` tells whether it is one, and if not, why."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        update_wrapper(self, function)

    @property
    def known(self) -> OrderedDict[Any, Known]:
        """The results of tracing the function, by the shapes of its arguments. They are kept outside the object, since a step
        that reads the object depends on all its attributes."""
        return _known.setdefault(getattr(self.function, "__func__", self.function), OrderedDict())

    def __get__(self, instance: Any, kind: Any = None) -> Any:
        return self if instance is None else FusedFunction(MethodType(self.function, instance))

    def __call__(self, *args: Any, **options: Any) -> Any:
        if ambient.get().tracer is not None:  # a part of another program
            return self.function(*args, **options)
        try:
            outcome = self._run(args, options)
            path, why = "fused", "the function is one node"
        except Untraceable as error:
            outcome, path, why = None, "unrolled", str(error)
        reports = listener.get()
        if reports is not None:
            reports.append(("/".join((*ambient.get().scope, getattr(self, "__name__", "fuse"))), path, why))
        return self.function(*args, **options) if outcome is None else outcome

    def explain(self, *args: Any, **options: Any) -> str:
        """Run it on these arguments and say whether it is one node; if it is not, why.

        >>> import tinygrad_rnn as tg
        >>> tg.fuse(lambda x: x - tg.mean(x, axis=0)).explain(tg.tensor([[1.0, 2.0]])).partition(" (")[0]
        "unrolled: the step's mean computes a row's result from other rows of the batch, puts the rows on another axis, or \
reads an array with a row for each of the batch, which goes in inputs or constants"
        """
        reports: list[tuple[str, str, str]] = []
        token = listener.set(reports)
        try:
            with recording(False):
                self(*args, **options)
        finally:
            listener.reset(token)
        return f"{reports[-1][1]}: {reports[-1][2]}"

    def _run(self, args: Any, options: Any) -> Any:
        """The function as one node. Raises Untraceable with the reason why it cannot be."""
        arguments = [*args, *options.values()]
        tensors = {
            k: tensor_of(v, f"argument {k}") for k, v in enumerate(arguments) if isinstance(v, (Tensor, np.ndarray))
        }
        ndim = max((t.ndim for t in tensors.values()), default=0)
        if ndim < 2:
            raise Untraceable("no argument has rows: none has two axes")
        leading = np.broadcast_shapes(*[t.shape[:-1] for t in tensors.values() if t.ndim > 1])
        if not prod(leading):
            raise Untraceable("there are no rows")
        rows, weights, template = [], [], []
        for k, value in enumerate(arguments):
            t = tensors.get(k)
            if t is None:
                template.append(value)
            elif t.ndim < 2:
                weights.append(t)
                template.append(Placeholder.WEIGHT)
            else:
                shape = (*leading, t.shape[-1])
                rows.append(t if t.shape == shape else broadcast_to(t, shape=shape))
                template.append(Placeholder.ROWS)
        call = (tuple(template), len(args), tuple(options))
        records = ambient.get().recording
        environment = store.environments.of(self.function)
        inner = [Hidden(Spec(t.shape[-1:], t.dtype, records and t.requires_grad)) for t in rows]
        signature = Signature(tuple(inner), (), ())
        shapes = tuple([(t.shape, t.dtype, records and t.requires_grad) for t in weights])
        known = self._find(environment, signature, call, weights, shapes, rows, leading)
        traced = known.traced
        assert traced.program is not None
        arrays = _Arrays([weights[n] if own else environment.arrays[n] for own, n in known.sources])
        prepared = _prepared(traced, rows, arrays, records)
        run = Fused(prepared.loops, leading, tuple([t.shape[-1:] for t in rows]))
        results = fused([*rows, *prepared.weights(arrays)], run=run)
        flows = zip(results, prepared.flows, strict=True)
        return rebuilt(
            traced.program.output_tree,
            iter([t if flow or not t.requires_grad else Tensor._from_array(t.data, None) for t, flow in flows]),
        )

    def _find(
        self,
        environment: Environment,
        signature: Signature,
        call: Any,
        weights: Any,
        shapes: Any,
        rows: Any,
        leading: Any,
    ) -> Known:
        """The function's program, traced now if it is not known; and whether the rows may be more than one axis."""
        more = len(leading) > 1
        key = (environment.key, signature, call, shapes, ambient.get().training, more)
        try:
            known = self.known.get(key)
        except TypeError:
            raise Untraceable("an argument is neither an array nor a value that can be a key") from None
        batch = prod(leading)
        if known is None:
            own = [Tensor(w.data, requires_grad=need) for w, (_, _, need) in zip(weights, shapes, strict=True)]
            step = partial(_step, self.function, call, tuple(own))
            whole = Environment(step)
            numbers = {id(a): (False, n) for n, a in enumerate(environment.arrays)}
            numbers |= {id(a): (True, n) for n, a in enumerate(own)}
            traced = store.find(step, whole, signature, batch)
            known = Known(traced, tuple([numbers[id(a)] for a in whole.arrays]))
            if more and traced.program is not None:
                arrays = _Arrays([weights[n] if own_ else environment.arrays[n] for own_, n in known.sources])
                reason = self._differs(traced, call, rows, weights, arrays)
                known = known if reason is None else Known(TracedStep(None, reason), ())
            self.known[key] = known
            while len(self.known) > MOST:
                self.known.popitem(last=False)
        elif known.traced.program is not None and batch not in known.traced.batches:
            own = [Tensor(w.data, requires_grad=need) for w, (_, _, need) in zip(weights, shapes, strict=True)]
            step = partial(_step, self.function, call, tuple(own))
            traced = store.find(step, Environment(step), signature, batch)
            if traced.program is None:
                raise Untraceable(str(traced.reason))
        if batch in known.traced.refused:
            raise Untraceable(str(known.traced.refused[batch].reason))
        if known.traced.program is None:
            raise Untraceable(str(known.traced.reason))
        return known

    def _differs(self, traced: TracedStep, call: Any, rows: Any, weights: Any, arrays: Any) -> str | None:
        """Whether the function gives other results for arrays of more axes than for the traced rows (B, ·)."""
        rng = np.random.default_rng(0)
        lead = (2, 3, 2, 3, 2, 3)[: rows[0].ndim - 1]
        made = [rng.normal(size=(*lead, t.shape[-1])).astype(t.dtype) for t in rows]
        some = [Tensor._from_array(a, None) for a in made]
        with recording(False), np.errstate(all="ignore"):
            prepared = _prepared(traced, some, arrays, False)
            run = Fused(prepared.loops, lead, tuple([t.shape[-1:] for t in some]))
            got = fused([*some, *prepared.weights(arrays)], run=run)
            try:
                wanted = list(leaves(_called(self.function, call, weights, some)))
            except Exception as error:
                return f"the function fails on arrays of {rows[0].ndim} axes: {error}"
        for a, b in zip(got, wanted, strict=True):
            if a.shape != b.shape or not np.allclose(a.data, b.data, 1e-3, 1e-4, equal_nan=True):
                return (
                    f"the function means other axes of arrays with {rows[0].ndim} axes than of (rows, last axis); count axes "
                    "from the end, axis=-1"
                )
        return None


def _prepared(traced: TracedStep, rows: Any, arrays: Any, records: bool) -> Prepared:
    """The program's loops, planned when first asked for."""
    program = traced.program
    assert program is not None
    needs = tuple([records and t.requires_grad for t in rows])
    prepared = traced.prepared.get((needs, records))
    if prepared is None:
        wanted = {slot for slot, need in zip(program.inputs, needs, strict=True) if need}
        if records:
            wanted |= {s for s, n in program.captured if getattr(arrays.arrays[n], "requires_grad", False)}
        try:
            prepared = Prepared(program, (len(rows), 0, 0), frozenset(wanted), False)
        except Untraceable as error:
            prepared = error
        traced.prepared[needs, records] = prepared
    if isinstance(prepared, Untraceable):
        raise prepared.with_traceback(None)
    return prepared


def _called(function: Callable[..., Any], call: Any, weights: Any, rows: Any) -> Any:
    """Call the function with the arrays inserted into its arguments."""
    template, count, names = call
    sources = {Placeholder.ROWS: iter(rows), Placeholder.WEIGHT: iter(weights)}
    arguments = [next(sources[entry]) if type(entry) is Placeholder else entry for entry in template]
    return function(*arguments[:count], **dict(zip(names, arguments[count:], strict=True)))


def _step(function: Callable[..., Any], call: Any, weights: Any, rows: Any, state: Any) -> Any:
    """The function as a step without a state."""
    return _called(function, call, weights, rows), state


def fuse(function: Callable[..., Any]) -> FusedFunction:
    """A function of tensors that runs as one node: elementwise ops, and ops along the last axis, without arrays in between.

    Every axis of an argument but the last counts rows, and the function computes each row from that row alone: norms,
    activations, softmax, a loss for each row. Arguments of fewer than two axes (weights, biases) and what the function
    reads in its closure or attributes are the same for all rows; those with two or more are broadcast to the rows of all.
    The function is traced once for each set of shapes but for the number of rows, as `tg.scan` traces a step, and the same
    rules hold. It runs in the native loop, rows shared out over threads, and its gradient too; in NumPy where there is no
    native code. What cannot be traced (values read, rows mixed, an axis counted from the front) runs as it is, with the
    same results: `.explain(*args)` tells why. It may decorate a method.

    >>> import tinygrad_rnn as tg
    >>> @tg.fuse
    ... def swish_norm(x, gain):
    ...     x = x * tg.sigmoid(x)
    ...     return gain * x / tg.sqrt(tg.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> y = swish_norm(x, tg.tensor([1.0, 1.0]))
    >>> tg.snapshot(y).count("fused"), y.shape, swish_norm.explain(x, tg.tensor([1.0, 1.0]))
    (1, (2, 2), 'fused: the function is one node')
    """
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"fuse: got {type(function).__name__} {function!r:.60}, expected a function of tensors")
    return FusedFunction(function)
