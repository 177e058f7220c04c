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
    with pytest.raises(TypeError, match="needs a loss to take the gradient of, not GRUCell"):
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
