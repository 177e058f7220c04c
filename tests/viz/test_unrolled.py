"""The unrolled view: which steps, states and weights are drawn, for every cell and driver."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import layers, nn, rnn, viz


def roles(drawing: viz.Drawing) -> Counter[str]:
    return Counter(node.role for node in drawing.picture.nodes)


def names(drawing: viz.Drawing, role: str) -> list[str]:
    return [node.lines[0] for node in drawing.picture.nodes if node.role == role]


def edges(drawing: viz.Drawing) -> Counter[str]:
    return Counter(edge.role for edge in drawing.picture.edges)


def data(*shape: int) -> Any:
    return tg.Tensor(np.ones(shape, np.float32), name="x")


def along(path: Any) -> Any:
    """Points along a Bézier curve."""
    for k in range(0, len(path) - 1, 3):
        p = path[k : k + 4]
        for i in range(21):
            s = i / 20
            weights = ((1 - s) ** 3, 3 * (1 - s) ** 2 * s, 3 * (1 - s) * s**2, s**3)
            yield tuple(sum(w * point[axis] for w, point in zip(weights, p, strict=True)) for axis in (0, 1))


def check_places(drawing: viz.Drawing) -> None:
    """No two nodes overlap, no arrow runs through a node, each ends at its node, and nodes lie within their boxes."""
    nodes = drawing.picture.nodes
    spans = []
    for node in nodes:
        assert node.at is not None
        assert node.size is not None
        (x, y), (w, h) = node.at, node.size
        spans.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    for i, a in enumerate(spans):
        for j, b in enumerate(spans[:i]):
            apart = a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
            assert apart, f"{nodes[i].lines} overlaps {nodes[j].lines}"
    where = {node.id: span for node, span in zip(nodes, spans, strict=True)}
    for edge in drawing.picture.edges:
        for id, point in ((edge.tail, edge.path[0]), (edge.head, edge.path[-1])):
            left, bottom, right, top = where[id]
            assert left - 1 <= point[0] <= right + 1, edge
            assert bottom - 1 <= point[1] <= top + 1, edge
        for x, y in along(edge.path):
            for id, (left, bottom, right, top) in where.items():
                inside = left + 2 < x < right - 2 and bottom + 2 < y < top - 2
                assert not inside or id in (edge.tail, edge.head), f"{edge.tail} -> {edge.head} runs through {id}"
    boxes = {box.id: box.corners for box in drawing.picture.boxes}
    for node in nodes:
        outer = boxes.get(node.box or "")
        if outer is not None:
            inner = where[node.id]
            assert all(a > b for a, b in zip(inner[:2], outer[:2], strict=True)), node
            assert all(a < b for a, b in zip(inner[2:], outer[2:], strict=True)), node


def test_three_steps_of_an_lstm() -> None:
    drawing = viz.unrolled(rnn.LSTMCell(8))
    assert roles(drawing) == {"cell": 3, "input": 3, "output": 3, "constant": 2, "state": 2, "parameter": 1}
    assert names(drawing, "input") == ["x₀", "x₁", "x₂"]
    assert names(drawing, "output") == ["h₀", "h₁", "h₂"]
    # c and h: into the first step, between steps, out of the last
    assert edges(drawing) == {"memory": 4, "state": 4, "data": 6, "weight": 1}
    assert [box.label for box in drawing.picture.boxes] == ["t=0", "t=1", "t=2"]
    weights = next(node for node in drawing.picture.nodes if node.role == "parameter")
    assert weights.lines == ("W = kernel (3, 32)", "U = recurrent_kernel (8, 32)", "b = bias (32)")
    check_places(drawing)
    for view in (viz.unrolled, viz.folded):
        told = view(rnn.LSTMCell(8), dtypes=True)
        lines = {node.role: node.lines for node in told.picture.nodes}
        assert lines["parameter"][0] == "W = kernel (3, 32) float32"
        assert lines["input"][1:] == ("(2, 3)", "float32")
        check_places(told)


@pytest.mark.parametrize("cell", [rnn.BasicRNNCell(4), rnn.GRUCell(4), rnn.GRUCell(4, reset_after=True)])
def test_cells_with_one_state(cell: Any) -> None:
    drawing = viz.unrolled(cell, 4)
    assert roles(drawing) == {"cell": 4, "input": 4, "output": 4, "constant": 1, "state": 1, "parameter": 1}
    assert edges(drawing) == {"state": 5, "data": 8, "weight": 1}
    check_places(drawing)


def test_the_middle_is_left_out() -> None:
    drawing = viz.unrolled(rnn.dynamic_rnn(rnn.LSTMCell(3), data(2, 100, 4)), steps=(2, 1))
    assert [box.label for box in drawing.picture.boxes] == ["t=0", "t=1", "t=99"]
    more = [node for node in drawing.picture.nodes if node.role == "more"]
    assert len(more) == 1
    assert more[0].lines == ("…", "×97")
    assert edges(drawing)["memory"] == 5  # in, 0 to 1, 1 to …, … to 99, out
    check_places(drawing)
    assert viz.unrolled(rnn.dynamic_rnn(rnn.LSTMCell(3), data(2, 30, 4))).source.count("×27") == 1
    open_end = viz.unrolled(rnn.GRUCell(4), steps=(2, 1))
    assert [box.label for box in open_end.picture.boxes] == ["t=0", "t=1", "t=T−1"]
    assert "×97" in viz.unrolled(rnn.GRUCell(4), steps=(2, 1), length=100).source


def test_a_cell_is_left_as_it_was() -> None:
    cell, built = rnn.LSTMCell(3), rnn.LSTMCell(3).build(7, np.float64)
    before = built.kernel.data
    viz.unrolled(cell)
    assert not cell.built
    assert "(7, 12)" in viz.unrolled(built).source
    assert "(2, 7)" in viz.unrolled(built).source
    assert built.kernel.data is before
    noisy = rnn.DropoutWrapper(rnn.LSTMCell(2).build(2), output_keep_prob=0.5)
    tg.seed(3)
    first = np.random.default_rng(3).random()
    viz.unrolled(noisy)
    with tg.no_grad():
        assert viz.unrolled(rnn.GRUCell(2)).source
    assert tg.autodiff.state.generator().random() == pytest.approx(first)


def test_a_stack_goes_upwards() -> None:
    for target in (
        rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(3)]),
        rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(3)]), data(2, 3, 4)),
    ):
        drawing = viz.unrolled(target)
        assert roles(drawing) == {"cell": 6, "input": 3, "output": 3, "constant": 3, "state": 3, "parameter": 2}
        assert edges(drawing) == {"memory": 4, "state": 8, "data": 9, "weight": 2}
        height = {node.lines[0]: node.at[1] for node in drawing.picture.nodes if node.at}
        assert height["x₀"] < height["lstm_cell"] < height["gru_cell"] < height["h₀"]
        check_places(drawing)


def test_two_runs_on_top_of_each_other() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(4), data(2, 3, 4))
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(4), outputs)  # the same scopes again
    drawing = viz.unrolled(outputs)
    assert roles(drawing)["cell"] == 6
    assert roles(drawing)["input"] == 3
    assert edges(drawing)["data"] == 9
    check_places(drawing)


def test_both_directions() -> None:
    outputs, states = rnn.bidirectional_dynamic_rnn(rnn.LSTMCell(3), rnn.LSTMCell(3), data(2, 4, 4))
    drawing = viz.unrolled((tg.concatenate(outputs, axis=-1), states))
    assert roles(drawing) == {"cell": 8, "input": 4, "output": 4, "constant": 4, "state": 4, "parameter": 2}
    assert names(drawing, "output") == ["y₀", "y₁", "y₂", "y₃"]
    back = [edge for edge in drawing.picture.edges if edge.role == "memory" and edge.path[0][0] > edge.path[-1][0]]
    assert len(back) == 5
    check_places(drawing)


def test_cells_may_be_called_as_directions_are() -> None:
    cells = rnn.GRUCell(3, name="fw"), rnn.GRUCell(3, name="bw")
    outputs, _ = rnn.bidirectional_dynamic_rnn(*cells, data(2, 4, 4))
    drawing = viz.unrolled(tg.concatenate(outputs, axis=-1))
    assert Counter(names(drawing, "cell")) == {"fw": 4, "bw": 4}
    assert roles(drawing)["each"] == 0
    check_places(drawing)


def test_a_decoder_continues_its_encoder() -> None:
    encoder, decoder = rnn.GRUCell(4, name="encoder"), rnn.GRUCell(4, name="decoder")
    _, state = rnn.dynamic_rnn(encoder, data(2, 3, 4))
    outputs, _ = rnn.dynamic_rnn(decoder, data(2, 2, 4), initial_state=state)
    drawing = viz.unrolled(outputs)
    assert names(drawing, "cell") == ["encoder"] * 3 + ["decoder"] * 2
    at = [node.at for node in drawing.picture.nodes if node.role == "cell" and node.at]
    assert len({y for _, y in at}) == 1
    assert sorted(at) == at
    check_places(drawing)


def test_loops_of_ones_own() -> None:
    w = tg.Parameter(np.eye(3, dtype=np.float32), name="w")
    h: Any = tg.Tensor(np.zeros((2, 3), np.float32))
    for t in range(3):
        with tg.step(t):
            h = tg.tanh(h @ w + tg.Tensor(np.ones((2, 3), np.float32), name=f"x_{t}"))
    drawing = viz.unrolled(h)
    assert roles(drawing)["cell"] == 3
    assert names(drawing, "input") == ["x₀", "x₁", "x₂"]
    check_places(drawing)


def test_lengths_and_unequal_ends() -> None:
    drawing = viz.unrolled(rnn.dynamic_rnn(rnn.LSTMCell(3), data(3, 5, 4), sequence_length=[5, 3, 4]))
    assert roles(drawing)["cell"] == 5
    assert edges(drawing)["memory"] == 6
    check_places(drawing)
    for impl in ("auto", "unrolled"):
        outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(3), data(3, 5, 4), sequence_length=[5, 3, 4], impl=impl)
        titles = [box.label for box in viz.unrolled(outputs).picture.boxes]
        assert titles == ["t=0", "t=1", "t=2", "t=3   2 of 3 rows", "t=4   1 of 3 rows"]


def test_a_residual_connection_is_a_part_of_the_cell() -> None:
    drawing = viz.unrolled(rnn.dynamic_rnn(rnn.ResidualWrapper(rnn.GRUCell(4)), data(2, 3, 4)))
    assert roles(drawing) == {"cell": 3, "input": 3, "output": 3, "constant": 1, "state": 1, "parameter": 1}
    check_places(drawing)


def test_a_thousand_steps_are_read_without_recursion() -> None:
    drawing = viz.unrolled(rnn.dynamic_rnn(rnn.LSTMCell(3), data(1, 1000, 2)), steps=(2, 2))
    assert "×996" in drawing.source


@pytest.mark.parametrize("steps", [0, -1, (0, 0), (1, 2, 3), "all", True, 2.5])
def test_bad_steps(steps: Any) -> None:
    with pytest.raises(ValueError, match=r"steps is .*, expected a positive integer or a pair"):
        viz.unrolled(rnn.GRUCell(2), steps)


def test_what_has_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="the graph has no time steps"):
        viz.unrolled(tg.tanh(tg.Parameter([1.0])))
    with pytest.raises(ValueError, match="length is 0"):
        viz.unrolled(rnn.GRUCell(2), length=0)
    with pytest.raises(ValueError, match="length=100 was given with tuple, expected a cell"):
        viz.unrolled(rnn.dynamic_rnn(rnn.GRUCell(2), data(1, 3, 2)), length=100)
    for view in (viz.folded, viz.grad_flow):
        with pytest.raises(ValueError, match=f"{view.__name__}: the graph has no time steps"):
            view(tg.Parameter([1.0]))


@pytest.mark.parametrize("view", [viz.draw, viz.unrolled, viz.folded])
def test_what_was_not_recorded_is_named_with_the_way_out(view: Any) -> None:
    who = view.__name__
    for target, told in (
        (3, "target is int: no tensor with a graph was given; a tensor has one when it was computed"),
        (tg.tensor([1.0]), "target is Tensor: no tensor with a graph"),
        (nn.LSTM(2, 3), rf"target is nn.LSTM, .* run it and draw its outputs, viz.{who}\(layer\(x\)\)"),
        (layers.Dense(3), rf"target is layers.Dense, .* run it and draw its outputs, viz.{who}\(layer\(x\)\)"),
        (rnn.LSTMCell, r"target is the class rnn.LSTMCell, .* make one and draw it by viz.cell\(cell\)"),
        (nn.GRU, rf"target is the class nn.GRU, .* make one and run it and draw its outputs, viz.{who}"),
    ):
        with pytest.raises(TypeError, match=f"^{who}: {told}"):
            view(target)
    with pytest.raises(TypeError, match=r"^draw: target is rnn.GRUCell, .* draw it by viz.cell\(cell\)"):
        viz.draw(rnn.GRUCell(3))


@pytest.mark.parametrize(
    "wrap",
    [
        rnn.ResidualWrapper,
        lambda cell: rnn.DropoutWrapper(cell, 0.5),
        lambda cell: rnn.ZoneoutWrapper(cell, 0.1),
        lambda cell: rnn.MultiRNNCell([cell, rnn.GRUCell(2)]),
    ],
)
def test_cells_inside_others_in_float64(wrap: Any) -> None:
    cell = wrap(rnn.GRUCell(3))
    cell.build(3, np.float64)
    for drawing in (viz.unrolled(cell, dtypes=True), viz.folded(cell), viz.cell(cell)):
        assert drawing.source
    assert "float64" in viz.unrolled(cell, dtypes=True).source


@pytest.mark.parametrize("lengths", [None, [5, 3, 0]])
@pytest.mark.parametrize(
    "make",
    [
        lambda: rnn.LSTMCell(3, seed=1),
        lambda: rnn.GRUCell(3, seed=1),
        lambda: rnn.GRUCell(3, reset_after=True, seed=1),
        lambda: rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.BasicRNNCell(3)]),
        lambda: rnn.DropoutWrapper(rnn.ResidualWrapper(rnn.GRUCell(4)), output_keep_prob=0.5),
    ],
)
def test_a_fused_run_is_opened(make: Any, lengths: Any) -> None:
    """The picture of a fused run is that of the same run step by step."""
    runs = [rnn.dynamic_rnn(make(), data(3, 5, 4), lengths, impl=impl) for impl in ("auto", "unrolled")]
    fused, plain = (viz.unrolled(run) for run in runs)
    assert roles(fused) - Counter(each=5) == roles(plain) - Counter(each=5)
    assert edges(fused)["state"] == edges(plain)["state"]
    for drawing in (fused, plain):
        check_places(drawing)


def test_a_big_fused_run_is_opened_without_running_it() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(512), data(64, 60, 512))
    drawing = viz.unrolled(outputs, steps=(1, 1))
    assert names(drawing, "input") == ["x₀", "x₅₉"]
    assert "(64, 512)" in drawing.source
    outputs.sum().backward()
    assert viz.unrolled(outputs, steps=(1, 1)).source == drawing.source
    assert viz.unrolled(tg.snapshot(outputs), steps=(1, 1)).source == drawing.source


def test_a_snapshot_knows_which_inputs_an_op_was_given() -> None:
    shapes = {"W": (4, 9), "U": (3, 9), "b": 9, "h": (2, 3)}
    W, U, b, h = (tg.Parameter(np.ones(shape, np.float32), name=name) for name, shape in shapes.items())
    for inputs in ((b, None, None), (None, b, None), (None, None, h), (b, None, h), (b, b, None)):
        outputs, _ = tg.ops.gru_sequence(data(2, 3, 4), W, U, *inputs, reset_after=inputs[1] is not None)
        drawing = viz.unrolled(outputs)
        assert viz.unrolled(tg.snapshot(outputs)).source == drawing.source


def test_a_learned_first_state_is_named() -> None:
    h0 = tg.Parameter(np.zeros((2, 3), np.float32), name="h0")
    for impl in ("auto", "unrolled"):
        drawing = viz.unrolled(rnn.dynamic_rnn(rnn.GRUCell(3), data(2, 4, 4), initial_state=h0, impl=impl))
        assert names(drawing, "state") == ["h0", "h₃"]
        check_places(drawing)


def test_a_language_model() -> None:
    """Embedding and readout are drawn in every step, the loss once over all."""
    table = tg.Parameter(np.zeros((9, 4), np.float32), name="table")
    weight = tg.Parameter(np.zeros((5, 9), np.float32), name="weight")
    ids = np.zeros((2, 30), int)
    with tg.scope("embedding"):
        x = tg.take(table, ids, axis=0)
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(5), x)
    with tg.scope("readout"):
        y = outputs @ weight
    drawing = viz.unrolled(tg.softmax_cross_entropy(y, ids), steps=(2, 1))
    assert Counter(names(drawing, "each")) == {"embedding": 3, "readout": 3}
    assert roles(drawing)["group"] == 1
    assert roles(drawing)["input"] == 3
    assert names(drawing, "parameter")[0].startswith("W = kernel")
    check_places(drawing)


def test_many_to_one() -> None:
    weight = tg.Parameter(np.zeros((5, 2), np.float32), name="weight")
    outputs, state = rnn.dynamic_rnn(rnn.GRUCell(5), data(2, 4, 3))
    for last in (state, outputs[:, -1]):
        with tg.scope("classifier"):
            y = tg.sigmoid(last @ weight)
        drawing = viz.unrolled(y)
        assert names(drawing, "group") == ["classifier"]
        assert roles(drawing)["output"] == 0
        bar = next(node for node in drawing.picture.nodes if node.role == "group")
        assert [edge.tail for edge in drawing.picture.edges if edge.head == bar.id] == ["l0t3"]
        check_places(drawing)


def test_steps_that_are_not_drawn_are_not_opened() -> None:
    """A long fused run is read with a short gap; the picture is that of the whole."""
    for make in (lambda: rnn.LSTMCell(3, seed=1), lambda: rnn.MultiRNNCell([rnn.GRUCell(3), rnn.BasicRNNCell(3)])):
        runs = [rnn.dynamic_rnn(make(), data(3, 40, 4), [40, 7, 38], impl=impl) for impl in ("auto", "unrolled")]
        short, whole = (viz.unrolled(run, steps=(2, 3)) for run in runs)
        for role in ("cell", "input", "output", "state", "constant", "parameter", "more"):
            assert names(short, role) == names(whole, role)
        assert [box.label for box in short.picture.boxes] == [box.label for box in whole.picture.boxes]
        assert short.picture.boxes[-1].label == "t=39   1 of 3 rows"
        assert edges(short) == edges(whole)
        assert {edge.label for edge in short.picture.edges} == {edge.label for edge in whole.picture.edges}
        check_places(short)
    outputs, _ = rnn.bidirectional_dynamic_rnn(rnn.LSTMCell(3), rnn.LSTMCell(3), data(2, 40, 4))
    drawing = viz.unrolled(tg.concatenate(outputs, axis=-1), steps=(1, 1))
    assert sorted(names(drawing, "constant")) == sorted(["c₋₁", "h₋₁", "c₄₀", "h₄₀"])
    check_places(drawing)


def test_layers_with_pytorchs_names() -> None:
    net = nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True)
    outputs, _ = net(data(2, 5, 4))
    y = nn.Linear(12, 3)(outputs)
    for drawing in (viz.unrolled(y, (2, 1)), viz.folded(y)):
        lines = {node.lines for node in drawing.picture.nodes if node.role in ("cell", "each")}
        assert lines == {("lstm_cell", "W U b b′"), ("linear", "W b")}
        assert roles(drawing)["parameter"] == 5
        check_places(drawing)


class TwoStates(rnn.RNNCell):
    """A cell of one's own with two states."""

    state_size = (3, 2)
    output_size = 3

    def build_parameters(self, input_size: int) -> None:
        self.add("w", (input_size, 3), "glorot_uniform")
        self.add("v", (3, 2), "glorot_uniform")

    def call(self, x: Any, state: Any) -> Any:
        a = tg.tanh(x @ self.w + state[0])
        return a, (a, tg.relu(state[1] + a @ self.v))


