"""A new cell needs its class in `rnn` and, for `nn` or `layers`, a class with only names.

The cell is the minimal gated unit [Zhou et al. 2016]: f = σ(x Wf + h Uf + bf); n = tanh(x Wn + (f h) Un + bn);
h' = (1 − f) h + f n.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import layers, rnn
from tinygrad_rnn.layers.cells import KerasCell
from tinygrad_rnn.layers.recurrent import CellLayer
from tinygrad_rnn.nn.cells import Cell
from tinygrad_rnn.nn.recurrent import Recurrent
from tinygrad_rnn.rnn.cells import GatedCell

B, T, D, H = 3, 5, 4, 2
X = np.random.default_rng(0).normal(size=(B, T, D))


# The file in rnn.
class MinimalGatedCell(GatedCell):
    gates, cell_type = 2, "mgu"

    def call(self, x: Any, h: Any, drawn: Any = ()) -> Any:
        zf, zn = tg.split(self.project(x), 2, axis=-1)
        f = rnn.gate("f", tg.sigmoid(zf + self.recur(h, drawn, 0, 1)))
        n = rnn.gate("n", tg.tanh(zn + self.recur(f * h, drawn, 1, 2)))
        h = rnn.gate("h", (1 - f) * h + f * n)
        return h, h


# A class in `nn` and one in `layers`.
class KerasMGUCell(KerasCell, MinimalGatedCell): ...


class KerasMGU(CellLayer):
    cell_class = KerasMGUCell


class TorchMGUCell(Cell):
    cell_class = MinimalGatedCell


class TorchMGU(Recurrent):
    cell_class = MinimalGatedCell


def by_hand(x: Any, w: Any, u: Any, b: Any) -> np.ndarray:
    h, out = np.zeros((len(x), H)), []
    for t in range(x.shape[1]):
        f = 1 / (1 + np.exp(-(x[:, t] @ w[:, :H] + h @ u[:, :H] + b[:H])))
        n = np.tanh(x[:, t] @ w[:, H:] + (f * h) @ u[:, H:] + b[H:])
        h = (1 - f) * h + f * n
        out.append(h)
    return np.stack(out, axis=1)


def test_rnn() -> None:
    cell = MinimalGatedCell(H, bias_initializer="normal")
    outputs, h = rnn.dynamic_rnn(cell, X, sequence_length=[5, 0, 3])
    wanted = by_hand(X, *(p.data for p in cell.parameters()))
    np.testing.assert_allclose(outputs.data[2, :3], wanted[2, :3], atol=1e-12)
    np.testing.assert_allclose(h.data, [wanted[0, 4], [0, 0], wanted[2, 2]], atol=1e-12)
    assert rnn.explain(rnn.MultiRNNCell([cell, MinimalGatedCell(3)]), X).path == "fused"
    assert tg.gradcheck(lambda *_: rnn.dynamic_rnn(cell, X)[0], cell.parameters())


def test_layers() -> None:
    layer = KerasMGU(H, return_sequences=True, return_state=True, dtype="float64")
    outputs, h = layer(X)
    np.testing.assert_allclose(outputs.data, by_hand(X, *layer.get_weights()), atol=1e-12)
    np.testing.assert_array_equal(h.data, outputs.data[:, -1])
    assert len(layer.get_weights()) == len(KerasMGU(H, use_bias=True).cell.build(D).parameters())
    both = layers.Bidirectional(KerasMGU(H, return_sequences=True, dtype="float64"))
    assert both(X, mask=np.arange(T) < np.array([[5], [2], [0]])).shape == (B, T, 2 * H)
    np.testing.assert_allclose(
        layers.RNN(layer.cell, return_sequences=True, dtype="float64")(X).data, outputs.data, atol=1e-12
    )
    assert KerasMGU(H, dropout=0.5, recurrent_dropout=0.5)(X, training=True).shape == (B, H)
    model = tg.models.Sequential([layers.Embedding(9, D, mask_zero=True), KerasMGU(H)])
    assert model(np.array([[1, 2, 0]])).shape == (1, H)
    with pytest.raises(ValueError, match="KerasMGUCell: units is 0"):
        KerasMGU(0)
    with pytest.raises(TypeError, match="activation"):
        KerasMGU(H, activation="relu")


def test_nn() -> None:
    layer = TorchMGU(D, H, batch_first=True, dtype=np.float64)
    assert {k: a.shape for k, a in layer.state_dict().items()} == {
        "weight_ih_l0": (2 * H, D),
        "weight_hh_l0": (2 * H, H),
        "bias_ih_l0": (2 * H,),
        "bias_hh_l0": (2 * H,),
    }
    w, u, b1, b2 = layer.state_dict().values()
    outputs, h_n = layer(X)
    np.testing.assert_allclose(outputs.data, by_hand(X, w.T, u.T, b1 + b2), atol=1e-12)
    np.testing.assert_array_equal(h_n.data[0], outputs.data[:, -1])
    assert tg.gradcheck(lambda *_: layer(X)[0], layer.parameters())
    deep = TorchMGU(D, H, num_layers=2, bidirectional=True, dropout=0.5, dtype=np.float64)
    assert [t.shape for t in deep(X.swapaxes(0, 1), lengths=[5, 0, 2])] == [(T, B, 2 * H), (4, B, H)]
    cell, h = TorchMGUCell(D, H, dtype=np.float64), None
    cell.load_state_dict({k.removesuffix("_l0"): a for k, a in layer.state_dict().items()})
    for t in range(T):
        h = cell(X[:, t], h)
    np.testing.assert_allclose(h.data, h_n.data[0], atol=1e-12)
