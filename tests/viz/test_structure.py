"""The folders of viz are a pipeline, graph -> net -> scene -> writers and layout -> views, and no imports run in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

TOP = Path(__file__).parents[2] / "viz"
STAGES = ["net", "scene", "write", "layouts", ""]  # each imports those before it; "" are the views


def imports() -> dict[str, set[str]]:
    """For every module of viz the modules of viz that it imports, also inside functions."""
    paths = {".".join(p.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): p for p in TOP.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        package = [part for part in package if part != "__init__"]
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
                for alias in node.names:
                    inner = ".".join([*base, alias.name])
                    found[name].add(inner if inner in paths else ".".join(base))
    return found


def test_no_imports_run_in_a_circle() -> None:
    found = imports()
    assert len(found) > 30
    for name in found:
        reached, work = set[str](), [name]
        while work:
            fresh = found.get(work.pop(), set()) - reached
            reached |= fresh
            work += fresh
        assert name not in reached, f"{name} imports itself by way of {sorted(reached)}"


def test_each_stage_reads_those_before_it() -> None:
    for name, targets in imports().items():
        stage = name.split(".")[0] if "." in name or name in STAGES else ""
        for target in targets - {""}:
            other = target.split(".")[0] if "." in target or target in STAGES else ""
            assert STAGES.index(other) <= STAGES.index(stage), f"{name} imports {target}, a later stage"


def test_time_steps_are_not_read_from_names() -> None:
    for path in TOP.rglob("*"):
        if path.suffix in (".py", ".js"):
            text = path.read_text(encoding="utf-8")
            assert 'startswith("t=' not in text, path
            assert "/t=" not in text, path
