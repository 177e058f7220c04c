"""Which steps are one layer, which way it runs, and what it reads: nets side by side, loops of one's own, both directions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from test_unrolled import check_places, edges, names, roles

import tinygrad_rnn as tg
from tinygrad_rnn import layers, nn, rnn, viz

RNG = np.random.default_rng(0)


def data(*shape: int, name: str | None = None, dtype: Any = np.float64) -> Any:
    return tg.Tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=True, name=name)


def loop(cell: Any, x: Any, times: Any, h: Any = None) -> Any:
    """A cell over the steps `times` of x (B, T, D), in a loop of one's own."""
    h = cell.zero_state(x.shape[0], x.dtype) if h is None else h
    for t in times:
        with tg.step(t):
            _, h = cell(x[:, t], h)
    return h


def readers(drawing: Any) -> dict[str, set[str]]:
    """The cells that each input leads to, by the input's name."""
    found: dict[str, set[str]] = {}
    lines = {node.id: node.lines[0] for node in drawing.picture.nodes if node.role == "input"}
    for edge in drawing.picture.edges:
        if edge.tail in lines:
            found.setdefault(lines[edge.tail], set()).add(edge.head)
    return found


# -- nets side by side -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_two_nets_of_one_name_are_two(impl: str) -> None:
    p, q = data(2, 3, 3, name="p"), data(2, 5, 3, name="q")
    a, _ = rnn.dynamic_rnn(rnn.GRUCell(4), p, impl=impl)
    b, _ = rnn.dynamic_rnn(rnn.GRUCell(4), q, impl=impl)
    loss = (a**2).sum() * 0 + (b**2).sum()
    drawing = viz.unrolled(loss)
    assert roles(drawing)["cell"] == 3 + 5
    assert names(drawing, "input") == ["p₀", "p₁", "p₂", "q₀", "q₁", "q₂", "q₃", "q₄"]
    assert all(len(cells) == 1 for cells in readers(drawing).values())
    assert names(viz.folded(loss), "cell") == ["gru_cell", "gru_cell"]
    first, second = viz.grad_flow(loss).layers
    assert np.all(first.states["h"] == 0)
    assert first.states["h"].shape == (3,)
    np.testing.assert_allclose(second.inputs, np.linalg.norm(tg.grad(loss, q).numpy(), axis=(0, 2)), rtol=1e-10)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_a_cell_that_runs_twice(impl: str) -> None:
    """One cell on two inputs [Bromley et al. 1993]: two rows, each with its own input."""
    cell, p, q = rnn.GRUCell(4), data(2, 3, 3), data(2, 3, 3)
    a, _ = rnn.dynamic_rnn(cell, p, impl=impl)
    b, _ = rnn.dynamic_rnn(cell, q, impl=impl)
    loss = ((a[:, -1] - b[:, -1]) ** 2).sum()
    drawing = viz.unrolled(loss)
    for picture, cells in ((drawing, {"l0t0", "l1t0"}), (viz.folded(loss), {"l0t1", "l1t1"})):
        assert roles(picture)["parameter"] == 1  # what is shared is drawn once
        assert {edge.head for edge in picture.picture.edges if edge.role == "weight"} == cells
        check_places(picture)
    assert roles(drawing)["cell"] == 6
    assert readers(drawing) == {
        f"x{prime}{sub}": {f"l{number}t{t}"} for number, prime in enumerate(("", "′")) for t, sub in enumerate("₀₁₂")
    }


def test_two_cells_in_one_loop() -> None:
    cells, xs = (rnn.GRUCell(4), rnn.GRUCell(4)), (data(2, 3, 3, name="p"), data(2, 3, 3, name="q"))
    hs: list[Any] = [cell.zero_state(2, np.float64) for cell in cells]
    for t in range(3):
        with tg.step(t):
            for k in (0, 1):
                _, hs[k] = cells[k](xs[k][:, t], hs[k])
    drawing = viz.unrolled(tg.concatenate(hs, axis=-1))
    assert roles(drawing)["cell"] == 6
    assert readers(drawing)["p₁"] == {"l0t1"}
    assert readers(drawing)["q₁"] == {"l1t1"}


class Apart(rnn.RNNCell):
    """A cell whose two states have nothing to do with each other."""

    state_size = (3, 3)
    output_size = 3

    def call(self, x: Any, state: Any) -> Any:
        a, b = tg.tanh(x + state[0]), 0.5 * state[1] + x
        return a, (a, b)


