"""The same scripts on one process and on several: they train one model, and the first process alone prints and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mpiexec import run

import tinygrad_rnn as tg

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_character_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("so it goes, and so it goes on. " * 200)
    few = ["text", "--every", 3, "--batch", 8, "--unroll", 16, "--units", 8, "--sample", 20, "--graph", ""]
    done = run(3, EXAMPLES / "char_rnn.py", *few, "--steps", 6)
    assert (done.returncode, done.stdout.count("6 steps")) == (0, 1), done.stderr
    assert done.stdout.count("A sample at temperature") == 1
    assert done.stderr.count("it writes") == 2
    done = run(2, EXAMPLES / "char_rnn.py", *few, "--steps", 9, "--resume")
    assert (done.returncode, done.stdout.count("9 steps")) == (0, 1), done.stderr
    assert tg.load("char_rnn.safetensors").metadata["training"]["step"] == 9
    done = run(2, EXAMPLES / "char_rnn.py", *few, "--resume", "--checkpoint", "nowhere")
    assert done.returncode != 0
    assert "rank 0 of 2 failed, all processes end: FileNotFoundError: there is no nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    done = run(2, EXAMPLES / "language_model.py", "--quick", "--steps", 4, "--plot", "")
    assert (done.returncode, done.stdout.count("it writes:")) == (0, 1), done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"language_model.safetensors", "language_model.onnx"}
