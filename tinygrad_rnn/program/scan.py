"""`scan`: a step over time, as one node where the step can be traced, else step by step."""

from __future__ import annotations

import os
from _thread import RLock
from collections import OrderedDict
from collections.abc import Callable
from operator import or_
from typing import Any

import numpy as np

from .. import kernels
from ..autodiff.state import ambient
from ..autodiff.tensor import Tensor
from ..checks import is_integer
from .calls import checked_lengths, listener
from .environment import Environment, Environments
from .node import Backend, Loops, Scan, apply
from .node import scan as scan_op
from .plan import InputSlots, active_slots, hoist_weight_code, plan, reassociated
from .program import Program
from .run import compiled, execute
from .steps import tensors_of, unrolled
from .trace import BATCHES, trace, verify
from .tracer import Untraceable
from .tree import Hidden, Signature, Spec, flat, form, leaves, rebuilt

KEPT = 512  # programs, and steps without one


class TracedStep:
    """The result of tracing a step for one signature: its program and loops, or the reason why it has none."""

    def __init__(self, program: Program | None, reason: str | None):
        self.program, self.reason = program, reason
        self.batches: set[int] = set()  # sizes of batches on which the trace was verified
        self.refused: dict[int, TracedStep] = {}  # batch sizes on which the step runs other ops
        self.prepared: dict[Any, Prepared | Untraceable] = {}


class Store:
    """Programs by what their steps read and by the signature of their arguments; bounded, and locked while tracing."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.traced: OrderedDict[Any, TracedStep] = OrderedDict()
        self.environments = Environments(KEPT)

    def find(self, step: Callable[..., Any], environment: Environment, signature: Signature, batch: int) -> TracedStep:
        """The step's program for this signature, traced now if it is not known."""
        key = (environment.key, signature, ambient.get().training)
        with self.lock:
            traced = self.traced.get(key)
            if traced is None:
                try:
                    if environment.reason:
                        raise Untraceable(environment.reason)
                    program, size = trace(step, environment, signature, batch)
                    traced = TracedStep(program, None)
                    traced.batches = {BATCHES[0], size}
                except Untraceable as error:
                    traced = TracedStep(None, str(error))
                self.traced[key] = traced
                while len(self.traced) > KEPT:
                    self.traced.popitem(last=False)
            else:
                self.traced.move_to_end(key)
            if traced.program is not None and batch and batch not in traced.batches:
                try:
                    verify(traced.program, step, environment, signature, batch)
                except Untraceable as error:
                    traced.refused[batch] = TracedStep(None, str(error))
                traced.batches.add(batch)
        return traced.refused.get(batch, traced)

    def unlock(self) -> None:
        """Replace the locks in a forked child, where the threads that held them do not exist."""
        self.lock = RLock()
        self.environments.lock = RLock()


store = Store()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=store.unlock)


class Prepared:
    """A program ready to run: the instructions on weights alone, and the loops."""

    def __init__(self, program: Program, counts: tuple[int, int, int], wanted: frozenset[int], recompute: bool):
        self.hoisted, main, weights = hoist_weight_code(program)
        x, state, constants = np.split(np.asarray(program.inputs, int), np.cumsum(counts)[:2])
        inputs = InputSlots(tuple(map(int, x)), tuple(map(int, state)), tuple(map(int, constants)), weights)
        for instruction in self.hoisted:
            if any(i in wanted for i in instruction.inputs if type(i) is int):
                wanted |= set() if instruction.detached else set(instruction.outputs)
        wanted &= {*inputs.x, *inputs.state, *inputs.constants, *weights}
        main = reassociated(main, inputs.state)
        self.captured = program.captured
        self.compiled_hoisted = compiled(self.hoisted)
        self.direct: list[int] | None = None  # the numbers of the arrays, if the loops read only these
        if not self.hoisted:
            numbers = dict(program.captured)
            self.direct = [numbers[slot] for slot in weights]
        self.loops = Loops(main, inputs, plan(main, inputs, wanted, recompute))
        active = active_slots(main, wanted, inputs.state)
        self.flows = tuple([slot in active for slot in (*main.outputs, *main.new_state)])
        self.flows_without_steps = (*self.flows[: len(main.outputs)], *[old in active for old in inputs.state])

    def weights(self, environment: Any) -> list[Any]:
        """The arrays without rows that the loops read, as tensors on the graph. environment: what has `arrays`."""
        arrays = environment.arrays
        if self.direct is not None:
            return [arrays[number] for number in self.direct]
        registers: dict[int, Any] = {slot: arrays[number] for slot, number in self.captured}
        if not ambient.get().recording:
            registers = {slot: a.data if isinstance(a, Tensor) else a for slot, a in registers.items()}
            execute(self.compiled_hoisted, registers, 0)
        else:
            for instruction in self.hoisted:
                apply(instruction, registers, 0)
        return [registers[slot] for slot in self.loops.inputs.weights]


