"""Long op-level graphs: one step is laid out and repeated; every node is placed, and every arrow reaches its ends."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from test_unrolled import along, data
from tinygrad_rnn.viz.layouts import repeat
from tinygrad_rnn.viz.layouts.graphviz import lay_out
from tinygrad_rnn.viz.layouts.repeat import Repeat

import tinygrad_rnn as tg
from tinygrad_rnn import nn, rnn, viz


def long_graphs() -> Any:
    yield rnn.dynamic_rnn(rnn.LSTMCell(3), data(2, 14, 4), impl="unrolled")
    yield rnn.dynamic_rnn(rnn.GRUCell(3), data(2, 14, 4), sequence_length=[3, 14], impl="unrolled")[0].sum()
    yield rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.LSTMCell(3), rnn.GRUCell(2)]), data(2, 14, 4), impl="unrolled")
    cells = rnn.BasicRNNCell(3), rnn.GRUCell(3)
    outputs, _ = rnn.bidirectional_dynamic_rnn(*cells, data(2, 14, 4), impl="unrolled")
    yield tg.concatenate(outputs, axis=-1).sum()
    outputs, _ = rnn.dynamic_rnn(rnn.BasicRNNCell(3, name="lower"), data(2, 14, 4), impl="unrolled")
    yield rnn.dynamic_rnn(rnn.BasicRNNCell(3, name="upper"), tg.tanh(outputs), impl="unrolled")
    _, state = rnn.dynamic_rnn(rnn.LSTMCell(3, name="encoder"), data(2, 14, 4), impl="unrolled")
    yield rnn.dynamic_rnn(rnn.LSTMCell(3, name="decoder"), data(2, 13, 4), initial_state=state, impl="unrolled")


def check(picture: Any) -> None:
    """Every node has a place of its own; every arrow reaches its ends and runs through no other node."""
    spans = {}
    for node in picture.nodes:
        wide, tall = node.size or viz.scene.style.fitting_size(node.lines, viz.scene.style.ROLES[node.role].shape)
        assert node.at is not None
        x, y = node.at
        spans[node.id] = (x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2)
    table = np.array(list(spans.values()))
    for i, (left, bottom, right, top) in enumerate(table):
        apart = (table[:, 2] < left) | (table[:, 0] > right) | (table[:, 3] < bottom) | (table[:, 1] > top)
        assert np.flatnonzero(~apart).tolist() == [i]
    for edge in picture.edges:
        assert len(edge.path) % 3 == 1
        for id, (x, y) in ((edge.tail, edge.path[0]), (edge.head, edge.path[-1])):
            left, bottom, right, top = spans[id]
            assert left - 2 <= x <= right + 2, edge
            assert bottom - 2 <= y <= top + 2, edge
        points = np.array(list(along(edge.path)))
        for id, (left, bottom, right, top) in spans.items():
            if id not in (edge.tail, edge.head):
                x, y = points.T
                inside = (x > left + 3) & (x < right - 3) & (y > bottom + 3) & (y < top - 3)
                assert not inside.any(), f"{edge.tail} -> {edge.head} runs through {id}"


@pytest.mark.parametrize("number", range(6))
def test_everything_is_placed(number: int) -> None:
    target = list(long_graphs())[number]
    before = viz.draw(target).picture
    picture = Repeat(before).placed()
    assert [node.id for node in picture.nodes] == [node.id for node in before.nodes]
    assert [(edge.tail, edge.head) for edge in picture.edges] == [(edge.tail, edge.head) for edge in before.edges]
    check(picture)


def small_graphs() -> Any:
    yield rnn.dynamic_rnn(rnn.LSTMCell(3), data(2, 2, 4), impl="unrolled")
    yield rnn.dynamic_rnn(rnn.ResidualWrapper(rnn.GRUCell(4)), data(2, 2, 4), impl="unrolled")
    yield rnn.dynamic_rnn(rnn.LayerNormLSTMCell(3), data(2, 1, 4), impl="unrolled")
    outputs, _ = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)(data(2, 3, 4))
    yield nn.Linear(6, 2)(outputs)
    h = w = tg.Parameter(np.eye(3, dtype=np.float32), name="w")
    for t in range(3):  # time within time
        for k in range(2):
            with tg.step(t), tg.scope(f"t={k}"):
                h = tg.tanh(h @ w)
    yield h * h


@pytest.mark.parametrize("options", [{}, {"opened": True}, {"depth": 2}, {"direction": "TB", "clusters": False}])
@pytest.mark.parametrize("number", range(5))
def test_small_pictures_are_placed_as_well(number: int, options: dict[str, Any]) -> None:
    drawing = viz.draw(list(small_graphs())[number], **options)
    assert drawing._arrange is not None
    picture = drawing._arrange()
    assert len(picture.edges) == len(drawing.picture.edges)  # twins, too
    check(picture)


def nodes_laid_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that collects how many nodes the layout program places at each call."""
    numbers: list[int] = []
    monkeypatch.setattr(
        repeat, "lay_out", lambda nodes, *args, **opts: numbers.append(len(nodes)) or lay_out(nodes, *args, **opts)
    )
    return numbers


