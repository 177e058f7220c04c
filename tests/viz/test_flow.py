"""The gradient over time: against the product of matrices that it is, and against the engine's own gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_unrolled import check_places

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz
from tinygrad_rnn.errors import GraphError

RNG = np.random.default_rng(0)


def data(*shape: int, dtype: Any = np.float64) -> Any:
    return tg.Tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=True, name="x")


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("activation", ["linear"])
def test_a_linear_net_multiplies_by_its_matrices(impl: str, activation: str) -> None:
    """d h_T / d x_{T-k} = W_rec^k W_in, transposed as ours are: h' = x W + h U."""
    steps = 40
    cell = rnn.BasicRNNCell(5, activation=activation, seed=1)
    _, state = rnn.dynamic_rnn(cell, data(2, steps, 3), impl=impl)
    flow = viz.grad_flow(state, jacobians=True)
    assert flow.jacobians is not None
    assert flow.jacobians.shape == (steps, 5, 3)
    w, u = cell.kernel.data, cell.recurrent_kernel.data
    for k in range(steps):
        wanted = (w @ np.linalg.matrix_power(u, k)).T
        np.testing.assert_allclose(flow.jacobians[steps - 1 - k], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("cell", [rnn.BasicRNNCell(4, seed=1), rnn.LSTMCell(4, seed=1), rnn.GRUCell(4, seed=1)])
def test_norms_are_those_of_the_true_gradients(cell: Any, impl: str) -> None:
    """The loss as a function of each state, run on from there, has the gradient that is shown."""
    x = data(2, 6, 3)
    outputs, _ = rnn.dynamic_rnn(cell, x, impl=impl)
    loss = (outputs[:, -1] ** 2).sum()
    flow = viz.grad_flow(loss)
    assert flow.inputs is not None
    np.testing.assert_allclose(flow.inputs, np.linalg.norm(tg.grad(loss, x).numpy(), axis=(0, 2)), rtol=1e-10)
    for t in range(5):
        _, state = rnn.dynamic_rnn(cell, x[:, : t + 1])
        parts = {"c": state.c.data, "h": state.h.data} if isinstance(state, tuple) else {"h": state.data}
        leaves = {name: tg.tensor(value, requires_grad=True) for name, value in parts.items()}
        begin = rnn.LSTMState(**leaves) if isinstance(state, tuple) else leaves["h"]
        rest, _ = rnn.dynamic_rnn(cell, x[:, t + 1 :], initial_state=begin)
        again = (rest[:, -1] ** 2).sum()
        for name, leaf in leaves.items():
            # c_t acts on the loss through h_t too: d loss / d c_t is the total, h_t's part given c_t is its own
            mine = flow.layers[-1].states[name][t]
            if name == "h":
                np.testing.assert_allclose(mine, np.linalg.norm(tg.grad(again, leaf).numpy()), rtol=1e-10)
            else:
                assert mine > 0
        assert set(flow.layers[-1].states) == set(parts)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_the_last_step_of_sequences_that_have_ended(impl: str) -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(4, seed=1), data(3, 6, 3), sequence_length=[6, 2, 4], impl=impl)
    flow = viz.grad_flow((outputs[:, -1] ** 2).sum())
    np.testing.assert_allclose(flow.h[-1], np.linalg.norm(2 * outputs[:, -1].detach().numpy()), rtol=1e-12)
    assert np.all(flow.c > 0)
    flow = viz.grad_flow((outputs[:, 4] ** 2).sum())  # what a step gives out counts where others have ended, too
    np.testing.assert_allclose(flow.h[4], np.linalg.norm(2 * outputs[:, 4].detach().numpy()), rtol=1e-12)


