"""Attention as arrows: from each place of the memory to each step that attends to it, as strong as its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .net.measure import Measured
from .scene import legend, style
from .scene.color_scale import ColorScale
from .scene.paths import straight
from .scene.picture import Edge, Node, Picture
from .write.drawing import Drawing

ROW_APART, BESIDE = 200.0, 22.0  # between the rows, between their nodes
LEAST = 0.01  # the least weight that has an arrow


def attention(
    target: Any, *, row: int = 0, memory: Sequence[str] = (), steps: Sequence[str] = (), of: str = "alignments"
) -> Drawing:
    """Draw where a decoder attends: the memory's places below, the steps above, arrows as strong as the weights.

    target: what a run of an `rnn.AttentionWrapper` computed, or of any cell that names its weights (B, S) with
    rnn.gate("alignments", …); of: another such name. row: which of the batch. memory, steps: texts for the places and the
    steps, such as the words read and written; by default their numbers. Weights below 0.01 have no arrow. The same as a
    heat map is `viz.heatmap(target, of="alignments", units=memory, steps=steps)`. Errors as `viz.heatmap`.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> cell = tg.rnn.AttentionWrapper(tg.rnn.GRUCell(4), tg.rnn.LuongAttention(4, np.ones((1, 2, 3), np.float32)))
    >>> outputs, _ = tg.rnn.dynamic_rnn(cell, np.ones((1, 3, 3), np.float32))
    >>> viz.attention(outputs, memory=["le", "chat"], steps=["the", "cat", "."])
    Drawing(16 nodes, 11 edges)
    """
    measured = Measured(target, "attention")
    values = measured.over_time(measured.layer(of, None), of)
    if values.ndim != 3:
        raise ValueError(f"attention: {of!r} has shape {values.shape}, expected (B, T, S)")
    if not -len(values) <= row < len(values):
        raise ValueError(f"attention: row is {row}, expected less than {len(values)}, the batch")
    weights = values[row]
    for name, texts, size in (("memory", memory, weights.shape[1]), ("steps", steps, weights.shape[0])):
        if texts and len(texts) != size:
            raise ValueError(f"attention: {name} has {len(texts)} texts, expected {size}")
    scale = ColorScale([1.0], f"weight ({of})", "activation", log=False)
    memory = [style.shown(text, 24) for text in memory or map(str, range(weights.shape[1]))]
    steps = [style.shown(text, 24) for text in steps or (f"t={t}" for t in range(len(weights)))]
    width = max(style.fitting_size((text,), "ellipse")[0] for text in (*memory, *steps))
    below, above = _row("m", memory, "input", width, 0.0), _row("t", steps, "output", width, ROW_APART)
    edges = []
    for t, own in enumerate(weights):
        for place, weight in enumerate(own):
            if weight >= LEAST:  # not a number past a row's length
                (x0, y0), (x1, y1) = below[place].at or (0.0, 0.0), above[t].at or (0.0, 0.0)
                path = straight((x0, y0 + 15.0), (x1, y1 - 15.0))
                edges.append(Edge(f"m{place}", f"t{t}", path=path, look=scale.line(float(weight))))
    edges.sort(key=lambda edge: edge.look[1] if edge.look else 0.0)  # the strongest on top
    picture = Picture("attention", "BT", [*below, *above], edges, placed=True)
    return Drawing(legend.add(picture, scale, words=False, lines=True))


def _row(letter: str, texts: Sequence[str], role: str, width: float, y: float) -> list[Node]:
    """A row of nodes around the middle."""
    places = [((k - (len(texts) - 1) / 2) * (width + BESIDE), y) for k in range(len(texts))]
    return [
        Node(f"{letter}{k}", (text,), role, at=at, size=(width, 30.0))
        for k, (text, at) in enumerate(zip(texts, places, strict=True))
    ]
