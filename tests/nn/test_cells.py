"""nn.RNNCell, LSTMCell, GRUCell against PyTorch: a layer's golden file, run step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import load, names
from rnn import golden as g

import tinygrad_rnn as tg
from tinygrad_rnn import nn, rnn

FILES = [n for n in names("torch_") if "1layer_full" in n and "time_major" not in n]
CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]
F4, F8 = np.float32, np.float64


def array(*shape: int, seed: int = 0, dtype: Any = F4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def test_there_are_files_for_each() -> None:
    assert {load(name).meta["options"]["module"] for name in FILES} == {"RNN", "LSTM", "GRU"}
    assert any("relu" in name for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_golden(name: str) -> None:
    golden = load(name)
    options = golden.meta["options"]
    more = {"nonlinearity": options["nonlinearity"]} if options["module"] == "RNN" else {}
    cell = getattr(nn, options["module"] + "Cell")(3, 4, dtype=F8, **more)
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in golden.under("weight").items()})
    tensors = g.leaves(golden)
    parts = {key: t[0] for key, t in g.under(tensors, "initial/").items()}
    hx = None if not parts else (parts["h"], parts["c"]) if "c" in parts else parts["h"]
    outputs = []
    for t in range(golden["x"].shape[1]):
        hx = cell(tensors["x"][:, t], hx)
        outputs.append(hx[0] if isinstance(hx, tuple) else hx)
    finals = dict(zip("hc", hx, strict=True)) if isinstance(hx, tuple) else {"h": hx}
    states = {f"state/{part}": tg.stack([value]) for part, value in finals.items()}
    g.backward(golden, {"output": tg.stack(outputs, axis=1), **states})
    g.compare_gradients(golden, tensors, {f"{path}_l0": p.grad for path, p in cell.named_parameters()})


@pytest.mark.parametrize("cls", CELLS)
def test_without_a_batch_and_without_bias(cls: Any) -> None:
    cell = cls(3, 4, bias=False, seed=0)
    assert list(cell.state_dict()) == ["weight_ih", "weight_hh"]
    x, h = array(2, 3), array(2, 4, seed=1)
    lstm = cls is nn.LSTMCell
    many, single = cell(x, (h, h + 1) if lstm else h), cell(x[1], (h[1], h[1] + 1) if lstm else h[1])
    for a, b in zip(many, single, strict=True) if lstm else [(many, single)]:
        assert b.shape == (4,)
        assert np.allclose(a.data[1], b.data, atol=1e-6)


def test_lstm_states_by_name() -> None:
    cell = nn.LSTMCell(3, 4)
    x, h, c = array(2, 3), array(2, 4), array(2, 4, seed=1)
    assert np.array_equal(cell(x, rnn.LSTMState(c=c, h=h))[0].data, cell(x, (h, c))[0].data)
    assert repr(cell) == "LSTMCell(3, 4)"
    assert repr(nn.RNNCell(3, 4, False, "relu")) == "RNNCell(3, 4, bias=False, nonlinearity='relu')"


X = array(2, 3)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.RNNCell(3, 4, nonlinearity="elu"), ValueError, r"RNNCell: nonlinearity is 'elu'"),
        (lambda: nn.GRUCell(3, -1), ValueError, r"GRUCell: hidden_size is -1"),
        (
            lambda: nn.GRUCell(3, 4)(X[None]),
            ValueError,
            r"GRUCell: x has shape \(1, 2, 3\), expected \(B, 3\) or \(3,\)",
        ),
        (lambda: nn.GRUCell(3, 4)(X.astype(F8)), TypeError, r"GRUCell: x has dtype float64"),
        (lambda: nn.GRUCell(3, 4)(X, X), ValueError, r"GRUCell: hx has shape \(2, 3\), expected \(2, 4\)"),
        (lambda: nn.GRUCell(3, 4)(X[0], np.ones((1, 4), F4)), ValueError, r"expected \(4,\) for an x of no batch"),
        (lambda: nn.GRUCell(3, 4)(X, (X, X)), TypeError, r"GRUCell: hx is a tuple, expected one tensor"),
        (lambda: nn.GRUCell(3, 4)(X, np.ones((2, 4))), TypeError, r"GRUCell: hx has dtype float64, x has float32"),
        (lambda: nn.LSTMCell(3, 4)(X, X), TypeError, r"LSTMCell: hx is ndarray, expected the pair"),
    ],
)
def test_bad_input(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