def test_nothing_changes() -> None:
    cell, x = rnn.LSTMCell(4), data(2, 6, 3, dtype=np.float32)
    outputs, _ = rnn.dynamic_rnn(cell, x)
    loss = outputs.sum()
    viz.grad_flow(loss)
    assert all(p.grad is None for p in cell.parameters())
    assert x.grad is None
    first = viz.grad_flow(loss).h
    loss.backward()
    assert cell.kernel.grad is not None
    with pytest.raises(GraphError, match=r"freed by a backward pass\. Call this \(or draw\) before backward"):
        viz.grad_flow(loss)
    assert np.all(first > 0)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_steps_that_do_not_matter_have_zero(impl: str) -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(4), data(2, 6, 3), impl=impl)
    flow = viz.grad_flow(outputs[:, 2].sum())
    assert np.all(flow.h[:3] > 0)
    assert np.all(flow.h[3:] == 0)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_layers_from_the_bottom_up(impl: str) -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(3)]), data(2, 6, 3), impl=impl)
    flow = viz.grad_flow(outputs.sum())
    assert [layer.name for layer in flow.layers] == ["lstm_cell", "gru_cell"]
    assert [sorted(layer.states) for layer in flow.layers] == [["c", "h"], ["h"]]
    assert flow.layers[0].inputs is not None
    assert flow.plot().svg().count("<polyline") == 3


def test_an_elman_net_forgets_and_an_lstm_does_not() -> None:
    norms = {}
    for name, cell in {"RNN": rnn.BasicRNNCell(8, seed=1), "LSTM": rnn.LSTMCell(8, forget_bias=3.0, seed=1)}.items():
        outputs, _ = rnn.dynamic_rnn(cell, 3 * data(2, 60, 3).data)
        flow = viz.grad_flow((outputs[:, -1] ** 2).sum())
        norms[name] = flow.c if name == "LSTM" else flow.h
    assert norms["RNN"][0] < 1e-4 * norms["RNN"][-1]
    assert norms["LSTM"][0] > 1e-2 * norms["LSTM"].max() > norms["RNN"][0]


def test_plots(tmp_path: Any) -> None:
    plot = viz.Plot({"<b>": [1.0, 0.0, 1e-300, np.nan], "한글": [1.0]}, "t", "&")
    assert plot.svg().count("<polyline") == 3  # a gap where there is no logarithm
    assert "&lt;b&gt;" in plot.svg()
    assert plot.save(tmp_path / "x.svg").read_text(encoding="utf-8") == plot.svg()
    with pytest.raises(ValueError, match=r"does not end in \.svg"):
        plot.save(tmp_path / "x.png")
    with pytest.raises(ValueError, match="expected one value a step"):
        viz.Plot({"a": [[1.0]]})
    assert "<svg" in viz.Plot({}).svg()


def test_what_has_no_gradient_is_refused() -> None:
    with pytest.raises(TypeError, match="target is list"):
        viz.grad_flow([])
    with pytest.raises(TypeError, match="does not require grad"):
        viz.grad_flow(tg.tensor(1.0))
    with pytest.raises(ValueError, match="the graph has no time steps"):
        viz.grad_flow(tg.tanh(tg.Parameter(1.0)))


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_cells_are_shaded_by_the_gradient(impl: str) -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.BasicRNNCell(8, seed=1), data(2, 60, 3), impl=impl)
    loss = (outputs[:, -1] ** 2).sum()
    drawing = viz.unrolled(loss, steps=(3, 3), color="grad_norm")
    cells = [node for node in drawing.picture.nodes if node.role == "cell"]
    fills = [node.fill for node in cells]
    assert fills[0] != fills[-1]
    assert all(fills)
    assert cells[0].tip.startswith("|d loss / d h₀| = ")
    widths = [edge.look[1] for edge in drawing.picture.edges if edge.role == "state" and edge.look]
    assert widths == sorted(widths)
    assert len(widths) == 6  # between the six steps drawn and the gap
    legend = [node.lines[0] for node in drawing.picture.nodes if node.role == "swatch"]
    assert legend == sorted(legend, key=float)
    check_places(drawing)
    assert loss.requires_grad
    loss.backward()


def test_shading_needs_a_loss() -> None:
    with pytest.raises(TypeError, match="target is GRUCell, expected what a run computed: outputs, a state, a loss"):
        viz.unrolled(rnn.GRUCell(3), color="grad_norm")
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3), data(2, 4, 3))
    with pytest.raises(ValueError, match=r"must have one element"):
        viz.unrolled(outputs, color="grad_norm")
    with pytest.raises(ValueError, match="color is 'red', expected 'grad_norm', 'activation' or None"):
        viz.unrolled(outputs, color="red")
    loss = outputs.sum()
    loss.backward()
    with pytest.raises(GraphError, match=r"\(or draw\) before backward"):
        viz.unrolled(loss, color="grad_norm")


