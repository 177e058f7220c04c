"""Streaming: cells and the layers after them, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autodiff.state import recording, scope, training
from ..autodiff.tensor import Tensor
from ..checks import is_integer
from ..module import Module, Parameter
from .cell import RNNCell, as_cell, described, map_state

if TYPE_CHECKING:
    from ..program.stepper import Stepper, Table


def stepper(*parts: Any, batch: int = 1, input_size: int | None = None, dtype: Any = None) -> Stepper:
    """Cells and the layers after them, for streaming: `step(x)` takes an array (B, D) and returns the output of the last
    part.

    parts: in order, cells, wrappers, stacks, recurrent layers of `nn` and `layers`, Sequentials of both, and layers or
    functions of a tensor (B, ·) that compute each row independently; the first may be an Embedding, then x is integers
    (B). A model of a cell and a head is streamed by `rnn.stepper(model.cell, model.head)`; for a more complex step write
    an RNNCell. Everything runs in inference mode and nothing is recorded. The step is traced once, like that of
    `tg.scan`, and runs in the native loop with packed weights; if that is not possible, it runs in NumPy or op by op
    (`stepper.runs` says which and why).

    batch: rows of x. input_size and dtype: of x, if the parts do not determine them. The stepper has `state` (that of the
    cell, or a tuple for several cells), `reset()`, and `reload()`, which loads the weights again after training. Raises
    TypeError for an invalid part, ValueError for cells without weights and for layers that need a whole sequence.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell, head = tg.rnn.ZoneoutWrapper(tg.rnn.LSTMCell(8)), tg.nn.Linear(8, 2)
    >>> x = np.ones((1, 5, 3), np.float32)
    >>> with tg.training(False):
    ...     outputs = head(tg.rnn.dynamic_rnn(cell, x)[0]).data
    >>> stepper = tg.rnn.stepper(cell, head, tg.tanh)
    >>> bool(np.allclose([stepper.step(x[:, t]).copy() for t in range(5)], np.tanh(outputs).swapaxes(0, 1), atol=1e-6))
    True
    """
    return new_stepper(parts, batch, input_size, dtype)


def new_stepper(
    parts: Any, batch: int, input_size: int | None = None, dtype: Any = None, reference: Any = None
) -> Stepper:
    """As `stepper`. reference: a function of a sequence (B, T, D) with which the results of the steps are compared once."""
    if not is_integer(batch):
        raise TypeError(f"stepper: batch is {batch!r}, expected an integer")
    if batch < 0:
        raise ValueError(f"stepper: batch is {batch}, expected at least 0")
    flat = _flat(parts)
    for part in flat:
        if isinstance(part, RNNCell) and not part.built:
            raise ValueError(
                f"stepper: {part.scope_name} has no weights yet; call .build(input_size) or run it once first"
            )
    table = _table(flat[0])
    modules = [part for part in flat if isinstance(part, Module)]
    dtypes = [p.dtype for part in modules for p in part.parameters()]
    dtypes += [part.dtype for part in modules if part.dtype is not None]  # weights may be computed from those of `nn`
    floats = np.dtype(next(iter(dtypes), np.float32) if dtype is None else dtype)
    size = table.array.shape[1] if table else _input_size(flat[0]) if input_size is None else input_size
    if size is None:
        raise ValueError("stepper: the size of x cannot be inferred from the first part; pass input_size=")
    cells = [part for part in flat if isinstance(part, RNNCell)]
    states = [map_state(lambda t: t.data, cell.zero_state(int(batch), floats)) for cell in cells]
    state = states[0] if len(cells) == 1 else tuple(states)

    def make() -> tuple[Callable[..., Any], Table | None]:
        now = _flat(parts)
        return partial(_through, tuple(now[table is not None :]), len(cells) == 1), _table(now[0])

    from ..program.stepper import Stepper

    verify = None if reference is None else partial(_verify, reference)
    return Stepper(make, (int(batch), int(size)), floats, state, verify)


def _table(part: Any) -> Table | None:
    """The table of an embedding."""
    if not hasattr(type(part), "looked_up"):
        return None
    from ..program.stepper import Table

    weight, least = part.looked_up()
    return Table(weight.data, least)


def _flat(parts: Any) -> list[Any]:
    """Cells and functions, in order, of all parts."""
    with training(False):
        out = [one for part in parts for one in _parts(part)]
    if not out:
        raise TypeError(
            "stepper: there are no parts, expected a cell such as rnn.LSTMCell(64).build(3), and the layers after it"
        )
    return out


def _parts(part: Any) -> Iterator[Any]:
    part = as_cell(part)
    if hasattr(type(part), "streamed"):
        for inner in part.streamed():
            yield from _parts(inner)
    elif isinstance(part, type) or not callable(part):
        raise TypeError(f"stepper: a part is {described(part)}, expected a cell, a layer or a function of a tensor")
    else:
        yield part


def _input_size(part: Any) -> int | None:
    """The input size of a part, or None if it is not known."""
    while isinstance(part, RNNCell) and part.input_size is None:
        part = part.layers[0] if part.layers else getattr(part, "cell", None)
    for name in ("input_size", "in_features"):
        if isinstance(size := getattr(part, name, None), int):
            return size
    kernel = getattr(part, "kernel", None)
    return int(kernel.shape[0]) if isinstance(kernel, Parameter) else None


def _through(parts: tuple[Any, ...], single: bool, x: Any, state: Any) -> tuple[Any, Any]:
    """One step of all parts."""
    olds, news = iter((state,) if single else state), []
    for part in parts:
        if isinstance(part, RNNCell):
            with scope(part.scope_name):
                x, new = part.call(x, next(olds))
            news.append(new)
        else:
            x = part(x)
    return x, news[0] if single else tuple(news)


def _verify(reference: Callable[[Any], Any], stepper: Stepper) -> None:
    """Raise an error if the steps do not give the model's results for a sequence."""
    x = stepper.sample(3)
    with recording(False), training(False):
        expected = reference(Tensor._from_array(x, None)).data
    steps = np.stack([np.array(stepper.step(x[:, t])) for t in range(3)], axis=1)
    if expected.ndim < steps.ndim:
        steps = steps[:, -1]
    if steps.shape != expected.shape or not np.allclose(steps, expected, 1e-3, 1e-4, equal_nan=True):
        raise ValueError(
            "stepper: the model's results for a sequence differ from those step by step: a layer reads more than the current "
            "step; pass the other parts to rnn.stepper(...)"
        )
