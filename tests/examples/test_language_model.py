"""The language model, from the command line: trained, interrupted, resumed, sampled from, exported."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg

from .programs import interrupted, run, said

pytest.importorskip("onnx")
ONNX_RUNTIME = importlib.util.find_spec("onnxruntime") is not None


def perplexities(out: str) -> tuple[float, float]:
    match = re.search(r"held-out perplexity: ([\d.]+) at step \d+ of \d+, ([\d.]+) by counting", out)
    assert match, out
    return float(match[1]), float(match[2])


def test_characters_from_training_to_the_exported_model(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "language_model", "--level", "char", "--quick")
    assert code == 0, err
    net, counting = perplexities(out)
    assert 10 < counting < 16
    assert net < 30
    assert f"held-out perplexity {net:.2f}" in err
    difference, same = said(r"scores differ by (\S+) at most, (\S+ \S+) text", out)
    assert float(difference) < 1e-5
    assert same == "the same"
    assert ("run by ONNX Runtime" in out) == ONNX_RUNTIME
    assert {p.name for p in tmp_path.iterdir()} == {f"language_model.{e}" for e in ("onnx", "safetensors", "svg")}
    assert "held-out text, by counting pairs" in (tmp_path / "language_model.svg").read_text()

    # with nothing left to train it only generates: the same text with the same seed, another with other settings
    again = ["--level", "char", "--quick", "--resume", "--plot", ""]
    whole = run(tmp_path, "language_model", *again)
    assert whole[:2] == run(tmp_path, "language_model", *again)[:2]
    assert out.split("it writes:")[1].split("run by")[0] in whole[1]
    only = run(tmp_path, "language_model", *again, "--top-k", 1)[1].split("it writes:")[1].split("run by")[0]
    assert len(set(only.split())) < 12


def test_two_runs_are_one(tmp_path: Path) -> None:
    common = ["--level", "char", "--quick", "--plot", ""]
    assert run(tmp_path, "language_model", *common, "--steps", 16, "--name", "whole")[0] == 0
    assert run(tmp_path, "language_model", *common, "--steps", 7, "--name", "parts")[0] == 0
    code, out, _ = run(tmp_path, "language_model", *common, "--steps", 16, "--name", "parts", "--resume", "--seed", 9)
    assert code == 0
    assert "of 16, " in out
    whole, parts = tg.load(tmp_path / "whole.safetensors"), tg.load(tmp_path / "parts.safetensors")
    differing = {name for name in whole if not name.startswith(("best.", "validations", "run."))}
    assert len(differing) > 10
    assert all(np.array_equal(whole[name], parts[name]) for name in differing)


def test_ctrl_c_keeps_the_run(tmp_path: Path) -> None:
    code, out, err = interrupted(tmp_path, "language_model", "--level", "char", after="parameters")
    assert code == 130
    assert "Traceback" not in err
    assert out.endswith("kept in language_model.safetensors; --resume goes on from there\n")
    assert tg.load(tmp_path / "language_model.safetensors").metadata["training"]["step"] > 0


def test_words_without_onnx_runtime(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError")
    script = Path(__file__).parents[2] / "examples" / "language_model.py"
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(script.parent)!r}]\n"
        "import program, language_model; sys.argv = ['language_model.py', '--quick', '--steps', '2', '--plot', '']\n"
        "program.run(language_model.main)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "run by interop.onnx.load (for ONNX Runtime: pip install onnxruntime)" in done.stdout
    assert re.search(r"differ by (\de-0[6-9]|0e\+00) at most", done.stdout)
    assert "the same text" in done.stdout


def test_bad_input(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "language_model", "--level", "char", "--top-k", 0, "--plot", "")
    assert (code, out, err) == (2, "", "language_model.py: sample: top_k is 0, expected a positive integer\n")
    (tmp_path / "language_model.safetensors").write_bytes(b"garbage" * 50)
    code, out, err = run(tmp_path, "language_model", "--resume", "--quick", "--plot", "")
    assert code == 2
    assert re.fullmatch(r"language_model\.py: .*\(350 bytes\) is not a complete safetensors file.*\n", err)
    wanted = {"--level", "--steps", "--temperature", "--top-k", "--name", "--resume", "--seed", "--quick", "--plot"}
    assert wanted <= set(run(tmp_path, "language_model", "--help")[1].split())