def by_time(loss: Any, x: Any) -> Any:
    """The norms of the true gradient at x (B, T, D), by step."""
    return np.linalg.norm(tg.grad(loss, x, retain_graph=True).numpy(), axis=(0, 2))


@pytest.mark.parametrize("inside", [True, False])
def test_inputs_of_a_loop_of_ones_own(inside: bool) -> None:
    """A step's own part of an array that is sliced at every step; and the matrices of a linear net."""
    x, cell = data(2, 4, 3), rnn.BasicRNNCell(5, activation="linear", seed=1)
    h: Any = cell.zero_state(2, np.float64)
    for t in range(4):
        x_t = x[:, t]
        with tg.step(t):
            _, h = cell(x[:, t] if inside else x_t, h)
    loss = (h**2).sum()
    flow = viz.grad_flow(loss)
    assert flow.inputs is not None
    np.testing.assert_allclose(flow.inputs, by_time(loss, x), rtol=1e-10)
    jacobians = viz.grad_flow(h, jacobians=True).jacobians
    assert jacobians is not None
    assert jacobians.shape == (4, 5, 3)
    w, u = cell.kernel.data, cell.recurrent_kernel.data
    for k in range(4):
        wanted = (w @ np.linalg.matrix_power(u, k)).T
        np.testing.assert_allclose(jacobians[3 - k], wanted, rtol=1e-12, atol=1e-12)


MOVES: dict[str, Any] = {  # what is done to x (B, T, D) before it is read; and the gradient's steps as they are read
    "later steps": (lambda x: (x[:, 2:], False), lambda g: g[2:]),
    "backwards": (lambda x: (x[:, ::-1], False), lambda g: g[::-1]),
    "time first": (lambda x: (x.transpose(1, 0, 2), True), lambda g: g),
    "a list of steps": (lambda x: (tg.stack([x[:, t] for t in range(x.shape[1])]), True), lambda g: g),
}


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("batch", [2, 6])
@pytest.mark.parametrize("move", MOVES)
def test_inputs_are_those_that_a_step_reads(move: str, batch: int, impl: str) -> None:
    moved, picked = MOVES[move]
    x = data(batch, 6, 2)
    inputs, time_major = moved(x)
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3, seed=1), inputs, time_major=time_major, impl=impl)
    loss = ((outputs[1] if time_major else outputs[:, 1]) ** 2).sum()
    flow = viz.grad_flow(loss)
    assert flow.inputs is not None
    np.testing.assert_allclose(flow.inputs, picked(by_time(loss, x)), rtol=1e-10)
    assert np.count_nonzero(flow.inputs) == 2


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("lengths", [None, [5, 2], [4, 0]])
def test_both_directions_stand_in_order_of_time(lengths: Any, impl: str) -> None:
    x = data(2, 5, 2)
    cells = rnn.GRUCell(3, seed=1), rnn.GRUCell(3, seed=2)
    both, _ = rnn.bidirectional_dynamic_rnn(*cells, x, sequence_length=lengths, impl=impl)
    for side, reached in ((0, [0, 1]), (1, {5: [1], 4: [1, 2, 3]}.get((lengths or [0])[0], [1, 2, 3, 4]))):
        loss = (both[side][1, 1] ** 2).sum() if lengths != [4, 0] else (both[side][0, 1] ** 2).sum()
        flow = viz.grad_flow(loss)
        assert flow.inputs is not None
        true = by_time(loss, x)
        np.testing.assert_allclose(flow.inputs, true[: len(flow.inputs)], rtol=1e-10)
        assert np.all(true[len(flow.inputs) :] == 0)
        assert [t for t in range(len(flow.h)) if flow.h[t] > 0] == reached
        own = loss.item() ** 0.5 * 2
        np.testing.assert_allclose(flow.h[1], own, rtol=1e-10)  # nothing before it reaches the step that is read


def test_a_residual_connection_counts_either_way() -> None:
    x, cell = data(2, 4, 3), rnn.ResidualWrapper(rnn.GRUCell(3, seed=1))
    for impl in ("auto", "unrolled"):
        outputs, _ = rnn.dynamic_rnn(cell, x, impl=impl)
        loss = (outputs[:, -1] ** 2).sum()
        np.testing.assert_allclose(viz.grad_flow(loss).inputs, by_time(loss, x), rtol=1e-10)