def _hidden(tree: Any, lead: int, records: bool) -> Any:
    """The signature of a tree of tensors of which `lead` axes are batch and time."""
    return rebuilt(
        tree, iter([Hidden(Spec(t.shape[lead:], t.dtype, records and t.requires_grad)) for t in leaves(tree)])
    )


def scan(
    step: Callable[..., Any],
    inputs: Any,
    state: Any,
    *,
    constants: tuple[Any, ...] = (),
    length: int | None = None,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    impl: str = "auto",
    recompute: bool = False,
) -> tuple[Any, Any]:
    """Run step(x_t, state, *constants) -> (output, new state) over time; returns (outputs, final state).

    As jax.lax.scan, in the order of a cell: the input comes before the state. inputs: an array (B, T, …), or (T, B, …)
    with time_major, a tuple of such, or None with `length`; the step gets its part of time t, (B, …). state: an array
    (B, …), or any nesting of tuples and NamedTuples of such; so may outputs be, which come back as (B, T, …). constants:
    arrays with a row for each of the batch that hold for the whole sequence (an attention's memory, a dropout mask).
    lengths (B) integers from 0 to T: past its length a row's outputs are 0 and its state is carried through; what the
    padding holds touches nothing. reverse: each row runs from its own last step to its first. recompute: backward
    computes again what it needs of a step instead of keeping it.

    The step is traced once into a program, and the whole sequence is then one node. It must compute each row from that
    row alone and read no tensor's value; what it reads besides its arguments (weights, options, in closures, globals or
    attributes) is followed, so it may change between calls. Other steps run one after the other, with the same results:
    rnn.explain says why. impl: "fused" refuses these, "unrolled" always runs step by step. Changing anything but local
    variables inside a step is not supported.

    Raises TypeError and ValueError that name the argument; where inputs and state seem to be exchanged, they say so.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> decay = tg.tensor(0.5, requires_grad=True)
    >>> def step(x, h):
    ...     h = decay * h + x
    ...     return h, h
    >>> outputs, h = tg.scan(step, tg.tensor([[[1.0], [0.0], [2.0]]]), tg.tensor([[0.0]]))
    >>> outputs.data.ravel().tolist(), h.item()
    ([1.0, 0.5, 2.25], 2.25)
    """
    if not callable(step):
        raise TypeError(
            f"scan: step is {type(step).__name__}, expected a function; the order is scan(step, inputs, state)"
        )
    xs, states = tensors_of(inputs, "inputs"), tensors_of(state, "state")
    of_sequence = tuple(tensors_of(c, f"constants[{k}]") for k, c in enumerate(constants))
    return run_scan(
        step, xs, states, of_sequence, length=length, lengths=lengths, reverse=reverse, time_major=time_major, impl=impl,
        recompute=recompute,
    )[:2]  # fmt: skip


