"""The folded view: each cell once, a delay for each of its states."""

from __future__ import annotations

from typing import Any

import pytest
from test_unrolled import check_places, data, edges, names, roles

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz


@pytest.mark.parametrize(
    ("cell", "states"), [(rnn.BasicRNNCell(3), "h"), (rnn.GRUCell(3), "h"), (rnn.LSTMCell(3), "ch")]
)
def test_a_cell_has_a_delay_for_each_state(cell: Any, states: str) -> None:
    for target in (cell, rnn.dynamic_rnn(cell, data(2, 9, 4)), rnn.dynamic_rnn(cell, data(2, 1000, 4))):
        drawing = viz.folded(target)
        assert roles(drawing) == {"cell": 1, "input": 1, "output": 1, "parameter": 1, "delay": len(states)}
        assert names(drawing, "input") == ["xₜ"]
        labels = sorted(edge.label for edge in drawing.picture.edges if edge.role in ("state", "memory"))
        assert labels == sorted(f"{s}{t}" for s in states for t in ("ₜ", "ₜ₋₁"))
        check_places(drawing)


def test_both_directions_stand_side_by_side() -> None:
    outputs, _ = rnn.bidirectional_dynamic_rnn(rnn.GRUCell(3), rnn.GRUCell(3), data(2, 4, 4))
    drawing = viz.folded(tg.concatenate(outputs, axis=-1))
    assert roles(drawing) == {"cell": 2, "input": 1, "output": 1, "parameter": 2, "delay": 2}
    assert len({node.at[1] for node in drawing.picture.nodes if node.role == "cell" and node.at}) == 1
    assert sorted(edge.label for edge in drawing.picture.edges if edge.role == "state") == ["hₜ", "hₜ", "hₜ₊₁", "hₜ₋₁"]
    check_places(drawing)


def test_a_decoder_stands_beside_its_encoder() -> None:
    _, state = rnn.dynamic_rnn(rnn.LSTMCell(4, name="encoder"), data(2, 3, 4))
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(4, name="decoder"), data(2, 2, 4), initial_state=state)
    drawing = viz.folded(outputs)
    assert names(drawing, "cell") == ["encoder", "decoder"]
    assert sum(edge.label.startswith("last") for edge in drawing.picture.edges) == 2
    assert edges(drawing)["data"] == 3
    check_places(drawing)


def test_a_stack_with_a_reading_layer_on_top() -> None:
    w = tg.Parameter([[1.0]] * 4, name="weight")
    outputs, _ = rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.GRUCell(4), rnn.GRUCell(4)]), data(2, 5, 3))
    with tg.scope("readout"):
        y = outputs @ w
    drawing = viz.folded(y)
    assert names(drawing, "each") == ["readout"]
    assert roles(drawing) == {"cell": 2, "each": 1, "input": 1, "output": 1, "parameter": 3, "delay": 2}
    check_places(drawing)
