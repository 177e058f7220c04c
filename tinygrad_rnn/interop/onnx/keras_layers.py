"""Writers of the Keras layers. Lengths replace masks, so padding is at the end of each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import layers, models, rnn
from .writer import FUNCTIONS, WRITERS, Graph, OverTime, final_outputs, over_time, write


def _refused(layer: Any, why: str) -> TypeError:
    return TypeError(f"interop.onnx.export: {layer.scope_name} cannot be written as ONNX: {why}")


def _run(g: Graph, layer: Any, x: str) -> OverTime:
    """Write a layer's cell, or its stack of cells, over time."""
    if layer.stateful:
        raise _refused(layer, "it is stateful, and a file keeps nothing between calls; pass h_0 instead")
    stack, outer = getattr(layer.cell, "cells", None), g.prefix
    finals: dict[str, str] = {}
    for i, cell in enumerate(stack or [layer.cell]):
        g.prefix = outer if stack is None else f"{outer}{i}."
        sequence = over_time(g, cell, x, layer.go_backwards)
        x = sequence.outputs
        if layer.return_state:
            final_outputs(g, sequence.finals, cell.output_size)
        finals = sequence.finals
    g.prefix = outer
    return OverTime(x, sequence.last, finals)


def _flipped(g: Graph, y: str) -> str:
    ends = (np.array([n]) for n in (-1, np.iinfo(np.int64).min + 1, 1, -1))
    return g.add("Slice", [y, *map(g.array, ends)])


def _recurrent(g: Graph, layer: Any, x: str) -> str:
    sequence = _run(g, layer, x)
    if not layer.return_sequences:
        return _last(g, layer, sequence.last)
    if layer.go_backwards:
        return _flipped(
            g, sequence.outputs
        )  # in the order in which the layer reads: padding first, where outputs are 0
    if not g.lengths() or layer.zero_output_for_mask:
        return sequence.outputs
    zero, one = g.array(np.array(0)), g.array(np.array(1))
    steps = g.add("Range", [zero, g.add("Gather", [g.add("Shape", [sequence.outputs]), one], axis=0), one])
    counts = g.add("Cast", [g.lengths()], to=7)
    read = g.add("Less", [steps, g.add("Unsqueeze", [counts, g.array(np.array([1]))])])
    read = g.add("Unsqueeze", [read, g.array(np.array([2]))])
    last = g.add("Unsqueeze", [sequence.last, g.array(np.array([1]))])
    return g.add("Where", [read, sequence.outputs, last])  # past its length a row repeats its last output


def _last(g: Graph, layer: Any, last: str) -> str:
    """The last output of each row, (B, H)."""
    g.leading = ("B",)
    g.widen(layer.cell.output_size)
    return last


def _bidirectional(g: Graph, layer: Any, x: str) -> str:
    if layer.merge_mode is None:
        raise _refused(layer, "merge_mode=None gives two outputs")
    x = x or g.first(x, layer.dtype, _first_cell(layer.forward_layer).input_size)
    outer, leading, sides = g.prefix, g.leading, []
    for name, side_layer in (("fw.", layer.forward_layer), ("bw.", layer.backward_layer)):
        g.prefix = f"{outer}{name}"
        sequence = _run(g, side_layer, x)
        out = sequence.outputs if layer.return_sequences else sequence.last
        sides.append(_flipped(g, out) if layer.return_sequences and side_layer.go_backwards != (name == "bw.") else out)
    g.prefix, g.leading = outer, leading if layer.return_sequences else ("B",)
    units = layer.forward_layer.cell.output_size
    if layer.merge_mode == "concat":
        g.widen(units + layer.backward_layer.cell.output_size)
        return g.add("Concat", sides, axis=-1)
    g.widen(units)
    if layer.merge_mode == "mul":
        return g.add("Mul", sides)
    y = g.add("Add", sides)
    return y if layer.merge_mode == "sum" else g.add("Div", [y, g.array(np.array(2, layer.dtype))])


def _first_cell(layer: Any) -> Any:
    return getattr(layer.cell, "cells", [layer.cell])[0]


def _time_distributed(g: Graph, layer: Any, x: str) -> str:
    if not isinstance(layer.layer, (layers.Dense, layers.Dropout)):
        raise _refused(
            layer, f"of the layers at every step only Dense and Dropout are, not {type(layer.layer).__name__}"
        )
    return write(g, [layer.layer], x)


def _embedding(g: Graph, layer: Any, x: str) -> str:
    if layer.mask_zero and not g.wants_lengths:
        raise _refused(layer, "mask_zero=True makes a mask, in whose place lengths stand; export with lengths=True")
    y = g.add("Gather", [g.parameter(layer.embeddings, "embeddings"), g.first(x, np.int64)], axis=0)
    g.widen(layer.output_dim)
    return y


def _dense(g: Graph, layer: Any, x: str) -> str:
    plain = layer.activation is rnn.cells.linear
    if not plain and layer.activation not in FUNCTIONS:
        raise _refused(
            layer, f"its activation {getattr(layer.activation, '__name__', layer.activation)} is no operator here"
        )
    y = g.add("MatMul", [g.first(x, layer.dtype, layer.kernel.shape[0]), g.parameter(layer.kernel, "kernel")])
    if layer.use_bias:
        y = g.add("Add", [y, g.parameter(layer.bias, "bias")])
    g.widen(layer.units)
    return y if plain else write(g, [layer.activation], y)


def _dropout(g: Graph, layer: Any, x: str) -> str:
    g.dtype = g.dtype or layer.dtype
    return g.add("Identity", [g.first(x, layer.dtype, "D")])


def _masking(g: Graph, layer: Any, x: str) -> str:
    if not g.wants_lengths:
        raise _refused(layer, "it makes a mask, in whose place lengths stand; export with lengths=True")
    return _dropout(g, layer, x)


WRITERS |= {
    layers.RNN: _recurrent,
    layers.Bidirectional: _bidirectional,
    layers.TimeDistributed: _time_distributed,
    layers.Embedding: _embedding,
    layers.Dense: _dense,
    layers.Dropout: _dropout,
    layers.Masking: _masking,
    models.Sequential: lambda g, model, x: write(g, model.layers, x),
}