def test_parts_of_a_cell_that_do_not_meet_are_one_cell() -> None:
    drawing = viz.unrolled(rnn.dynamic_rnn(Apart(), data(2, 3, 3, name="x"))[1])
    assert roles(drawing)["cell"] == 3
    assert roles(drawing)["input"] == 3


def test_two_kinds_on_two_inputs() -> None:
    p, q = data(2, 3, 3, name="p"), data(2, 3, 3, name="q")
    a, _ = rnn.dynamic_rnn(rnn.GRUCell(4), p)
    b, _ = rnn.dynamic_rnn(rnn.LSTMCell(4), q)
    drawing = viz.unrolled(tg.concatenate([a, b], axis=-1))
    assert readers(drawing) == {
        f"{name}{sub}": {f"l{number}t{t}"} for number, name in enumerate("pq") for t, sub in enumerate("₀₁₂")
    }
    a, _ = rnn.dynamic_rnn(rnn.GRUCell(4), np.ones((2, 3, 3)))  # inputs that no gradient reaches
    b, _ = rnn.dynamic_rnn(rnn.LSTMCell(4), np.ones((2, 3, 3)), sequence_length=[3, 1])
    assert [readers(viz.unrolled(a + b))[f"x{prime}₂"] for prime in ("", "′")] == [{"l0t2"}, {"l1t2"}]
    a, _ = rnn.dynamic_rnn(rnn.GRUCell(4), p)
    shared, _ = rnn.dynamic_rnn(rnn.LSTMCell(4), p)
    assert readers(viz.unrolled(tg.concatenate([a, shared], axis=-1)))["p₀"] == {"l0t0", "l1t0"}


def test_a_decoders_input_has_its_own_name() -> None:
    _, state = rnn.dynamic_rnn(rnn.GRUCell(4), data(2, 3, 3, name="x"))
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(4), data(2, 2, 3, name="y"), initial_state=state)
    drawing = viz.unrolled(outputs)
    assert names(drawing, "input") == ["x₀", "x₁", "x₂", "y₀", "y₁"]
    check_places(drawing)


def test_layers_stand_in_the_order_in_which_they_are_read() -> None:
    """A decoder by hand that attends to a fused encoder [Bahdanau et al. 2015] is the upper one."""
    encoded, h = rnn.dynamic_rnn(rnn.GRUCell(4, name="encoder"), data(2, 3, 4, name="x"))
    cell, y = rnn.GRUCell(4, name="decoder"), data(2, 3, 4, name="y")
    for t in range(3):
        with tg.step(t):
            weights = tg.softmax((encoded * tg.expand_dims(h, 1)).sum(axis=-1), axis=-1)
            context = (encoded * tg.expand_dims(weights, 2)).sum(axis=1)
            _, h = cell(tg.concatenate([y[:, t], context], axis=-1), h)
    loss = (h**2).sum()
    flow = viz.grad_flow(loss)
    assert [layer.name for layer in flow.layers] == ["encoder", "decoder"]
    np.testing.assert_allclose(flow.h[-1], np.linalg.norm(2 * h.data), rtol=1e-12)
    for drawing in (viz.unrolled(loss), viz.unrolled(loss, color="grad_norm")):
        assert readers(drawing)["y₁"] == {"l1t1"}  # after the encoder
        assert readers(drawing)["x₁"] == {"l0t1"}


# -- loops of one's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["y", "x", None])
def test_a_named_input_of_a_loop_is_an_input(name: str | None) -> None:
    drawing = viz.unrolled(loop(rnn.GRUCell(4), data(2, 4, 3, name=name), range(4)))
    inputs = [node.lines for node in drawing.picture.nodes if node.role == "input"]
    assert inputs == [(f"{name or 'x'}{sub}", "(2, 3)") for sub in "₀₁₂₃"]
    assert {node.lines for node in drawing.picture.nodes if node.role == "cell"} == {("gru_cell", "W U b")}
    assert [len(node.lines) for node in drawing.picture.nodes if node.role == "parameter"] == [3]
    check_places(drawing)


def test_a_weight_that_is_sliced_stays_a_weight() -> None:
    w = tg.Parameter(np.stack([np.eye(3), np.eye(3)]), name="w")
    x, h = data(2, 3, 3, name="x"), tg.Tensor(np.zeros((2, 3)))
    for t in range(3):
        with tg.step(t):
            h = tg.tanh(x[:, t] @ w[0] + h @ w[1])
    drawing = viz.unrolled(h)
    assert names(drawing, "input") == ["x₀", "x₁", "x₂"]
    assert [node.lines for node in drawing.picture.nodes if node.role == "parameter"] == [("w (2, 3, 3)",)]


