"""How an op is declared, called and recorded.

An op is one block: the forward under `@primitive`, its rule right below under `@name.vjp`:

    @primitive(label="×", numpy=np.multiply, broadcasts=True, samples=lambda r: [r(3, 4), (r(4), r(3, 1))])
    def multiply(a, b):
        return a * b

    @multiply.vjp
    def _(g, a, b, needs):
        return g * b if needs[0] else None, g * a if needs[1] else None

Positional parameters of the forward are arrays; keyword-only ones are options (shapes, axes, indices) and have no
gradient. The parameters of the vjp determine what a node saves for it. `g` is the cotangent of the result: the gradient of
the loss with respect to it. After it come, in any order, inputs, `out` (the result), `shape` (of the first input), `shapes`
(of all inputs), `needs` (which inputs need a gradient), `residuals` (where the forward has an option `keep`: with keep=True
it returns its result and what else the vjp needs) and `*arrays` (all inputs of a variadic op). Keyword-only parameters of
the vjp are the options. It returns one cotangent per input, None where none is needed.

A vjp is written with operators and ops, so it works on ndarrays and, recorded, on Tensors. A fused op, whose vjp calls a
kernel, also has `@name.expands`: the same function in primitives, for higher derivatives and drawings. The vjp of a fused
op takes all inputs first, in order.

The decorated function is the registry entry. Called on arrays it only computes the result.

An op that is constant almost everywhere (a comparison, rounding) is declared with differentiable=False and has no vjp.
Comparisons are ops so that a vjp can be written entirely in ops: an ndarray computed in another way would be a constant
where the vjp is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from inspect import CO_VARARGS
from operator import itemgetter
from types import CodeType, MethodType
from typing import Any, NoReturn

import numpy as np

from .arguments import Arguments, described, stacked
from .node import Array, Leaf, Node, Output, next_counter
from .rows import Rule
from .state import Ambient, Scope, ambient
from .tensor import Tensor, data, numpy_functions, registry
from .work import MOVES, UNDECLARED, Work

Samples = Callable[[Any], list[Any]]  # from a check.Sampler, calls of an op
_PLACES = {"shape": -5, "shapes": -4, "out": -3, "needs": -2, "residuals": -1}  # of what a vjp may name beside inputs
_new, ndarray, asarray = object.__new__, np.ndarray, np.asarray


_HELD = frozenset((ndarray, tuple))  # types of options that are, or may hold, arrays


def _copied(option: Any) -> Any:
    """An option as a node keeps it: arrays of indices, targets or masks as they are now, whatever their owner does later."""
    if type(option) is ndarray:
        return option.copy()
    return tuple([_copied(part) for part in option]) if type(option) is tuple else option


class Op(Arguments):
    """A function of arrays, with its gradient: the registry entry that `primitive` makes of a forward."""

    __slots__ = (  # the fields that calls and sweeps read: a slot is read faster than the dictionary with the others
        *(
            "__dict__",
            "arity",
            "asks_shapes",
            "converts",
            "defaults",
            "differentiable",
            "fills_grads",
            "forward",
            "inputs",
        ),
        *("pick", "residuals", "rule", "several", "variadic"),
    )

    def __init__(self, forward: Callable[..., Any], label: str, samples: Samples, **traits: Any):
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
        self.errors: Samples = traits["errors"]
        self.broadcasts: bool = traits["broadcasts"]
        self.several: bool = traits["several"]
        self.differentiable: bool = traits["differentiable"]
        self.tensors: bool = traits["tensors"]
        self.converts: bool = traits["converts"]
        self.fills_grads: bool = self.several and traits["materialize_grads"]
        self.rows: Rule | None = traits["rows"]
        self.optional: frozenset[int] = frozenset(code.co_varnames.index(name) for name in traits["optional"])
        self.constants: frozenset[int] = frozenset(code.co_varnames.index(name) for name in traits["constants"])
        self.numpy: Callable[..., Any] | None = traits["numpy"]
        self.variadic = bool(code.co_flags & CO_VARARGS)
        self.inputs: tuple[str, ...] = code.co_varnames[: code.co_argcount]
        options = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self.residuals = "keep" in options  # with keep=True the forward returns (result, residuals)
        self.options = tuple(name for name in options if name != "keep")
        self._known = frozenset(self.options)
        self.defaults: dict[str, Any] = {k: v for k, v in (forward.__kwdefaults__ or {}).items() if k != "keep"}
        plain = self.differentiable and not (self.several or self.residuals or self.variadic or self.constants)
        self.arity = len(self.inputs) if plain else -1  # -1: calls take the general path
        self.rule: Callable[..., Any] = self._no_rule
        self.pick: Callable[..., tuple[Any, ...]] = self._no_rule  # picks what a node saves (see _picker)
        self.asks_shapes = self.saves_all = False
        self.expansion: Callable[..., Any] | None = None
        self.first_steps: Callable[..., Any] | None = None  # (arrays, options, n) of an op over time -> of n steps only

    def _no_rule(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self.name} has no vjp: define one with @{self.name}.vjp")

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the op's vector-Jacobian product (decorator)."""
        if not self.differentiable:
            raise TypeError(f"vjp of {self.name}: the op is declared with differentiable=False and cannot have one")
        code: CodeType = rule.__code__
        asked = code.co_varnames[1 : code.co_argcount]
        places = _PLACES | {name: i for i, name in enumerate(self.inputs)}
        for name in asked:
            if name not in places:
                raise TypeError(
                    f"vjp of {self.name}: parameter {name!r} is neither an input {self.inputs} nor one of {tuple(_PLACES)}"
                )
        taken = set(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
        if taken != set(self.options):
            raise TypeError(f"vjp of {self.name}: its keyword-only parameters must be the options {self.options}")
        self.saves_all = bool(code.co_flags & CO_VARARGS)
        self.asks_shapes = not {"shape", "shapes"}.isdisjoint(asked)
        self._origins = tuple([self.inputs.index(n) if n in self.inputs else -1 if n == "out" else -2 for n in asked])
        beside = _PLACES["shape" if self.asks_shapes else "out"]
        self.pick = _picker([places[name] for name in asked], beside if self.saves_all else None)
        self.rule = rule
        return rule

    def origins(self, n: int) -> tuple[int, ...]:
        """What each value saved by a call with n inputs is: the number of an input, -1 for the result, -2 for the rest."""
        return (*self._origins, *range(n)) if self.saves_all else self._origins

    def expands(self, expansion: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the expansion of a fused op into primitives (decorator): same signature, same results."""
        if not self.variadic and self._origins[: len(self.inputs)] != tuple(range(len(self.inputs))):
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
        state = ambient.get()
        if self.arity == len(args) and not options and state.recording and state.tracer is None:
            # one or two tensors that require grad, or one beside a number: nothing to check or convert
            if len(args) == 1:
                (a,) = args
                if isinstance(a, Tensor) and a._needs:
                    return self._run((a.data,), (a._node,), (True,), options, state.scope)
            elif len(args) == 2:
                a, b = args
                if isinstance(a, Tensor) and a._needs:
                    if isinstance(b, Tensor) and b._needs:
                        return self._run((a.data, b.data), (a._node, b._node), (True, True), options, state.scope)
                    if type(b) is float or type(b) is int:
                        return self._run((a.data, b), (a._node, None), (True, False), options, state.scope)
                elif (type(a) is float or type(a) is int) and isinstance(b, Tensor) and b._needs:
                    return self._run((a, b.data), (None, b._node), (False, True), options, state.scope)
        if self.variadic:
            args = self._unpack(args, options)
        elif len(args) > len(self.inputs):
            args = self._bind(args, options)
        if options:
            options = self._check_options(options)
        if state.tracer is not None:
            return state.tracer.record(self, tuple(map(stacked, args)), options)
        if not self.differentiable:
            return self._compute(args, options)
        for a in args:
            if type(a) is list or type(a) is tuple:
                args = tuple(map(stacked, args))
                break
        return self._apply(args, options, state, self.converts)

    def apply(self, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """The op on tensors of one dtype (at least one), arrays of that dtype and None, with options that are known to be
        right: nothing is checked or converted. For callers inside the package that have checked all of it."""
        state = ambient.get()
        if state.tracer is not None:
            return self(list(args), **options) if self.variadic else self(*args, **options)
        if not state.recording:
            arrays = [a.data if isinstance(a, Tensor) else a for a in args]
            return self._constant(self._run(arrays, (), None, options, ()))
        return self._apply(args, options, state, False)

    def _apply(self, args: Sequence[Any], options: dict[str, Any], state: Ambient, converts: bool) -> Any:
        """The op on tensors, arrays and numbers, all brought to one dtype if `converts`. The result is a tensor if any
        argument is one, and recorded if any requires grad."""
        arrays: list[Any] = []
        parents: list[Any] = []
        needs: list[bool] = []
        constants: list[int] = []  # the places of arguments that carry no gradient and are not numbers
        tensors = mixed = False
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
                if a._needs:
                    parents.append(a._node)
                    needs.append(True)
                    continue
                constants.append(len(parents))
            else:
                arrays.append(a)
                if a is None:
                    mixed = mixed or len(parents) not in self.optional
                elif (type(a) is not float and type(a) is not int) or self.variadic:
                    mixed = True
                    constants.append(len(parents))
            parents.append(None)
            needs.append(False)
        if mixed and tensors and converts:
            self._coerce(args, arrays)
        if not (state.recording and True in needs):
            out = self._run(arrays, (), None, options, ())
            return self._constant(out) if tensors else out
        if constants:
            self._name_constants(constants, args, arrays, parents)
        return self._run(tuple(arrays), tuple(parents), tuple(needs), options, state.scope)

    def _compute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The call of an op without a gradient: on the tensors' data, nothing recorded."""
        arrays = tuple([np.asarray(data(a)) if isinstance(a, (list, tuple)) else data(a) for a in args])
        out = self._run(arrays, (), None, options, ())
        return self._constant(out) if self.tensors and any(isinstance(a, Tensor) for a in args) else out

    def _run(
        self,
        arrays: Any,
        parents: tuple[Any, ...],
        needs: tuple[bool, ...] | None,
        options: dict[str, Any],
        scope: tuple[Scope, ...],
    ) -> Any:
        """The forward on arrays. Its result is recorded, as tensors with a node, if `needs` says which parents require grad."""
        residuals = None
        try:
            if self.residuals and needs is not None:
                out, residuals = self.forward(*arrays, **options, keep=True)
            elif options:
                out = self.forward(*arrays, **options)
            else:
                out = self.forward(*arrays)
        except (ValueError, IndexError, TypeError) as error:
            self._fail(error, arrays, options)
        if needs is None:
            return out
        if type(out) is not ndarray and not self.several:
            out = asarray(out)
        if options:
            if not _HELD.isdisjoint(map(type, options.values())):
                options = {k: _copied(v) for k, v in options.items()}
            options = self.defaults | options
        else:
            options = self.defaults
        if self.asks_shapes:
            shapes = tuple([() if p is None else p.shape for p in parents])
            saved = self.pick((*arrays, shapes[0], shapes, out, needs, residuals))
        else:
            saved = self.pick(arrays + (out, needs, residuals))  # noqa: RUF005 - quicker than unpacking
        if self.several:
            return self._several(out, parents, saved, options, scope)
        if options and out.dtype.kind != "f":  # astype's: integers and booleans carry no gradient
            return Tensor._from_array(out, None)
        t = _new(Tensor)
        t.data = out
        t._needs = True
        t._node = node = _new(Node)  # filled in here, because a call of Node takes a tenth of a small op's time
        node.op = self
        node.parents = parents
        node.saved = saved
        node.options = options
        node.shape = out.shape
        node.dtype = out.dtype
        node.scope = scope
        node.name = None
        node.counter = next_counter()
        return t

    def _fail(self, error: Exception, arrays: Any, options: dict[str, Any]) -> NoReturn:
        """Raise the error of a forward, with the op and what it got."""
        text = str(error)
        if text.startswith(self.name + ":"):
            raise error
        shown = [f"{self.input_name(i)} {described(a)}" for i, a in enumerate(arrays[:8])]
        shown += [f"{k}={described(v)}" for k, v in options.items()]
        error_type = (
            TypeError if isinstance(error, TypeError) else type(error)
        )  # a ufunc's TypeErrors take other arguments
        raise error_type(f"{self.name}: {text} (got {', '.join(shown)})") from error

    def _several(self, out: Any, parents: Any, saved: Any, options: Any, scope: Any) -> tuple[Tensor, ...]:
        """Several results as tensors that share a node."""
        node = Node(self, parents, saved, options, (), (), scope)
        shapes, dtypes, results = [], [], []
        for i, r in enumerate(out):
            t = _new(Tensor)
            t.data = r
            t._needs = True
            t._node = output = Output(node, i, r.shape, r.dtype)
            shapes.append(output.shape)
            dtypes.append(output.dtype)
            results.append(t)
        node.shape, node.dtype = tuple(shapes), tuple(dtypes)
        return tuple(results)

    def _constant(self, out: Any) -> Any:
        """A result, or several, as constant tensors."""
        if self.several:
            return tuple([Tensor._from_array(asarray(r), None) for r in out])
        t = _new(Tensor)
        t.data = out if type(out) is ndarray else asarray(out)
        t._needs = False
        t._node = None
        return t

    def _name_constants(self, places: list[int], args: Sequence[Any], arrays: list[Any], parents: list[Any]) -> None:
        """Give array constants a leaf, so that drawings show them; a constant tensor keeps its own."""
        for i in places:
            a, array = args[i], arrays[i]
            leaf = a._node if isinstance(a, Tensor) else None
            if leaf is None and isinstance(array, ndarray):
                leaf = Leaf(array.shape, array.dtype, False)
                if isinstance(a, Tensor):
                    a._node = leaf
            parents[i] = leaf

    @staticmethod
    def alias(tensor: Tensor) -> Tensor:
        """The same tensor with a new node; with it the engine marks the inputs of an expansion."""
        result: Tensor = _identity(tensor)
        return result


def _picker(places: list[int], beside: int | None) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What picks the saved values out of (*arrays, shape, shapes, out, needs, residuals), where shape and shapes stand only if
    they are asked for. beside: where all arrays are saved, the place after the last of them."""
    if len(places) > 1:
        pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(*places)
    else:  # of a slice, an itemgetter gives a tuple
        pick = itemgetter(slice(places[0], places[0] + 1 or None) if places else slice(0))
    return pick if beside is None else lambda values: pick(values) + values[:beside]


def primitive(
    *,
    label: str,
    samples: Samples,
    numpy: Callable[..., Any] | tuple[Callable[..., Any], ...] | None = None,
    broadcasts: bool = False,
    several: bool = False,
    constants: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    differentiable: bool = True,
    tensors: bool = False,
    converts: bool = True,
    materialize_grads: bool = True,
    rows: Rule | None = None,
    work: Work | None = None,
    errors: Samples = lambda _: [],
) -> Callable[[Callable[..., Any]], Op]:
    """Declare an op.

    label: the text of the node in drawings. samples: from a Sampler, the inputs on which its gradients are checked; there
    is no default, so an op without a gradient check cannot be defined. numpy: the NumPy function (or functions) that this
    op implements; `np.f(tensor)` then reaches it. broadcasts: inputs broadcast by NumPy's rules and the engine sums their
    cotangents back. several: the forward returns a tuple of results. constants: positional arrays that carry no gradient
    (a condition, say) and keep their dtype. optional: arrays that may be None. differentiable: False for an op that is
    constant almost everywhere: it has no vjp, only its forward is checked on the samples, and it gives plain arrays for
    tensors (constant tensors with tensors=True). converts: numbers, integers and booleans beside tensors are brought to
    the tensors' dtype; False for an op whose inputs may be of any dtype, or None. materialize_grads: the cotangent of a
    result that nothing used is an array of zeros; with False it is None. rows: how it treats the rows of a batch, a rule
    of autodiff/rows.py; without one it is assumed to compute one row from others, and a step that calls it is not fused.
    work: its floating point operations and what it does to its data, see autodiff/work.py; ops in a module that has WORK
    need not say it. For a user-defined op without it, drawings and counts assume one operation per element. errors: from
    a Sampler, invalid calls of the op, each with a text that its error must contain.

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
            converts=converts,
            materialize_grads=materialize_grads,
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
    """Declare a function written in ops as the implementation of these NumPy functions for tensors."""

    def declare(f: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            numpy_functions[function] = f
        return f

    return declare


late: list[str] = []  # modules that declare further ops, and that are imported when these are first needed


def operations() -> Iterator[Op]:
    """Every op, in order of declaration.

    >>> import tinygrad_rnn as tg
    >>> names = [op.name for op in tg.operations()]
    >>> "tanh" in names, "lstm_sequence" in names
    (True, True)
    """
    for module in late:
        import_module(module)
    return iter(registry.values())


def check_registry() -> None:
    """Raise TypeError for differentiable ops without a vjp, and ops that do not declare their work; run when the package
    is imported."""
    for op in registry.values():
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
