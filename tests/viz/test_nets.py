"""Nets that are not in the gallery: each is drawn whole, nothing floats, and nothing lies on anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import NETS, x
from test_room import check_labels
from test_unrolled import check_places

import tinygrad_rnn as tg
from tinygrad_rnn import nn, rnn, viz

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


def test_two_calls_of_modules_of_one_name_are_two() -> None:
    """An image's two linear maps, the first states' own, are not the head's; dropouts between layers are not one."""
    seen = arrows(viz.unrolled(NETS["caption"]()))
    assert {("image", "linear tanh"), ("linear tanh", "lstm_cell"), ("lstm_cell", "linear")} <= seen
    assert ("linear", "cross_entropy_loss") in seen
    assert ("linear", "lstm_cell") not in seen
    picture = viz.unrolled(NETS["torch_dropout"]()).picture
    assert [node.lines[0] for node in picture.nodes].count("dropout") == 3 * 4
    first = {node.id: node.lines[0] for node in picture.nodes}
    data = [(first[e.tail], first[e.head]) for e in picture.edges if e.role == "data"]
    assert data.count(("lstm_cell", "dropout")) == 3 * 4
    assert data.count(("dropout", "lstm_cell")) == 2 * 4
    assert ("lstm_cell", "lstm_cell") not in data
    losses = arrows(viz.unrolled(NETS["two_losses"]()))
    assert {("lstm_cell", "linear"), ("linear", "pow mean"), ("pow mean", "+")} <= losses


def test_work_on_an_input_without_time_has_its_arrows() -> None:
    for view in (viz.unrolled, viz.folded):
        assert {("meta", "dense"), ("dense", "dense"), ("lstm_cell", "dense")} <= arrows(
            view(NETS["keras_two_inputs"]())
        )


def test_weights_of_a_cell_that_goes_on_are_drawn_once() -> None:
    picture = viz.unrolled(NETS["stream"]()).picture
    assert sum(node.role == "parameter" for node in picture.nodes) == 1
    assert sum(node.role == "cell" for node in picture.nodes) == 6


def test_words_that_a_loop_looks_up_are_inputs_and_a_running_loss_is_a_sum() -> None:
    drawing = viz.unrolled(NETS["teacher_forcing"]())
    assert {("x₀", "embedding"), ("x₃", "embedding")} <= arrows(drawing)
    labels = {edge.label for edge in drawing.picture.edges if edge.role == "state"}
    assert {"h₀", "Σ₀", "Σ₁", "Σ₂"} <= labels


def test_what_a_sentence_reads_of_its_words_goes_past_the_words_of_others() -> None:
    words, read = rnn.GRUCell(5, name="words"), []
    for k in range(3):
        read.append(rnn.dynamic_rnn(words, x(3, name=f"s{k}"))[1])
    _, document = rnn.dynamic_rnn(rnn.GRUCell(5, name="sentences"), tg.stack(read, axis=1))
    drawing = viz.unrolled(nn.Linear(5, 2)(document))
    check_places(drawing)
    check_labels(drawing)
    check_connected(drawing)
    assert ("words", "sentences") in arrows(drawing)