@pytest.mark.parametrize("times", [[0, 5, 9], [1, 2, 3], [3, 2, 1], [7, 4, 0]])
def test_times_are_told_as_they_are_written(times: list[int]) -> None:
    x = data(2, 10, 3)
    h = loop(rnn.GRUCell(4, seed=1), x, times)
    loss = (h**2).sum()
    drawing = viz.unrolled(loss)
    assert [box.label for box in drawing.picture.boxes] == [f"t={t}" for t in sorted(times)]
    subs = [str(t).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")) for t in sorted(times)]
    assert sorted(names(drawing, "input")) == [f"x{sub}" for sub in subs]
    assert edges(drawing)["state"] == 3
    middles = {node.id: node.at[0] for node in drawing.picture.nodes if node.role == "cell" and node.at}
    assert sorted(middles, key=lambda id: middles[id]) == [f"l0t{t}" for t in sorted(times)]
    check_places(drawing)
    flow = viz.grad_flow(loss)
    assert len(flow.layers) == 1
    true = np.linalg.norm(tg.grad(loss, x, retain_graph=True).numpy(), axis=(0, 2))[sorted(times)]
    np.testing.assert_allclose(flow.inputs, true, rtol=1e-10)
    assert flow.h.argmax() == sorted(times).index(times[-1])
    assert viz.folded(loss).source


def test_a_loop_up_and_a_loop_down() -> None:
    x = data(2, 3, 3, name="x")
    up, down = loop(rnn.GRUCell(4), x, range(3)), loop(rnn.GRUCell(4), x, [2, 1, 0])
    drawing = viz.unrolled(tg.concatenate([up, down], axis=-1))
    assert roles(drawing)["cell"] == 6
    assert [box.label for box in drawing.picture.boxes] == ["t=0", "t=1", "t=2"]
    assert [sorted(layer.states) for layer in viz.grad_flow((up + down).sum()).layers] == [["h"], ["h"]]


# -- both directions, and what layers give out --------------------------------------------------------------------------


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_kerass_two_directions(unroll: bool, own: bool) -> None:
    x = data(2, 3, 3, name="x")
    options: dict[str, Any] = {"return_sequences": True, "unroll": unroll, "dtype": "float64"}
    back = layers.GRU(4, go_backwards=True, name="back", **options) if own else None
    outputs = layers.Bidirectional(layers.GRU(4, **options), backward_layer=back)(x)
    drawing = viz.unrolled(outputs)
    middle = {node.id: node.at for node in drawing.picture.nodes if node.role == "cell" and node.at}
    assert [middle[f"l0t{t}"][0] for t in range(3)] == sorted(middle[f"l0t{t}"][0] for t in range(3))
    assert [middle[f"l1t{t}"][0] for t in range(3)] == sorted((middle[f"l1t{t}"][0] for t in range(3)), reverse=True)
    check_places(drawing)
    delays = [node.at[0] for node in viz.folded(outputs).picture.nodes if node.role == "delay" and node.at]
    assert delays[0] < 0 < delays[1] or delays[1] < 0 < delays[0]
    labels = {edge.label for edge in viz.folded(outputs).picture.edges}
    assert {"hₜ₋₁", "hₜ₊₁"} <= labels
    loss = (outputs[:, 1] ** 2).sum()
    for flow, reached in zip(viz.grad_flow(loss).layers, ([0, 1], [1, 2]), strict=True):
        assert np.flatnonzero(flow.states["h"]).tolist() == reached  # in order of time


def test_a_layer_may_be_called_backward() -> None:
    outputs = layers.GRU(4, return_sequences=True, name="backward_pass")(data(2, 3, 3, dtype=np.float32))
    cells = [node.at[0] for node in viz.unrolled(outputs).picture.nodes if node.role == "cell" and node.at]
    assert cells == sorted(cells)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_final_states_of_several_layers(kind: Any, both: bool) -> None:
    """h_n stacks the last states of all layers: they stand at the ends of their rows, and lead to no output."""
    result = kind(3, 4, num_layers=2, batch_first=True, bidirectional=both)(data(2, 3, 3, dtype=np.float32))
    drawing = viz.unrolled(result)
    into = Counter(edge.head for edge in drawing.picture.edges if edge.head.startswith("y"))
    assert into == {f"y{t}": 1 + both for t in range(3)}
    tails = {edge.tail[:2] for edge in drawing.picture.edges if edge.head.startswith("y")}
    assert tails == ({"l2", "l3"} if both else {"l1"})
    assert roles(drawing)["state"] == (2 + 2 * both) * (2 if kind is nn.LSTM else 1)
    check_places(drawing)
    check_places(viz.folded(result))
