"""What the README says is run: its tour in order, in one session."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_tour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ```python block, then what it says it prints in the ```text block after it (if there is one)."""
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {}
    found = re.findall(r"^```python\n(.*?)^```$(?:\s*^```text\n(.*?)^```$)?", README, re.MULTILINE | re.DOTALL)
    assert len(found) >= 4
    for code, output in found:
        printed: list[str] = []
        session["print"] = lambda *values, printed=printed: printed.append(" ".join(map(str, values)))
        exec(compile(code, "README.md", "exec"), session)
        if output:
            assert "\n".join(printed).strip() == output.strip()


def test_the_first_two_commands_are_one_line_each() -> None:
    first, second = blocks("sh")[:2]
    assert len(first.strip().splitlines()) == len(second.strip().splitlines()) == 1
    assert "examples/char_rnn.py" in first
    assert "pytest" in second


def test_relative_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", README):
        path = target[0] or target[1]
        assert (TOP / path).exists(), f"README.md links to {path}, which is not there"
