"""Cells made of cells: stacks, dropout, residual connections, zoneout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from .. import ops
from ..autodiff.state import generator, scope
from ..autodiff.tensor import Tensor
from .cell import LSTMState, RNNCell, Step, kind, leaves, random_source


class MultiRNNCell(RNNCell):
    """A stack of cells, each fed with the output of the one below [Graves 2013]. The state is the tuple of their states.

    Raises ValueError if the same cell object stands twice, also inside wrappers, which would share its weights;
    share=True allows that; and for state_is_tuple=False, TensorFlow 1's other form of the state.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.MultiRNNCell([tg.rnn.LSTMCell(4), tg.rnn.GRUCell(3)])
    >>> output, state = cell(np.ones((2, 5), np.float32), cell.zero_state(2))
    >>> output.shape, state[0].h.shape
    ((2, 3), (2, 4))
    """

    def __init__(
        self, cells: Sequence[RNNCell], state_is_tuple: bool = True, *, share: bool = False, name: str | None = None
    ):
        if not state_is_tuple:
            raise ValueError("MultiRNNCell: state_is_tuple=False is not supported; the state is a tuple, one a cell")
        if not isinstance(cells, (list, tuple)):
            raise TypeError(f"MultiRNNCell: cells is {kind(cells)}, expected a list of cells, [LSTMCell(64), …]")
        self.cells = list(cells)
        self.name = name
        if not self.cells:
            raise ValueError("MultiRNNCell: cells is empty, expected at least one cell")
        for i, cell in enumerate(self.cells):
            _demand_cell("MultiRNNCell", cell, f"cells[{i}]")
            for j, other in enumerate(self.cells[:i]):
                if not share and not set(map(id, cell.modules())).isdisjoint(map(id, other.modules())):
                    are = "are the same object" if cell is other else "hold the same cell"
                    raise ValueError(
                        f"MultiRNNCell: cells[{j}] and cells[{i}] {are}, so the layers would share their weights. Make one "
                        "per layer, [LSTMCell(n) for _ in range(layers)], or pass share=True"
                    )
        self.state_size = tuple(cell.state_size for cell in self.cells)
        self.output_size = self.cells[-1].output_size

    @property
    def built(self) -> bool:
        return all(cell.built for cell in self.cells)

    def build(self, input_size: int, dtype: Any = np.float32) -> Any:
        for i, cell in enumerate(self.cells):
            with scope(self.scope_name), scope(f"cell_{i}"):
                cell.build(input_size, dtype)
            input_size = cell.output_size
        return self

    def build_from(self, arrays: Any) -> None:
        """The cells inside build themselves."""

    def check_input(self, x: Tensor, ndim: int) -> None:
        self.cells[0].check_input(x, ndim)

    def project(self, x: Any) -> Any:
        return self.cells[0].project(x)

    def begin(self, batch: int, dtype: Any) -> Step:
        steps = [cell.begin(batch, dtype) for cell in self.cells]

        def step(z: Any, states: Any) -> tuple[Any, Any]:
            news = []
            for i, (cell, one, state) in enumerate(zip(self.cells, steps, states, strict=True)):
                with scope(f"cell_{i}"), scope(cell.scope_name):
                    z, new = one(z if i == 0 else cell.project(z), state)
                news.append(new)
            return z, tuple(news)

        return step

    def unfused(self) -> str | None:
        return None

    def sequence(self, run: Any, x: Any, state: Any) -> tuple[Any, Any]:
        """Layer by layer, each over the whole sequence in the best way it has."""
        news = []
        for i, (cell, one) in enumerate(zip(self.cells, state, strict=True)):
            with scope(f"cell_{i}"):
                x, new = run(cell, x, one)
            news.append(new)
        return x, tuple(news)


class _Wrapper(RNNCell):
    """A cell around another: sizes, building and checks are the inner cell's."""

    def __init__(self, cell: RNNCell, name: str | None = None):
        _demand_cell(type(self).__name__, cell, "cell")
        self.cell = cell
        self.name = name
        self.state_size, self.output_size = cell.state_size, cell.output_size

    @property
    def built(self) -> bool:
        return self.cell.built

    def build(self, input_size: int, dtype: Any = np.float32) -> Any:
        with scope(self.scope_name):
            self.cell.build(input_size, dtype)
        return self

    def build_from(self, arrays: Any) -> None:
        """The cell inside builds itself."""

    def check_input(self, x: Tensor, ndim: int) -> None:
        self.cell.check_input(x, ndim)

    def inner(self, batch: int, dtype: Any) -> Step:
        """The wrapped cell's step, from x itself."""
        step = self.cell.begin(batch, dtype)

        def run(x: Any, state: Any) -> tuple[Any, Any]:
            with scope(self.cell.scope_name):
                return step(self.cell.project(x), state)

        return run


