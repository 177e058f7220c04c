"""Linear, Embedding, LayerNorm, Dropout, Sequential: values, gradients, initial values, dtypes, invalid input."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from reference import load

import tinygrad_rnn as tg
from tinygrad_rnn import nn

F8 = np.float64


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_linear_is_pytorchs() -> None:
    layer = nn.Linear(3, 2, dtype=F8)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {"weight": (2, 3), "bias": (2,)}
    x = array(4, 5, 3)
    assert np.allclose(layer(x).data, x @ layer.weight.data.T + layer.bias.data, atol=1e-15)
    assert np.allclose(layer(x[0, 0]).data, layer(x).data[0, 0], atol=1e-15)
    assert nn.Linear(3, 2, bias=False).parameters()[0].shape == (2, 3)
    assert repr(nn.Linear(3, 2, bias=False)) == "Linear(3, 2, bias=False)"


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(3, 2, dtype=F8, seed=0), nn.LayerNorm(3, dtype=F8), nn.LayerNorm((5, 3), dtype=F8)],
    ids=["Linear", "LayerNorm", "LayerNorm of two axes"],
)
def test_gradients(layer: Any) -> None:
    for p in layer.parameters():
        p.data = p.data + 0.3 * array(*p.shape)
    inputs = [tg.tensor(array(4, 5, 3), requires_grad=True), *layer.parameters()]
    assert tg.gradcheck(lambda x, *_: layer(x), inputs)
    assert tg.gradgradcheck(lambda x, *_: layer(x), inputs)


def test_embedding_adds_up_the_gradient_of_a_row() -> None:
    layer = nn.Embedding(5, 2, dtype=F8, seed=0)
    indices = np.array([[0, 2, 2], [4, 2, 0]])
    out = layer(indices)
    assert np.array_equal(out.data, layer.weight.data[indices])
    g = array(2, 3, 2)
    out.backward(g)
    expected = np.zeros((5, 2))
    np.add.at(expected, indices, g)
    assert np.allclose(layer.weight.grad, expected, atol=1e-15)
    assert layer(tg.tensor(3)).shape == (2,)
    assert layer(np.zeros((0,), int)).shape == (0, 2)


def test_the_padding_row_of_an_embedding_is_zero_and_stays_so() -> None:
    table = nn.Embedding(5, 3, padding_idx=-2)
    y = table(np.array([[3, 1], [3, 3]]))
    assert not y.data[1].any()
    y.sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad[:, 0].tolist() == [0, 1, 0, 0, 0]
    assert repr(table) == "Embedding(5, 3, padding_idx=3)"


class Net(nn.Module):
    """As one writes it in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter([2.0])
        self.rnns = nn.ModuleList([nn.GRU(3, 3), nn.GRU(3, 3)])
        self.rnns.append(nn.LSTM(3, 2))

    def forward(self, x: Any) -> Any:
        for rnn in self.rnns:
            x, _ = rnn(x)
        return self.scale * x


def test_a_module_as_one_writes_it_in_pytorch() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()][:3] == ["scale", "rnns.0.weight_ih_l0", "rnns.0.weight_hh_l0"]
    assert len(net.rnns) == 3
    assert isinstance(net.rnns[-1], nn.LSTM)
    x = np.ones((4, 2, 3), np.float32)
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert not net.eval().rnns[0].between.training


def test_loading_some_of_a_state_dict_or_what_is_none() -> None:
    net, other = Net(), Net()
    before = net.state_dict()
    arrays = {"scale": np.array([5.0]), "rnns.0.bias_ih_l0": np.ones(9), "ghost": np.zeros(3, int)}
    with pytest.raises(ValueError, match=r"missing rnns.0.weight_ih_l0 \(9, 3\); .*unexpected ghost \(3,\)"):
        net.load_state_dict(arrays)
    with pytest.raises(ValueError, match=r"Net: scale has shape \(2,\), expected \(1,\)"):
        net.load_state_dict({"scale": np.ones(2)}, strict=False)
    with pytest.raises(TypeError, match=r"load_state_dict: state is Net, expected a dict .*; give its state_dict\(\)"):
        net.load_state_dict(other)
    with pytest.raises(TypeError, match="load_state_dict: scale cannot be converted to an array"):
        net.load_state_dict({"scale": [[1.0], [2.0, 3.0]]}, strict=False)
    for name, array in net.state_dict().items():
        assert array is before[name]
    net.load_state_dict(arrays, strict=False)
    assert net.scale.tolist() == [5.0]
    assert net.state_dict()["rnns.1.weight_ih_l0"] is before["rnns.1.weight_ih_l0"]


def test_initial_weights_have_the_distribution_of_pytorch() -> None:
    linear, table = nn.Linear(100, 400, seed=0), nn.Embedding(400, 100, seed=0)
    for values in (linear.weight.data, linear.bias.data):
        assert np.abs(values).max() <= 0.1
        assert abs(values.std() - 0.2 / np.sqrt(12)) < 0.004
    assert abs(table.weight.data.mean()) < 0.02
    assert abs(table.weight.data.std() - 1) < 0.02
    assert linear.weight.dtype == linear.bias.dtype == table.weight.dtype == np.float32
    assert nn.LayerNorm(3).weight.tolist() == [1, 1, 1]


def test_random_choices_come_from_the_seed_or_the_default_generator() -> None:
    for make in (lambda **o: nn.Linear(3, 2, **o), lambda **o: nn.Embedding(3, 2, **o)):
        tg.seed(3)
        first, second = make(), make()
        tg.seed(3)
        assert np.array_equal(make().weight.data, first.weight.data)
        assert not np.array_equal(first.weight.data, second.weight.data)
        assert np.array_equal(make(seed=7).weight.data, make(seed=np.random.default_rng(7)).weight.data)


