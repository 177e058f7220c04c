"""The guide's page about drawing: its code runs, and its own view shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "examples" / "guide" / "drawing.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    told = capsys.readouterr().out
    assert "Heatmap('f': 4 units, 6 steps)" in told
    assert names["picture"].nodes[0].lines == ("lstm_cell", "6 steps", "160 weights")  # (5 + 4 + 1) 16
    assert {(edge.tail, edge.head): edge.label for edge in names["picture"].edges} == {
        ("l0", "l0"): "c: 4, h: 4",
        ("l0", "l1"): "x: 4",
        ("l1", "l1"): "h: 3",
    }
    own = max(blocks, key=len)
    assert len(own[own.index("def traffic") :].splitlines()) <= 50