def run_scan(
    step: Callable[..., Any],
    xs: Any,
    states: Any,
    constants: tuple[Any, ...] = (),
    *,
    length: int | None = None,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    impl: str = "auto",
    recompute: bool = False,
    names: bool = False,
    caller: str = "scan",
    owner: tuple[Any, Any] | None = None,
    checked: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any, dict[str, Tensor]]:
    """`scan` on tensors; with `names` also returns the values named by rnn.gate at every step.

    owner: the object that the step belongs to, and what tells it from the owner's other steps, where the step itself is
    made anew at every call. checked: what refuses a wrong result of the first step, where steps run one by one.
    """
    if impl not in ("auto", "fused", "unrolled"):
        raise ValueError(f"{caller}: impl is {impl!r}, expected 'auto', 'fused' or 'unrolled'")
    trees = (xs, states, constants)
    tensors: list[Tensor] = []
    nesting = form(trees, tensors)
    tracing = ambient.get().tracer is not None
    environment: Environment | None = None
    call: Call | None = None
    reason: str | None = None
    if tracing:
        reason = "a scan inside a step is part of the step's program"
    elif impl == "unrolled":
        reason = "impl='unrolled'"
    else:
        environment = store.environments.of(step, owner)
        reason, call = _cached_call(
            caller, step, environment, trees, tensors, nesting, (length, time_major, recompute, names)
        )
        if call is None and impl == "fused":
            what = owner[0].scope_name if owner else "this step"
            raise ValueError(
                f"{caller}: impl='fused' cannot run {what}: {reason}; use impl='auto'{_order_hint(xs, states)}"
            )
    reports = listener.get()
    if reports is not None and not tracing:
        reports.append(_report(reason, call))
    if call is None or environment is None:
        batch, steps = _sizes(caller, xs, states, constants, length, time_major)
        ends = checked_lengths(caller, lengths, batch, steps, "lengths")
        run = Scan(None, batch, steps, ends, bool(reverse), bool(time_major), recompute)
        try:
            return unrolled(step, xs, states, constants, run, names, checked)
        except (TypeError, ValueError) as error:
            hint = _order_hint(xs, states)
            if hint and type(error) in (TypeError, ValueError):
                raise type(error)(f"{error}{hint}") from error
            raise
    arrays = tensors + call.prepared.weights(environment)
    return call.results(_applied(call.prepared, call.run(caller, lengths, bool(reverse)), arrays), states)


def _applied(prepared: Prepared, run: Scan, arrays: list[Any]) -> list[Tensor]:
    """The results of the op `scan`. Those that do not depend on a differentiated input do not require grad."""
    if not ambient.get().recording:
        values = scan_op.forward(*[a.data if isinstance(a, Tensor) else a for a in arrays], run=run)
        return [Tensor._from_array(value, None) for value in values]
    results: list[Tensor] = scan_op.apply(arrays, {"run": run})
    flows = prepared.flows
    if not run.steps or (
        run.lengths is not None and not run.lengths.all()
    ):  # a row without steps keeps its initial state
        flows = tuple(map(or_, flows, prepared.flows_without_steps))
    if all(flows):
        return results
    pairs = zip(results, flows, strict=True)
    return [t if flow or not t.requires_grad else Tensor._from_array(t.data, None) for t, flow in pairs]


def _report(reason: str | None, call: Call | None) -> tuple[str, str, str]:
    """What `rnn.explain` is told of a scan: where it is, its path, and why."""
    where = "/".join(ambient.get().scope)
    if call is None:
        return where, "unrolled", str(reason)
    why = "the whole sequence is one node"
    if call.backend != "native" and call.prepared.loops.unsupported:
        part = "which runs" if call.backend == "NumPy" else "of which the part before and after the loop runs"
        why += f", {part} in NumPy: the native interpreter has no {call.prepared.loops.unsupported}"
    return where, "fused", why


