"""Second derivatives: the curvature is that of a Hessian computed element by element, and the program reaches its goal."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from . import programs


@pytest.fixture
def second_order(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(programs.ROOT / "examples"))
    return importlib.import_module("second_order")


def dense_hessian(model: Any, batch: Any) -> Any:
    """Differences of the loss alone: no derivative of the library's is used."""
    parameters = model.parameters()
    sizes = np.cumsum([0, *(p.size for p in parameters)])
    before = np.concatenate([p.data.ravel() for p in parameters])

    def loss(shift: Any) -> float:
        for p, a, b in zip(parameters, sizes[:-1], sizes[1:], strict=True):
            p.data = (before + shift)[a:b].reshape(p.shape)
        with tg.no_grad():
            return float(model.loss(*batch))

    n, e = sizes[-1], 1e-4
    steps = e * np.eye(n)
    hessian = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            corners = [a * b * loss(a * steps[i] + b * steps[j]) for a in (1, -1) for b in (1, -1)]
            hessian[i, j] = hessian[j, i] = sum(corners) / (4 * e * e)
    loss(np.zeros(n))
    return hessian


def test_the_curvature_is_the_hessians(second_order: Any) -> None:
    tg.seed(0)
    generator = np.random.default_rng(0)
    model = second_order.Comparer(2)
    batch = second_order.task(6, 5, generator)
    parameters = model.parameters()
    vector = [generator.standard_normal(p.shape) for p in parameters]
    hessian = dense_hessian(model, batch)
    product = second_order.hessian_times(vector, tg.grad(model.loss(*batch), parameters, create_graph=True), parameters)
    flat = np.concatenate([part.ravel() for part in product])
    np.testing.assert_allclose(flat, hessian @ np.concatenate([v.ravel() for v in vector]), atol=2e-6)
    values = np.linalg.eigvalsh(hessian)
    curvature, _ = second_order.top_curvature(model.loss(*batch), parameters, vector, rounds=60)
    assert curvature == pytest.approx(values[np.abs(values).argmax()], abs=1e-5)


def test_targets_are_products_of_neighbouring_signs(second_order: Any) -> None:
    signs, same = second_order.task(4, 6, np.random.default_rng(0))
    assert (same[:, 0] == signs[:, 0]).all()
    assert (same[:, 1:] == np.where(signs[:, 1:] == signs[:, :-1], 1, -1)).all()
    assert set(np.unique(same)) == {-1, 1}


def test_curvature_rises_to_2_over_the_learning_rate(tmp_path: Path) -> None:
    code, out, err = programs.run(tmp_path, "second_order", "--rates", 0.8, "--steps", 100)
    assert code == 0, err
    off = [float(v) for v in re.findall(r"  (\S+) of its length, with ε", out)]
    assert off == sorted(off, reverse=True)
    assert off[-1] < 1e-7
    last, edge = programs.said(r"top curvature from \S+ to (\S+); 2 / rate (\S+)", out)
    assert float(edge) == 2.5
    assert float(last) == pytest.approx(2.5, rel=0.15)
    assert "learning rate 0.8" in (tmp_path / "second_order.svg").read_text(encoding="utf-8")


def test_quick_help_and_ctrl_c(tmp_path: Path) -> None:
    code, out, err = programs.run(tmp_path, "second_order", "--quick", "--plot", "")
    assert (code, err) == (0, "")
    assert out.count("top curvature from") == 3
    assert list(tmp_path.iterdir()) == []
    code, out, _ = programs.run(tmp_path, "second_order", "--help")
    assert code == 0
    assert {"--seed", "--quick", "--plot", "--rates", "--steps"} <= set(out.split())
    code, _, err = programs.interrupted(tmp_path, "second_order", after="ε = 1e-05")
    assert (code, err) == (130, "interrupted\n")
