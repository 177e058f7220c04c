"""The code of the README and the guide runs, each page in one session, and all links are valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_rnn as tg

TOP = Path(__file__).parent.parent
GUIDE = sorted((TOP / "examples" / "guide").glob("*.md"))
PAGES = [TOP / "README.md", TOP / "README.ko.md", *GUIDE]
CODE = re.compile(r"^```python\n(.*?)^```$(?:\s*^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore:wrote .* instead")  # without a Graphviz program
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_code_runs_and_prints_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ```python block prints the ```text block that follows it; without one it prints nothing."""
    monkeypatch.chdir(tmp_path)
    if "onnx" in text_of(page):
        pytest.importorskip("onnx")
    registry = dict(tg.autodiff.tensor.registry)
    threads = tg.get_num_threads()
    session: dict[str, object] = {"__name__": "__main__"}
    try:
        for code, output in CODE.findall(text_of(page)):
            printed: list[str] = []
            session["print"] = lambda *values, printed=printed: printed.append(" ".join(map(str, values)))
            exec(compile(code, page.name, "exec"), session)
            assert "\n".join(printed).strip() == output.strip()
    finally:
        tg.set_num_threads(threads)
        for name in set(tg.autodiff.tensor.registry) - set(registry):  # a page declares an op
            del tg.autodiff.tensor.registry[name]


def test_a_page_run_as_a_program_ends_quietly(tmp_path: Path) -> None:
    """Graphs alive when Python exits, and an op of the program's own, are nothing to report."""
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(GUIDE[0].parent / "graph.md", "python")), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_code_to_run() -> None:
    counts = {page.name: len(blocks(page, "python")) for page in PAGES}
    assert counts.pop("index.md") == 0
    assert min(counts.values()) >= 2, counts


def test_the_first_two_commands_are_one_line_each() -> None:
    first, second = blocks(TOP / "README.md", "sh")[:2]
    assert len(first.strip().splitlines()) == len(second.strip().splitlines()) == 1
    assert "examples/char_rnn.py" in first
    assert "pytest" in second


@pytest.mark.parametrize("language", ["python", "text", "sh"])
def test_the_korean_readme_has_the_same_code(language: str) -> None:
    assert blocks(TOP / "README.ko.md", language) == blocks(TOP / "README.md", language)


def headings(page: Path) -> list[int]:
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def test_the_korean_readme_has_the_same_parts() -> None:
    english, korean = TOP / "README.md", TOP / "README.ko.md"
    assert headings(korean) == headings(english)
    assert [t for t in links(korean) if "README" not in t] == [t for t in links(english) if "README" not in t]
    assert text_of(korean).count("\n| ") == text_of(english).count("\n| ")


def links(page: Path) -> list[str]:
    """Targets of links and pictures that are not on the web, without what follows #."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    targets = [a or b for a, b in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", prose)]
    return [t.split("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.parametrize("page", GUIDE, ids=lambda p: p.name)
def test_every_page_of_the_guide_has_a_picture_and_is_in_the_index(page: Path) -> None:
    assert re.search(r"!\[[^\]]+\]\(\.\./gallery/\w+\.svg\)", text_of(page))
    assert page.name == "index.md" or page.name in links(GUIDE[0].parent / "index.md")


def test_every_example_is_linked() -> None:
    """Each program in examples/ (with a main) is mentioned in the README or on a page of the guide."""
    programs = [
        p for p in sorted((TOP / "examples").rglob("*.py")) if p.parent.name == "notes" or "__main__" in text_of(p)
    ]
    linked = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert programs
    assert not [str(p.relative_to(TOP)) for p in programs if p.resolve() not in linked]
