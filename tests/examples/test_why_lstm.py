"""The tasks are as described, the gradient over time is the product of the matrices, and the program reaches its goal."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

from . import programs


@pytest.fixture
def why_lstm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(programs.ROOT / "examples"))
    return importlib.import_module("why_lstm")


def test_targets_of_the_adding_task_are_sums_of_the_two_marked_numbers(why_lstm: Any) -> None:
    x, total = why_lstm.adding(300, 11, np.random.default_rng(0))
    marks = x[:, :, 1]
    assert (marks[:, :5].sum(axis=1) == 1).all()
    assert (marks[:, 5:].sum(axis=1) == 1).all()
    assert (marks.sum(axis=0) > 0).all()
    np.testing.assert_allclose((x[:, :, 0] * marks).sum(axis=1), total[:, 0], rtol=1e-6)


def test_copying(why_lstm: Any) -> None:
    x, symbols = why_lstm.copying(300, 6, np.random.default_rng(0))
    assert x.shape == (300, 6, 11)
    assert (x.sum(axis=-1) == 1).all()
    assert (x[:, 0].argmax(axis=-1) == symbols).all()
    assert set(symbols) == set(range(8))
    assert set(x[:, 1:-1].argmax(axis=-1).ravel()) == {8, 9}
    assert (x[:, -1].argmax(axis=-1) == 10).all()


def test_the_gradient_is_propagated_by_the_recurrent_weights(why_lstm: Any) -> None:
    """For a linear RNN it is known: d h_T / d h_{T−k} = W^k."""
    tg.seed(0)
    cell = rnn.BasicRNNCell(5, "linear").build(11, np.float64)
    model = why_lstm.Reader(cell, 8).astype(np.float64)
    x, symbols = why_lstm.copying(1, 12, np.random.default_rng(0))
    back = why_lstm.flow(model, (x.astype(np.float64), symbols))
    said = tg.softmax(model(x.astype(np.float64))).data
    g = (said - np.eye(8)[symbols]) @ model.head.weight.data
    w = cell.recurrent_kernel.data
    norms = [np.linalg.norm(g @ np.linalg.matrix_power(w.T, k)) for k in range(12)]
    np.testing.assert_allclose(back, np.array(norms) / norms[0], rtol=1e-6)


def test_gates_begin_open(why_lstm: Any) -> None:
    generator = np.random.default_rng(0)
    model = why_lstm.reader("LSTM", why_lstm.copying, 200, generator)
    i, f, g, o = np.split(model.cell.bias.data, 4)
    keeps = 1 / (1 - 1 / (1 + np.exp(-f)))  # steps after which a unit has forgotten: 1 / (1 − f)
    assert keeps.min() >= 2
    assert 100 < keeps.max() <= 200
    np.testing.assert_allclose(i, -f)
    assert not g.any()
    assert not o.any()
    f = np.split(why_lstm.reader("LSTM, bias 1", why_lstm.adding, 200, generator).cell.bias.data, 4)[1]
    assert (f == 1).all()


@pytest.mark.parametrize(("name", "low", "high"), [("GRU", 0.95, 1.0), ("LSTM", 0.95, 1.0), ("LSTM, bias 1", 0.0, 0.4)])
def test_over_fifty_steps(why_lstm: Any, name: str, low: float, high: float) -> None:
    tg.seed(0)
    generator = np.random.default_rng(0)
    model = why_lstm.reader(name, why_lstm.copying, 50, generator)
    assert low <= why_lstm.learn(model, why_lstm.copying, 50, 6, generator) <= high


def test_quick_help_and_ctrl_c(tmp_path: Path) -> None:
    code, out, err = programs.run(tmp_path, "why_lstm", "--quick")
    assert (code, err) == (0, "")
    rows = re.findall(r"^(adding|copying) +(RNN|LSTM|GRU|LSTM, bias 1) +(\d\.\d\d) +(\d\.\d\d)$", out, re.MULTILINE)
    assert len(rows) == 8
    assert "copying over 10" in (tmp_path / "why_lstm.svg").read_text(encoding="utf-8")
    code, out, _ = programs.run(tmp_path, "why_lstm", "--help")
    assert code == 0
    assert {"--seed", "--quick", "--plot", "--lengths"} <= set(out.split())
    code, _, err = programs.interrupted(tmp_path, "why_lstm", after="accuracy over")
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith("interrupted\n")
