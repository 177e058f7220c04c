"""One step of a program at a time, for streaming: no graph, and arrays that are made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..autodiff.state import recording, training
from ..autodiff.tensor import Tensor
from ..kernels import check
from .environment import Environment
from .node import Loops
from .run import Body
from .scan import Prepared, store
from .steps import checked_result
from .tree import Hidden, Signature, Spec, leaves, rebuilt

Array = np.ndarray[Any, Any]


class Table(NamedTuple):
    """Of an embedding that comes first: its rows, and the least index that it takes."""

    array: Array
    least: int


class Stepper:
    """A step, `step(x, state) -> (output, new state)`, run one step at a time in inference mode; `tg.rnn.stepper` makes it.

    `state`, in the form of the step's, and what `step` returns are arrays of the stepper that every step overwrites: copy
    them to keep them. Assign to the state's elements to go on from another one. Weights and options are those at the call
    of the constructor, or of `reload()`. `runs` tells how it runs: "native", or what it is that the native loop cannot
    do.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> stepper = tg.rnn.stepper(tg.rnn.GRUCell(3).build(2), tg.nn.Linear(3, 1), batch=4)
    >>> stepper.step(np.ones((4, 2), np.float32)).shape, stepper.state.shape
    ((4, 1), (4, 3))
    """

    def __init__(
        self,
        make: Callable[[], tuple[Callable[..., Any], Table | None]],
        shape: tuple[int, ...],
        dtype: Any,
        state: Any,
        verify: Any = None,
    ):
        """make: gives the step with its weights as they are now, and the table if x is to be looked up. shape, dtype: of what
        the step gets as x, batch first. state: arrays to begin
        with. verify(stepper): raises where the steps do not give what they should."""
        self._make = make
        self._x = np.zeros(shape, dtype)
        self._first = rebuilt(state, iter([np.array(a) for a in leaves(state)]))
        self._arrays = [a.copy() for a in leaves(self._first)]
        self.state = rebuilt(state, iter(self._arrays))
        self._isa = kernels.choice.active
        self.reload()
        if verify is not None:
            verify(self)
            self.reset()

    def reset(self) -> None:
        """Return to the initial state."""
        for array, first in zip(self._arrays, leaves(self._first), strict=True):
            array[...] = first

    def step(self, x: Array) -> Any:
        """Take the state one step on by x (B, D); returns the output."""
        buffer = self._x
        if self._table is not None:
            self._look_up(x)
            self._run()
            return self.output
        if type(x) is not np.ndarray or x.dtype != buffer.dtype or x.shape != buffer.shape:
            check.array("step", "x", x, buffer.shape, buffer.dtype, "the stepper has")
        buffer[...] = x
        self._run()
        return self.output

    def _look_up(self, x: Array) -> None:
        """The rows of the table that x names, into the step's x."""
        assert self._table is not None
        (array, least), batch = self._table, len(self._x)
        if not isinstance(x, np.ndarray) or x.shape != (batch,) or x.dtype.kind not in "iu":
            came = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"step: x is {came}, expected an array of {batch} integers")
        if batch and not least <= x.min() <= x.max() < len(array):
            raise IndexError(f"step: x is {x}, expected {least} <= index < {len(array)}")
        np.take(array, x, axis=0, out=self._x)

    def sample(self, steps: int) -> Array:
        """Some x for as many steps, (B, T, ·)."""
        rng, (batch, size) = np.random.default_rng(0), self._x.shape
        if self._table is None:
            return rng.normal(size=(batch, steps, size)).astype(self._x.dtype)
        return rng.integers(self._table.least, len(self._table.array), (batch, steps))

    def reload(self) -> None:
        """Load the current weights and options; the state is not changed."""
        step, self._table = self._make()
        with recording(False), training(False):
            environment = Environment(step)
            inner = [Hidden(Spec(a.shape[1:], a.dtype, False)) for a in (self._x, *self._arrays)]
            signature = Signature(inner[0], rebuilt(self.state, iter(inner[1:])), ())
            batch = len(self._x)
            traced = store.find(step, environment, signature, batch)
            if traced.program is None:
                self.runs = f"op by op: {traced.reason}"
                self._run = self._op_by_op(step)
                return
            prepared = Prepared(traced.program, (1, len(self._arrays), 0), frozenset(), False)
            weights = [w.data if isinstance(w, Tensor) else w for w in prepared.weights(environment)]
        loops, tree = prepared.loops, traced.program.output_tree
        if loops.backend([self._x, *self._arrays, *weights], batch) == "native":
            self.runs = "native"
            self._run = self._native(loops, tree, weights)
        else:
            lacks = loops.unsupported and f": the native interpreter has no {loops.unsupported}"
            self.runs = f"NumPy{lacks or ''}"
            self._run = self._numpy(loops, tree, weights)

    def _native(self, loops: Loops, tree: Any, weights: list[Any]) -> Callable[[], None]:
        """The step as a sequence of length 1 in the interpreter."""
        batch = len(self._x)
        runner: Any = loops.runner("forward", "native", batch)
        sequences: list[Any] = [self._x.reshape(batch, 1, -1) for _ in runner.loop.reads]
        outputs = []
        for write in runner.loop.writes:
            slot = runner.loop.slots[write.slot]
            outputs.append(np.zeros((batch, *(int(n) for n in slot.inner)), slot.dtype))
            sequences.append(outputs[-1].reshape(batch, 1, -1))
        self.output = rebuilt(tree, iter(outputs))
        arrays = [np.array(a, runner.dtype, order="C") for a in runner.weights_of(weights)[0]]
        states = [a.reshape(batch, -1) for a in self._arrays]
        step: Callable[[], None] = runner.built().stepper(self._isa, batch, sequences, states, arrays).step
        return step

    def _numpy(self, loops: Loops, tree: Any, weights: list[Any]) -> Callable[[], None]:
        """The step's instructions in NumPy."""
        inputs, program = loops.inputs, loops.program
        order = [*inputs.x, *inputs.state, *inputs.weights]
        body = Body(program.instructions, order, [*program.outputs, *program.new_state]).for_rows(len(self._x))
        count = len(program.outputs)

        def step() -> None:
            results = body(self._x, *self._arrays, *weights)
            self._take(rebuilt(tree, iter(results[:count])), results[count:])

        return step

    def _op_by_op(self, step: Callable[..., Any]) -> Callable[[], None]:
        """The step as it is called."""

        def run() -> None:
            with recording(False), training(False):
                state = rebuilt(self.state, iter([Tensor._from_array(a, None) for a in self._arrays]))
                output, new = checked_result(step(Tensor._from_array(self._x, None), state), state, 0, len(self._x))
            self._take(rebuilt(output, iter([o.data for o in leaves(output)])), [value.data for value in leaves(new)])

        return run

    def _take(self, output: Any, new: list[Array]) -> None:
        """Keep the results: arrays of their own, since they may be parts of x or of the state."""
        self.output = rebuilt(output, iter([np.array(a) for a in leaves(output)]))
        for array, value in zip(self._arrays, [np.array(v) for v in new], strict=True):
            array[...] = value

    def __repr__(self) -> str:
        return f"<stepper, x {self._x.shape}, {self.runs}>"
