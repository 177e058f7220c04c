"""Cells that contain cells: stacks, dropout, residual connections, zoneout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autodiff.state import generator, scope
from ..autodiff.tensor import Tensor
from ..checks import is_number
from .cell import LSTMState, RNNCell, called, described, leaves, random_source, rebuild


class MultiRNNCell(RNNCell):
    """A stack of cells, each of which reads the output of the one below [Graves 2013]. The state is the tuple of their
    states. Raises ValueError if a cell object occurs twice, also inside wrappers, since its weights would be shared
    (share=True allows that), and for state_is_tuple=False, TensorFlow 1's other form of the state.

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
            raise TypeError(f"MultiRNNCell: cells is {described(cells)}, expected a list of cells, [LSTMCell(64), …]")
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

    @property
    def state_size(self) -> Any:
        """The tuple of the cells' sizes."""
        return tuple(cell.state_size for cell in self.cells)

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """The top cell's."""
        return int(self.cells[-1].output_size)

    @property
    def built(self) -> bool:
        return all(cell.built for cell in self.cells)

    def build(self, input_size: int, dtype: Any = np.float32) -> Any:
        for i, cell in enumerate(self.cells):
            with scope(self.scope_name), scope(f"cell_{i}", "layer", i):
                cell.build(input_size, dtype)
            input_size = cell.output_size
        return self

    def build_from(self, arrays: Any) -> None:
        """Nothing to do: the inner cells build themselves."""

    def check_input(self, x: Tensor, ndim: int) -> None:
        self.cells[0].check_input(x, ndim)

    @property
    def layers(self) -> tuple[RNNCell, ...]:  # type: ignore[override]
        return tuple(self.cells)

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        sizes = [shape[2], *(cell.output_size for cell in self.cells)]
        return tuple(cell.draw((*shape[:2], n), dtype) for cell, n in zip(self.cells, sizes, strict=False))

    def call(self, x: Any, state: Any, drawn: Any = None) -> tuple[Any, Any]:
        news = []
        for i, (cell, old, own) in enumerate(zip(self.cells, state, drawn or [()] * len(state), strict=True)):
            with scope(f"cell_{i}", "layer", i), scope(cell.scope_name):
                x, new = called(cell, x, old, own)
            news.append(new)
        return x, tuple(news)


class _Wrapper(RNNCell):
    """Base of cells that wrap another: sizes, building and checks are the inner cell's."""

    def __init__(self, cell: RNNCell, name: str | None = None):
        _demand_cell(type(self).__name__, cell, "cell")
        self.cell = cell
        self.name = name

    @property
    def state_size(self) -> Any:
        """The cell's."""
        return self.cell.state_size

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """The cell's."""
        return self.cell.output_size

    @property
    def built(self) -> bool:
        return self.cell.built

    def build(self, input_size: int, dtype: Any = np.float32) -> Any:
        with scope(self.scope_name):
            self.cell.build(input_size, dtype)
        return self

    def build_from(self, arrays: Any) -> None:
        """Nothing to do: the inner cell builds itself."""

    def check_input(self, x: Tensor, ndim: int) -> None:
        self.cell.check_input(x, ndim)

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        return self.cell.draw(shape, dtype)

    def inner(self, x: Any, state: Any, drawn: Any) -> tuple[Any, Any]:
        """The wrapped cell's step."""
        with scope(self.cell.scope_name):
            return called(self.cell, x, state, drawn)


