"""The course notes' scripts run to the end. Numbers printed in the notes are asserted; where there are none, shapes and the
original library's numbers."""

from __future__ import annotations

import contextlib
import io
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import load
from rnn.golden import from_tf1

import tinygrad_rnn as tg
from tinygrad_rnn import layers, nn, rnn
from tinygrad_rnn.autodiff import op

NOTES = Path(__file__).parents[2] / "examples" / "notes"
SCRIPTS = sorted(NOTES.glob("*.py"))


def run(name: str, run_name: str = "notes") -> tuple[dict[str, Any], str]:
    """A script's names and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        found = runpy.run_path(str(NOTES / f"{name}.py"), run_name=run_name)
    return found, printed.getvalue()


@pytest.fixture
def registry() -> Iterator[None]:
    """Ops that a script declares are gone afterwards."""
    before = dict(op.registry)
    yield
    op.registry.clear()
    op.registry.update(before)


def shapes(results: Any) -> list[tuple[int, ...]]:
    return [t.shape for t in results]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_every_script_tells_its_edits(path: Path) -> None:
    assert "\nEdits" in path.read_text(encoding="utf-8").split('"""')[1]


def test_there_is_a_script_for_each_note() -> None:
    assert len(SCRIPTS) == 5


def test_keras_rnn_lstm_bilstm() -> None:
    found, printed = run("keras_rnn_lstm_bilstm")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for line in (
        "embedding (Embedding) (None, None, 100) 500,000",
        "simple_rnn (SimpleRNN) (None, 128) 29,312",
        "dense (Dense) (None, 1) 129",
        "Total params: 529,441",
        "529441",
        "(1, 4, 5)",
    ):
        assert line in lines
    assert found["last_only"].shape == (1, 3)
    assert found["every_step"].shape == (1, 4, 3)
    output, state = found["rnn_with_state"]
    np.testing.assert_array_equal(output.data, state.data)
    output, h, c = found["lstm_with_state"]
    np.testing.assert_array_equal(output.data, h.data)
    assert c.shape == (1, 3)
    hidden, fw_h, _, bw_h, _ = found["bilstm_last"]
    np.testing.assert_allclose(hidden.data, [[0.6303138] * 3 + [0.7038734] * 3], atol=5e-7)
    np.testing.assert_allclose(np.concatenate([fw_h.data, bw_h.data], -1), hidden.data, atol=0)
    line = next(line for line in lines if line.startswith("hidden states : [[") and line.endswith(", shape: (1, 6)"))
    shown = [float(n) for n in line.split("[[")[1].split("]]")[0].split()]  # as TensorFlow's tensors are formatted
    np.testing.assert_allclose(shown, [0.6303138] * 3 + [0.7038734] * 3, atol=5e-7)
    table = [[0.35906473, 0.7038734], [0.55111325, 0.58863586], [0.59115744, 0.3951699], [0.6303138, 0.21942244]]
    hidden, fw_h, _, bw_h, _ = found["bilstm_sequences"]
    np.testing.assert_allclose(hidden.data, [np.repeat(table, 3, axis=1)], atol=5e-7)
    np.testing.assert_allclose(fw_h.data, [[0.6303138] * 3], atol=5e-7)
    np.testing.assert_allclose(bw_h.data, [[0.7038734] * 3], atol=5e-7)


def same_as_layer(inputs: Any, w: Any, u: Any, b: Any) -> Any:
    """What SimpleRNN gives for the notes' NumPy loop, on the same weights."""
    layer = layers.SimpleRNN(len(b), return_sequences=True, dtype="float64")
    layer.ensure_built((1, *inputs.shape))
    layer.set_weights([w.T, u.T, b])
    return layer(inputs[None]).data[0]


def pattern(shapes: Any) -> list[np.ndarray]:
    """Weights given by a formula: 0.4 cos(n + i) in the i-th array."""
    return [(0.4 * np.cos(np.arange(np.prod(s)) + i)).reshape(s).astype(np.float32) for i, s in enumerate(shapes)]


STEPS = [[-0.5845356, -0.3566268, 0.2601246], [0.126967, -0.0304486, -0.1592033], [-0.7803065, -0.8046718, -0.1539489]]
LAST, H, C = (
    *([0.3711795, 0.0089664, -0.3627952], [0.191017, 0.1489197, 0.1786853], [0.6506034, 0.8678362, 0.6143926]),
)


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (lambda: layers.SimpleRNN(3), [LAST]),
        (lambda: layers.SimpleRNN(3, return_sequences=True), [[*STEPS, LAST]]),
        (lambda: layers.SimpleRNN(3, return_sequences=False, return_state=True), [LAST, LAST]),
        (lambda: layers.LSTM(3, return_sequences=False, return_state=True), [H, H, C]),
    ],
)
def test_the_note_of_keras_gives_keras_numbers(layer: Any, wanted: Any) -> None:
    """Its layers on its train_X and the same weights, in Keras 3.15."""
    x, layer = run("keras_rnn_lstm_bilstm")[0]["train_X"], layer()
    layer.build(x.shape)
    layer.set_weights(pattern([w.shape for w in layer.get_weights()]))
    found = layer(x)
    for a, b in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        np.testing.assert_allclose(a.data, [b], atol=1e-6)


