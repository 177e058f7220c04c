"""nn.RNN, LSTM, GRU against PyTorch: outputs, states and gradients in its own names and layout; options and bad input."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from reference import Golden, load, names
from rnn import golden as g

import tinygrad_rnn as tg
from tinygrad_rnn import nn, rnn, viz

FILES = [name for name in names("torch_") if name.split("_")[1] in ("rnn", "lstm", "gru")]
F4, F8 = np.float32, np.float64


def make(golden: Golden) -> Any:
    """The module of a file, its state dict loaded as it is."""
    options = golden.meta["options"]
    keys = ("input_size", "hidden_size", "num_layers", "nonlinearity", "batch_first", "bidirectional", "proj_size")
    arguments = {key: options[key] for key in keys if key in options}
    layer = getattr(nn, options["module"])(**arguments, dtype=golden.meta["dtype"])
    layer.load_state_dict(golden.under("weight"))
    return layer


def array(*shape: int, seed: int = 0, dtype: Any = F4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("impl", ["fused", "unrolled"])
@pytest.mark.parametrize("name", FILES)
def test_golden(name: str, impl: str) -> None:
    golden = load(name)
    layer = make(golden)
    tensors = g.leaves(golden)
    parts = g.under(tensors, "initial/")
    hx = None if not parts else (parts["h"], parts["c"]) if "c" in parts else parts["h"]
    output, final = layer(tensors["x"], hx, lengths=golden.get("sequence_length"), impl=impl)
    states = dict(zip("hc", final, strict=True)) if isinstance(layer, nn.LSTM) else {"h": final}
    g.backward(golden, {"output": output, **{f"state/{part}": t for part, t in states.items()}})
    g.compare_gradients(golden, tensors, {name: p.grad for name, p in layer.named_parameters()})


@pytest.mark.parametrize("name", [name for name in FILES if "2layer_bi" in name or "1layer_full_f64" in name])
def test_a_torch_state_dict_loads_as_it_is(name: str) -> None:
    golden = load(name)
    layer = make(golden)
    assert list(layer.state_dict()) == list(golden.under("weight"))
    for key, value in golden.under("weight").items():
        assert np.array_equal(layer.state_dict()[key], value)
    copy = pickle.loads(pickle.dumps(layer))
    assert np.array_equal(copy(golden["x"])[0].data, layer(golden["x"])[0].data)


@pytest.mark.parametrize("cls", [nn.RNN, nn.LSTM, nn.GRU])
def test_loading_what_does_not_fit_changes_nothing(cls: Any) -> None:
    layer = cls(3, 4, num_layers=2)
    before = {key: value.copy() for key, value in layer.state_dict().items()}
    good = {key: value + 1 for key, value in before.items()}
    missing = {key: value for key, value in good.items() if key != "bias_hh_l1"}
    wide = good["weight_hh_l0"].shape[0]
    for state, text in [
        (missing, r"missing bias_hh_l1"),
        (good | {"weight_hr_l0": np.ones((2, 4), F4)}, r"unexpected weight_hr_l0 \(2, 4\)"),
        (
            good | {"weight_hh_l0": np.ones((4, wide), F4)[:, :3]},
            rf"weight_hh_l0 has shape \(4, 3\), expected \({wide}, 4\)",
        ),
    ]:
        with pytest.raises(ValueError, match=text):
            layer.load_state_dict(state)
        assert all(np.array_equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("cls", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch(cls: Any, batch_first: bool) -> None:
    layer = cls(3, 4, num_layers=2, bidirectional=True, batch_first=batch_first, seed=0)
    x, h = array(5, 3), array(4, 4, seed=1)
    hx = (h, h + 1) if cls is nn.LSTM else h
    many = (h[:, None], h[:, None] + 1) if cls is nn.LSTM else h[:, None]
    time = 1 if batch_first else 0
    one, final = layer(x, hx)
    batch, finals = layer(np.expand_dims(x, 1 - time), many)
    assert one.shape == (5, 8)
    assert np.array_equal(one.data, batch.data.squeeze(1 - time))
    for a, b in zip(final, finals, strict=True) if cls is nn.LSTM else [(final, finals)]:
        assert a.shape == (4, 4)
        assert np.array_equal(a.data, b.data[:, 0])


@pytest.mark.parametrize("cls", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("impl", ["fused", "unrolled"])
def test_lengths_are_each_row_on_its_own(cls: Any, impl: str) -> None:
    layer = cls(3, 4, num_layers=2, bidirectional=True, batch_first=True, dtype=F8, seed=0)
    x, lengths = array(4, 6, 3, dtype=F8), [3, 6, 0, 4]
    ragged = x.copy()
    for row, n in enumerate(lengths):
        ragged[row, n:] = np.nan
    output, final = layer(ragged, lengths=lengths, impl=impl)
    for row, n in enumerate(lengths):
        assert not output.data[row, n:].any()
        if n:
            alone, last = layer(x[row, :n], impl=impl)
            assert np.allclose(output.data[row, :n], alone.data, atol=1e-13)
        for a, b in zip(final, last, strict=True) if cls is nn.LSTM else [(final, last)]:
            assert np.allclose(a.data[:, row], b.data if n else 0, atol=1e-13)


@pytest.mark.parametrize("cls", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("impl", ["fused", "unrolled"])
def test_gradients_of_both_orders(cls: Any, impl: str) -> None:
    layer = cls(2, 2, bidirectional=True, dtype=F8, seed=0)
    inputs = [tg.tensor(array(3, 2, 2, dtype=F8), requires_grad=True), *layer.parameters()]
    assert tg.gradcheck(lambda x, *_: layer(x, impl=impl)[0], inputs)
    assert tg.gradgradcheck(lambda x, *_: layer(x, impl=impl)[0], inputs)


@pytest.mark.parametrize("cls", [nn.RNN, nn.LSTM, nn.GRU])
def test_without_bias_is_with_biases_of_zero(cls: Any) -> None:
    bare = cls(3, 4, num_layers=2, bias=False, seed=0)
    assert list(bare.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]
    full = cls(3, 4, num_layers=2)
    zeros = {key: np.zeros_like(value) for key, value in full.state_dict().items()}
    full.load_state_dict(zeros | bare.state_dict())
    for impl in ("fused", "unrolled"):
        assert np.array_equal(bare(array(5, 2, 3), impl=impl)[0].data, full(array(5, 2, 3), impl=impl)[0].data)


def test_initial_weights_have_the_distribution_of_pytorch() -> None:
    for layer in (nn.LSTM(30, 100, seed=0), nn.GRU(30, 100, seed=0), nn.RNN(30, 100, num_layers=2, seed=0)):
        for path, p in layer.named_parameters():
            assert p.dtype == F4
            assert np.abs(p.data).max() <= 0.1, path
            assert abs(p.data.std() - 0.2 / np.sqrt(12)) < 0.01, path
    assert np.array_equal(nn.GRU(3, 4, seed=5).weight_hh_l0.data, nn.GRU(3, 4, seed=5).weight_hh_l0.data)
    tg.seed(2)
    first = nn.GRU(3, 4).weight_hh_l0.data
    tg.seed(2)
    assert np.array_equal(nn.GRU(3, 4).weight_hh_l0.data, first)


def test_dropout_acts_between_layers_in_training_only() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, dropout=0.5, seed=0)
    x = array(5, 2, 3)
    assert not np.array_equal(layer(x)[0].data, layer(x)[0].data)
    plain = nn.LSTM(3, 4, num_layers=2)
    plain.load_state_dict(layer.state_dict())
    with tg.training(False):
        assert np.array_equal(layer(x)[0].data, plain(x)[0].data)
    assert np.array_equal(layer.eval()(x)[0].data, plain(x)[0].data)
    gone = nn.GRU(3, 4, num_layers=2, dropout=1.0, seed=0)
    assert np.array_equal(gone(x)[0].data[:, 0], gone(x + 1)[0].data[:, 0])


def test_the_fused_path_is_one_node_a_layer_and_direction() -> None:
    layer = nn.GRU(3, 4, num_layers=2, bidirectional=True)
    ops = [node.op for node in tg.snapshot(layer(array(5, 2, 3))[0]).nodes]
    assert ops.count("gru_sequence") == 4
    slow = [node.op for node in tg.snapshot(layer(array(5, 2, 3), impl="unrolled")[0]).nodes]
    assert "gru_sequence" not in slow


def test_drawings_show_parameters_by_pytorchs_names() -> None:
    layer = nn.GRU(3, 4, num_layers=2, bidirectional=True)
    drawing = viz.unrolled(layer(array(3, 2, 3), impl="unrolled")[0].sum())
    for name in ("weight_ih_l0", "weight_hh_l1", "weight_ih_l0_reverse"):
        assert name in drawing.source


def test_float64_by_astype_and_lstm_states_by_name() -> None:
    layer = nn.LSTM(3, 4).astype(F8)
    x, h, c = array(5, 2, 3, dtype=F8), array(1, 2, 4, dtype=F8), array(1, 2, 4, seed=1, dtype=F8)
    output, (h_n, c_n) = layer(x, rnn.LSTMState(c=c, h=h))
    assert output.dtype == F8
    assert np.array_equal(output.data, layer(x, (h, c))[0].data)
    assert np.array_equal(h_n.data[0], output.data[-1])
    assert not np.array_equal(h_n.data, c_n.data)


def test_empty_input() -> None:
    layer = nn.LSTM(3, 4, bidirectional=True)
    for shape, wanted in [((0, 2, 3), (0, 2, 8)), ((5, 0, 3), (5, 0, 8))]:
        for impl in ("fused", "unrolled"):
            output, (h_n, _) = layer(np.zeros(shape, F4), impl=impl)
            assert output.shape == wanted
            assert h_n.shape == (2, shape[1], 4)


def test_repr() -> None:
    text = "RNN(3, 4, num_layers=2, nonlinearity='relu', dropout=0.5, bidirectional=True)"
    assert repr(nn.RNN(3, 4, 2, "relu", dropout=0.5, bidirectional=True)) == text
    assert repr(nn.Sequential(nn.GRU(3, 4, bias=False))) == "Sequential(\n  (0): GRU(3, 4, bias=False)\n)"


X = array(5, 2, 3)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.LSTM(3, 4, dropout=0.5), ValueError, r"LSTM: dropout is 0.5 with num_layers=1, expected 0"),
        (lambda: nn.LSTM(3, 4, 2, dropout=2), ValueError, r"p is 2, expected a number in \[0, 1\]"),
        (lambda: nn.RNN(3, 4, nonlinearity="sigmoid"), ValueError, r"RNN: nonlinearity is 'sigmoid', expected 'tanh' or"),
        (lambda: nn.GRU(3, 4, proj_size=2), ValueError, r"GRU: proj_size is 2, expected 0: only nn.LSTM projects"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, r"LSTM: proj_size is 4, expected 0 .* below hidden_size=4"),
        (lambda: nn.LSTM(3, 4, proj_size=-1), ValueError, r"LSTM: proj_size is -1, expected 0"),
        (lambda: nn.LSTM(3, 4, proj_size=1.5), ValueError, r"LSTM: proj_size is 1.5, expected an integer"),
        (
            lambda: nn.LSTM(3, 4, proj_size=2)(X, (np.zeros((1, 2, 4), F4), np.zeros((1, 2, 4), F4))),
            ValueError,
            r"LSTM: h_0 has shape \(1, 2, 4\), expected \(1, 2, 2\): .*proj_size\), whatever",
        ),
        (lambda: nn.GRU(3, 4)(type("Packed", (), {"batch_sizes": []})()), TypeError, r"GRU: x is a packed sequence.*lengths="),
        (lambda: nn.GRU(3, 0), ValueError, r"GRU: hidden_size is 0, expected a positive integer"),
        (lambda: nn.GRU(3, 4, True), ValueError, r"GRU: num_layers is True"),
        (lambda: nn.GRU(3, 4, dtype=int), TypeError, r"GRU: dtype is int64"),
        (lambda: nn.GRU(3, 4)(X[0, 0]), ValueError, r"GRU: x has shape \(3,\), expected \(T, B, 3\) or"),
        (lambda: nn.GRU(2, 4, batch_first=True)(X), ValueError, r"GRU: x has shape \(5, 2, 3\), expected \(B, T, 2\)"),
        (lambda: nn.GRU(3, 4)(X.astype(F8)), TypeError, r"GRU: x has dtype float64, the layer's parameters float32"),
        (lambda: nn.GRU(3, 4)(X, impl="cuda"), ValueError, r"GRU: impl is 'cuda'"),
        (lambda: nn.GRU(3, 4)(X, lengths=[5]), ValueError, r"GRU: lengths has shape \(1,\), expected \(2,\)"),
        (lambda: nn.GRU(3, 4)(X, lengths=[5, 6]), ValueError, r"GRU: lengths\[1\] is 6, expected 0 <= length <= 5"),
        (lambda: nn.GRU(3, 4)(X, lengths=[5, 1.5]), TypeError, r"GRU: lengths has dtype float64, expected integers"),
        (lambda: nn.GRU(3, 4)(X[:, 0], lengths=[5]), ValueError, r"GRU: lengths were given for an x of shape \(5, 3\)"),
        (lambda: nn.GRU(3, 4)(X, X), ValueError, r"GRU: hx has shape \(5, 2, 3\), expected \(1, 2, 4\): \(num_layers"),
        (lambda: nn.GRU(3, 4)(X, (X, X)), TypeError, r"GRU: hx is a tuple, expected one tensor h_0"),
        (lambda: nn.LSTM(3, 4)(X, X), TypeError, r"LSTM: hx is ndarray, expected the pair \(h_0, c_0\)"),
        (lambda: nn.LSTM(3, 4)(X, (X,)), TypeError, r"LSTM: hx is tuple of 1"),
        (
            lambda: nn.LSTM(3, 4)(X, (np.zeros((1, 2, 4), F4), np.zeros((1, 4), F4))),
            ValueError,
            r"LSTM: c_0 has shape \(1, 4\), expected \(1, 2, 4\)",
        ),
        (lambda: nn.GRU(3, 4)(X, np.zeros((1, 2, 4))), TypeError, r"GRU: hx has dtype float64, x has float32"),
    ],
)  # fmt: skip
def test_bad_input(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