class DropoutWrapper(_Wrapper):
    """Dropout on a cell's input, output and new state in training mode [Zaremba et al. 2014]. Each keep_prob in (0, 1] is
    the probability that an element is kept; kept elements are divided by it. In an LSTM's state, it applies to h and not
    to c. variational_recurrent=True draws one mask per sequence and uses it at every step [Gal & Ghahramani 2016]. seed:
    a generator or an integer, else the default generator. input_size and dtype, which TensorFlow 1 needs for
    variational_recurrent, are accepted and ignored. Raises ValueError for a keep_prob outside (0, 1].

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
            if not (is_number(p) and 0 < p <= 1):
                raise ValueError(f"DropoutWrapper: {what}_keep_prob is {p!r}, expected a number in (0, 1]")
        self.variational_recurrent = variational_recurrent
        self.rng = random_source(seed)

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        """The masks of input, output and parts of the state, () for none; then the arrays drawn by the cell."""
        own: tuple[Any, ...] = ((), (), ())
        if self.training:
            for_state = tuple(self._mask("state", shape, size, dtype) for size in _hidden(self.state_size))
            for_output = self._mask("output", shape, self.output_size, dtype)
            own = self._mask("input", shape, shape[2], dtype), for_output, for_state
        return own, self.cell.draw(shape, dtype)

    def _mask(self, what: str, shape: tuple[int, int, int], size: int, dtype: Any) -> Any:
        p = self.keep[what]
        if p == 1:
            return ()
        whole = (shape[0], size) if self.variational_recurrent else (*shape[:2], size)
        return np.multiply(generator(self.rng).random(whole, np.float32) < p, 1 / p, dtype=dtype)

    def call(self, x: Any, state: Any, drawn: Any = ((), ())) -> tuple[Any, Any]:
        (for_input, for_output, for_state), inside = drawn[0] or ((), (), ()), drawn[1]
        output, new = self.inner(_dropped(x, for_input), state, inside)
        masks = iter(for_state)
        return _dropped(output, for_output), _map_hidden(lambda s: _dropped(s, next(masks, ())), new)

    def describe(self) -> str:
        return ", ".join(f"{what}_keep_prob={p}" for what, p in self.keep.items() if p != 1)


class ResidualWrapper(_Wrapper):
    """output = x + the cell's output [He et al. 2016], or residual_fn(x, output).

    Raises ValueError if x and the output differ in shape and no residual_fn is given.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.ResidualWrapper(tg.rnn.GRUCell(4))
    >>> tg.rnn.dynamic_rnn(cell, np.ones((2, 5, 4), np.float32))[0].shape
    (2, 5, 4)
    """

    def __init__(self, cell: RNNCell, residual_fn: Callable[[Any, Any], Any] | None = None, name: str | None = None):
        super().__init__(cell, name)
        self.residual_fn = residual_fn

    def call(self, x: Any, state: Any, drawn: Any = ()) -> tuple[Any, Any]:
        output, state = self.inner(x, state, drawn)
        return (self._sum if self.residual_fn is None else self.residual_fn)(x, output), state

    @staticmethod
    def _sum(x: Any, output: Any) -> Any:
        if x.shape != output.shape:
            raise ValueError(
                f"ResidualWrapper: x has shape {x.shape} and the cell's output {output.shape}; they must be equal to be "
                "added, or residual_fn must say how"
            )
        return x + output


class ZoneoutWrapper(_Wrapper):
    """Zoneout [Krueger et al. 2017]: in training mode each unit of a state keeps its old value with probability p;
    otherwise the expectation p · old + (1 − p) · new is used.

    zoneout_prob: one number for every part of the state, or for an LSTM a pair (c, h), each in [0, 1). If the cell's
    output is a part of its state, zoneout applies to it too; so put other wrappers around this one, not inside.

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
        if len(given) != 2 or not all(is_number(p) and 0 <= p < 1 for p in given):
            raise ValueError(
                f"ZoneoutWrapper: zoneout_prob is {zoneout_prob!r}, expected a number in [0, 1) or a pair (c, h)"
            )
        self.zoneout_prob = given
        self.rng = random_source(seed)

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        """For each part of the state a mask of the units that keep their old value, () for none; then the arrays drawn by
        the cell."""
        own: Any = ()
        if self.training and any(self.zoneout_prob):
            draw = generator(self.rng).random
            own = tuple(draw((*shape[:2], n)) < p if p else () for n, p in self._parts(self.state_size))
        return own, self.cell.draw(shape, dtype)

    def _parts(self, state: Any) -> list[tuple[Any, float]]:
        """The leaves of a state (or of its size), each with its probability."""
        for_c, for_h = self.zoneout_prob
        if isinstance(state, LSTMState):
            return [(state.c, for_c), (state.h, for_h)]
        if isinstance(state, tuple):
            return [part for s in state for part in self._parts(s)]
        return [(state, for_h)]

    def call(self, x: Any, state: Any, drawn: Any = ((), ())) -> tuple[Any, Any]:
        masks, inside = drawn
        output, new = self.inner(x, state, inside)
        mixed = []
        for k, ((after, p), before) in enumerate(zip(self._parts(new), leaves(state), strict=True)):
            if p and masks:
                mixed.append(ops.where(masks[k], before, after))
            else:
                mixed.append(p * before + (1 - p) * after if p else after)
        for old, value in zip(leaves(new), mixed, strict=True):
            if old is output:  # the output is a part of the state, after zoneout
                output = value
                break
        return output, rebuild(new, tuple(mixed))


def _demand_cell(owner: str, cell: Any, argument: str) -> None:
    if not isinstance(cell, RNNCell):
        raise TypeError(f"{owner}: {argument} is {described(cell)}, expected an rnn.RNNCell such as rnn.LSTMCell(64)")


def _dropped(value: Any, mask: Any) -> Any:
    return value if isinstance(mask, tuple) else value * mask


def _hidden(state: Any) -> list[Any]:
    """The parts of a state (or of its size) that are also outputs: not an LSTM's c."""
    if isinstance(state, LSTMState):
        return [state.h]
    return [part for s in state for part in _hidden(s)] if isinstance(state, tuple) else [state]


def _map_hidden(f: Callable[[Any], Any], state: Any) -> Any:
    """f on these parts."""
    if isinstance(state, LSTMState):
        return LSTMState(state.c, f(state.h))
    if not isinstance(state, tuple):
        return f(state)
    parts = [_map_hidden(f, s) for s in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
