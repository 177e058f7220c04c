"""Hi Hello with each cell, from the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .programs import run, said, start


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_says_ihello(tmp_path: Path, cell: str) -> None:
    code, out, err = run(tmp_path, "hi_hello", "--cell", cell)
    assert (code, err) == (0, "")
    assert re.search(r"step   0 .* hihell -> (?!ihello)", out)
    assert re.search(r"step 100 .* hihell -> ihello\n", out)
    assert float(said(r"a probability of ([\d.]+)", out)[0]) > 0.98
    assert 'step 100: "ihello"' in (tmp_path / "hi_hello.svg").read_text()


def test_options(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "hi_hello", "--quick", "--seed", 3, "--plot", "")
    assert code == 0
    assert "step  20 " in out
    assert "step  50 " not in out
    assert run(tmp_path, "hi_hello", "--quick", "--seed", 3, "--plot", "")[1] == out
    assert run(tmp_path, "hi_hello", "--quick", "--seed", 4, "--plot", "")[1] != out
    assert list(tmp_path.iterdir()) == []
    code, out, _ = run(tmp_path, "hi_hello", "--help")
    assert code == 0
    assert {"--seed", "--quick", "--plot", "--cell"} <= set(out.split())
    code, out, err = run(tmp_path, "hi_hello", "--plot", "away/a.svg")
    assert (code, out, err) == (2, "", "hi_hello.py: there is no folder away to write a.svg into\n")
    code, out, err = run(tmp_path, "hi_hello", "--plot", "a.gif")
    assert (code, out) == (2, "")
    assert err == "hi_hello.py: --plot a.gif is in no format that is known here: let it end in .svg, .png or .pdf\n"
    assert run(tmp_path, "hi_hello", "--seed", -1) == (
        2,
        "",
        "hi_hello.py: --seed is -1, expected a non-negative integer\n",
    )
    assert run(tmp_path, "hi_hello", "--quick", "--plot", "a.png")[0] == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("buffered", [False, True])
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, buffered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if buffered:
        monkeypatch.setenv("PYTHONUNBUFFERED", "")
    with start(tmp_path, "hi_hello", "--quick", "--plot", "") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


def test_the_same_numbers_give_the_same_picture(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        assert run(tmp_path, "hi_hello", "--quick", "--plot", name)[0] == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
