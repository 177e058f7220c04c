"""Nets that are not in the gallery: each is drawn whole, nothing floats, and nothing lies on anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import NETS, NestedStates, x
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


def test_an_output_that_is_no_state_is_called_y() -> None:
    class Sum(rnn.RNNCell):
        state_size: Any = (4, 4)
        output_size = 4

        def call(self, x: Any, state: Any) -> Any:
            a, b = state
            a, b = 0.9 * a + x, b + x * b
            return a + b, (a, b)

    shown = {node.lines[0] for node in viz.unrolled(Sum(), steps=3).picture.nodes}
    assert {"y₀", "y₁", "y₂", "s1₂", "s2₂"} <= shown
    assert not shown & {"h₀", "h₁", "h₂"}


def titles(drawing: viz.Drawing) -> list[str]:
    return [box.label for box in drawing.picture.boxes]


def test_a_decoder_stands_behind_its_encoder_and_counts_its_own_steps() -> None:
    for name in ("words_to_words", "repeat_vector", "autoencoder", "bridge", "variational"):
        drawing = viz.unrolled(NETS[name]())
        count = 4 if name in ("autoencoder", "variational") else 3
        assert titles(drawing) == [f"t={t}" for t in (*range(4), *range(count))], name
    seen = arrows(viz.unrolled(NETS["words_to_words"]()))
    assert {("x₀", "embedding"), ("embedding", "lstm_cell"), ("lstm_cell", "dense")} <= seen
    inputs = [node for node in viz.unrolled(NETS["words_to_words"]()).picture.nodes if node.role == "input"]
    assert [(node.lines[0], node.box) for node in inputs] == [
        (f"x{sub}", f"t{column}") for column, sub in enumerate("₀₁₂₃₀₁₂")
    ]


def test_rows_are_counted_where_they_have_lengths() -> None:
    """The decoder has none, though its encoder has."""
    assert titles(viz.unrolled(NETS["attention_over_words"]())) == [
        *("t=0", "t=1", "t=2   1 of 2 rows", "t=3   1 of 2 rows"), *("t=0", "t=1", "t=2")
    ]  # fmt: skip


def test_an_initial_state_has_an_arrow_from_what_computes_it() -> None:
    for view in (viz.unrolled, viz.folded):
        assert ("linear tanh", "decoder") in arrows(view(NETS["bridge"]()))
        assert ("+ linear", "decoder") in arrows(view(NETS["variational"]()))
        assert ("h0", "gru_cell") in arrows(view(NETS["learned_start"]()))
        assert {("image", "linear tanh"), ("linear tanh", "lstm_cell")} <= arrows(view(NETS["caption"]()))


def test_every_state_of_nested_tuples_is_drawn() -> None:
    drawing = viz.unrolled(NETS["nested_states"]())
    states = {edge.label for edge in drawing.picture.edges if edge.role == "state"}
    assert states == {"", *(f"{name}{sub}" for name in ("s1", "s2", "slow") for sub in "₀₁₂")}
    start = {node.lines[0] for node in drawing.picture.nodes if node.role == "constant"}
    assert start == {"s1₋₁", "s2₋₁", "slow₋₁"}
    inside = {node.lines[0] for node in viz.cell(NestedStates()).picture.nodes}
    assert {"s1ₜ", "s2ₜ", "slowₜ", "s1ₜ₋₁"} <= inside


def test_a_running_loss_is_a_sum_beside_the_state() -> None:
    labels = {edge.label for edge in viz.unrolled(NETS["hand_loss"]()).picture.edges if edge.role == "state"}
    assert {"h₀", "Σ₀"} <= labels


def test_two_lookups_are_two_inputs() -> None:
    shown = arrows(viz.unrolled(NETS["siamese_words"]()))
    assert {("x₀", "embedding"), ("x′₀", "embedding")} <= shown


def test_two_outputs_are_two_nodes() -> None:
    for view, time in ((viz.unrolled, "₀"), (viz.folded, "ₜ")):
        assert {("linear", f"y{time}"), ("σ", f"y′{time}")} <= arrows(view(NETS["two_heads"]()))


def test_a_target_is_drawn_beside_the_loss() -> None:
    for view in (viz.unrolled, viz.folded):
        assert ("target", "− pow mean") in arrows(view(NETS["autoencoder"]()))


def test_a_folded_cell_reads_what_any_of_its_steps_reads() -> None:
    drawing = viz.folded(NETS["document"]())
    cells = [node.id for node in drawing.picture.nodes if node.lines[0] == "words"]
    sentences = next(node.id for node in drawing.picture.nodes if node.lines[0] == "sentences")
    assert {(id, sentences) for id in cells} <= {(e.tail, e.head) for e in drawing.picture.edges}


def test_stacks_of_two_directions_stand_side_by_side() -> None:
    picture = viz.folded(NETS["bidirectional_of_stacks"]()).picture
    places = [node.at for node in picture.nodes if node.role == "cell"]
    assert len(set(places)) == 4
    assert len({at[1] for at in places if at}) == 2


def test_arrows_of_two_sources_run_in_lanes_of_their_own() -> None:
    """Where the second head reads the cell past the first one, whose result goes past the second one."""
    picture = viz.unrolled(NETS["two_heads"]()).picture
    lanes: dict[float, set[str]] = {}
    for edge in picture.edges:
        if edge.role == "data" and len(edge.path) > 4:
            across = [round(point[0], 3) for point in edge.path]
            for lane in {place for place in across if across.count(place) > 3}:
                lanes.setdefault(lane, set()).add(edge.tail)
    assert lanes
    assert all(len(tails) == 1 for tails in lanes.values())


def test_names_do_not_decide_what_a_leaf_is() -> None:
    """A Parameter is a weight whatever its name, another tensor an input, and a cell's mask a constant."""
    for name in ("x", "input_1", "mask", "w"):
        value = np.ones((2, 3), np.float32)
        kinds = []
        for leaf in (tg.Parameter(value, name=name), tg.Tensor(value, requires_grad=True, name=name)):
            kinds += [node.role for node in viz.draw(tg.tanh(leaf)).picture.nodes if node.lines[0] == name]
        assert kinds == ["parameter", "input"]
    cell = rnn.DropoutWrapper(rnn.GRUCell(3), 0.5)
    roles = {node.lines[0]: node.role for node in viz.draw(rnn.dynamic_rnn(cell, x())[0]).picture.nodes}
    assert roles["mask"] == "constant"
    assert roles["x"] == "input"
