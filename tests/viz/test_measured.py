"""What pictures measure: values by steps, times, bytes and flops; and the legends that say so."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from test_unrolled import check_places, data
from tinygrad_rnn.viz.net import costs
from tinygrad_rnn.viz.net.layers import find_layers
from tinygrad_rnn.viz.net.measure import Measured
from tinygrad_rnn.viz.scene.color_scale import ColorScale

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz
from tinygrad_rnn.autodiff.graph import Source
from tinygrad_rnn.errors import GraphError

RNG = np.random.default_rng(0)


def sequences(*shape: int) -> Any:
    return tg.Tensor(RNG.standard_normal(shape), name="x")


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def lstm_by_hand(cell: Any, x: Any) -> dict[str, list[Any]]:
    """Every gate and state of an LSTM, in plain NumPy from its equations."""
    h = c = np.zeros((len(x), cell.output_size))
    found: dict[str, list[Any]] = {name: [] for name in "ifgoch"}
    for t in range(x.shape[1]):
        z = x[:, t] @ cell.kernel.data + cell.bias.data + h @ cell.recurrent_kernel.data
        i, f, g, o = np.split(z, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        for name, value in zip("ifgoch", (i, f, g, o, c, h), strict=True):
            found[name].append(value)
    return found


def tips(drawing: viz.Drawing) -> list[float]:
    """The numbers that the cells' tips tell."""
    return [float(n.tip.rpartition("= ")[2]) for n in drawing.picture.nodes if n.role == "cell" and n.tip]


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("of", "ifgoch")
def test_cells_are_shaded_by_a_state_or_gate(impl: str, of: str) -> None:
    cell = rnn.LSTMCell(4, seed=1)
    x = sequences(2, 6, 3)
    outputs, _ = rnn.dynamic_rnn(cell, x, impl=impl)
    drawing = viz.unrolled(outputs, color="activation", of=of)
    wanted = [np.abs(value).mean() for value in lstm_by_hand(cell, x.data)[of]]
    np.testing.assert_allclose(tips(drawing), wanted, rtol=1e-2)  # tips have three digits
    fills = [node.fill for node in drawing.picture.nodes if node.role == "cell"]
    scale = ColorScale(wanted, "", "activation", log=False)
    assert fills == [scale.fill(value) for value in wanted]
    shaded = {edge.role for edge in drawing.picture.edges if edge.look}
    assert shaded == {"c": {"memory"}, "h": {"state"}}.get(of, set())
    check_places(drawing)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_rows_past_their_length_do_not_count(impl: str) -> None:
    cell, x = rnn.LSTMCell(4, seed=1), sequences(3, 6, 3)
    x.data[1, 2:] = np.nan  # padding may hold anything
    outputs, _ = rnn.dynamic_rnn(cell, x, sequence_length=[6, 2, 4], impl=impl)
    for of in "fh":
        drawing = viz.unrolled(outputs, color="activation", of=of)
        by_hand = lstm_by_hand(cell, np.nan_to_num(x.data))[of]
        runs = [[0, 1, 2], [0, 1, 2], [0, 2], [0, 2], [0], [0]]
        wanted = [np.abs(value[rows]).mean() for value, rows in zip(by_hand, runs, strict=True)]
        np.testing.assert_allclose(tips(drawing), wanted, rtol=1e-2)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_gates_of_a_gru_in_a_stack(impl: str) -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.GRUCell(4), rnn.LSTMCell(3)]), sequences(2, 5, 3), impl=impl)
    for of, layers in (
        ("z", {"gru_cell"}),
        ("n", {"gru_cell"}),
        ("f", {"lstm_cell"}),
        ("h", {"gru_cell", "lstm_cell"}),
    ):
        cells = [n for n in viz.unrolled(outputs, color="activation", of=of).picture.nodes if n.role == "cell"]
        assert {n.lines[0] for n in cells if n.fill} == layers
        assert all(n.fill is None for n in cells if n.lines[0] not in layers)


def test_what_has_no_values_is_refused() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3), sequences(2, 4, 3))
    with pytest.raises(ValueError, match=r"of='f': no step has it, expected one of h, n, r, z"):
        viz.unrolled(outputs, color="activation", of="f")
    for target in (rnn.GRUCell(3), tg.snapshot(outputs)):
        with pytest.raises(TypeError, match=r"color='activation': target is \w+, expected what a run computed"):
            viz.unrolled(target, color="activation")
    with pytest.raises(TypeError, match="color='time': target is Graph, expected what a run computed"):
        viz.draw(tg.snapshot(outputs), color="time")
    with pytest.raises(ValueError, match="color is 'grad_norm', expected 'time' or None"):
        viz.draw(outputs, color="grad_norm")
    outputs.sum().backward()
    for view, color in ((viz.unrolled, "activation"), (viz.draw, "time")):
        with pytest.raises(GraphError, match=r"\(or draw\) before backward"):
            view(outputs, color=color)


