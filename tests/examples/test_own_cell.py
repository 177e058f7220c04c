"""The user-defined cell: it computes the equations of its paper, and the program reaches its goal."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz

from . import programs


@pytest.fixture
def own_cell(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(programs.ROOT / "examples"))
    return importlib.import_module("own_cell")


def test_the_cell_is_the_papers(own_cell: Any) -> None:
    cell = own_cell.MinimalGatedUnit(3).build(2, np.float64)
    x = np.random.default_rng(0).normal(size=(2, 4, 2))
    wf, uf, bf, wn, un, bn = (p.data for p in cell.parameters())
    bf += [0.3, -0.2, 0.1]
    bn += [-0.4, 0.5, 0.2]
    h = np.zeros((2, 3))
    for t in range(4):
        f = 1 / (1 + np.exp(-(x[:, t] @ wf + h @ uf + bf)))
        h = (1 - f) * h + f * np.tanh(x[:, t] @ wn + (f * h) @ un + bn)
    _, state = rnn.dynamic_rnn(cell, x)
    np.testing.assert_allclose(state.data, h, rtol=1e-12)


def test_the_flip_flop_holds_the_last_pulse(own_cell: Any) -> None:
    pulses, held = own_cell.flip_flop(20, 50, 3, np.random.default_rng(1))
    assert set(np.unique(pulses)) == {-1, 0, 1}
    assert 0.8 < np.mean(pulses[:, 1:] == 0) < 0.97
    for row, column in np.ndindex(20, 3):
        last = np.nan
        for t in range(50):
            last = pulses[row, t, column] or last
            assert held[row, t, column] == last


def test_quick(tmp_path: Path) -> None:
    try:
        viz.cell(rnn.BasicRNNCell(2)).svg()
        plot = ()
    except tg.DrawingError:
        plot = ("--plot", "")
    code, out, err = programs.run(tmp_path, "own_cell", "--quick", *plot)
    assert code == 0, err
    assert re.search(r"finite differences: +True\n.*second derivatives too: +True\n.*gives zeros: +True\n", out)
    assert "fused, the whole sequence is one node" in out
    sizes = dict(re.findall(r"(\w+) +([\d,]+) parameters  right at \d+\.\d\d %", out))
    assert sizes == {"LSTMCell": "2,688", "GRUCell": "2,016", "MinimalGatedUnit": "1,344"}
    if not plot:
        for part in ("", "_inside", "_unrolled"):
            assert "<svg" in (tmp_path / f"own_cell{part}.svg").read_text(encoding="utf-8")


def test_it_learns(own_cell: Any) -> None:
    tg.seed(0)
    generator = np.random.default_rng(0)
    model = own_cell.Memory(own_cell.MinimalGatedUnit(24), 3)
    batches = (own_cell.flip_flop(32, 30, 3, generator) for _ in range(150))
    tg.train.fit(model.loss, batches, tg.optim.Adam(model.parameters(), 0.02), steps=150, clip=1.0, progress=False)
    pulses, held = own_cell.flip_flop(100, 60, 3, generator)
    assert np.mean(np.sign(model(pulses).data) == held) > 0.95


def test_help_and_ctrl_c(tmp_path: Path) -> None:
    code, out, _ = programs.run(tmp_path, "own_cell", "--help")
    assert code == 0
    assert "minimal gated unit" in out
    assert {"--seed", "--quick", "--plot"} <= set(out.split())
    code, _, err = programs.interrupted(tmp_path, "own_cell", "--plot", "", after="the driver's way")
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith("interrupted\n")