class Decay(rnn.RNNCell):
    """A cell without parameters."""

    state_size = output_size = 5

    def call(self, x: Any, state: Any) -> Any:
        h = 0.5 * state + x
        return h, h


CELLS = {
    "two states": TwoStates,
    "no parameters": Decay,
    "dropout everywhere": lambda: rnn.DropoutWrapper(rnn.LSTMCell(5), 0.5, 0.5, 0.5),
    "zoneout": lambda: rnn.ZoneoutWrapper(rnn.LSTMCell(5), (0.1, 0.2)),
    "residual in a stack": lambda: rnn.MultiRNNCell([rnn.LSTMCell(5), rnn.ResidualWrapper(rnn.GRUCell(5))]),
    "stack in a stack": lambda: rnn.MultiRNNCell([rnn.MultiRNNCell([rnn.GRUCell(5), rnn.GRUCell(4)]), rnn.LSTMCell(3)]),
    "dropout around a stack": lambda: rnn.DropoutWrapper(rnn.MultiRNNCell([rnn.LSTMCell(5), rnn.LSTMCell(5)]), 0.5),
    "a strange name": lambda: rnn.LSTMCell(5, name='<b>"x\n|{}'),
}


@pytest.mark.parametrize("lengths", [None, [1, 0]])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("name", CELLS)
def test_any_cell(name: str, steps: int, lengths: Any) -> None:
    for impl in ("auto", "unrolled"):
        x = tg.Tensor(np.ones((2, steps, 5), np.float32), name="x", requires_grad=True)
        run = rnn.dynamic_rnn(CELLS[name](), x, None if lengths is None else [steps, 1], impl=impl)
        drawing = viz.unrolled(run)
        assert roles(drawing)["input"] == steps
        for picture in (drawing, viz.folded(run)):
            check_places(picture)
        assert viz.draw(run, opened=True, depth=2).mermaid()
        assert np.all(viz.grad_flow(run[0].sum()).layers[-1].states.get("h", np.ones(1)) >= 0)
    for picture in (viz.unrolled(CELLS[name](), steps), viz.folded(CELLS[name]()), viz.cell(CELLS[name]())):
        assert picture.source


def test_the_states_of_ones_own_cell_are_told_apart() -> None:
    drawing = viz.unrolled(rnn.dynamic_rnn(TwoStates(), data(2, 3, 4)))
    assert names(drawing, "constant") == ["s1₋₁", "s2₋₁"]
    assert names(drawing, "state") == ["s1₂", "s2₂"]


@pytest.mark.parametrize("name", ["WWWWWWWWWWWWWWWW", "한글한글한글한글한글한글", "layer_norm_lstm_cell", '<b>"x\n|{}'])
def test_names_fit_into_their_cells(name: str) -> None:
    drawing = viz.unrolled(rnn.GRUCell(3, name=name), 2)
    for node in drawing.picture.nodes:
        assert node.size is not None
        assert all(viz.scene.style.text_width(line) <= node.size[0] for line in node.lines)
