"""The cell view: every op that a step records, its gates named, c straight through."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from test_recorded import Peephole
from test_room import ThreeStates
from test_unrolled import along, check_places
from tinygrad_rnn.viz.scene import style

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz


def step_ops(cell: Any) -> Counter[str]:
    """The ops of one step, by label, as recorded."""
    cell.build(3)
    state = cell.zero_state(2)
    graph = tg.snapshot(cell(tg.Tensor(np.zeros((2, 3), np.float32)), state))
    return Counter("1−" if node.op == "subtract" else node.label for node in graph.nodes if node.op)


CELLS = [
    rnn.LSTMCell(4),
    rnn.GRUCell(4),
    rnn.GRUCell(4, reset_after=True),
    *(rnn.BasicRNNCell(4, a) for a in ("tanh", "relu", "sigmoid", "linear")),
]


@pytest.mark.parametrize("cell", CELLS)
def test_every_op_is_drawn_in_its_place(cell: Any) -> None:
    drawing = viz.cell(cell)
    drawn = Counter(node.lines[0] for node in drawing.picture.nodes if node.role in ("op", "point", "squash"))
    assert drawn == step_ops(cell)
    assert drawing.picture.placed
    check_places(drawing)
    told = viz.cell(cell, dtypes=True)
    assert ("kernel", f"(3, {cell.kernel.shape[1]})", "float32") in {node.lines for node in told.picture.nodes}
    check_places(told)


def test_the_gates_are_named_and_c_runs_straight_through() -> None:
    lstm = viz.cell(rnn.LSTMCell(4)).picture
    assert [box.label.replace("\n", " ") for box in lstm.boxes] == [
        *("lstm_cell", "forget gate f", "input gate i", "candidate g", "output gate o"),
    ]
    line = [edge.path for edge in lstm.edges if edge.role == "memory"]
    heights = Counter(point[1] for path in line for point in (path[0], path[-1]))
    assert heights.most_common(1)[0] == (200, 7)  # c, ×, +, c': and where tanh branches off
    gru = viz.cell(rnn.GRUCell(4)).picture
    assert {"update gate z", "reset gate r", "candidate n"} < {box.label.replace("\n", " ") for box in gru.boxes}


class Minimal(rnn.RNNCell):
    """A cell of one's own, whose first op joins x and h."""

    state_size = output_size = 3

    def build_parameters(self, input_size: int) -> None:
        self.add("gate", (input_size + 3, 3), "glorot_uniform")

    def call(self, x: Any, h: Any) -> Any:
        h = tg.tanh(tg.concatenate([x, h], axis=-1) @ self.gate)
        return h, h


def test_other_cells_are_laid_out_by_the_program() -> None:
    for cell in (
        rnn.LayerNormLSTMCell(4),
        rnn.ZoneoutWrapper(rnn.LSTMCell(4), 0.1),
        rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(3)]),
    ):
        drawing = viz.cell(cell)
        assert not drawing.picture.placed
        assert {"forget gate f", "output h"} <= {box.label for box in drawing.picture.boxes}
        assert "<svg" in drawing.svg()
    picture = viz.cell(Minimal()).picture
    leaves = {node.lines[0]: node for node in picture.nodes if node.role != "op"}
    assert {name: node.role for name, node in leaves.items()} == {
        "xₜ": "input",
        "hₜ₋₁": "state",
        "hₜ": "state",
        "gate": "parameter",
    }
    concat = next(node.id for node in picture.nodes if node.lines[0] == "concat")
    assert {edge.tail for edge in picture.edges if edge.head == concat} == {leaves["xₜ"].id, leaves["hₜ₋₁"].id}


def test_every_result_of_a_step_is_drawn() -> None:
    def results(cell: Any) -> dict[str, str]:
        picture = viz.cell(cell).picture
        nodes = {node.id: node for node in picture.nodes}
        assert not any(node.strong for node in picture.nodes)
        inner = {edge.tail for edge in picture.edges}
        ends = [node for node in picture.nodes if node.id not in inner and node.role in ("state", "output")]
        made = {edge.head: nodes[edge.tail].lines[0] for edge in picture.edges}
        return {node.lines[0]: made[node.id] for node in ends}

    assert results(Minimal()) == {"hₜ": "tanh"}
    assert results(rnn.ResidualWrapper(rnn.LSTMCell(3))) == {"cₜ": "+", "hₜ": "×", "yₜ": "+"}
    stack = [rnn.LSTMCell(4), rnn.BasicRNNCell(3)]
    assert results(rnn.MultiRNNCell(stack)) == {"c0ₜ": "+", "h0ₜ": "×", "h1ₜ": "tanh"}
    assert results(ThreeStates()) == {"s1ₜ": "tanh", "s2ₜ": "×", "s3ₜ": "σ"}  # as `unrolled` calls them
    assert {"s1₀", "s2₀", "s3₀"} <= {edge.label for edge in viz.unrolled(ThreeStates()).picture.edges}


def test_a_stack_is_no_wider_than_a_page_and_its_cells_hold_what_is_theirs() -> None:
    drawing = viz.cell(rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(4)]))
    boxes = {box.id: box for box in drawing.picture.boxes}
    outside = [node.lines[0] for node in drawing.picture.nodes if node.box in (None, "b0", "b1")]
    assert boxes["b1"].label == "multi_rnn_cell"
    assert sorted(outside) == sorted(["xₜ", "c0ₜ₋₁", "h0ₜ₋₁", "h1ₜ₋₁", "c0ₜ", "h0ₜ", "h1ₜ"])
    wide = re.search(r'<svg width="(\d+)', drawing.svg())
    assert wide is not None
    assert int(wide[1]) < 900