def test_it_is_used_where_it_is_needed_and_gives_the_same_bytes() -> None:
    run = rnn.dynamic_rnn(rnn.LSTMCell(3), data(2, 40, 4), impl="unrolled")
    svg = viz.draw(run).svg()
    assert svg == viz.draw(run).svg()
    assert svg.count('class="node"') == len(viz.draw(run).picture.nodes)
    assert "pos=" not in viz.draw(run).source  # the text is for programs that place nodes themselves


def test_steps_that_differ_in_a_name_share_one_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """x_0, x_1, … are names of one length, so the program is asked once for them."""
    x = tg.Tensor(np.ones((2, 10, 4), np.float32), name="x")
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(3), x, impl="unrolled")
    before = viz.draw(outputs).picture
    assert {"x_3", "x_7"} <= {node.lines[0] for node in before.nodes}
    asked = nodes_laid_out(monkeypatch)
    check(Repeat(before).placed())
    assert len(asked) < 6


def by_hand(steps: int, marked: bool) -> Any:
    cell, x, losses = rnn.GRUCell(3), np.ones((2, steps, 4), np.float32), []
    h = cell.zero_state(2)
    for t in range(steps):
        with tg.step(t) if marked else nullcontext():
            y, h = cell(x[:, t], h)
            losses.append((y * y).sum())
    return tg.stack(losses).sum()


def in_primitives(steps: int, marked: bool) -> Any:
    w, u = (tg.Parameter(np.eye(3, dtype=np.float32), name=name) for name in "WU")
    x, h = np.ones((2, steps, 3), np.float32), tg.Tensor(np.zeros((2, 3), np.float32))
    for t in range(steps):
        with tg.step(t) if marked else nullcontext():
            h = tg.tanh(x[:, t] @ w + h @ u)
    with tg.scope("head"):
        return (h * h).sum()


@pytest.mark.parametrize("loop", [by_hand, in_primitives])
def test_a_long_loop_without_marks_is_placed_like_one_with_them(loop: Any) -> None:
    drawing = viz.draw(loop(24, marked=False))
    assert drawing._arrange is not None
    picture = drawing._arrange()
    check(picture)
    assert [(n.id, n.lines, n.box) for n in picture.nodes] == [(n.id, n.lines, n.box) for n in drawing.picture.nodes]
    assert [(b.id, b.label, b.parent) for b in picture.boxes] == [
        (b.id, b.label, b.parent) for b in drawing.picture.boxes
    ]
    x = [node.at[0] for node in picture.nodes if node.lines[0] == "tanh" and node.at is not None]
    assert len(x) == 24
    assert x == sorted(x)  # time goes from left to right


@pytest.mark.parametrize("loop", [by_hand, in_primitives])
def test_a_long_loop_without_marks_asks_for_as_little_layout(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes time grows faster than the number of nodes that the layout program places in one call."""
    numbers = nodes_laid_out(monkeypatch)
    placed = {}
    for marked in (True, False):
        numbers.clear()
        viz.draw(loop(60, marked)).svg()
        placed[marked] = sum(numbers)
    assert 0 < placed[False] <= 2 * placed[True]


def test_a_scope_around_a_loop_is_drawn_around_it() -> None:
    with tg.scope("model"):
        drawing = viz.draw(by_hand(10, marked=False))
    assert drawing._arrange is not None
    picture = drawing._arrange()
    (model,) = (box for box in picture.boxes if box.label == "model")
    cells = [box for box in picture.boxes if box.label == "gru_cell"]
    assert len(cells) == 10
    assert model.corners is not None
    for box in cells:
        assert box.parent == model.id
        assert box.corners is not None
        assert all(a < b for a, b in zip(model.corners[:2], box.corners[:2], strict=True))
        assert all(a > b for a, b in zip(model.corners[2:], box.corners[2:], strict=True))


def test_scopes_that_overlap_the_repetitions_are_kept_whole() -> None:
    w = tg.Parameter(np.eye(3, dtype=np.float32), name="w")
    h = tg.Tensor(np.ones((2, 3), np.float32))
    with tg.scope("first half"):
        for _ in range(20):
            h = tg.tanh(h @ w) + h
    for _ in range(20):
        h = tg.tanh(h @ w) + h
    drawing = viz.draw(h)
    assert drawing._arrange is not None
    picture = drawing._arrange()
    check(picture)
    (box,) = picture.boxes
    assert sum(node.box == box.id for node in picture.nodes) == 61  # with the constant
