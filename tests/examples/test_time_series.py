"""Forecasts: training data, comparisons, and the program on the real data and on a user's series."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import programs


@pytest.fixture
def time_series(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(programs.ROOT / "examples"))
    return importlib.import_module("time_series")


def test_training_pieces_pair_each_month_with_the_following_months(time_series: Any) -> None:
    series = np.arange(40.0)
    seen = set()
    for months, to_come in time_series.pieces(series, 200, 4, 7, 3, np.random.default_rng(0)):
        assert months.shape == (4, 7, 1)
        assert (to_come == months + np.array([1.0, 2.0, 3.0])).all()
        seen |= {*months.ravel(), *to_come.ravel()}
    assert seen == set(series)  # to both ends, and never beyond


def test_walk_forward_forecasts_are_aligned_with_the_true_months(time_series: Any) -> None:
    series = 100 + np.arange(60.0)
    forecast = np.arange(60.0)[:, None] + np.zeros(7)
    options = argparse.Namespace(holdout=20, horizon=7, season=5, cell="gru", file=None)
    months, truth, said = time_series.walk(series, forecast, options)
    assert (
        months == np.arange(39, 53)
    ).all()  # the first forecast starts at the end of the training data, the last one ends with the series
    assert (truth == 100 + months[:, None] + np.arange(1, 8)).all()
    assert (said["naive"] == 100 + months[:, None]).all()
    assert (said["seasonal naive"] == 100 + months[:, None] + np.array([-4, -3, -2, -1, 0, -4, -3])).all()
    assert (said["GRU"] == months[:, None]).all()


def test_the_held_out_end_is_not_learned_from(time_series: Any, tmp_path: Path) -> None:
    """Other values in the end do not change a forecast made before them."""
    options = argparse.Namespace(holdout=20, horizon=4, season=10, cell="lstm", units=4, quick=True, file=None)
    series = np.abs(np.random.default_rng(1).normal(size=120))
    told = []
    for end in (1.0, 50.0):
        time_series.tg.seed(0)
        changed = np.concatenate([series[:100], series[100:] * end])
        told.append(time_series.learn(changed, options, np.random.default_rng(0)))
    assert (told[0][:100] == told[1][:100]).all()
    assert not np.allclose(told[0][100:], told[1][100:])


def test_the_sunspots(time_series: Any, tmp_path: Path) -> None:
    series = time_series.sunspots()
    assert series.shape == (12 * 235,)
    assert series[:3].tolist() == [58.0, 62.6, 70.0]
    assert series.max() == series[12 * (1957 - 1749) + 9] == 253.8  # October 1957, the strongest month
    code, out, err = programs.run(tmp_path, "time_series", "--quick")
    assert code == 0, err
    assert "565 forecasts on the held-out end" in out
    assert re.search(r"\nnaive +14\.1 +18\.9 +23\.7 +31\.1 +52\.0 +70\.6 +42\.76\n", out)
    assert "LSTM, 36 ahead" in (tmp_path / "time_series.svg").read_text(encoding="utf-8")


def test_without_the_package_the_error_names_the_install_command(
    time_series: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[examples\]' \(or give --file\)$"):
        time_series.sunspots()


def test_a_series_read_from_a_file(tmp_path: Path) -> None:
    t = np.arange(400)
    wave = 5 + 3 * np.sin(2 * np.pi * t / 25) + 0.001 * t * np.cos(2 * np.pi * t / 7)
    (tmp_path / "mine.csv").write_text(",".join(f"{v:.4f}" for v in wave))
    own = ["--file", "mine.csv", "--season", 25, "--horizon", 10, "--holdout", 80, "--units", 16]
    code, out, err = programs.run(tmp_path, "time_series", *own)
    assert code == 0, err
    errors = {name: float(value) for name, value in re.findall(r"^(\S.*?)  .* ([\d.]+)$", out, re.MULTILINE)}
    assert errors["LSTM"] < errors["seasonal naive"] < errors["naive"]
    assert "steps ahead" in (tmp_path / "time_series.svg").read_text(encoding="utf-8")
    code, _, err = programs.run(tmp_path, "time_series", *own, "--holdout", 350)
    assert (code, err.count("\n")) == (2, 1)
    assert "400 values are too few" in err
    code, _, err = programs.run(tmp_path, "time_series", "--file", "nowhere")
    assert (code, err) == (2, "time_series.py: [Errno 2] No such file or directory: 'nowhere'\n")


def test_help_and_ctrl_c(tmp_path: Path) -> None:
    code, out, _ = programs.run(tmp_path, "time_series", "--help")
    assert code == 0
    assert {"--seed", "--quick", "--plot", "--file", "--season", "--horizon", "--holdout", "--cell"} <= set(out.split())
    (tmp_path / "mine.txt").write_text("1 2 3 4 5 6 7 8 " * 400)
    code, _, err = programs.interrupted(tmp_path, "time_series", "--file", "mine.txt", after="3,200 values")
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith("interrupted\n")
