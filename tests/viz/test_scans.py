"""Drawings of scans: a fused run of any cell is drawn as the same run step by step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from test_page import data_of, texts
from test_unrolled import check_places, names, roles

import tinygrad_rnn as tg
from tinygrad_rnn import layers, rnn, viz
from tinygrad_rnn.autodiff.graph import unfuse
from tinygrad_rnn.rnn.cell import map_state


class Own(rnn.RNNCell):
    """A cell whose gates have long names."""

    state_size = output_size = 4

    def build_parameters(self, input_size: int) -> None:
        self.add("kernel", (input_size, 4), "ones")
        self.add("recurrent_kernel", (4, 4), "ones")

    def call(self, x: Any, h: Any) -> Any:
        fast = rnn.gate("fast", tg.sigmoid(x @ self.kernel))
        h = rnn.gate("h", tg.tanh(0.1 * (h @ self.recurrent_kernel) * fast + x @ self.kernel))
        return h, h


CELLS: dict[str, Any] = {
    "own": Own,
    "zoneout": lambda: rnn.ZoneoutWrapper(rnn.LSTMCell(4, seed=1), 0.3, seed=2),
    "dropout": lambda: rnn.DropoutWrapper(rnn.GRUCell(4, seed=1), 0.5, 0.5, 0.5, seed=2),
    "one mask": lambda: rnn.DropoutWrapper(rnn.LSTMCell(4, seed=1), 0.5, 0.5, 0.5, True, seed=2),
    "residual": lambda: rnn.ResidualWrapper(rnn.GRUCell(4, seed=1)),
    "normalised": lambda: rnn.LayerNormLSTMCell(4, seed=1),
    "recurrent dropout": lambda: layers.LSTM(4, recurrent_dropout=0.5, seed=1).cell.as_cell(),
}


def x(*shape: int, requires_grad: bool = True) -> Any:
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return tg.Tensor(data, name="x", requires_grad=requires_grad)


def both(name: str, lengths: Any = None) -> Any:
    """The outputs of a fused run and of one step by step, with the same weights and masks."""
    for impl in ("fused", "unrolled"):
        tg.seed(0)
        cell = CELLS[name]()
        state = map_state(lambda s: tg.tensor(s.data, requires_grad=True), cell.zero_state(2))
        yield rnn.dynamic_rnn(cell, x(2, 5, 4), lengths, state, impl=impl)[0]


@pytest.mark.parametrize("lengths", [None, [5, 3]])
@pytest.mark.parametrize("name", CELLS)
def test_a_scan_is_drawn_as_the_steps_that_it_stands_for(name: str, lengths: Any) -> None:
    fused, plain = both(name, lengths)
    for view in (
        viz.unrolled,
        viz.folded,
        lambda outputs: viz.unrolled(outputs, steps=(1, 1)),
        lambda outputs: viz.unrolled(outputs, color="activation"),
        lambda outputs: viz.unrolled((outputs**2).sum(), color="grad_norm"),
    ):
        drawn, wanted = view(fused), view(plain)
        assert sorted((n.role, n.lines) for n in drawn.picture.nodes) == sorted(
            (n.role, n.lines) for n in wanted.picture.nodes
        )
        check_places(drawn)
    flows = [viz.grad_flow((outputs**2).sum()) for outputs in (fused, plain)]
    assert flows[0].layers[0].states.keys() == flows[1].layers[0].states.keys()
    for one, other in zip(*(flow.layers[0].states.values() for flow in flows), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(flows[0].inputs, flows[1].inputs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", CELLS)
def test_an_opened_scan_has_the_scopes_of_its_steps(name: str) -> None:
    fused, plain = both(name)
    paths = []  # without slices of weights, which are taken once
    for graph in (tg.snapshot(unfuse(fused)), tg.snapshot(plain)):
        inside = [n for n in graph.nodes if n.op and any(part.startswith("t=") for part in n.scope)]
        paths.append(Counter((n.op, n.scope) for n in inside if n.op not in ("getitem", "reshape")))
    assert paths[0] == paths[1]


def test_a_long_run_is_opened_with_few_steps_and_no_rows() -> None:
    cell = rnn.ZoneoutWrapper(rnn.LSTMCell(4), 0.3)
    drawing = viz.unrolled(rnn.dynamic_rnn(cell, x(2, 100, 4)), steps=(2, 1))
    assert [box.label for box in drawing.picture.boxes] == ["t=0", "t=1", "t=99"]
    assert "×97" in drawing.source
    large = tg.Tensor(np.zeros((300, 500, 4), np.float32), name="x")
    drawing = viz.unrolled(rnn.dynamic_rnn(cell, large, [500] * 299 + [499], time_major=False), steps=(1, 1))
    assert ("x₀", "(300, 4)") in {node.lines for node in drawing.picture.nodes}
    assert drawing.picture.boxes[-1].label == "t=499   299 of 300 rows"


def test_masks_are_called_so_and_are_no_inputs() -> None:
    for name in ("zoneout", "dropout", "one mask", "recurrent dropout"):
        for outputs in both(name):
            assert names(viz.unrolled(outputs), "input") == [f"x{t}" for t in "₀₁₂₃₄"]
            assert names(viz.folded(outputs), "input") == ["xₜ"]
        closed = viz.draw(next(both(name)))
        assert "mask" in names(closed, "constant")
        assert "scan" in names(closed, "fused")
    assert names(viz.cell(CELLS["dropout"]()), "constant").count("mask") == 3
    for impl in ("fused", "unrolled"):  # a mask of one unit tells no rows that have ended
        narrow = rnn.dynamic_rnn(rnn.ZoneoutWrapper(rnn.LSTMCell(1), 0.5, seed=0), x(2, 5, 4), impl=impl)
        assert [box.label for box in viz.unrolled(narrow).picture.boxes] == [f"t={t}" for t in range(5)]


def test_gates_have_names_of_any_length() -> None:
    for outputs in both("own"):
        assert names(viz.unrolled(outputs), "cell") == ["own"] * 5
        legend = viz.unrolled(outputs, color="activation", of="fast").source
        assert "mean |fast|" in legend
    boxes = {box.label for box in viz.draw(next(both("own")), opened=True).picture.boxes}
    assert {"own", "t=4", "fast", "h"} <= boxes


def test_a_value_is_named_once() -> None:
    """A state that has a name is not put into a further scope by a trace, nor by a later step that names it again."""

    class Twice(Own):
        def call(self, x: Any, h: Any) -> Any:
            return super().call(x, rnn.gate("old", h))

    plain = tg.snapshot(rnn.dynamic_rnn(Own(), x(2, 3, 4), impl="unrolled")[0])
    for cell, options in ((Own(), {"return_trace": True}), (Twice(), {})):
        for impl in ("fused", "unrolled"):
            graph = tg.snapshot(rnn.dynamic_rnn(cell, x(2, 3, 4), impl=impl, **options)[0], unfused=True)
            tails = [
                Counter(n.scope[-1:] for n in g.nodes if n.op and n.scope[-1] in ("fast", "h", "old"))
                for g in (graph, plain)
            ]
            assert tails[0] == tails[1]
            assert not any("h" in n.scope[:-1] for n in graph.nodes)


def test_every_input_of_a_scan_is_drawn() -> None:
    a, b = (tg.Tensor(np.ones((2, 3, 4)), requires_grad=True, name=name) for name in "ab")
    start = tg.Tensor(np.ones((2, 4)), requires_grad=True, name="s")

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x[0] * h + x[1])
        return h, h

    drawing = viz.unrolled(tg.scan(step, (a, b), start)[0])
    assert names(drawing, "input") == ["a₀", "b₀", "a₁", "b₁", "a₂", "b₂"]
    assert roles(drawing)["parameter"] == 0
    check_places(drawing)


def test_steps_of_a_named_constant_are_named() -> None:
    outputs, _ = rnn.dynamic_rnn(Own(), x(2, 3, 4, requires_grad=False), impl="unrolled")
    assert names(viz.draw(outputs), "input") == ["x_0", "x_1", "x_2"]
    (_, back), _ = rnn.bidirectional_dynamic_rnn(Own(), Own(), x(2, 3, 4, requires_grad=False), impl="unrolled")
    steps = {n.name: n.scope for n in tg.snapshot(back).nodes if n.op is None and (n.name or "").startswith("x_")}
    assert {name: scope[-1] for name, scope in steps.items()} == {"x_2": "t=0", "x_1": "t=1", "x_0": "t=2"}


def test_the_operations_of_a_scan_are_those_of_its_steps() -> None:
    for name in ("zoneout", "normalised", "residual", "own"):
        fused, plain = both(name)
        counts = []
        for outputs in (fused, plain):
            graph = tg.snapshot(outputs)
            counts.append(sum(viz.net.costs.flops(node, graph) for node in graph.nodes if node.op != "getitem"))
        assert counts[0] == counts[1], name
    short = viz.draw(next(both("own", [5, 3])), flops=True)
    whole = viz.draw(next(both("own")), flops=True)
    told = [{line for node in d.picture.nodes for line in node.lines if "flop" in line} for d in (short, whole)]
    assert told == [{"928 flop"}, {"1.16 kflop"}]  # of 8 and of 10 steps in all rows


def test_a_page_shows_a_scan_opened_before_and_after_backward() -> None:
    outputs = next(both("zoneout", [5, 3]))
    loss = outputs.sum()
    before = data_of(viz.to_html(loss, opened=True))
    assert "scan" not in {texts(before, node[0])[0] for node in before["nodes"]}
    closed = data_of(viz.to_html(loss, opened=False))
    assert "scan" in {texts(closed, node[0])[0] for node in closed["nodes"]}
    loss.backward()
    assert len(data_of(viz.to_html(loss, opened=True))["nodes"]) == len(before["nodes"])


@pytest.mark.parametrize("make", [rnn.LSTMCell, rnn.GRUCell, lambda n, **o: rnn.GRUCell(n, True, **o)])
def test_a_cell_with_other_activations_stands_in_its_places(make: Any) -> None:
    drawing = viz.cell(make(4, activation="relu", recurrent_activation=tg.softplus))
    assert drawing.picture.placed
    assert {"relu", "softplus"} == {node.lines[0] for node in drawing.picture.nodes if node.role == "squash"}
    check_places(drawing)
