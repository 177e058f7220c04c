"""Streaming: the answers are those of the whole sequence, in real time, and the program reaches its goal."""

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
def streaming(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(programs.ROOT / "examples"))
    return importlib.import_module("streaming")


def test_the_target_is_the_wave_to_come(streaming: Any) -> None:
    samples, to_come = streaming.waves(50, 400, np.random.default_rng(0))
    noise = samples[:, streaming.AHEAD :] - to_come[:, : -streaming.AHEAD]
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(streaming.NOISE, rel=0.05)
    assert np.abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_streamed_answers_are_those_of_the_whole_sequence(streaming: Any, cell: str) -> None:
    tg.seed(1)
    model = streaming.Foreteller(streaming.CELLS[cell](8))
    samples = streaming.waves(1, 60, np.random.default_rng(0))[0][0, :, 0]
    answers, times = streaming.stream(model, samples)
    outputs, _ = rnn.dynamic_rnn(model.cell, samples[None, :, None], impl="unrolled")
    whole = outputs.data[0] @ model.head.weight.data[0] + model.head.bias.data
    np.testing.assert_allclose(answers, whole, atol=1e-6)
    np.testing.assert_allclose(np.diff(times[:, 0]), 1e-3, rtol=1e-4)
    assert (times[:, 1] >= times[:, 0] - 1e-4).all()
    assert (np.diff(times[:, 1:].ravel()) > 0).all()


def test_quick(tmp_path: Path) -> None:
    code, out, err = programs.run(tmp_path, "streaming", "--quick", "--cell", "gru")
    assert code == 0, err
    assert "streaming 300 samples in 0.3 s to GRUCell(64" in out
    rows = re.findall(r": +median +([\d.]+) us   99 % below +([\d.]+) us   worst +([\d.]+) us\n", out)
    assert len(rows) == 2
    for row in rows:
        median, high, worst = map(float, row)
        assert 0 < median <= high <= worst
    assert re.search(r"after the next sample came: \d+ of 300\n", out)
    assert float(programs.said(r"to the whole sequence: (\S+)", out)[0]) < 1e-5
    assert "foretold 10 ms before" in (tmp_path / "streaming.svg").read_text(encoding="utf-8")


def test_help_and_ctrl_c(tmp_path: Path) -> None:
    code, out, _ = programs.run(tmp_path, "streaming", "--help")
    assert code == 0
    assert {"--seed", "--quick", "--plot", "--cell", "--seconds"} <= set(out.split())
    assert programs.run(tmp_path, "streaming", "--seconds", -1)[::2] == (
        2,
        "streaming.py: --seconds is -1, expected a positive number\n",
    )
    code, _, err = programs.interrupted(
        tmp_path, "streaming", "--quick", "--seconds", 30, after="streaming 30,000 samples"
    )
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith("interrupted\n")
