"""Nets that are not in the gallery: each is drawn whole, nothing floats, and nothing lies on anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import NETS
from test_room import check_labels
from test_unrolled import check_places

from tinygrad_rnn import rnn, viz

ALONE = {"delay", "text", "swatch"}


def check_connected(drawing: viz.Drawing) -> None:
    """No node stands without an arrow."""
    touched = {id for edge in drawing.picture.edges for id in (edge.tail, edge.head)}
    for node in drawing.picture.nodes:
        assert node.id in touched or node.role in ALONE, f"{node.lines} has no arrow"


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("view", [viz.unrolled, viz.folded])
def test_a_net_is_drawn(name: str, view: Any) -> None:
    drawing = view(NETS[name]())
    check_places(drawing)
    check_labels(drawing)
    check_connected(drawing)


def arrows(drawing: viz.Drawing) -> set[tuple[str, str]]:
    """Which nodes lead to which, by their first lines."""
    first = {node.id: node.lines[0] for node in drawing.picture.nodes}
    return {(first[edge.tail], first[edge.head]) for edge in drawing.picture.edges}


def test_what_reads_the_last_step_has_its_arrow_where_steps_are_folded() -> None:
    assert ("lstm_cell", "dense") in arrows(viz.folded(NETS["keras_last"]()))
    assert {("lstm_cell", "concat"), ("concat", "dense")} <= arrows(viz.folded(NETS["keras_bidirectional"]()))
    labels = [edge.label for edge in viz.folded(NETS["keras_last"]()).picture.edges]
    assert "last h" in labels


def test_what_runs_in_one_loop_stands_in_the_same_columns() -> None:
    drawing = viz.unrolled(NETS["attention_wrapper"]())
    columns = {node.lines[0]: set() for node in drawing.picture.nodes}
    for node in drawing.picture.nodes:
        columns[node.lines[0]].add(node.box)
    assert columns["decoder"] == columns["luong_…ention"] == {"t4", "t5", "t6"}


def test_a_constant_memory_is_drawn_once() -> None:
    drawing = viz.unrolled(NETS["attention_over_constant"]())
    assert [node.lines[0] for node in drawing.picture.nodes if node.role == "input"] == ["x₀", "x₁", "x₂", "x₃"]
    assert "memory (2, 6, 4)" in [line for node in drawing.picture.nodes for line in node.lines]


def test_a_first_state_that_is_computed_shows_from_what() -> None:
    assert {("image", "linear"), ("linear", "gru_cell")} <= arrows(viz.unrolled(NETS["image_caption"]()))


def test_a_wrapped_cell_s_states_have_their_own_names() -> None:
    for cell, states in ((rnn.LSTMCell(4), ["c", "h"]), (rnn.GRUCell(4), ["h"])):
        memory = np.ones((2, 3, 4), np.float32)
        drawing = viz.cell(rnn.AttentionWrapper(cell, rnn.LuongAttention(4, memory)))
        shown = {node.lines[0] for node in drawing.picture.nodes}
        assert {f"{name}ₜ₋₁" for name in [*states, "attention"]} <= shown
        assert not [text for text in shown if "state" in text]
