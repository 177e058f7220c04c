"""Which path ran, why, and what it keeps in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .. import kernels
from ..autodiff.tensor import Tensor
from ..module import Module
from ..program.calls import listener
from .cell import RNNCell, as_cell, described
from .driver import dynamic_rnn, input_tensor


class Explanation(NamedTuple):
    """The result of `explain`: (name, path, why) for every cell that ran, the kernels used, and the bytes kept for
    backward.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.MultiRNNCell([tg.rnn.LSTMCell(4), tg.rnn.ZoneoutWrapper(tg.rnn.LSTMCell(4))])
    >>> explanation = tg.rnn.explain(cell, np.ones((2, 3, 5), np.float32))
    >>> explanation.paths[-1][1:], explanation.path
    (('fused', 'the whole sequence is one node'), 'fused')
    """

    paths: tuple[tuple[str, str, str], ...]
    implementation: str
    isa: str | None
    threads: int
    missing: str | None
    bytes_kept: int

    @property
    def path(self) -> str:
        """ "fused" if every cell ran fused, else "unrolled"."""
        return "fused" if all(path == "fused" for _, path, _ in self.paths) else "unrolled"

    def __str__(self) -> str:
        width = max(len(name) for name, _, _ in self.paths)
        lines = [f"{name:<{width}}  {path:<8}  {why}" for name, path, why in self.paths]
        by = f"{self.implementation} kernels" + (f" ({self.isa}, up to {self.threads} threads)" if self.isa else "")
        if self.missing:
            by += f"; no native ones: {self.missing}"
        return "\n".join([*lines, f"fused ops run on {by}", f"{self.bytes_kept:,} bytes are kept for backward"])

    def __repr__(self) -> str:
        return str(self)


def explain(model: Module, inputs: Any, *arguments: Any, **options: Any) -> Explanation:
    """Run a cell as dynamic_rnn does, or call another module, and report which path ran and why.

    model: a cell, with the arguments of dynamic_rnn (sequence_length, initial_state, dtype, time_major, impl, recompute);
    or a layer of `nn` or `layers`, a Sequential, or your own Module, with the arguments of its call. A cell is named by
    its path, "lstm/cell_1/bw/lstm_cell". bytes_kept counts the arrays that the graph keeps for the backward pass, without
    parameters and inputs. Raises TypeError if model is not a module, ValueError if it runs no cell over time.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x = np.ones((2, 3, 5), np.float32)
    >>> tg.rnn.explain(tg.rnn.LSTMCell(4), x).path
    'fused'
    >>> tg.rnn.explain(tg.layers.LSTM(4, activation="relu"), x).paths[0][:2]
    ('lstm/lstm_cell', 'fused')
    """
    from ..autodiff.graph import saved_bytes

    if not isinstance(model, Module):
        raise TypeError(
            f"explain: model is {described(model)}, expected a cell such as rnn.LSTMCell(64), a layer or a Module"
        )
    cell = as_cell(model)
    if isinstance(cell, RNNCell):
        x = input_tensor("explain", inputs, options.get("dtype"), cell)
        run: Callable[..., Any] = partial(dynamic_rnn, cell)
    else:
        x, run = inputs if isinstance(inputs, Tensor) else Tensor(inputs), model
    paths: list[tuple[str, str, str]] = []
    token = listener.set(paths)
    try:
        results = run(x, *arguments, **options)
    finally:
        listener.reset(token)
    if not paths:
        raise ValueError(f"explain: {model.scope_name} ran no cell over time, so there is no path to report")
    kernel_info = kernels.info()
    return Explanation(
        tuple(paths),
        str(kernel_info["implementation"]),
        kernel_info["isa"],
        int(kernel_info["threads"]),
        kernel_info["missing"],
        saved_bytes(results, without=[x.data, *(p.data for p in model.parameters())]),
    )
