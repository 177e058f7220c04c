"""The command line: output, files and exit codes of each command, and errors of one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tinygrad_rnn.viz.write.program import find

import tinygrad_rnn as tg
from tinygrad_rnn import viz
from tinygrad_rnn.__main__ import main
from tinygrad_rnn.commands.gallery import FIGURES, PLOTS
from tinygrad_rnn.errors import DrawingError

COMMAND = [sys.executable, "-m", "tinygrad_rnn"]


def has_program() -> bool:
    try:
        find()
    except DrawingError:
        return False
    return True


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = main(list(arguments))
    except SystemExit as end:  # argparse's way out
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


WRONG = [  # (arguments, exit code, text in the error)
    (["nope"], 2, "invalid choice: 'nope'"),
    (["draw"], 2, "the name of a cell or figure is missing"),
    (["draw", "ltsm"], 2, "did you mean 'lstm'?"),
    (["draw", "lstm", "--steps", "3"], 2, "--steps goes with"),
    (["draw", "lstm", "--length", "3"], 2, "--length goes with"),
    (["draw", "lstm", "--view", "unrolled", "--steps", "0"], 2, "'0' is neither"),
    (["draw", "lstm", "--view", "unrolled", "--steps", "2,x"], 2, "'2,x' is neither"),
    (["draw", "lstm", "--units", "-1"], 2, "-1"),
    (["draw", "lstm", "--layers", "2"], 2, "--layers and --bidirectional"),
    (["draw", "lstm", "--bidirectional", "--view", "unrolled", "--steps", "4", "--length", "3"], 2, "at least the 4"),
    (["draw", "many_to_one", "--view", "cell"], 2, "--view cannot be used"),
    (["draw", "lstm", "-o", "nowhere/x.dot"], 1, "draw: nowhere/x.dot: No such file or directory\n"),
    (["draw", "lstm", "-o", "x"], 1, "no ending"),
    (["check", "--op", "tnah"], 2, "did you mean 'tanh'?"),
    (["check", "--order", "3"], 2, "invalid choice: 3"),
    (["bench", "--shape", "3,4"], 2, "four sizes"),
    (["bench", "--threads", "0"], 2, "'0' is not a positive integer"),
    (["bench", "--seconds", "-1"], 2, "from 0 to 600"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), WRONG, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_wrong_arguments_give_an_error_of_one_line(
    arguments: list[str], code: int, text: str, capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (code, "")
    assert text in err
    assert err.count("\n") == 1
    assert err.startswith("python -m tinygrad_rnn")


def test_without_a_command_the_error_lists_the_commands(capsys: Any) -> None:
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    assert all(name in err for name in ("draw", "check", "bench", "info"))


@pytest.mark.parametrize("command", [[], ["draw"], ["check"], ["bench"], ["info"]])
def test_help_fits_a_terminal(command: list[str]) -> None:
    done = subprocess.run(
        [*COMMAND, *command, "--help"], capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"}, check=True
    )
    lines = [
        line for line in done.stdout.splitlines() if not line.startswith("  python -m")
    ]  # examples are to be copied
    assert max(map(len, lines)) <= 80


# -- info ----------------------------------------------------------------------------------------------------------


def test_info_says_what_is_missing_and_how_to_get_it(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_DOT", "/nowhere/dot")
    found = {"implementation": "reference", "isa": None, "threads": 1, "compiler": None, "missing": "it was not built"}
    monkeypatch.setattr(tg.kernels, "info", lambda: found)
    code, out, err = run(capsys, "info")
    assert (code, err) == (0, "")
    assert "instruction set" not in out
    assert "it was not built. To have them, install a C++17" in " ".join(out.split())
    assert "pip install graphviz-pure" in out
    assert max(map(len, out.splitlines())) <= 79
    assert json.loads(run(capsys, "info", "--json")[1])["no native kernels"] == "it was not built"


# -- draw ----------------------------------------------------------------------------------------------------------


def dot(capsys: Any, *arguments: str) -> str:
    code, out, err = run(capsys, "draw", *arguments, "-o", "-")
    assert (code, err) == (0, "")
    return out


def test_draw_gives_what_viz_draws(capsys: Any) -> None:
    cell = tg.rnn.GRUCell
    assert dot(capsys, "gru") == viz.cell(cell(8)).source
    assert dot(capsys, "gru", "--units", "3", "--view", "folded") == viz.folded(cell(3)).source
    assert (
        dot(capsys, "gru", "--view", "unrolled", "--steps", "2,1", "--length", "100")
        == viz.unrolled(cell(8), (2, 1), length=100).source
    )
    stack = tg.rnn.MultiRNNCell([cell(8), cell(8)])
    assert dot(capsys, "gru", "--layers", "2", "--view", "unrolled") == viz.unrolled(stack, 3).source
    assert dot(capsys, "many-to-one") == FIGURES["many_to_one"]().source


def test_draw_both_directions_and_every_op(capsys: Any) -> None:
    both = dot(capsys, "lstm", "--bidirectional", "--view", "unrolled", "--steps", "2,1")
    assert both.count("lstm_cell") > dot(capsys, "lstm", "--view", "unrolled", "--steps", "2,1").count("lstm_cell")
    ops = dot(capsys, "rnn", "--view", "ops", "--steps", "5")
    assert "t=4" in ops
    assert "t=5" not in ops


def test_draw_writes_the_file_and_says_which(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "draw", "rnn", "-o", "x.dot") == (0, "x.dot\n", "")
    assert (tmp_path / "x.dot").read_text().startswith("digraph")
    assert run(capsys, "draw", "rnn", "--view", "ops", "-o", "x.html") == (0, "x.html\n", "")
    assert "</html>" in (tmp_path / "x.html").read_text()
    assert run(capsys, "draw", "gradient_flow", "-o", "x.svg") == (0, "x.svg\n", "")
    assert "<svg" in (tmp_path / "x.svg").read_text()
    assert dot(capsys, "gradient_flow").startswith("<svg")
    code, out, _ = run(capsys, "draw", "rnn", "-o", "x.mmd", "--json")
    assert (code, json.loads(out)) == (0, {"file": "x.mmd", "bytes": (tmp_path / "x.mmd").stat().st_size})


@pytest.mark.skipif(not has_program(), reason="no Graphviz program")
def test_draw_renders_svg_under_its_own_name(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "draw", "lstm", "--view", "folded") == (0, "lstm_folded.svg\n", "")
    assert "<svg" in (tmp_path / "lstm_folded.svg").read_text()


@pytest.mark.skipif(not has_program(), reason="no Graphviz program")
def test_a_format_that_the_program_does_not_know(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "draw", "lstm", "-o", "x.nope")
    assert (code, out) == (1, "")
    assert err.startswith(f"python -m tinygrad_rnn draw: drawing: {Path(find()).name} made no nope (code ")


def test_without_a_program_the_text_is_written_and_the_code_is_1(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYGRAD_RNN_DOT", "/nowhere/dot")
    code, out, err = run(capsys, "draw", "lstm")
    assert (code, out) == (1, "lstm_cell.dot\n")
    assert "wrote lstm_cell.dot instead" in err
    assert err.count("\n") == 1


def test_without_viz_it_says_how_to_install_it(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.delattr(tg, "viz")
    monkeypatch.setitem(sys.modules, "tinygrad_rnn.viz", None)
    code, out, err = run(capsys, "draw", "lstm", "-o", "-")
    assert (code, out) == (1, "")
    assert "pip install -e ." in err
    assert err.count("\n") == 1


def test_the_list_names_what_can_be_drawn(capsys: Any) -> None:
    code, out, _ = run(capsys, "draw", "--list", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found["figures"]) == {*FIGURES, *PLOTS}
    assert {"rnn", "lstm", "gru"} <= set(found["cells"])
    code, out, _ = run(capsys, "draw", "--list")
    assert all(name in out for name in [*FIGURES, *found["cells"]])
    assert max(map(len, out.splitlines())) <= 79


# -- check ---------------------------------------------------------------------------------------------------------


def test_check_prints_one_row_for_each_op(capsys: Any) -> None:
    code, out, err = run(capsys, "check", "--op", "tanh", "--op", "matmul")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["tanh", "matmul"]
    assert lines[2].split()[2:4] == ["ok", "ok"]
    assert lines[-1].startswith("2 ops, 12 samples, order 1 and 2: all right")
    assert max(map(len, lines)) <= 80


def test_check_goes_over_the_whole_registry(capsys: Any) -> None:
    code, out, _ = run(capsys, "check", "--order", "1", "--json")
    found = json.loads(out)
    assert code == found["failed"] == 0
    assert [row["op"] for row in found["ops"]] == [op.name for op in tg.operations() if op.differentiable]
    assert all(row["orders"] == {"1": "ok"} and 0 <= row["worst"] < 1 for row in found["ops"])
    assert found["kernels"]["implementation"] == tg.kernels.info()["implementation"]


@pytest.mark.parametrize("as_json", [False, True])
def test_check_finds_a_wrong_derivative(capsys: Any, monkeypatch: Any, as_json: bool) -> None:
    rule = tg.tanh.rule
    monkeypatch.setattr(tg.tanh, "rule", lambda g, out: 1.001 * rule(g, out))
    code, out, err = run(capsys, "check", "--op", "tanh", "--op", "exp", "--order", "1", *["--json"] * as_json)
    assert code == 1
    assert "every element is off by the factor 1.001" in err
    if as_json:
        tanh, exp = json.loads(out)["ops"]
        assert (tanh["orders"]["1"], tanh["worst"], exp["orders"]["1"]) == ("WRONG", None, "ok")
    else:
        assert "1 wrong: tanh" in out


# -- bench ---------------------------------------------------------------------------------------------------------


def test_bench_measures_what_it_says(capsys: Any) -> None:
    case = ["--cell", "gru", "--shape", "2,20,8,16", "--threads", "1", "--seconds", "0"]
    threads = tg.get_num_threads()
    code, out, err = run(capsys, "bench", *case, "--json")
    found = json.loads(out)
    assert (code, err, tg.get_num_threads()) == (0, "", threads)
    [row] = found["cases"]
    assert (row["cell"], row["B"], row["T"], row["D"], row["H"], row["threads"]) == ("gru", 2, 20, 8, 16, 1)
    work = 3 * 2 * 2 * 20 * (8 + 16) * 3 * 16  # three products a gate and step: forward, and two backward
    assert row["gflops"] == pytest.approx(work / row["train_ms"] / 1e6)
    assert row["us_per_step"] == pytest.approx(1e3 * row["train_ms"] / 20)
    assert row["of_gemm"] == pytest.approx(row["gflops"] / found["gemm_gflops"]["1"])
    assert row["forward_ms"] > 0
    assert found["streaming_us"]["gru"] > 0


def test_bench_prints_a_table_that_fits_a_terminal(capsys: Any) -> None:
    code, out, _ = run(capsys, "bench", "--cell", "rnn", "--shape", "2,5,4,3", "--threads", "1", "--seconds", "0")
    assert code == 0
    assert "rnn" in out.splitlines()[-2]
    assert max(map(len, out.splitlines()[-3:])) <= 80


def test_bench_refuses_to_time_wrong_results(capsys: Any, monkeypatch: Any) -> None:
    rule = tg.ops.rnn_sequence.rule
    monkeypatch.setattr(
        tg.ops.rnn_sequence, "rule", lambda *a, **o: [g if g is None else 1.1 * g for g in rule(*a, **o)]
    )
    code, _, err = run(capsys, "bench", "--cell", "rnn", "--shape", "2,5,4,3", "--threads", "1", "--seconds", "0")
    assert code == 1
    assert "fused and unrolled differ" in err


@pytest.mark.skipif(os.name == "nt", reason="the shell")
def test_without_a_place_to_write_to_it_is_quiet() -> None:
    done = subprocess.run(["/bin/sh", "-c", '"$0" -m tinygrad_rnn info >&-', sys.executable], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# -- the terminal --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_ends_it_in_one_line() -> None:
    command = [*COMMAND, "bench", "--seconds", "30", "--cell", "rnn"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it runs
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == "python -m tinygrad_rnn bench: stopped"


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen([*COMMAND, "check"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141
