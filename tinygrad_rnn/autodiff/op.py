"""How an op is declared, called and recorded.

An op is one block: the forward under `@primitive`, its rule right below under `@name.vjp`:

    @primitive(label="×", numpy=np.multiply, broadcasts=True, samples=lambda r: [r(3, 4), (r(4), r(3, 1))])
    def multiply(a, b):
        return a * b

    @multiply.vjp
    def _(g, a, b, needs):
        return g * b if needs[0] else None, g * a if needs[1] else None

Positional parameters of the forward are arrays; keyword-only ones are options (shapes, axes, indices) and carry no
gradient. The parameters of the vjp say what is kept for it: `g` is the cotangent of the result, then come, by name and
in any order, inputs, `out` (the result), `shape` (of the first input), `shapes` (of all inputs), `needs` (which inputs
want a gradient), `residuals` (a fused op only: what the forward returned beside its result when called with keep=True)
and `*arrays` (all inputs of a variadic op). Keyword-only parameters of the vjp are the options. It returns one cotangent
per input, None where none is needed.

The rule is written with operators and ops, so it works on ndarrays and, recorded, on Tensors. A fused op whose rule
calls a kernel has, besides, `@name.expands`: the same function in primitives, which gives it higher derivatives and its
drawing. Its vjp takes every input first, in order.

The decorated callable is the registry entry. Called on plain arrays it just computes.

An op that is constant almost everywhere (a comparison, rounding) is declared with differentiable=False and has no vjp.
Comparisons and the like are ops so that a vjp can be written in nothing but ops: an ndarray made by other means inside a
vjp would be a constant to whatever records the vjp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import CodeType, MethodType
from typing import Any, NoReturn

import numpy as np

from .arguments import Arguments, described, stacked
from .node import Array, Leaf, Node, Output
from .rows import Rule
from .state import Ambient, ambient
from .tensor import Tensor, data, numpy_functions, registry
from .work import MOVES, UNDECLARED, Work

Draw = Callable[[Any], list[Any]]  # from a check.Sampler, calls of an op
_SPECIAL = {  # what a vjp may ask for beside inputs, and how it is had when the op runs
    "out": "out",
    "shape": "shape(arrays[0])",
    "shapes": "tuple([shape(a) for a in arrays])",
    "needs": "needs",
    "residuals": "residuals",
}
_new, ndarray, asarray = object.__new__, np.ndarray, np.asarray


@cache
def _picker(kept: str) -> Callable[..., tuple[Any, ...]]:
    """What puts together the tuple of values to be kept; few differ, and compiling one takes a while."""
    picker: Callable[..., tuple[Any, ...]] = eval(f"lambda arrays, out, needs, residuals: {kept}", {"shape": np.shape})
    return picker


class Op(Arguments):
    """A function of arrays, with its gradient: the registry entry that `primitive` makes of a forward."""

    expansion: Callable[..., Any] | None = None
    first_steps: Callable[..., Any] | None = None  # of an op over time, its first alone: (arrays, options, steps)

    def __init__(self, forward: Callable[..., Any], label: str, samples: Draw, **traits: Any):
        code: CodeType = forward.__code__
        self.name = forward.__name__
        self.__name__ = self.__qualname__ = self.name
        self.__doc__ = forward.__doc__
        self.__module__ = forward.__module__
        self.forward = forward
        self.label = label
        self.kind: str = forward.__globals__.get("KIND", forward.__module__.rpartition(".")[2])
        self.samples = samples
        work = traits["work"] or forward.__globals__.get("WORK")
        self.work: Work = work if isinstance(work, Work) else UNDECLARED
        self.errors: Draw = traits["errors"]
        self.broadcasts: bool = traits["broadcasts"]
        self.several: bool = traits["several"]
        self.differentiable: bool = traits["differentiable"]
        self.tensors: bool = traits["tensors"]
        self.rows: Rule | None = traits["rows"]
        self.optional: frozenset[int] = frozenset(code.co_varnames.index(name) for name in traits["optional"])
        self.constants: frozenset[int] = frozenset(code.co_varnames.index(name) for name in traits["constants"])
        self.numpy: Callable[..., Any] | None = traits["numpy"]
        self.variadic = bool(code.co_flags & 0x04)
        self.inputs: tuple[str, ...] = code.co_varnames[: code.co_argcount]
        options = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self.keeps = "keep" in options
        self.options = tuple(name for name in options if name != "keep")
        self._known = frozenset(self.options)
        self.defaults: dict[str, Any] = {k: v for k, v in (forward.__kwdefaults__ or {}).items() if k != "keep"}
        self.plain = self.differentiable and not (self.several or self.keeps or self.variadic or self.constants)
        self.rule: Callable[..., Any] = self._no_rule
        self.saved_codes: tuple[int, ...] = ()
        self.saves_all = False
        self.pick: Callable[..., tuple[Any, ...]] = self._no_rule  # gathers what the vjp's parameters ask to be kept

    def _no_rule(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self.name} has no vjp: define one with @{self.name}.vjp")

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the op's vector-Jacobian product (decorator)."""
        if not self.differentiable:
            raise TypeError(f"vjp of {self.name}: the op is declared with differentiable=False and cannot have one")
        code: CodeType = rule.__code__
        codes, terms = [], []
        for name in code.co_varnames[1 : code.co_argcount]:
            if name in self.inputs:
                codes.append(self.inputs.index(name))
                terms.append(f"arrays[{codes[-1]}]")
            elif name in _SPECIAL:
                codes.append(-1 if name == "out" else -2)
                terms.append(_SPECIAL[name])
            else:
                raise TypeError(
                    f"vjp of {self.name}: parameter {name!r} is neither an input {self.inputs} nor one of {tuple(_SPECIAL)}"
                )
        taken = set(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
        if taken != set(self.options):
            raise TypeError(f"vjp of {self.name}: its keyword-only parameters must be the options {self.options}")
        self.saved_codes = tuple(codes)
        self.saves_all = bool(code.co_flags & 0x04)
        kept = ", ".join([*terms, "*arrays"] if self.saves_all else terms)
        self.pick = _picker(f"({kept}{',' if kept else ''})")
        self.rule = rule
        return rule

    def expands(self, expansion: Callable[..., Any]) -> Callable[..., Any]:
        """Declare what a fused op stands for, in primitives (decorator): same signature, same results."""
        if not self.variadic and self.saved_codes[: len(self.inputs)] != tuple(range(len(self.inputs))):
            raise TypeError(f"vjp of {self.name}: a fused op's vjp takes every input first, in order: {self.inputs}")
        self.expansion = expansion
        return expansion

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> str:  # copies and pickles of what holds an op hold the op itself
        return self.name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As an attribute of Tensor an op is a method."""
        return self if instance is None else MethodType(self, instance)

    # -- calling ---------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.variadic:
            args = self._unpack(args, options)
        elif len(args) > len(self.inputs):
            args = self._bind(args, options)
        if options:
            options = self._check_options(options)
        state = ambient.get()
        if state.tracer is not None:
            return state.tracer.record(self, tuple(map(stacked, args)), options)
        if self.plain and not options and (tensor := self._call_plain(args, state)) is not None:
            return tensor
        if not self.differentiable:
            return self._compute(args, options)
        for a in args:
            if type(a) is list or type(a) is tuple:
                args = tuple(map(stacked, args))
                break
        arrays: list[Any] = []
        parents: list[Any] = []
        tensors = recorded = mixed = constants = False
        dtype = None
        for a in args:
            if isinstance(a, Tensor):
                tensors = True
                array = a.data
                arrays.append(array)
                if dtype is None:
                    dtype = array.dtype
                elif array.dtype is not dtype:
                    mixed = True
                if a.requires_grad:
                    parents.append(a._node)
                    recorded = True
                    continue
                constants = True
            else:
                arrays.append(a)
                if a is not None and (self.variadic or (type(a) is not float and type(a) is not int)):
                    mixed = constants = True
                elif a is None and len(arrays) - 1 not in self.optional:
                    mixed = True
            parents.append(None)
        if mixed and tensors and not (self.keeps and self.variadic):  # `scan` takes its arrays as they are
            self._coerce(args, arrays)
        recorded = recorded and state.recording
        return self._applied(args, arrays, parents, tensors, recorded, constants, options, state)

    def apply(self, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """The op on tensors of one dtype, arrays of that dtype and None, with options that are known to be right: nothing is
        checked or brought into form. For callers inside the package that have checked all of it."""
        state = ambient.get()
        if state.tracer is not None:
            return self(list(args), **options) if self.variadic else self(*args, **options)
        arrays: list[Any] = []
        parents: list[Any] = []
        recorded = constants = False
        for a in args:
            if isinstance(a, Tensor):
                arrays.append(a.data)
                if a.requires_grad:
                    parents.append(a._node)
                    recorded = True
                    continue
                constants = True
            else:
                arrays.append(a)
                if a is not None:
                    constants = True
            parents.append(None)
        recorded = recorded and state.recording
        return self._applied(args, arrays, parents, True, recorded, constants, options, state)

    def _applied(
        self,
        args: Sequence[Any],
        arrays: list[Any],
        parents: list[Any],
        tensors: bool,
        recorded: bool,
        constants: bool,
        options: dict[str, Any],
        state: Ambient,
    ) -> Any:
        """The forward on arrays, and its result as tensors if any of the arguments is one, recorded or not."""
        residuals = None
        try:
            if self.keeps and recorded:
                out, residuals = self.forward(*arrays, **options, keep=True)
            elif options:
                out = self.forward(*arrays, **options)
            else:
                out = self.forward(*arrays)
        except (ValueError, IndexError, TypeError) as error:
            self._fail(error, arrays, options)
        if not tensors:
            return out
        if not recorded or not (self.several or out.dtype.kind == "f"):  # integers and booleans carry no gradient
            return self._constant(out)
        needs = tuple([p is not None for p in parents])
        if constants:
            self._name_constants(args, parents)
        full = {**self.defaults, **options} if options else self.defaults
        if self.several:
            return self._several(out, tuple(parents), self.pick(arrays, out, needs, residuals), full, state.scope)
        if type(out) is not ndarray:
            out = asarray(out)
        t = _new(Tensor)
        t.data = out
        t.requires_grad = True
        t._node = Node(
            self, tuple(parents), self.pick(arrays, out, needs, residuals), full, out.shape, out.dtype, state.scope
        )
        return t

    def _compute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A call of an op without a gradient: on the tensors' data, nothing recorded."""
        arrays = [np.asarray(data(a)) if isinstance(a, (list, tuple)) else data(a) for a in args]
        try:
            out = self.forward(*arrays, **options)
        except (ValueError, IndexError, TypeError) as error:
            self._fail(error, arrays, options)
        return self._constant(out) if self.tensors and any(isinstance(a, Tensor) for a in args) else out

    def _call_plain(self, args: tuple[Any, ...], state: Ambient) -> Tensor | None:
        """The common case without the general one's loops: one or two tensors to record, or one beside a number."""
        if not state.recording:
            return None
        a = args[0]
        arrays: tuple[Any, ...]
        parents: tuple[Any, ...]
        needs: tuple[bool, ...]
        if len(args) == 1:
            if not isinstance(a, Tensor) or not a.requires_grad:
                return None
            arrays, parents, needs = (a.data,), (a._node,), (True,)
        elif len(args) == 2:
            b = args[1]
            if isinstance(a, Tensor) and a.requires_grad:
                if isinstance(b, Tensor) and b.requires_grad:
                    arrays, parents, needs = (a.data, b.data), (a._node, b._node), (True, True)
                elif type(b) is float or type(b) is int:
                    arrays, parents, needs = (a.data, b), (a._node, None), (True, False)
                else:
                    return None
            elif (type(a) is float or type(a) is int) and isinstance(b, Tensor) and b.requires_grad:
                arrays, parents, needs = (a, b.data), (None, b._node), (False, True)
            else:
                return None
        else:
            return None
        try:
            out = self.forward(*arrays)
        except (ValueError, IndexError, TypeError) as error:
            self._fail(error, arrays, {})
        if type(out) is not ndarray:
            out = asarray(out)
        t = _new(Tensor)
        t.data = out
        t.requires_grad = True
        t._node = Node(
            self, parents, self.pick(arrays, out, needs, None), self.defaults, out.shape, out.dtype, state.scope
        )
        return t

    def _several(self, out: Any, parents: Any, saved: Any, options: Any, path: Any) -> tuple[Tensor, ...]:
        shapes, dtypes = tuple([r.shape for r in out]), tuple([r.dtype for r in out])
        node = Node(self, parents, saved, options, shapes, dtypes, path)
        results = []
        for i, r in enumerate(out):
            t = _new(Tensor)
            t.data = r
            t.requires_grad = True
            t._node = Output(node, i, r.shape, r.dtype)
            results.append(t)
        return tuple(results)

    def _fail(self, error: Exception, arrays: Any, options: dict[str, Any]) -> NoReturn:
        """Raise the error of a forward, with the op and what it got."""
        text = str(error)
        if text.startswith(self.name + ":"):
            raise error
        shown = [f"{self.input_name(i)} {described(a)}" for i, a in enumerate(arrays[:8])]
        shown += [f"{k}={described(v)}" for k, v in options.items()]
        kind = TypeError if isinstance(error, TypeError) else type(error)  # a ufunc's TypeErrors take other arguments
        raise kind(f"{self.name}: {text} (got {', '.join(shown)})") from error

    def _constant(self, result: Any) -> Any:
        if self.several:
            return tuple([Tensor._made(asarray(r), None) for r in result])
        return Tensor._made(np.asarray(result), None)

    def _name_constants(self, args: Sequence[Any], parents: list[Any]) -> None:
        """Give array constants a leaf, so that drawings show them; a constant tensor keeps one for good."""
        for i, a in enumerate(args):
            if parents[i] is None and not isinstance(a, (int, float)):
                if isinstance(a, Tensor):
                    if a._node is None:
                        a._node = Leaf(a.data.shape, a.data.dtype, False)
                    parents[i] = a._node
                elif isinstance(a, np.ndarray):
                    parents[i] = Leaf(a.shape, a.dtype, False)

    @staticmethod
    def alias(tensor: Tensor) -> Tensor:
        """A new node that is the same tensor (the engine's, to mark where an expansion's inputs end)."""
        result: Tensor = _identity(tensor)
        return result


def primitive(
    *,
    label: str,
    samples: Draw,
    numpy: Callable[..., Any] | tuple[Callable[..., Any], ...] | None = None,
    broadcasts: bool = False,
    several: bool = False,
    constants: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    differentiable: bool = True,
    tensors: bool = False,
    rows: Rule | None = None,
    work: Work | None = None,
    errors: Draw = lambda _: [],
) -> Callable[[Callable[..., Any]], Op]:
    """Declare an op.

    label: what drawings write in the node. samples: from a Sampler, the inputs on which its gradients are checked; there
    is no default, so an op without a gradient check cannot be defined. numpy: the NumPy function (or functions) that
    this op implements; `np.f(tensor)` then reaches it. broadcasts: inputs broadcast by NumPy's rules and the engine
    sums their cotangents back. several: the forward returns a tuple of results. constants: positional arrays that
    carry no gradient (a condition, say) and keep their dtype. optional: arrays that may be None. differentiable: False for
    an op that is constant almost everywhere: it has no vjp, only its forward is checked on the samples, and it gives plain
    arrays for tensors (constant tensors with tensors=True). rows: how it treats the rows of a batch, a rule of
    autodiff/rows.py; without one it is taken to compute one row from others, and a step that calls it is not fused.
    work: its floating point operations and what it does to its data, see autodiff/work.py; ops in a module that has WORK
    need not say it. Drawings and counts take an op of one's own without it to compute each element in one operation.
    errors: from a Sampler, calls that the op must refuse, each paired with what its error must say.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> @tg.primitive(label="x³", samples=lambda r: [r(3, 4), r()])
    ... def cube(x):
    ...     return x * x * x
    >>> @cube.vjp
    ... def _(g, x):
    ...     return g * (3 * x * x)
    >>> tg.gradcheck(cube, np.array([1.0, 2.0])), tg.gradgradcheck(cube, np.array([1.0, 2.0]))
    (True, True)
    """

    def declare(forward: Callable[..., Any]) -> Op:
        functions = numpy if isinstance(numpy, tuple) else (numpy,) if numpy is not None else ()
        op = Op(
            forward,
            label,
            samples,
            numpy=functions[0] if functions else None,
            broadcasts=broadcasts,
            several=several,
            constants=constants,
            optional=optional,
            differentiable=differentiable,
            tensors=tensors,
            rows=rows,
            work=work,
            errors=errors,
        )
        registry[op.name] = op
        for function in functions:
            numpy_functions[function] = op
        return op

    return declare


def composite(*functions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function written in ops as what implements these NumPy functions on tensors."""

    def declare(f: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            numpy_functions[function] = f
        return f

    return declare


def operations() -> Iterator[Op]:
    """Every declared op, in order of declaration.

    >>> import tinygrad_rnn as tg
    >>> names = [op.name for op in tg.operations()]
    >>> "tanh" in names, "lstm_sequence" in names
    (True, True)
    """
    return iter(registry.values())


def check_registry() -> None:
    """Refuse differentiable ops without a vjp, and ops that do not declare their work; run when the package is imported."""
    for op in operations():
        if op.differentiable and op.rule == op._no_rule:
            raise TypeError(f"{op.name} has no vjp: define one with @{op.name}.vjp, or declare it differentiable=False")
        if op.work is UNDECLARED:
            raise TypeError(
                f"{op.name} does not declare its work: give primitive(work=per_result()) or another of autodiff/work.py, "
                "or name WORK in its module"
            )


@primitive(label="id", work=MOVES, samples=lambda r: [r(2, 3)])
def _identity(x: Array) -> Array:
    return x


@_identity.vjp
def _(g: Array) -> Array:
    return g