def test_every_value_that_the_graph_tells_is_right() -> None:
    """Values from what ops kept, or computed again from it, are those that the ops had."""
    seen: dict[int, Any] = {}
    x, w = tg.Tensor(RNG.standard_normal((3, 4)), name="x"), tg.Parameter(RNG.standard_normal((4, 4)), name="w")
    tensors = [x @ w]
    tensors.append(tg.tanh(tensors[-1]) * w[0])
    tensors.extend(tg.split(tensors[-1] + tensors[0], 2, axis=1))
    tensors.append(tg.concatenate([tg.relu(tensors[-1]) - 1.0, tensors[-2]], axis=1))
    loss = tg.sum(tensors[-1] ** 2)
    for tensor in tensors:
        seen[tensor._node.node.counter if hasattr(tensor._node, "node") else tensor._node.counter] = tensor
    measured = Measured(loss, "test")
    known = 0
    for tensor in tensors:
        edge = tensor._node
        node, output = (edge.node, edge.index) if hasattr(edge, "node") else (edge, 0)
        value = measured.value(Source(measured.nodes.index(node), output))
        if value is not None:
            known += 1
            np.testing.assert_array_equal(value, tensor.data)
    assert known >= 4  # all but what a plain number was taken from


def test_times_are_those_of_the_ops() -> None:
    """A product a thousand times bigger takes longer, and the times told are about those of NumPy."""
    a, b = tg.Parameter(RNG.standard_normal((4, 4)), name="a"), tg.Parameter(RNG.standard_normal((400, 400)), name="b")
    drawing = viz.draw((a @ a, b @ b), color="time", flops=True)
    ops = [node for node in drawing.picture.nodes if node.lines[0] == "@"]
    assert [node.lines[-2] for node in ops] == ["128 flop", "128 Mflop"]
    took = [_seconds(node.lines[-1]) for node in ops]
    assert took[1] > 10 * took[0] > 0
    begin = time.perf_counter()
    for _ in range(5):
        b.data @ b.data
    assert took[1] < 100 * (time.perf_counter() - begin)
    assert ops[0].fill != ops[1].fill
    assert all(node.fill is None for node in drawing.picture.nodes if node.role == "parameter")
    assert "time of an op&#39;s forward" in drawing.svg() or "time of an op's forward" in drawing.svg()


def _seconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6}[unit]


@pytest.mark.parametrize("opened", [False, True])
def test_times_of_a_run(opened: bool) -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(4), data(2, 5, 3), sequence_length=[5, 2])
    loss = outputs[:, -1].sum()
    picture = viz.draw(loss, color="time", opened=opened).picture
    timed = [n for n in picture.nodes if n.role in ("op", "fused")]
    assert len(timed) == (3 if not opened else len(timed)) > 0
    assert all(_seconds(n.lines[-1]) > 0 and n.fill for n in timed)
    assert any(part.label == "t=3" for part in picture.boxes) == opened
    closed = viz.draw(loss, color="time", opened=opened, depth=0).picture
    assert any(n.role == "fused" and _seconds(n.lines[-1]) > 0 for n in closed.nodes)
    loss.backward()  # nothing was freed


FUSED = [
    lambda: rnn.BasicRNNCell(4),
    lambda: rnn.LSTMCell(4),
    lambda: rnn.GRUCell(4),
    lambda: rnn.GRUCell(4, reset_after=True),
]


@pytest.mark.parametrize("make", FUSED)
def test_a_fused_run_costs_what_it_stands_for(make: Any) -> None:
    outputs, _ = rnn.dynamic_rnn(make(), data(2, 5, 3))
    fused, opened = tg.snapshot(outputs), tg.snapshot(outputs, unfused=True)
    assert sum(costs.flops(n, fused) for n in fused.nodes) == sum(costs.flops(n, opened) for n in opened.nodes)
    assert "matmul" not in {n.op for n in fused.nodes}


def test_flops_by_the_textbook() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(16), data(8, 10, 32))
    products = 2 * 8 * 10 * (32 + 16) * 4 * 16
    graph = tg.snapshot(outputs)
    assert products < costs.flops(graph.nodes[-1], graph) < 1.05 * products + 8 * 10 * 17 * 16
    short, _ = rnn.dynamic_rnn(rnn.LSTMCell(16), data(8, 10, 32), sequence_length=[5] * 8)
    told = [viz.draw(run, flops=True, shapes=False).picture.nodes[-1].lines[-1] for run in (outputs, short)]
    assert [float(text.split()[0]) for text in told] == pytest.approx([513, 257], rel=0.01)
    a = tg.Parameter(np.ones((2, 3, 4)))
    for result, wanted in (
        (a @ tg.Parameter(np.ones((4, 5))), 2 * 2 * 3 * 4 * 5),
        (tg.tanh(a), 24),
        (tg.reshape(a, shape=(6, 4)), 0),
        (a[0], 0),
        (tg.sum(a, axis=0), 24),
        (tg.einsum("bij,bjk->bik", a, tg.Parameter(np.ones((2, 4, 5)))), 2 * 2 * 3 * 4 * 5),
    ):
        graph = tg.snapshot(result)
        assert sum(costs.flops(node, graph) for node in graph.nodes) == wanted