OF_TORCH: dict[
    str, tuple[dict[str, Any], Any, Any, float]
] = {  # some of outputs and of h_n, and the sum of the outputs' sizes
    "one_layer": (
        {},
        [[-0.5097972, 0.4601748, -0.604419], [-0.2326554, -0.186289, -0.7148352]],
        [-0.2326554],
        43.291878,
    ),
    "two_layers": (
        {"num_layers": 2},
        [[0.6895563, 0.3621688, 0.8136374], [0.5909693, -0.6694684, 0.3368652]],
        [-0.2326554, 0.5909693],
        36.762280,
    ),
    "both_directions": (
        {"num_layers": 2, "bidirectional": True},
        [[-0.4907962, -0.0407679, -0.6302057], [-0.3154902, -0.4067322, -0.2498156]],
        [-0.2326554, 0.5339616, -0.3154902, -0.6280329],
        86.401245,
    ),
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_the_note_of_pytorch_gives_pytorchs_numbers(name: str) -> None:
    """Its layers on its inputs and the same weights, in PyTorch 2.13."""
    options, some, final, size = OF_TORCH[name]
    cell = nn.RNN(input_size=5, hidden_size=8, batch_first=True, **options)
    weights = pattern([a.shape for a in cell.state_dict().values()])
    cell.load_state_dict(dict(zip(cell.state_dict(), weights, strict=True)))
    outputs, h_n = cell(run("torch_nn_rnn")[0]["inputs"])
    np.testing.assert_allclose(outputs.data[0, [0, 9]][:, [0, 3, -1]], some, atol=1e-6)
    np.testing.assert_allclose(h_n.data[:, 0, 0], final, atol=1e-6)
    np.testing.assert_allclose(np.abs(outputs.data).sum(), size, rtol=1e-6)


def test_keras_units() -> None:
    found, printed = run("keras_units")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines.count("embedding (Embedding) (None, None, 32) 320,000") == 2
    assert "simple_rnn (SimpleRNN) (None, 32) 2,080" in lines
    assert "simple_rnn (SimpleRNN) (None, None, 32) 2,080" in lines
    assert found["pseudocode_state"] == 3 + 0.5 * (2 + 0.5 * 1)
    assert found["final_output_sequences"].shape == (100, 64)
    again = same_as_layer(found["inputs"], found["W"], found["U"], found["b"])
    np.testing.assert_allclose(again, found["final_output_sequences"], atol=1e-12)
    assert found["model_of_sequences"].output_shape == (None, None, 32)
    assert found["model_with_dense"].output_shape == (None, 1)


def test_torch_nn_rnn() -> None:
    found, printed = run("torch_nn_rnn")
    assert shapes(found["one_layer"]) == [(1, 10, 8), (1, 1, 8)]
    assert shapes(found["two_layers"]) == [(1, 10, 8), (2, 1, 8)]
    assert shapes(found["both_directions"]) == [(1, 10, 16), (4, 1, 8)]
    again = same_as_layer(found["numpy_inputs"], found["Wx"], found["Wh"], found["b"])
    np.testing.assert_allclose(again, found["total_hidden_states"], atol=1e-12)
    assert printed.splitlines()[-1] == "(4, 1, 8)"
    assert isinstance(found["cell"], nn.RNN)


def test_tf1_cells_and_driver() -> None:
    found, _ = run("tf1_cells_and_driver")
    for name, shape in (("basic", (1, 1, 2)), ("one_node", (1, 1, 2)), ("unfolded", (1, 5, 2)), ("batched", (3, 5, 2))):
        assert found[name][0].shape == shape
    outputs, state = found["batched"]
    assert not outputs.data[1, 3:].any()
    assert not outputs.data[2, 4:].any()
    assert isinstance(state, rnn.LSTMStateTuple)


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_the_note_of_tf1_gives_tensorflows_numbers(kind: str) -> None:
    """hello, eolll, lleel with lengths 5, 3, 4 and two units, on the weights that TensorFlow 1 drew."""
    found, _ = run("tf1_cells_and_driver")
    golden = load(f"tf1_hello_{kind}_f32")
    np.testing.assert_array_equal(found["x_data"], golden["x"])
    cell = found["cell"] if kind == "lstm" else rnn.BasicRNNCell(num_units=2)
    cell.load_state_dict(from_tf1(kind, golden.under("weight"), 4, forget_bias=1.0))
    outputs, _ = rnn.dynamic_rnn(cell, found["x_data"], sequence_length=[5, 3, 4], dtype=np.float32)
    np.testing.assert_allclose(outputs.data, golden["output"], atol=1e-6)


# -- the character LSTM -------------------------------------------------------------------------------------------------


def autodiff(m: dict[str, Any], weights: Any, inputs: Any, targets: Any, share: float) -> list[np.ndarray]:
    """The gradients of the note's loss by our graph; of what flows into tmp only a share is kept."""
    w = [tg.tensor(a, requires_grad=True) for a in weights]
    size = w[1].shape[1]
    h, c = (tg.tensor(a) for a in np.random.default_rng(7).normal(size=(2, size, 1)))
    loss = 0
    for i, target in zip(inputs, targets, strict=True):
        tmp = w[0][:, i : i + 1] + w[1] @ h + w[3]
        tmp = share * tmp + (1 - share) * tmp.detach()
        i_, f, o, g = [tmp] * 4 if len(weights[0]) == size else tg.split(tmp, 4, axis=0)
        c = tg.sigmoid(f) * c + tg.sigmoid(i_) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
        loss = loss + tg.softmax_cross_entropy((w[2] @ h + w[4])[:, 0][None], [target])
    loss.backward()
    return [t.grad for t in w]


def test_char_lstm_what_the_check_finds(registry: None) -> None:
    m, _ = run("char_lstm")
    assert m["output"].shape == (3, 5, 4)
    wrong = {"dWxh", "dWhh", "dbh"}
    for steps in (1, 6):
        found = m["check"]("the note's", steps, say=lambda text: None)
        assert {name for name, verdict in found.items() if verdict is not True} == wrong
        for name in wrong:
            assert ("off by the factor 0.25" in found[name]) == (steps == 1)
        for variant in ("mended", "a weight per gate"):
            assert set(m["check"](variant, steps, say=lambda text: None).values()) == {True}


@pytest.mark.parametrize(("variant", "share"), [("the note's", 0.25), ("mended", 1.0), ("a weight per gate", 1.0)])
def test_char_lstm_the_factor_over_many_steps(variant: str, share: float) -> None:
    """The note's gradients are those of a net in which a quarter passes back through tmp at every step: through Whh k times
    and into the weight it is 4^-(k+1)."""
    m, _ = run("char_lstm")
    weights = m["make_weights"](variant, 5, 3, seed=0, scale=0.6)
    inputs, targets = np.random.default_rng(1).integers(5, size=(2, 8))
    state = np.random.default_rng(7).normal(size=(2, 3, 1))
    _, *hand, _, _ = m["lossFun"](inputs, targets, *state, *weights, m["VARIANTS"][variant][0])
    for a, b in zip(hand, autodiff(m, weights, inputs, targets, share), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_char_lstm_a_weight_per_gate_is_our_lstm_cell() -> None:
    m, _ = run("char_lstm")
    wxh, whh, why, bh, by = m["make_weights"]("a weight per gate", 5, 3, seed=0, scale=0.6)
    inputs, targets = np.random.default_rng(1).integers(5, size=(2, 6))
    zeros = np.zeros((3, 1))
    loss, *_, h, c = m["lossFun"](inputs, targets, zeros, zeros, wxh, whh, why, bh, by, m["apart"])
    cell = rnn.LSTMCell(3)
    turned = [np.concatenate([a[:6], a[9:], a[6:9]]) for a in (wxh, whh, bh)]  # i f o g to i f g o
    names = ("kernel", "recurrent_kernel", "bias")
    cell.load_state_dict({n: a.T if n != "bias" else a[:, 0] for n, a in zip(names, turned, strict=True)})
    outputs, state = rnn.dynamic_rnn(cell, np.eye(5)[inputs][None])
    ours = tg.softmax_cross_entropy(outputs[0] @ why.T + by[:, 0], targets, reduction="sum")
    np.testing.assert_allclose([ours.item()], [loss], rtol=1e-12)
    np.testing.assert_allclose(state.h.data, h.T, atol=1e-12)
    np.testing.assert_allclose(state.c.data, c.T, atol=1e-12)


def test_char_lstm_all_three_learn_and_a_weight_per_gate_fastest() -> None:
    m, _ = run("char_lstm")
    learned = {variant: m["train"](variant, iterations=200) for variant in m["VARIANTS"]}
    for bits in learned.values():
        assert bits[-1] < bits[0] - 0.5
    assert learned["a weight per gate"][-1] < min(learned["the note's"][-1], learned["mended"][-1]) - 0.3