def test_inputs_that_cannot_be_told() -> None:
    """Two arrays at every step, or another layer's results: no number rather than a wrong one."""
    x, y, cell = data(2, 3, 2), data(2, 3, 2), rnn.BasicRNNCell(4)
    h: Any = cell.zero_state(2, np.float64)
    for t in range(3):
        with tg.step(t):
            _, h = cell(x[:, t] + tg.tanh(y[:, t]), h)
    assert viz.grad_flow(h.sum()).inputs is None
    with pytest.raises(ValueError, match="what the first layer reads has no gradient, or is not one array a step"):
        viz.grad_flow(h, jacobians=True)
    outputs, _ = rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.GRUCell(3), rnn.GRUCell(3)]), x)
    assert [layer.inputs is None for layer in viz.grad_flow(outputs.sum()).layers] == [False, True]


def test_norms_of_numbers_whose_squares_overflow() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3, seed=1), data(2, 4, 2))
    small, large = viz.grad_flow(outputs.sum()).h, viz.grad_flow((outputs * 1e300).sum()).h
    np.testing.assert_allclose(large, small * 1e300, rtol=1e-12)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("lengths", [None, [1, 0]])
def test_a_single_step(lengths: Any, impl: str) -> None:
    for cell in (rnn.LSTMCell(3, seed=1), rnn.BasicRNNCell(3, seed=1)):
        outputs, _ = rnn.dynamic_rnn(cell, data(2, 1, 2), lengths, impl=impl)
        loss = (outputs**2).sum()
        np.testing.assert_allclose(viz.grad_flow(loss).h, [np.linalg.norm(2 * outputs.data)], rtol=1e-12)
        assert [n.fill is None for n in viz.unrolled(loss, color="grad_norm").picture.nodes if n.role == "cell"] == [
            False
        ]
    x = tg.Tensor(np.ones((2, 1, 3)), requires_grad=True, name="x")
    outputs, _ = rnn.dynamic_rnn(Counts(), x)
    np.testing.assert_allclose(viz.grad_flow(outputs.sum()).h, [6**0.5])


class Counts(rnn.RNNCell):
    """A cell of one's own with two states of its own and no scope for either."""

    state_size = (3, 3)
    output_size = 3

    def call(self, x: Any, state: Any) -> Any:
        a = tg.tanh(x + state[0])
        return a, (a, 0.5 * state[1] + a)


def test_states_of_ones_own_cell() -> None:
    _, state = rnn.dynamic_rnn(Counts(), data(2, 3, 3))
    loss = state[1].sum()
    flow = viz.grad_flow(loss)
    assert sorted(flow.layers[0].states) == ["s1", "s2"]
    with pytest.raises(KeyError, match=r"layer 'counts' has no state 'h'; .*has 's1', 's2'"):
        _ = flow.h
    for color in ("activation", "grad_norm"):
        cells = [n for n in viz.unrolled(loss, color=color).picture.nodes if n.role == "cell"]
        assert all(n.fill for n in cells)
    with pytest.raises(ValueError, match="of='h': no step has it, expected one of s1, s2"):
        viz.unrolled(loss, color="activation", of="h")


def test_a_line_for_each_layer_of_one_name() -> None:
    x = data(2, 4, 3)
    outputs, _ = rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.LSTMCell(3), rnn.LSTMCell(3)]), x)
    wanted = ["lstm_cell 1 c", "lstm_cell 1 h", "lstm_cell 2 c", "lstm_cell 2 h"]
    assert list(viz.grad_flow(outputs.sum()).plot().lines) == wanted
    (fw, bw), _ = rnn.bidirectional_dynamic_rnn(rnn.GRUCell(3), rnn.GRUCell(3), x)
    plot = viz.grad_flow((fw[:, 3] + bw[:, 3]).sum()).plot()
    assert list(plot.lines) == ["gru_cell h", "gru_cell backward h"]
    assert np.count_nonzero(plot.lines["gru_cell h"]) == 4
    assert np.flatnonzero(plot.lines["gru_cell backward h"]).tolist() == [3]  # in order of time, not of reading
