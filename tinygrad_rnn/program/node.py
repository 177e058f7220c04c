"""A whole sequence as one node: the op `scan`, its vjp, and its expansion into primitives."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..autodiff.node import Array, Leaf
from ..autodiff.op import primitive
from ..autodiff.rows import with_rows
from ..autodiff.state import Ambient, Run, ambient
from ..autodiff.state import step as time_step
from ..autodiff.steps import name_states
from ..autodiff.tensor import Tensor
from ..autodiff.work import Work
from ..ops import reverse_sequence, stack, unstack, where
from ..ops.unrolled import without_padding
from .flops import flops
from .native import NativeLoop, NativeSteps
from .plan import InputSlots, Plan
from .program import Instruction, Literal, Program
from .run import Runner, Schedule
from .view import Unsupported

# What runs a loop. "native": the interpreter runs all of it; "steps": the interpreter runs the body, NumPy the stages before
# and after; "NumPy": NumPy runs all of it.
Backend: TypeAlias = str


class Loops:
    """A planned program, and the runners of its loops."""

    def __init__(self, program: Program, inputs: InputSlots, plan: Plan):
        self.program, self.inputs, self.plan = program, inputs, plan
        self.ends = tuple(accumulate(map(len, inputs[:3])))  # the ends of x, state and constants in the op's arrays
        self.dtype = next(
            (program.slots[s].dtype for s in (*program.outputs, *program.new_state)), np.dtype(np.float32)
        )
        self.outputs_read = {over.leaf for over in plan.histories.values() if over.role == "output"}
        if plan.backward is not None:
            self.outputs_read |= {r.leaf for r in plan.backward.reads if r.role == "output"}
        x, state, _ = self.ends
        backward = plan.backward
        of_x = [write.leaf for write in backward.writes] if backward else []
        # Those of the op's arrays with rows that get a gradient, in the order in which the loop backward makes these.
        self.differentiated = [*of_x, *(x + k for k in plan.carried), *(state + k for k in plan.accumulated)]
        self._ready: dict[Any, Runner | NativeLoop] = {}
        self._backend: Backend | None = None  # the fastest for arrays of the program's dtype
        self.unsupported: str | None = None  # if that is not "native": the op that the interpreter does not have

    def backend(self, arrays: Any, batch: int) -> Backend:
        """The backend for these arrays: native if it was compiled, the arrays have the program's dtype, and it has every op
        (or "steps": every op of the body)."""
        if kernels.choice.active == "reference" or any(a.dtype.kind == "f" and a.dtype != self.dtype for a in arrays):
            return "NumPy"
        if self._backend is None:
            self._backend = self._fastest(batch)
        return self._backend

    def _fastest(self, batch: int) -> Backend:
        loops = {"saving": self.plan.saving, "backward": self.plan.backward}
        if self.plan.backward is None:
            loops = {"forward": self.plan.forward}
        for backend in ("native", "steps"):
            if backend == "steps" and not any(loop.body for loop in loops.values() if loop):
                break
            try:
                for which in loops:
                    self.runner(which, backend, batch).built()
            except Unsupported as error:
                self.unsupported = str(error)
            else:
                return backend
        return "NumPy"

    def runner(self, which: str, backend: Backend, batch: int) -> Any:
        """The runner of the loop "forward", "saving" or "backward"."""
        hoist = backend == "steps" or batch <= (NativeLoop if backend == "native" else Runner).hoist_up_to
        ready = self._ready.get((which, backend, hoist))
        if ready is None:
            loop = getattr(self.plan, which)
            if backend == "native":
                ready = NativeLoop(loop, self.dtype, hoist, self.plan.histories)
            else:
                ready = NativeSteps(loop, self.dtype) if backend == "steps" else Runner(loop, hoist)
            self._ready[which, backend, hoist] = ready
        return ready


class Scan:
    """One run of a step over time: its loops (None where the step runs unrolled), the layout of time, and the backend, if it is
    known."""

    def __init__(
        self,
        loops: Any,
        batch: int,
        steps: int,
        lengths: np.ndarray[Any, Any] | None = None,
        reverse: bool = False,
        time_major: bool = False,
        recompute: bool = False,
        name: str = "scan",
        backend: Backend | None = None,
    ):
        self.loops, self.batch, self.steps, self.lengths = loops, batch, steps, lengths
        self.reverse, self.time_major, self.recompute = reverse, time_major, recompute
        self.name, self.backend = name, backend
        self.axis = 0 if time_major else 1  # of time
        self.leading = (steps, batch) if time_major else (batch, steps)  # the first two axes of sequence arrays
        self.total = batch * steps if lengths is None else int(lengths.sum())  # steps of all rows

    def parts(self, arrays: Any) -> tuple[Any, Any, Any, Any]:
        """The arrays of the op, split into x, state, constants and weights."""
        x, state, constants = self.loops.ends
        return arrays[:x], arrays[x:state], arrays[state:constants], arrays[constants:]

    def batch_major(self, x: Array) -> Array:
        """A sequence array with the batch first, as a view."""
        return np.swapaxes(x, 0, 1) if self.time_major else x

    def __repr__(self) -> str:
        return f"<{self.name} over {self.steps} steps>"


class Saved:
    """What a run keeps for its gradient: saved slots, states and outputs, in packed order. backend: backward uses the same.
    schedule: None if all of the run was native."""

    def __init__(self, rows: dict[tuple[str, int], Array], backend: Backend, schedule: Schedule | None = None):
        self.rows, self.backend, self.schedule = rows, backend, schedule

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for (role, _), a in self.rows.items() if role != "output")


def _samples(r: Any) -> list[Any]:
    from .samples import scans

    return scans(r)


def _flops(read: Any, made: Any, options: dict[str, Any]) -> int:
    run: Scan = options["run"]
    return flops(run.loops.program, run.loops.plan.forward, run.batch, run.total)


@primitive(label="scan", work=Work(_flops), several=True, converts=False, materialize_grads=False, samples=_samples)
def scan(*arrays: Array, run: Scan, keep: bool = False) -> Any:
    """A step over time in one node. arrays: the leaves of inputs, state and constants, then weights."""
    backend = run.backend or run.loops.backend(arrays, run.batch)
    runner = run.loops.runner("saving" if keep else "forward", backend, run.batch)
    results, saved = (_forward_native if backend == "native" else _forward_numpy)(run, arrays, runner, backend, keep)
    return (results, saved) if keep else results


def _forward_numpy(run: Scan, arrays: Any, runner: Any, backend: Backend, keep: bool) -> tuple[Any, Saved | None]:
    xs, states, constants, weights = run.parts(arrays)
    schedule = Schedule(run.batch, run.steps, run.lengths, run.reverse)
    order = schedule.order
    result = runner.run(
        schedule,
        [schedule.packed(run.batch_major(np.asarray(x))) for x in xs],
        [np.asarray(s)[order] for s in states],
        [np.asarray(c)[order] for c in constants],
        [np.asarray(w) for w in weights],
    )
    outputs, rows = [], {}
    backward = run.loops.plan.backward
    for write, value in zip(runner.loop.writes, result.writes, strict=True):
        if write.role == "output":
            outputs.append(np.asarray(run.batch_major(schedule.unpacked(value))))
            if keep and backward and write.leaf in run.loops.outputs_read:
                rows["output", write.leaf] = value
        else:
            rows[write.role, write.leaf] = value
    final = [_unranked(s, order) for s in result.final]
    return (*outputs, *final), Saved(rows, backend, schedule) if keep else None


def _forward_native(run: Scan, arrays: Any, runner: Any, backend: Backend, keep: bool) -> tuple[Any, Saved | None]:
    x, state, constants = run.loops.ends
    dtype, states = runner.dtype, arrays[x:state]
    written = [make() for make in runner.makers(run.leading, run.total)]
    final = [np.empty(s.shape, dtype) for s in states]
    runner.built().run(
        kernels.choice.active, run.batch, run.steps, run.lengths, run.reverse, False,
        [arrays[leaf] for _, leaf in runner.sources] + written, states, final,
        arrays[state:constants], runner.weights_of(arrays[constants:])[0], (), (), (), None, run.time_major,
    )  # fmt: skip
    results = (*written[: len(run.loops.program.outputs)], *final)
    return results, Saved(dict(zip(runner.keys, written, strict=True)), backend) if keep else None


def _unranked(ranked: Array, order: Array) -> Array:
    out = np.empty_like(ranked)
    out[order] = ranked
    return out


scan.kind = "recurrent"  # the kind of ops that run over time


def _first_steps(arrays: Any, options: dict[str, Any], steps: int) -> tuple[list[Array], dict[str, Any]]:
    run: Scan = options["run"]
    xs, *rest = run.parts(arrays)
    short = Scan(run.loops, run.batch, steps, None, run.reverse, run.time_major, run.recompute)
    cut = [x[:steps] if run.time_major else x[:, :steps] for x in xs]
    return [*cut, *(a for some in rest for a in some)], {**options, "run": short}


scan.first_steps = _first_steps


@scan.vjp
def _(g: Any, residuals: Any, *arrays: Array, run: Scan) -> Any:
    loops, backend = run.loops, residuals.backend
    runner = loops.runner("backward", backend, run.batch)
    back = _backward_native if backend == "native" else _backward_numpy
    of_rows, of_weights = back(run, arrays, runner, residuals, g)
    grads: list[Any] = [None] * loops.ends[2] + of_weights
    for position, value in zip(loops.differentiated, of_rows, strict=True):
        grads[position] = value
    return grads


def _backward_numpy(run: Scan, arrays: Any, runner: Any, saved: Saved, g: Any) -> Any:
    xs, states, constants, weights = run.parts(arrays)
    loops, loop, schedule = run.loops, runner.loop, saved.schedule
    assert schedule is not None
    order, outputs = schedule.order, len(loops.program.outputs)
    reads = []
    for r in loop.reads:
        if r.role == "x":
            reads.append(schedule.packed(run.batch_major(np.asarray(xs[r.leaf]))))
        elif r.role == "before":
            history = loops.plan.histories[r.leaf]
            reads.append(schedule.shifted(saved.rows[history.role, history.leaf], np.asarray(states[r.leaf])[order]))
        elif r.role == "d_output" and g[r.leaf] is None:
            slot = loop.slots[r.slot]
            reads.append(np.zeros((schedule.total, *slot.shape[1:]), slot.dtype))
        elif r.role == "d_output":
            reads.append(schedule.packed(run.batch_major(g[r.leaf])))
        else:
            kept = loops.plan.histories[r.leaf] if r.role == "state" else r
            reads.append(saved.rows[kept.role, kept.leaf])
    initial = [
        (np.zeros_like(states[k]) if g[outputs + k] is None else np.asarray(g[outputs + k]))[order]
        for k in loops.plan.carried
    ]
    result = runner.run(
        schedule,
        reads,
        initial,
        [np.asarray(c)[order] for c in constants],
        [np.asarray(w) for w in weights],
        backward=True,
    )
    of_x = [np.asarray(run.batch_major(schedule.unpacked(value))) for value in result.writes]
    return [*of_x, *(_unranked(value, order) for value in (*result.final, *result.added))], result.results


def _backward_native(run: Scan, arrays: Any, runner: Any, saved: Saved, g: Any) -> Any:
    loops, dtype = run.loops, runner.dtype
    x, state, constant = loops.ends
    sources = {"x": arrays, "d_output": g, "saved": saved.rows}
    sequences = [sources[role][key] for role, key in runner.sources]
    made = [np.empty(arrays[position].shape, dtype) for position in loops.differentiated]
    of_x, of_states = len(runner.loop.writes), len(runner.loop.writes) + len(loops.plan.carried)
    targets = [np.empty(shape, dtype) for _, shape in runner.targets]
    weights, registers = runner.weights_of(arrays[constant:])
    outputs = len(loops.program.outputs)
    runner.built().run(
        kernels.choice.active, run.batch, run.steps, run.lengths, run.reverse, True, sequences + made[:of_x],
        [g[outputs + k] for k in loops.plan.carried], made[of_x:of_states], arrays[state:constant], weights, targets,
        made[of_states:], [arrays[x + k] for k in runner.shifted], None, run.time_major,
    )  # fmt: skip
    return made, runner.results(targets, registers)


# -- in primitives -------------------------------------------------------------------------------------------------


@scan.expands
def _(*arrays: Array, run: Scan) -> Any:
    xs, states, constants, weights = run.parts(arrays)
    loops, loop = run.loops, run.loops.plan.forward
    fixed: dict[int, Any] = {**dict(zip(loops.inputs.weights, weights, strict=True))}
    fixed |= zip(loops.inputs.constants, constants, strict=True)
    once = {o for instruction in (*loop.weight_only, *loop.once) for o in instruction.outputs}
    for instruction in loops.program.instructions:
        if instruction.outputs[0] in once:
            apply(instruction, fixed, run.batch)
    per_step = [i for i in loops.program.instructions if i.outputs[0] not in once]
    cut = {slot: in_steps(x, run) for slot, x in zip(loops.inputs.x, xs, strict=True)}
    outputs: list[list[Any]] = [[] for _ in loops.program.outputs]
    over_time = Run(run.reverse, run.lengths)
    for t in range(run.steps):
        with time_step(t, over_time):
            registers = (
                fixed
                | {slot: parts[t] for slot, parts in cut.items()}
                | dict(zip(loops.inputs.state, states, strict=True))
            )
            for instruction in per_step:
                apply(instruction, registers, run.batch)
            new = [registers[s] for s in loops.program.new_state]
            made = [registers[s] for s in loops.program.outputs]
            names = name_states(new, loops.program.fields, states)
            alive = alive_at(t, run.lengths)
            if alive is not None:
                made = [masked(alive, value, 0) for value in made]
                new = [masked(alive, n, old) for n, old in zip(new, states, strict=True)]
                name_states(new, names)
            states = new
            for some, value in zip(outputs, made, strict=True):
                some.append(value)
    if not run.steps:
        made = [loop.slots[o] for o in loops.program.outputs]
        return (*[Tensor._from_array(np.zeros((*run.leading, *k.inner), k.dtype), None) for k in made], *states)
    return (*[in_order_of_time(some, run) for some in outputs], *states)


def in_steps(x: Array, run: Scan) -> tuple[Array, ...]:
    """The slices of a sequence array that the steps read, in order of running. Parts of a named constant are named after
    it."""
    whole = without_padding(x, run.lengths, run.axis)
    if run.reverse:
        whole = reverse_sequence(whole, lengths=run.lengths, time_axis=run.axis)
    parts = tuple(unstack(whole, axis=run.axis))
    if (
        isinstance(x, Tensor)
        and isinstance(x._node, Leaf)
        and x.name
        and not x.requires_grad
        and ambient.get().recording
    ):
        for t, part in enumerate(parts):
            with time_step(t):
                name = f"{x.name}_{run.steps - 1 - t if run.reverse else t}"
                part._node = Leaf(part.shape, part.dtype, False, name, x._node.role)
    return parts


def in_order_of_time(steps: list[Any], run: Scan) -> Array:
    """The results of the steps, in order of running, as one array over time."""
    whole = stack(steps, axis=run.axis)
    return reverse_sequence(whole, lengths=run.lengths, time_axis=run.axis) if run.reverse else whole


def alive_at(t: int, lengths: Any) -> Any:
    """Which rows have a step t; None if all have."""
    return None if lengths is None or t < lengths.min(initial=t + 1) else t < lengths


def masked(alive: Any, value: Array, otherwise: Any) -> Array:
    """`value` in rows that are still running, else `otherwise`."""
    return where(alive.reshape((-1,) + (1,) * (value.ndim - 1)), value, otherwise)


def apply(instruction: Instruction, registers: dict[int, Any], batch: int) -> None:
    """Run one instruction by calling its op, so that it is recorded."""
    args = [i.value if isinstance(i, Literal) else registers[i] for i in instruction.inputs]
    op, options = instruction.op, with_rows(instruction.options, batch)
    outside = ambient.get()
    recording, path = outside.recording and not instruction.detached, (*outside.scope, *instruction.scope)
    token = ambient.set(Ambient(recording, path, outside.training, outside.tracer))
    try:
        out = op(args, **options) if op.variadic else op(*args, **options)
    finally:
        ambient.reset(token)
    registers.update(zip(instruction.outputs, out if op.several else (out,), strict=True))