def test_bytes_are_those_of_the_results() -> None:
    picture = viz.draw(tg.tanh(tg.Parameter(np.ones((3, 4), np.float32), name="w")), bytes=True).picture
    assert [node.lines for node in picture.nodes] == [("w", "(3, 4)", "48 B"), ("tanh", "(3, 4)", "48 B")]


def test_legends_say_what_occurs() -> None:
    for drawing in (
        viz.unrolled(rnn.LSTMCell(3), legend=True),
        viz.folded(rnn.GRUCell(3), legend=True),
        viz.cell(rnn.LSTMCell(3), legend=True),
    ):
        plain = {n.role for n in drawing.picture.nodes if not n.id.startswith("legend")}
        said = {n.role for n in drawing.picture.nodes if n.id.startswith("legend")} - {"text"}
        assert said == plain
        arrows = {e.role for e in drawing.picture.edges if e.tail.startswith("legend")}
        assert arrows == {e.role for e in drawing.picture.edges if not e.tail.startswith("legend")}
        check_places(drawing)
        assert "<svg" in drawing.svg()
    assert not any(n.id.startswith("legend") for n in viz.unrolled(rnn.LSTMCell(3)).picture.nodes)
    drawing = viz.draw(tg.tanh(tg.Parameter([1.0], name="w")), legend=True)
    assert "shape=plain" in drawing.source  # a table, for a program to place
    texts = ("weights", "operation", "weights")
    assert all(f">{text}</text>" in drawing.svg() for text in texts)


def test_scales() -> None:
    log = ColorScale([1e-6, 1.0, 0.0, np.inf], "", "grad_norm")
    assert (log.part(1e-6), log.part(1e-3), log.part(1.0), log.part(0.0), log.part(np.inf)) == (0, 0.5, 1, 0, 1)
    assert [text for text, _ in log.swatches()] == [f"1e{p}" for p in range(-6, 1)]
    assert len(ColorScale([1e-300, 1e300], "", "grad_norm").swatches()) <= 7
    plain = ColorScale([0.3, 0.7], "", "activation", log=False)
    assert [text for text, _ in plain.swatches()] == ["0", "0.25", "0.5", "0.75", "1"]
    assert ColorScale([], "", "activation", log=False).part(2.0) == 1


def test_what_is_not_a_number_has_a_colour_of_its_own() -> None:
    x = data(2, 4, 3)
    x.data[0, 2] = np.nan
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3, seed=0), x)
    drawing = viz.unrolled(outputs, color="activation")
    fills = [node.fill for node in drawing.picture.nodes if node.role == "cell"]
    legend = {node.lines[0]: node.fill for node in drawing.picture.nodes if node.id.startswith("legend")}
    assert fills[2] == fills[3] == legend["NaN"]
    assert legend["NaN"] not in (*fills[:2], *(fill for text, fill in legend.items() if text != "NaN"))
    arrows = [edge.look for edge in drawing.picture.edges if edge.role == "state" and edge.look]
    assert arrows[-1] not in arrows[:2]
    scale = ColorScale([1e-3, np.inf, np.nan], "", "grad_norm")
    assert scale.fill(np.inf) == scale.fill(1e9) != scale.fill(np.nan)
    assert scale.swatches()[-1] == ("NaN", scale.fill(np.nan))
    assert "NaN" not in [text for text, _ in ColorScale([1.0], "", "grad_norm").swatches()]


@pytest.mark.parametrize("lengths", [None, [4, 1]])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_is_computed_on_constants_changes_no_gradient(lengths: Any, bidirectional: bool) -> None:
    cell = rnn.LSTMCell(4, seed=1)
    if bidirectional:
        outputs, _ = rnn.bidirectional_dynamic_rnn(cell, rnn.GRUCell(4, seed=2), sequences(2, 4, 3), lengths)
        loss = (tg.concatenate(outputs, axis=-1) ** 2).sum()
    else:
        loss = (rnn.dynamic_rnn(cell, sequences(2, 4, 3), lengths)[0] ** 2).sum()
    found = []
    for constants in (False, True):
        measured = Measured(loss, "test", constants=constants)
        measured.sweep()
        found.append([measured.over_time(k, "h", gradient=True) for k in range(len(measured.net.layers))])
    for without, beside in zip(*found, strict=True):
        np.testing.assert_array_equal(without, beside)


def test_a_coloured_picture_reads_its_net_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = (rnn.dynamic_rnn(rnn.LSTMCell(4, seed=1), sequences(2, 4, 3))[0] ** 2).sum()
    made: list[Any] = []
    monkeypatch.setattr("tinygrad_rnn.viz.net.steps.find_layers", lambda *a: made.append(a) or find_layers(*a))
    viz.unrolled(loss, color="grad_norm")
    assert len(made) == 1
