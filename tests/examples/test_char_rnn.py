"""The character model as one runs it: from the command line, to the end, resumed, interrupted, with bad input."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tinygrad_rnn as tg

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "char_rnn.py"
SENTENCE = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs!\n"
SMALL = ["--units", "12", "--embedding", "6", "--batch", "4", "--unroll", "16", "--sample", "40", "--graph", ""]


def start(folder: Path, *arguments: Any) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def run(folder: Path, *arguments: Any) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def refused(capsys: Any, monkeypatch: Any, *arguments: Any) -> str:
    """The error of the script, run in this process."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", ["char_rnn.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == 2
    return str(capsys.readouterr().err)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(SENTENCE * 30, encoding="utf-8")
    return path


def bits(out: str) -> float:
    match = re.search(r"all of the held-out text: ([\d.]+) bits per character", out)
    assert match, out
    return float(match[1])


def test_it_trains_samples_and_resumes(tmp_path: Path, text: Path) -> None:
    code, out, err = run(tmp_path, text, *SMALL, "--seconds", 2, "--every", 20, "--lr", 0.01)
    assert code == 0, err
    assert "2,580 characters, 30 different, the last 258 held out" in out
    assert re.search(r"step 20: held-out bits/char [\d.]+\n  it writes: '", err)
    assert bits(out) < 4.2
    sample = out.split("A sample at temperature 0.8:\n\n")[1]
    assert len(sample) == 41
    assert set(sample) <= set(SENTENCE)
    steps = tg.load(tmp_path / "char_rnn.safetensors").metadata["training"]["step"]
    assert steps > 20

    code, out, err = run(tmp_path, text, *SMALL, "--resume", "--steps", steps + 30, "--sample", 0)
    assert code == 0, err
    assert tg.load(tmp_path / "char_rnn.safetensors").metadata["training"]["step"] == steps + 30
    assert "LSTMCell(12, input_size=6, forget_bias=0.0)" in out
    assert "A sample" not in out

    before = (tmp_path / "char_rnn.safetensors").read_bytes()
    code, out, err = run(tmp_path, text, *SMALL, "--steps", 1)
    assert code == 0
    assert "kept the old char_rnn.safetensors as char_rnn.safetensors.old" in out
    assert (tmp_path / "char_rnn.safetensors.old").read_bytes() == before


def test_steps_in_two_runs_are_steps_in_one(tmp_path: Path, text: Path) -> None:
    common = [text, *SMALL, "--cell", "gru", "--layers", 2, "--every", 7, "--final-lr", 0.003]
    assert run(tmp_path, *common, "--steps", 30, "--checkpoint", "whole")[0] == 0
    assert run(tmp_path, *common, "--steps", 12, "--checkpoint", "parts")[0] == 0
    code, out, _ = run(tmp_path, *common, "--steps", 30, "--checkpoint", "parts", "--resume", "--seed", 5)
    assert code == 0
    whole, parts = tg.load(tmp_path / "whole"), tg.load(tmp_path / "parts")
    assert set(whole) == set(parts)
    assert all((whole[k] == parts[k]).all() for k in whole)
    assert whole.metadata["random"] == parts.metadata["random"]
    assert "30 steps" in out


def test_text_of_any_script_and_without_newlines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("모든 인간은 태어날 때부터 자유로우며 🙂 " * 40, encoding="utf-8")
    code, out, err = run(tmp_path, "a.txt", *SMALL, "--steps", 4, "--every", 2)
    assert code == 0, err
    assert len(out.split("A sample at temperature 0.8:\n\n")[1].rstrip("\n")) == 40


def test_without_a_file_it_learns_pythons_documentation(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, *SMALL[:-2], "--cell", "rnn", "--steps", 3, "--sample", 5)
    assert code == 0, err
    characters = re.match(r"([\d,]+) characters", out)
    assert characters
    assert int(characters[1].replace(",", "")) > 300_000
    assert "the unrolled graph is drawn in char_rnn." in out
    assert list(tmp_path.glob("char_rnn.svg")) or list(tmp_path.glob("char_rnn.dot"))


def test_ctrl_c_saves_before_it_leaves(tmp_path: Path, text: Path) -> None:
    process = start(tmp_path, text, *SMALL, "--seconds", 60, "--every", 5)
    path = tmp_path / "char_rnn.safetensors"
    for _ in range(300):
        if path.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted; --resume goes on from here" in out
    step = tg.load(path).metadata["training"]["step"]
    assert f"{step:,} steps" in out
    assert run(tmp_path, text, *SMALL, "--resume", "--steps", step + 2)[0] == 0


def test_help() -> None:
    code, out, _ = run(ROOT, "--help")
    assert code == 0
    assert {"--quick", "--cell", "--units", "--seconds", "--temperature", "--seed", "--checkpoint"} <= set(out.split())


def test_bad_input_is_refused_in_one_line_and_nothing_is_lost(
    tmp_path: Path, text: Path, capsys: Any, monkeypatch: Any
) -> None:
    assert run(tmp_path, text, *SMALL, "--steps", 2)[0] == 0
    code, _, err = run(tmp_path, "nowhere.txt")
    assert (code, err) == (2, "char_rnn.py: [Errno 2] No such file or directory: 'nowhere.txt'\n")
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "char_rnn.safetensors"
    before = checkpoint.read_bytes()
    for name, content in {
        "empty": b"",
        "short": b"abcdefghij" * 9,
        "tiny": b"abc",
        "binary": b"\xff\xfe\x00" * 99,
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "garbage").write_bytes(b"garbage" * 50)
    (tmp_path / "cut").write_bytes(before[: len(before) // 2])
    other = tmp_path / "other.txt"
    other.write_text(SENTENCE.upper() * 30)
    small = [*SMALL, "--steps", 3]
    cases: list[tuple[list[Any], str]] = [
        (["nowhere.txt", *small], r"No such file or directory: 'nowhere.txt'"),
        (["empty", *small], r"read_text: empty is empty, expected text"),
        (["short", *small, "--batch", "32"], r"TextChunks: the sequence has 81 elements, expected at least 513.*batch"),
        (["tiny", "--batch", "1", "--unroll", "1"], r"sequence has 0 elements, expected at least 2 .* longer text"),
        (["binary", *small], r"binary is not UTF-8 text"),
        ([tmp_path, *small], r"Is a directory"),
        ([text, *small, "--resume", "--checkpoint", "nowhere"], r"there is no nowhere to resume from; drop --resume"),
        (
            [text, *small, "--resume", "--checkpoint", "garbage"],
            r"garbage \(350 bytes\) is not a complete safetensors file",
        ),
        ([text, *small, "--resume", "--checkpoint", "cut"], r"cut \(\d+ bytes\) is not a complete safetensors file"),
        ([text, *small, "--checkpoint", "away/run"], r"there is no folder .*away to write run into"),
        ([other, *small, "--resume"], r"was trained on other characters; give the same files, or drop --resume"),
        (
            [text, *small, "--resume", "--units", "13"],
            r"carries a state of shape \(4, 12\), expected \(4, 13\); resume with the model",
        ),
        ([text, *small, "--units", "0"], r"num_units is 0"),
        ([text, *small, "--lr", "nan"], r"lr is nan"),
        ([text, *small, "--temperature", "-1"], r"temperature is -1"),
        ([text, *small[:-4], "--graph", "x.nonsense"], r"nonsense"),
    ]
    for arguments, message in cases:
        said = refused(capsys, monkeypatch, *arguments)
        assert re.match(rf"char_rnn\.py: .*{message}.*\n$", said), said
        assert checkpoint.read_bytes() == before
    for wrong in (["--units", "x"], ["--cell", "mlp"], ["--lr", "fast"]):
        assert f"argument {wrong[0]}: invalid" in refused(capsys, monkeypatch, text, *small, *wrong)