class DropoutWrapper(_Wrapper):
    """Dropout on a cell's input, output and new state, while training [Zaremba et al. 2014].

    Each keep_prob in (0, 1] is the chance that an element is kept, and then divided by it. Of an LSTM's state, h is
    dropped and c is not. variational_recurrent=True draws one mask a sequence and uses it at every step [Gal &
    Ghahramani 2016]. seed: a generator or an integer, else the default generator. input_size and dtype, which TensorFlow 1
    needs for variational_recurrent, are taken and not used: the masks fit what comes. Raises ValueError for a keep_prob
    outside (0, 1].

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.DropoutWrapper(tg.rnn.LSTMCell(4), output_keep_prob=0.5, seed=0)
    >>> outputs, _ = tg.rnn.dynamic_rnn(cell, np.ones((20, 5, 3), np.float32))
    >>> bool(0.4 < np.mean(outputs.data == 0) < 0.6)
    True
    """

    def __init__(
        self,
        cell: RNNCell,
        input_keep_prob: float = 1.0,
        output_keep_prob: float = 1.0,
        state_keep_prob: float = 1.0,
        variational_recurrent: bool = False,
        input_size: Any = None,
        dtype: Any = None,
        seed: Any = None,
        name: str | None = None,
    ):
        super().__init__(cell, name)
        self.keep = {"input": input_keep_prob, "output": output_keep_prob, "state": state_keep_prob}
        for what, p in self.keep.items():
            if not (_is_number(p) and 0 < p <= 1):
                raise ValueError(f"DropoutWrapper: {what}_keep_prob is {p!r}, expected a number in (0, 1]")
        self.variational_recurrent = variational_recurrent
        self.rng = random_source(seed)

    def begin(self, batch: int, dtype: Any) -> Step:
        inner = self.inner(batch, dtype)
        if not self.trains:
            return inner
        masks: dict[str, Any] = {}

        def drop(t: Any, what: str, key: str) -> Any:
            if self.keep[what] == 1:
                return t
            if not self.variational_recurrent:
                return t * self._mask(t.shape, dtype, what)
            if key not in masks:
                masks[key] = self._mask(t.shape, dtype, what)
            return t * masks[key]

        def step(x: Any, state: Any) -> tuple[Any, Any]:
            output, new = inner(drop(x, "input", "input"), state)
            keys = count()
            dropped = _map_hidden(lambda s: drop(s, "state", f"state {next(keys)}"), new)
            return drop(output, "output", "output"), dropped

        return step

    def unfused(self) -> str | None:
        return "state dropout acts at every step" if self.trains and self.keep["state"] < 1 else None

    def sequence(self, run: Any, x: Any, state: Any) -> tuple[Any, Any]:
        def drop(t: Any, what: str) -> Any:
            if not self.trains or self.keep[what] == 1:
                return t
            shape = list(t.shape)
            if self.variational_recurrent:
                shape[run.axis] = 1
            return run.without_padding(t) * self._mask(tuple(shape), x.dtype, what)

        outputs, state = run(self.cell, drop(x, "input"), state)
        return drop(outputs, "output"), state

    def _mask(self, shape: tuple[int, ...], dtype: Any, what: str) -> np.ndarray[Any, Any]:
        p = self.keep[what]
        return ((generator(self.rng).random(shape) < p) / p).astype(dtype)

    def describe(self) -> str:
        return ", ".join(f"{what}_keep_prob={p}" for what, p in self.keep.items() if p != 1)


