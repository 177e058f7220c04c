"""The interactive page of a graph or a drawing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, overload

from tinygrad_rnn.rnn import RNNCell

from .cell import cell
from .ops import draw
from .write import page
from .write.drawing import Drawing
from .write.page.values import read


@overload
def to_html(
    target: Any, path: None = None, *, opened: bool = True, values: Any = (), title: str | None = None
) -> str: ...
@overload
def to_html(
    target: Any, path: str | os.PathLike[str], *, opened: bool = True, values: Any = (), title: str | None = None
) -> Path: ...
def to_html(
    target: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    opened: bool = True,
    values: Any = (),
    title: str | None = None,
) -> str | Path:
    """Write an interactive page: pan, zoom, hover for shapes and values, click to trace, open and close boxes, go by step.

    target: what was computed (a tensor, tensors nested in tuples, lists and dicts, or a Graph): every op in boxes by scope;
    a cell: the inside of one step; or any Drawing, as it is. path: the file to write, which is returned; without it the
    HTML text is, which IPython.display.HTML shows in a frame of its own. opened: each fused recurrent op is a box that
    holds what the op stands for, else one node. values: tensors whose values to show besides (parameters, say). title: the
    page's name.

    Values are those that the graph keeps for its backward pass and those that follow from them; of a loss the page also
    tells the gradient at every node, from a sweep of its own that changes no `.grad` and frees nothing. After `backward()`
    freed the graph, and for a Graph, only shapes and types are known. The file needs nothing beside it; the same graph
    with the same numbers gives the same bytes. Raises TypeError if nothing was recorded.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.GRUCell(2), [[[1.0], [2.0]]])
    >>> viz.to_html((outputs**2).mean(), title="Two steps of a GRU").startswith("<!DOCTYPE html>")
    True
    """
    if isinstance(target, RNNCell):
        target = cell(target)
    if isinstance(target, Drawing):
        text = page.write(target.picture, None, title)
    else:
        details = read(target, opened, values)
        ops = sum(node.op is not None for node in details.graph.nodes)
        leaves = len(details.graph.nodes) - ops
        name = f"{ops} op{'s' * (ops != 1)}, {leaves} lea{'ves' if leaves != 1 else 'f'}"
        text = page.write(draw(details.graph).picture, details, title or name)
    if path is None:
        return text
    target_path = Path(path)
    target_path.write_bytes(text.encode())
    return target_path