def _cached_call(
    caller: str,
    step: Callable[..., Any],
    environment: Environment,
    trees: tuple[Any, Any, tuple[Any, ...]],
    tensors: list[Tensor],
    nesting: Any,
    options: tuple[int | None, bool, bool, bool],
) -> tuple[str | None, Call | None]:
    """The call for a step on trees of these tensors, or the reason why it has none. nesting: the form of the trees. options:
    length, time_major, recompute and names of `run_scan`."""
    state = ambient.get()
    types = tuple([((a := t.data).shape, a.dtype, t.requires_grad) for t in tensors])
    key = (types, nesting, options, state.recording, state.training, kernels.choice.active)
    call = environment.calls.get(key)
    if call is not None:
        return None, call
    length, time_major, recompute, names = options
    reason, call = _call(caller, step, environment, *trees, length, time_major, recompute, names)
    if call is not None:
        if len(environment.calls) > KEPT:
            environment.calls.clear()
        environment.calls[key] = call
    return reason, call


class Call:
    """A planned program bound to arguments of one set of shapes, dtypes and gradients: another call with such arguments looks
    up nothing else."""

    def __init__(self, prepared: Prepared, program: Program, backend: Backend, sizes: tuple[int, int], options: Any):
        self.prepared, self.program, self.backend, self.sizes = prepared, program, backend, sizes
        self.runs = [self._run(None, reverse, *options) for reverse in (False, True)]
        self._options = options

    def _run(self, lengths: Any, reverse: bool, time_major: bool, recompute: bool) -> Scan:
        return Scan(self.prepared.loops, *self.sizes, lengths, reverse, time_major, recompute, backend=self.backend)

    def run(self, caller: str, lengths: Any, reverse: bool) -> Scan:
        """The run of the loops over these lengths: one and the same where all rows have all steps."""
        if lengths is None:
            return self.runs[reverse]
        return self._run(checked_lengths(caller, lengths, *self.sizes, "lengths"), reverse, *self._options)

    def results(self, values: Any, states: Any) -> tuple[Any, Any, dict[str, Tensor]]:
        """The op's results as outputs and final states, in the trees of the step and of the states, and named values."""
        made = iter(values)
        outputs = rebuilt(self.program.output_tree, made)
        named = {name: next(made) for name in self.program.named} if self.program.named else {}
        return outputs, rebuilt(states, made), named


def _call(
    caller: str,
    step: Callable[..., Any],
    environment: Environment,
    xs: Any,
    states: Any,
    constants: tuple[Any, ...],
    length: int | None,
    time_major: bool,
    recompute: bool,
    names: bool,
) -> tuple[str | None, Call | None]:
    """Trace and plan a step for these arguments, or say why it has no program."""
    batch, steps = _sizes(caller, xs, states, constants, length, time_major)
    records = ambient.get().recording
    signature = Signature(
        _hidden(xs, 2, records), _hidden(states, 1, records), tuple(_hidden(c, 1, records) for c in constants)
    )
    traced = store.find(step, environment, signature, batch)
    if traced.program is None:
        return traced.reason, None
    program = traced.program.with_named_outputs() if names else traced.program
    try:
        prepared = _prepared(traced, program, environment, xs, states, constants, recompute)
    except Untraceable as error:  # raised by an op's vjp
        return str(error), None
    arrays = [*flat((xs, states, constants)), *prepared.weights(environment)]
    backend = prepared.loops.backend(arrays, batch)
    return None, Call(prepared, program, backend, (batch, steps), (bool(time_major), recompute))


def _prepared(
    traced: TracedStep,
    program: Program,
    environment: Environment,
    xs: Any,
    states: Any,
    constants: Any,
    recompute: bool,
) -> Prepared:
    """The program's loops for the needed gradients, planned at the first request. Raises Untraceable if an op's vjp
    cannot be part of a program."""
    parts = [list(leaves(tree)) for tree in (xs, states, constants)]
    counts = (len(parts[0]), len(parts[1]), len(parts[2]))
    records = ambient.get().recording
    leaf_needs = tuple([records and t.requires_grad for part in parts for t in part])
    key = (leaf_needs, records, recompute, program.named)
    prepared = traced.prepared.get(key)
    if prepared is None:
        wanted = {slot for slot, need in zip(program.inputs, leaf_needs, strict=True) if need}
        if records:
            wanted |= {
                slot for slot, number in program.captured if getattr(environment.arrays[number], "requires_grad", False)
            }
        try:
            prepared = Prepared(program, counts, frozenset(wanted), recompute)
        except Untraceable as error:
            prepared = error
        traced.prepared[key] = prepared
    if isinstance(prepared, Untraceable):
        raise prepared.with_traceback(None)
    return prepared


