"""What the README says is run: its tour in order, in one session; docstrings' examples too."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tinygrad_rnn as tg

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


def modules() -> list[ModuleType]:
    root = Path(tg.__file__).parent
    found = [("tinygrad_rnn", *p.relative_to(root).with_suffix("").parts) for p in root.rglob("*.py")]
    found += [
        ("tinygrad_rnn", "viz", *p.relative_to(TOP / "viz").with_suffix("").parts) for p in (TOP / "viz").rglob("*.py")
    ]
    names = {".".join(parts).removesuffix(".__init__") for parts in found}
    return [import_module(name) for name in sorted(names) if "__main__" not in name]


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.__name__)
def test_examples_in_docstrings(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if ".onnx" in module.__name__:
        pytest.importorskip("onnx")
    tg.seed(0)
    with np.printoptions(legacy=False):
        failed, _ = doctest.testmod(module, verbose=False, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_relative_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", README):
        path = target[0] or target[1]
        assert (TOP / path).exists(), f"README.md links to {path}, which is not there"