class ResidualWrapper(_Wrapper):
    """output = x + the cell's output [He et al. 2016], or residual_fn(x, output).

    Raises ValueError where x and the output differ in shape and there is no residual_fn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.ResidualWrapper(tg.rnn.GRUCell(4))
    >>> tg.rnn.dynamic_rnn(cell, np.ones((2, 5, 4), np.float32))[0].shape
    (2, 5, 4)
    """

    def __init__(self, cell: RNNCell, residual_fn: Callable[[Any, Any], Any] | None = None, name: str | None = None):
        super().__init__(cell, name)
        self.residual_fn = residual_fn

    def begin(self, batch: int, dtype: Any) -> Step:
        inner = self.inner(batch, dtype)

        def step(x: Any, state: Any) -> tuple[Any, Any]:
            output, state = inner(x, state)
            if self.residual_fn is not None:
                return self.residual_fn(x, output), state
            return self._sum(x, output), state

        return step

    def unfused(self) -> str | None:
        return None if self.residual_fn is None else "residual_fn acts at every step"

    def sequence(self, run: Any, x: Any, state: Any) -> tuple[Any, Any]:
        outputs, state = run(self.cell, x, state)
        return run.zeroed(self._sum(run.without_padding(x), outputs)), state

    @staticmethod
    def _sum(x: Any, output: Any) -> Any:
        if x.shape != output.shape:
            raise ValueError(
                f"ResidualWrapper: x has shape {x.shape} and the cell's output {output.shape}; they must be equal to be "
                "added, or residual_fn must say how"
            )
        return x + output


class ZoneoutWrapper(_Wrapper):
    """Zoneout [Krueger et al. 2017]: while training each unit of a state keeps its old value with chance p; otherwise
    the expectation p · old + (1 − p) · new is used.

    zoneout_prob: one number for every part of the state, or for an LSTM a pair (c, h), each in [0, 1). Where the cell's
    output is a part of its state, it is the mixed one; so other wrappers go around this one, not inside.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.ZoneoutWrapper(tg.rnn.LSTMCell(4), zoneout_prob=(0.5, 0.05), seed=0)
    >>> tg.rnn.dynamic_rnn(cell, np.ones((2, 5, 3), np.float32))[0].shape
    (2, 5, 4)
    """

    def __init__(
        self, cell: RNNCell, zoneout_prob: float | tuple[float, float] = 0.1, seed: Any = None, name: str | None = None
    ):
        super().__init__(cell, name)
        given = tuple(zoneout_prob) if isinstance(zoneout_prob, (tuple, list)) else (zoneout_prob, zoneout_prob)
        if len(given) != 2 or not all(_is_number(p) and 0 <= p < 1 for p in given):
            raise ValueError(
                f"ZoneoutWrapper: zoneout_prob is {zoneout_prob!r}, expected a number in [0, 1) or a pair (c, h)"
            )
        self.zoneout_prob = given
        self.rng = random_source(seed)

    def begin(self, batch: int, dtype: Any) -> Step:
        inner = self.inner(batch, dtype)
        for_c, for_h = self.zoneout_prob

        def keep(old: Any, new: Any, p: float) -> Any:
            if not p:
                return new
            if not self.trains:
                return p * old + (1 - p) * new
            return ops.where(generator(self.rng).random(new.shape) < p, old, new)

        def mix(old: Any, new: Any) -> Any:
            if isinstance(new, LSTMState):
                return LSTMState(keep(old.c, new.c, for_c), keep(old.h, new.h, for_h))
            if isinstance(new, tuple):
                return tuple(mix(a, b) for a, b in zip(old, new, strict=True))
            return keep(old, new, for_h)

        def step(x: Any, state: Any) -> tuple[Any, Any]:
            output, new = inner(x, state)
            mixed = mix(state, new)
            for before, after in zip(leaves(new), leaves(mixed), strict=True):
                if before is output:  # the output is a part of the state: it is the mixed one
                    output = after
            return output, mixed

        return step

    def unfused(self) -> str | None:
        return "zoneout mixes the states at every step" if any(self.zoneout_prob) else None

    def sequence(self, run: Any, x: Any, state: Any) -> tuple[Any, Any]:
        outputs, state = run(self.cell, x, state)
        return outputs, state


def _demand_cell(owner: str, cell: Any, argument: str) -> None:
    if not isinstance(cell, RNNCell):
        raise TypeError(f"{owner}: {argument} is {kind(cell)}, expected an rnn.RNNCell such as rnn.LSTMCell(64)")


def _is_number(p: Any) -> bool:
    return isinstance(p, (int, float, np.integer, np.floating)) and not isinstance(p, bool)


def _map_hidden(f: Callable[[Any], Any], state: Any) -> Any:
    """f on the parts of a state that are also outputs: not on an LSTM's c."""
    if isinstance(state, LSTMState):
        return LSTMState(state.c, f(state.h))
    if isinstance(state, tuple):
        return tuple(_map_hidden(f, s) for s in state)
    return f(state)