def test_a_name_is_one_line() -> None:
    assert viz.cell(rnn.BasicRNNCell(3, name='<b>"x\n|{}')).picture.boxes[0].label == '<b>"x\\n|{}'


def test_a_cell_is_left_as_it_was() -> None:
    cell, built = rnn.LSTMCell(3), rnn.LSTMCell(3).build(7)
    viz.cell(cell)
    assert not cell.built
    assert "(7, 12)" in viz.cell(built).source
    assert ("kernel",) in {node.lines for node in viz.cell(built, shapes=False).picture.nodes}
    with pytest.raises(TypeError, match=r"target is str, expected an rnn\.RNNCell"):
        viz.cell("lstm")


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cells_and_layers_of_every_face_are_drawn_alike(kind: str) -> None:
    options = {"reset_after": True} if kind == "GRU" else {}
    wanted = Counter(node.lines for node in viz.cell(getattr(rnn, f"{kind}Cell")(4, **options)).picture.nodes)
    before = tg.autodiff.state.generator(None).bit_generator.state
    for target in (
        getattr(tg.nn, f"{kind}Cell")(3, 4, seed=0),
        getattr(tg.nn, kind)(3, 4, num_layers=2, seed=0),
        getattr(tg.layers, f"{kind}Cell")(4),
        getattr(tg.layers, kind)(4),
    ):
        assert Counter(node.lines for node in viz.cell(target).picture.nodes) == wanted
    assert tg.autodiff.state.generator(None).bit_generator.state == before
    with pytest.raises(TypeError, match=r"cell: target is Dense, expected an rnn\.RNNCell"):
        viz.cell(tg.layers.Dense(3))


@pytest.mark.parametrize(
    "cells",
    [
        [rnn.LSTMCell(4), rnn.GRUCell(4)],
        [rnn.GRUCell(4, reset_after=True), rnn.LSTMCell(4)],
        [rnn.LayerNormLSTMCell(4), rnn.BasicRNNCell(3), rnn.GRUCell(4)],
    ],
)
def test_no_arrow_runs_through_a_title_of_the_inside_of_a_stack(cells: Any) -> None:
    drawing = viz.cell(rnn.MultiRNNCell(cells))
    assert drawing._arrange is not None
    picture = drawing._arrange()
    for box in picture.boxes:
        assert box.corners is not None
        lines = box.label.split("\n")
        half, tall = max(style.text_width(line, style.SMALL) for line in lines) / 2, 5 * len(lines)
        x, y = box.label_at or (box.corners[0] + 10 + half, box.corners[3] - 12)
        for edge in picture.edges:
            through = [p for p in along(edge.path) if abs(p[0] - x) < half and abs(p[1] - y) < tall - 1]
            assert not through, f"{edge.tail} -> {edge.head} runs through the title {box.label}"


@pytest.mark.parametrize(
    "cell",
    [
        Peephole(),
        rnn.LSTMCell(4, use_peepholes=True),
        rnn.LayerNormLSTMCell(4),
        rnn.ResidualWrapper(rnn.LSTMCell(3)),
        rnn.ZoneoutWrapper(rnn.LSTMCell(3), 0.1),
    ],
)
def test_the_memory_runs_straight_through_every_cell(cell: Any) -> None:
    drawing = viz.cell(cell)
    assert drawing._arrange is not None
    picture = drawing._arrange()
    check_places(viz.Drawing(picture))
    at = {node.id: node.at for node in picture.nodes}
    line = [edge for edge in picture.edges if edge.role == "memory"]
    names = {node.id: node.lines[0] for node in picture.nodes}
    assert (names[line[0].tail], names[line[-1].head]) in (("cₜ₋₁", "cₜ"), ("cₜ₋₁", "where"))
    heights = [at[id][1] for edge in line for id in (edge.tail, edge.head)]
    assert max(heights) - min(heights) < 1
    assert all(abs(y - heights[0]) < 12 for edge in line for _, y in along(edge.path))
    (frame,) = (box.corners for box in picture.boxes if box.parent is None)
    for node in picture.nodes:
        left, right = node.at[0] - node.size[0] / 2, node.at[0] + node.size[0] / 2
        assert (frame[0] < left < right < frame[2]) == (node.box is not None)


def test_the_arrows_inside_a_keras_cell_are_those_of_the_plain_one() -> None:
    """Its own call takes [h, c]; the state that goes straight through is c."""

    def arrows(drawing: viz.Drawing) -> Counter[tuple[str, ...]]:
        first = {node.id: node.lines[0] for node in drawing.picture.nodes}
        return Counter((first[edge.tail], first[edge.head], edge.role) for edge in drawing.picture.edges)

    plain = arrows(viz.cell(rnn.LSTMCell(4)))
    assert ("cₜ₋₁", "×", "memory") in plain
    for target in (tg.layers.LSTM(4), tg.layers.LSTMCell(4), tg.nn.LSTMCell(3, 4)):
        assert arrows(viz.cell(target)) == plain
    assert arrows(viz.unrolled(tg.layers.LSTMCell(4))) == arrows(viz.unrolled(rnn.LSTMCell(4)))
