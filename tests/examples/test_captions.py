"""The net that writes the names of digits, from the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .programs import interrupted, run, said

pytest.importorskip("sklearn")


def test_it_learns_to_spell(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "captions", "--quick")
    assert code == 0, err
    assert "1,438 digits to learn from, 359 held out" in out
    assert float(said(r"right in every letter: ([\d.]+)%", out)[0]) > 75
    names = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
    untrained = said(r"untrained it writes: (.*)", out)[0].split()
    written = re.findall(r"  it writes: (.*)", err)[-1].split()
    assert len(set(written) & names) > 3
    assert not set(untrained) & names
    picture = (tmp_path / "captions.svg").read_text()
    assert picture.count("<image") == 24
    assert "the names written (in brackets the right one)" in picture


def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    code, out, err = interrupted(tmp_path, "captions", "--cell", "gru", after="untrained it writes")
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith("interrupted\n")
    assert "right in every letter" not in out
    assert list(tmp_path.iterdir()) == []