def sample(
    step: Callable[..., Any], inputs: Any, state: Any, constants: Any = (), **time: Any
) -> tuple[list[Any], Scan]:
    """The arrays and the run with which the op `scan` is called for these arguments, all wanting gradients."""
    xs, states, of_sequence = (
        rebuilt(t, iter([Tensor(a, requires_grad=True) for a in leaves(t)])) for t in (inputs, state, constants)
    )
    batch, steps = _sizes("sample", xs, states, of_sequence, None, time.get("time_major", False))
    signature = Signature(
        _hidden(xs, 2, True), _hidden(states, 1, True), tuple(_hidden(c, 1, True) for c in of_sequence)
    )
    environment = store.environments.of(step)
    traced = store.find(step, environment, signature, batch)
    assert traced.program is not None, traced.reason
    prepared = _prepared(traced, traced.program, environment, xs, states, of_sequence, time.get("recompute", False))
    run = Scan(prepared.loops, batch, steps, **time)
    arrays = [*leaves(xs), *leaves(states), *leaves(of_sequence), *prepared.weights(environment)]
    return [a.data if isinstance(a, Tensor) else a for a in arrays], run


def _sizes(caller: str, xs: Any, states: Any, constants: Any, length: int | None, time_major: bool) -> tuple[int, int]:
    """The batch size and the number of steps, the same in all arrays."""
    first = next(leaves(xs), None)
    row = next((t for t in leaves((states, constants))), None)
    if first is None:
        if not is_integer(length) or length < 0:
            raise ValueError(f"{caller}: length is {length!r}, expected the number of steps, since there are no inputs")
        if row is None:
            raise ValueError(f"{caller}: neither inputs nor state holds an array, expected one that tells the batch")
        batch, steps = (row.shape[0] if row.ndim else -1), int(length)
    else:
        if first.ndim < 2:
            raise ValueError(
                f"{caller}: inputs have shape {first.shape}, expected {'(T, B, …)' if time_major else '(B, T, …)'}"
                f"{_order_hint(xs, states)}"
            )
        batch, steps = (first.shape[1], first.shape[0]) if time_major else first.shape[:2]
        if length is not None and length != steps:
            raise ValueError(f"{caller}: length is {length!r}, inputs have {steps} steps")
    wanted = (steps, batch) if time_major else (batch, steps)
    if any(x.shape[:2] != wanted for x in leaves(xs)):
        shapes = sorted({x.shape for x in leaves(xs)})
        raise ValueError(f"{caller}: inputs have shapes {shapes}, expected one batch and time in all")
    for what, tree in (("state", states), ("constants", constants)):
        for t in leaves(tree):
            if not t.ndim or t.shape[0] != batch:
                raise ValueError(
                    f"{caller}: {what} has an array of shape {t.shape}, expected ({batch}, …): a row for each of the batch"
                    f"{_order_hint(xs, states)}"
                )
    return batch, steps


def _order_hint(xs: Any, states: Any) -> str:
    """What to add to an error where inputs and state may have been exchanged: the state has an axis of time, the inputs have
    none."""
    most = max((t.ndim for t in leaves(xs)), default=3)
    if most > 2 or all(t.ndim < 3 for t in leaves(states)):
        return ""
    return (
        f"; inputs have shape {next(leaves(xs)).shape} and the state {next(leaves(states)).shape}: the order is scan(step, "
        "inputs, state), the inputs (B, T, …) before the state (B, …), and step(x, state)"
    )
