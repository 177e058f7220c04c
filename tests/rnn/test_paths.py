"""The fused and the unrolled path compared: traces, recomputation, memory, expansion, streaming, threads."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, rnn
from tinygrad_rnn.autodiff.graph import unfuse

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4))
LENGTHS = [5, 0, 3]
CELLS: dict[str, Any] = {
    "rnn": lambda: rnn.BasicRNNCell(3, seed=1),
    "relu": lambda: rnn.BasicRNNCell(3, activation="relu", seed=1),
    "lstm": lambda: rnn.LSTMCell(3, seed=1),
    "gru": lambda: rnn.GRUCell(3, seed=1),
    "gru after": lambda: rnn.GRUCell(3, reset_after=True, seed=1),
}
LETTERS = {"rnn": "h", "relu": "h", "lstm": "ifgoch", "gru": "zrnh", "gru after": "zrnh"}


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.fixture(params=CELLS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("time_major", [False, True])
def test_traces_of_both_paths_agree(name: str, lengths: Any, time_major: bool) -> None:
    cell = CELLS[name]()
    x = X.transpose(1, 0, 2) if time_major else X
    options = {"sequence_length": lengths, "time_major": time_major, "return_trace": True}
    outputs, state, fused = rnn.dynamic_rnn(cell, x, impl="fused", **options)
    plain_outputs, plain_state, unrolled = rnn.dynamic_rnn(cell, x, impl="unrolled", **options)
    assert set(fused) == set(unrolled) == set(LETTERS[name])
    close(outputs.data, plain_outputs.data)
    for a, b in zip(state, plain_state, strict=True):
        close(a.data, b.data)
    for letter in fused:
        close(fused[letter].data, unrolled[letter].data)
        assert fused[letter].requires_grad == (letter in "ch")
        assert unrolled[letter].requires_grad


def test_traced_states_carry_gradients() -> None:
    cell = rnn.LSTMCell(3, seed=1)
    weights = RNG.normal(size=(3, 5, 3))
    gradients = []
    for impl in ("fused", "unrolled"):
        x = tg.tensor(X, requires_grad=True)
        _, _, trace = rnn.dynamic_rnn(cell, x, LENGTHS, impl=impl, return_trace=True)
        gradients.append(tg.grad((trace["c"] * weights).sum(), [x, *cell.parameters()]))
    for a, b in zip(*gradients, strict=True):
        close(a.data, b.data)


def test_the_trace_of_a_custom_cell_holds_its_states_by_name() -> None:
    class Fast(NamedTuple):
        fast: Any
        slow: Any

    class Own(rnn.RNNCell):
        output_size = 3

        def __init__(self, state_size: Any, step: Any):
            self.state_size, self.step = state_size, step

        def call(self, x: Any, state: Any) -> Any:
            return self.step(x, state)

    def both(x: Any, s: Any) -> Any:
        return s.slow, Fast(rnn.gate("fast", tg.tanh(s.fast + x)), s.slow * 0.5 + s.fast)

    x = RNG.normal(size=(3, 5, 3))
    _, state, trace = rnn.dynamic_rnn(Own(3, lambda x, h: (h, h + x)), x, LENGTHS, return_trace=True)
    alive = (np.arange(5) < np.array(LENGTHS)[:, None])[..., None]
    np.testing.assert_allclose(trace.pop("h").data, x.cumsum(axis=1) * alive)
    assert trace == {}
    outputs, state, trace = rnn.dynamic_rnn(Own(Fast(3, 3), both), x, return_trace=True)
    assert set(trace) == {"fast", "slow"}
    np.testing.assert_array_equal(trace["slow"][:, :-1].data, outputs[:, 1:].data)
    np.testing.assert_array_equal(trace["fast"][:, -1].data, state.fast.data)
    _, _, trace = rnn.dynamic_rnn(Own((3, (3, 1)), lambda x, s: (x, s)), x, return_trace=True)
    assert {name: part.shape for name, part in trace.items()} == {"h0": (3, 5, 3), "h1": (3, 5, 3), "h2": (3, 5, 1)}


def test_a_stack_gives_a_trace_for_each_layer() -> None:
    cell = rnn.MultiRNNCell([rnn.LSTMCell(3), rnn.GRUCell(2)])
    _, _, (lower, upper) = rnn.dynamic_rnn(cell, X, return_trace=True)
    assert (set(lower), set(upper)) == (set("ifgoch"), set("zrnh"))


def test_recomputing_gates_keeps_less_and_gives_the_same(name: str) -> None:
    cell = CELLS[name]()
    grads = []
    for recompute in (False, True):
        x = tg.tensor(X, requires_grad=True)
        outputs, _ = rnn.dynamic_rnn(cell, x, LENGTHS, recompute=recompute)
        grads.append(tg.grad((outputs * outputs).sum(), [x, *cell.parameters()]))
    for a, b in zip(*grads, strict=True):
        close(a.data, b.data)
    kept = [rnn.explain(cell, X, recompute=r).bytes_kept for r in (False, True)]
    assert kept[1] < kept[0] or name in ("rnn", "relu")


def test_explain_says_which_path_ran_and_why() -> None:
    assert rnn.explain(rnn.LSTMCell(3), X).paths == (("lstm_cell", "fused", "the whole sequence is one node"),)
    assert rnn.explain(rnn.LSTMCell(3), X, impl="unrolled").paths == (("lstm_cell", "unrolled", "impl='unrolled'"),)

    class Peeks(rnn.RNNCell):
        state_size = output_size = 4

        def call(self, x: Any, h: Any) -> Any:
            h = h + x if float(x.data.mean()) > 0 else h - x
            return h, h

    stack = rnn.MultiRNNCell([rnn.ZoneoutWrapper(rnn.GRUCell(4), 0.1), Peeks()])
    explanation = rnn.explain(stack, X)
    assert explanation.path == "unrolled"
    assert explanation.paths[0] == ("multi_rnn_cell/cell_0/zoneout_wrapper", "fused", "the whole sequence is one node")
    name, path, why = explanation.paths[1]
    line = inspect.getsourcelines(Peeks.call)[1] + 1
    assert (name, path) == ("multi_rnn_cell/cell_1/peeks", "unrolled")
    assert why == f"the step reads a tensor's value ({__file__}:{line})"
    assert len(explanation.paths) == 2
    assert rnn.explain(rnn.BasicRNNCell(3, activation="sigmoid"), X).path == "fused"
    text = str(explanation)
    assert "are kept for backward" in text
    assert explanation.implementation in text


def test_explain_accepts_layers_of_every_interface_and_custom_modules() -> None:
    x = X.astype(np.float32)
    whole = "the whole sequence is one node"
    both = tg.nn.LSTM(x.shape[2], 3, num_layers=2, bidirectional=True, batch_first=True)
    explanation = rnn.explain(both, x, lengths=LENGTHS)
    assert explanation.paths == tuple(
        (f"lstm/cell_{i}/{side}/lstm_cell", "fused", whole) for i in (0, 1) for side in ("fw", "bw")
    )
    assert explanation.bytes_kept > 0
    assert rnn.explain(both, x, impl="unrolled").path == "unrolled"
    layer = tg.layers.GRU(3, recurrent_dropout=0.5)
    assert rnn.explain(layer, x).path == "fused"
    assert rnn.explain(layer, x, training=True).paths == (("gru/gru_cell", "fused", whole),)
    model = tg.models.Sequential([tg.layers.Embedding(9, 4, mask_zero=True), tg.layers.LSTM(3)])
    assert rnn.explain(model, [[1, 2, 0]]).paths == (("sequential/lstm/lstm_cell", "fused", whole),)

    class Two(tg.Module):
        def __init__(self) -> None:
            self.below, self.above = tg.nn.GRU(x.shape[2], 3), rnn.BasicRNNCell(2, activation="sigmoid")

        def forward(self, x: Any) -> Any:
            return rnn.dynamic_rnn(self.above, self.below(x)[0])[0]

    explanation = rnn.explain(Two(), x)
    assert [(name, path) for name, path, _ in explanation.paths] == [
        ("two/gru/cell_0/gru_cell", "fused"),
        ("two/basic_rnn_cell", "fused"),
    ]
    assert len(str(explanation).splitlines()) == 4
    with pytest.raises(ValueError, match="explain: linear ran no cell over time"):
        rnn.explain(tg.nn.Linear(2, 2), np.ones((1, 2), np.float32))
    with pytest.raises(
        TypeError, match=r"explain: model is the class LSTM, expected a cell such as rnn.LSTMCell\(64\)"
    ):
        rnn.explain(tg.nn.LSTM, x)


def test_a_subclass_with_its_own_step_is_not_run_by_the_kernel_of_its_base() -> None:
    class Doubled(rnn.LSTMCell):
        def call(self, x: Any, state: Any, drawn: Any = ()) -> Any:
            output, state = super().call(x, state, drawn)
            return 2 * output, state

    cell = Doubled(3, seed=1)
    outputs, _ = rnn.dynamic_rnn(cell, X)
    plain, _ = rnn.dynamic_rnn(rnn.LSTMCell(3, seed=1), X)
    close(outputs.data, 2 * plain.data)
    assert rnn.explain(cell, X).path == "fused"


def test_dropout_between_steps_stays_fused_and_off_in_evaluation() -> None:
    cell = rnn.DropoutWrapper(rnn.LSTMCell(3, seed=1), input_keep_prob=0.5, output_keep_prob=0.5, seed=0)
    assert rnn.explain(cell, X).path == "fused"
    assert rnn.explain(rnn.DropoutWrapper(rnn.LSTMCell(3), state_keep_prob=0.5), X).path == "fused"
    with tg.training(False):
        outputs, _ = rnn.dynamic_rnn(cell, X)
    close(outputs.data, rnn.dynamic_rnn(rnn.LSTMCell(3, seed=1), X)[0].data)
    kept = np.mean([np.mean(rnn.dynamic_rnn(cell, X)[0].data != 0) for _ in range(60)])
    assert abs(kept - 0.5) < 0.05


def test_one_mask_a_sequence_on_the_fused_path() -> None:
    cell = rnn.DropoutWrapper(rnn.LSTMCell(6), output_keep_prob=0.5, variational_recurrent=True, seed=0)
    dropped = rnn.dynamic_rnn(cell, X)[0].data == 0
    assert np.array_equal(dropped, np.broadcast_to(dropped[:, :1], dropped.shape))
    assert not np.array_equal(dropped, rnn.dynamic_rnn(cell, X)[0].data == 0)


def test_opening_a_fused_op_gives_the_unrolled_graph(name: str) -> None:
    cell = CELLS[name]()
    x = tg.tensor(X, requires_grad=True)
    loss = tg.tanh(rnn.dynamic_rnn(cell, x, LENGTHS, impl="fused")[0]).sum()
    plain = tg.tanh(rnn.dynamic_rnn(cell, x, LENGTHS, impl="unrolled")[0]).sum()
    assert tg.snapshot(loss).count("tanh") == 1
    opened, unrolled = tg.snapshot(loss, unfused=True), tg.snapshot(plain)
    assert sorted(str(n.op) for n in opened.nodes if n.op) == sorted(str(n.op) for n in unrolled.nodes if n.op)
    gates = {n.scope[-1] for n in opened.nodes if n.op and n.scope} & set("ifgochzrn")
    assert gates == {n.scope[-1] for n in unrolled.nodes if n.op and n.scope} & set("ifgochzrn")
    (again,) = unfuse(loss)
    for a, b in zip(
        tg.grad(again, cell.parameters(), retain_graph=True), tg.grad(loss, cell.parameters()), strict=True
    ):
        close(a.data, b.data)
    assert len(tg.snapshot(loss, unfused=True).nodes) == len(opened.nodes)  # also after the graph was freed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streaming_equals_the_whole_sequence(name: str, dtype: Any) -> None:
    cell = CELLS[name]()
    x = X.astype(dtype)
    outputs, _ = rnn.dynamic_rnn(cell, x)
    stepper = cell.stepper(batch=3)
    for _ in range(2):
        for t in range(x.shape[1]):
            np.testing.assert_allclose(stepper.step(x[:, t]), outputs.data[:, t], rtol=1e-5, atol=1e-6)
        stepper.reset()
    with pytest.raises(ValueError, match=r"step: x has shape \(3, 2\), expected \(3, 4\)"):
        stepper.step(np.zeros((3, 2), dtype))


@pytest.mark.parametrize("isa", kernels.implementations())
def test_every_instruction_set_agrees_with_the_primitives(name: str, isa: str) -> None:
    cell = CELLS[name]()
    big = RNG.normal(size=(7, 9, 4))
    lengths = [9, 0, 3, 9, 1, 5, 8]
    results = []
    for impl in ("fused", "unrolled"):
        with kernels.using(isa):
            x = tg.tensor(big, requires_grad=True)
            outputs, _ = rnn.dynamic_rnn(cell, x, lengths, impl=impl)
            results.append([outputs, *tg.grad((outputs**2).sum(), [x, *cell.parameters()])])
    for a, b in zip(*results, strict=True):
        close(a.data, b.data)


def test_threads_change_nothing() -> None:
    cell = rnn.LSTMCell(64, seed=0)
    x = RNG.normal(size=(32, 20, 48)).astype(np.float32)
    before, results = tg.get_num_threads(), []
    try:
        for n in (1, 2, 2):
            tg.set_num_threads(n)
            t = tg.tensor(x, requires_grad=True)
            outputs, _ = rnn.dynamic_rnn(cell, t)
            results.append([outputs, *tg.grad((outputs * outputs).sum(), [t, *cell.parameters()])])
    finally:
        tg.set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a.data, b.data) for a, b in zip(results[0], other, strict=True))
    for bad in (0, -1):
        with pytest.raises(ValueError, match="set_num_threads: n is"):
            tg.set_num_threads(bad)


@pytest.mark.parametrize(
    "make", [rnn.BasicRNNCell, rnn.LSTMCell, rnn.GRUCell, lambda n, **o: rnn.GRUCell(n, True, **o)]
)
def test_without_bias_is_a_bias_of_zeros(make):
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    for impl in ("fused", "unrolled"):
        bare, full = make(2, use_bias=False, seed=0), make(2, seed=0)
        bare.build(3, np.float64), full.build(3, np.float64)
        for path, p in full.named_parameters():
            if "bias" in path:
                p.data = np.zeros_like(p.data)
        assert [path for path, _ in bare.named_parameters()] == ["kernel", "recurrent_kernel"]
        actual, wanted = (rnn.dynamic_rnn(cell, x, impl=impl)[0] for cell in (bare, full))
        np.testing.assert_array_equal(actual.data, wanted.data)
        assert tg.gradcheck(lambda *_, c=bare, i=impl: rnn.dynamic_rnn(c, x, impl=i)[0], bare.parameters())


def test_other_activations_run_fused():
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    for make in (rnn.LSTMCell, rnn.GRUCell):
        cell = make(2, activation="relu", recurrent_activation=tg.softplus, seed=0).build(3, np.float64)
        assert rnn.explain(cell, x).path == "fused"
        assert tg.gradcheck(lambda *_, c=cell: rnn.dynamic_rnn(c, x)[0], cell.parameters())
    with pytest.raises(ValueError, match="LSTMCell: activation is 'swoosh'"):
        rnn.LSTMCell(2, activation="swoosh")


def test_a_subclass_with_its_own_recurrence() -> None:
    class Halved(rnn.BasicRNNCell):
        def recur(self, h: Any, drawn: Any, first: int = 0, last: int | None = None) -> Any:
            return 0.5 * super().recur(h, drawn, first, last)

    cell = Halved(3, seed=1)
    outputs, _ = rnn.dynamic_rnn(cell, X)
    again = rnn.BasicRNNCell(3, seed=1).build(4, np.float64)
    again.recurrent_kernel.data = again.recurrent_kernel.data / 2
    close(outputs.data, rnn.dynamic_rnn(again, X)[0].data)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("cell_type", ["RNN", "LSTM", "GRU"])
def test_drivers_run_cells_of_the_other_interfaces(cell_type: str, impl: str) -> None:
    """With their weights as they are at the call, gradients and all: as the cell itself, step by step."""
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    cell = getattr(tg.nn, f"{cell_type}Cell")(3, 5, seed=0)
    for _ in range(2):
        cell.zero_grad()
        outputs, _ = rnn.dynamic_rnn(cell, x, sequence_length=[4, 2], impl=impl)
        (outputs * outputs).sum().backward()
        grads = {name: p.grad for name, p in cell.named_parameters()}
        cell.zero_grad()
        hx, total, steps = None, 0.0, []
        for t in range(4):
            hx = cell(tg.tensor(x[:, t]), hx)
            h = hx[0] if cell_type == "LSTM" else hx
            steps.append(h)
            total = total + (h[: 2 if t < 2 else 1] ** 2).sum()
        total.backward()
        for t, h in enumerate(steps):
            rows = 2 if t < 2 else 1
            np.testing.assert_allclose(outputs.data[:rows, t], h.data[:rows], atol=1e-6)
        for name, p in cell.named_parameters():
            np.testing.assert_allclose(grads[name], p.grad, atol=1e-5)
            p.data = p.data + 0.1  # and once more with other weights
    pair = getattr(tg.nn, f"{cell_type}Cell")(3, 5, seed=1)
    (fw, bw), _ = rnn.bidirectional_dynamic_rnn(pair, cell, x, impl=impl)
    assert fw.shape == bw.shape == (2, 4, 5)
    listed, _ = rnn.static_rnn(cell, list(x.swapaxes(0, 1)), impl=impl)
    np.testing.assert_allclose(listed[3].data[0], rnn.dynamic_rnn(cell, x)[0].data[0, 3], atol=1e-6)
    assert rnn.explain(cell, x, impl=impl).path == {"auto": "fused"}.get(impl, impl)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("isa", kernels.implementations())
def test_relu_lets_nan_and_infinity_through_alike_on_every_path(bad: float, isa: str) -> None:
    """By the equations: h' = max(z, 0), NaN is kept; the gradient is 0 where h' is 0 and passes through NaN."""

    class Own(rnn.BasicRNNCell):
        def call(self, x: Any, state: Any, drawn: Any = ()) -> Any:
            return super().call(x, state, drawn)

    x = np.random.default_rng(1).normal(size=(1, 4, 2))
    x[0, 1, 0] = bad
    cell, own = rnn.BasicRNNCell(3, "relu", seed=1).build(2, np.float64), Own(3, "relu").build(2, np.float64)
    own.load_state_dict(cell.state_dict())
    w, u, b = (p.data for p in cell.parameters())
    h, hs = np.zeros((1, 3)), []
    with np.errstate(invalid="ignore"):
        for t in range(4):
            h = np.maximum(x[:, t] @ w + h @ u + b, 0)
            hs.append(h)
        dh, dx = np.zeros((1, 3)), np.zeros((1, 4, 2))
        for t in reversed(range(4)):
            dz = np.where(hs[t] <= 0, 0, dh + 1)
            dx[:, t], dh = dz @ w.T, dz @ u.T
    for one, impl in ((cell, "fused"), (own, "fused"), (cell, "unrolled")):
        with kernels.using(isa), np.errstate(invalid="ignore"):
            leaf = tg.tensor(x, requires_grad=True)
            outputs, _ = rnn.dynamic_rnn(one, leaf, impl=impl)
            gradient = tg.grad(outputs.sum(), leaf)
        np.testing.assert_allclose(outputs.data, np.stack(hs, axis=1), atol=1e-12)
        np.testing.assert_allclose(gradient.data, dx, atol=1e-12)