def test_layer_norm_is_pytorchs() -> None:
    golden = load("torch_op_layer_norm")
    layer = nn.LayerNorm(6, golden.meta["options"]["eps"], dtype=F8)
    layer.load_state_dict(golden.under("weight"))
    x = tg.tensor(golden["x"], requires_grad=True)
    out = layer(x)
    assert np.allclose(out.data, golden["output"], atol=1e-13)
    out.backward(golden["R/output"])
    gradients = {"x": x.grad, "weight/weight": layer.weight.grad, "weight/bias": layer.bias.grad}
    for key, value in gradients.items():
        assert np.allclose(value, golden[f"grad/{key}"], atol=1e-12), key


def test_dropout_keeps_the_mean_and_only_acts_in_training() -> None:
    layer = nn.Dropout(0.25, seed=0)
    x = tg.tensor(np.ones((200, 200), np.float32), requires_grad=True)
    y = layer(x)
    assert y.dtype == np.float32
    assert set(np.unique(y.data).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs(float((y.data == 0).mean()) - 0.25) < 0.01
    y.sum().backward()
    assert np.array_equal(x.grad, y.data)
    with tg.training(False):
        assert layer(x) is x
    assert layer.eval()(x) is x
    assert layer.train()(x) is not x
    assert nn.Dropout(0)(x) is x
    assert not nn.Dropout(1)(x).data.any()


def test_dropout_draws_from_the_default_generator() -> None:
    x, layer = np.ones((4, 5), np.float32), nn.Dropout(0.5)
    tg.seed(1)
    first = layer(x).data
    assert not np.array_equal(layer(x).data, first)
    tg.seed(1)
    assert np.array_equal(layer(x).data, first)


def test_sequential() -> None:
    net = nn.Sequential(nn.Linear(3, 4), tg.tanh, nn.Dropout(0.5), nn.Linear(4, 1))
    assert list(net.state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert len(net) == 4
    assert net[-1] is list(net)[3]
    x = array(2, 3).astype(np.float32)
    net.eval()
    assert np.array_equal(net(x).data, net[3](tg.tanh(net[0](x))).data)
    copy = pickle.loads(pickle.dumps(nn.Sequential(net[0], net[3])))
    assert np.array_equal(copy(x).data, net[3](net[0](x)).data)
    with pytest.raises(IndexError, match=r"index is 4, expected -4 <= index < 4"):
        net[4]


def test_float64_by_astype() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).astype(F8)
    assert net(array(2, 3)).dtype == F8


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.Linear(0, 2), ValueError, r"Linear: in_features is 0, expected a positive integer"),
        (lambda: nn.Linear(3, 2.5), ValueError, r"Linear: out_features is 2.5, expected a positive integer"),
        (lambda: nn.Linear(3, 2, dtype=int), TypeError, r"Linear: dtype is int64, expected float32 or float64"),
        (lambda: nn.Linear(3, 2, seed="x"), TypeError, r"generator: got str"),
        (
            lambda: nn.Linear(3, 2)(np.ones((2, 4), np.float32)),
            ValueError,
            r"Linear: x has shape \(2, 4\), expected \(\.\.\., 3\)",
        ),
        (lambda: nn.Linear(3, 2)(np.ones((2, 3))), TypeError, r"Linear: x has dtype float64.*x.astype\(np.float32\)"),
        (lambda: nn.Linear(3, 2)(np.ones(3, int)), TypeError, r"Linear: x has dtype int64.*use x.astype"),
        (lambda: nn.Embedding(5, True), ValueError, r"Embedding: embedding_dim is True"),
        (lambda: nn.Embedding(5, 2)([[0, 5]]), IndexError, r"Embedding: indices\[0, 1\] is 5, expected 0 <= index < 5"),
        (lambda: nn.Embedding(5, 2)(-1), IndexError, r"Embedding: the index is -1, expected 0 <= index < 5"),
        (lambda: nn.Embedding(5, 2)([0.0]), TypeError, r"Embedding: indices have dtype float32|float64"),
        (lambda: nn.Embedding(5, 2, padding_idx=5), ValueError, r"Embedding: padding_idx is 5, expected a row of 5"),
        (lambda: nn.ModuleList([tg.tanh]), TypeError, r"ModuleList: module 0 is Op"),
        (lambda: nn.ModuleList()[0], IndexError, r"ModuleList: index is 0"),
        (lambda: nn.LayerNorm(()), ValueError, r"LayerNorm: normalized_shape is \(\)"),
        (lambda: nn.LayerNorm(3, eps=-1), ValueError, r"LayerNorm: eps is -1"),
        (
            lambda: nn.LayerNorm((4, 3))(np.ones((2, 3), np.float32)),
            ValueError,
            r"LayerNorm: x has shape \(2, 3\), expected \(\.\.\., 4, 3\)",
        ),
        (lambda: nn.Dropout(1.5), ValueError, r"Dropout: p is 1.5, expected a number in \[0, 1\]"),
        (lambda: nn.Dropout(float("nan")), ValueError, r"Dropout: p is nan"),
        (lambda: nn.Dropout()(np.ones(3, int)), TypeError, r"Dropout: x has dtype int64, expected floats"),
        (lambda: nn.Sequential(nn.Linear), TypeError, r"Sequential: argument 0 is the class Linear"),
        (lambda: nn.Sequential(tg.tanh, 3), TypeError, r"Sequential: argument 1 is int 3, expected a module"),
    ],
)
def test_bad_input(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
