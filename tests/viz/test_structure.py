"""The folders of viz are a pipeline, graph -> net -> scene -> writers and layout -> views, and no imports run in a circle."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from tinygrad_rnn.viz.net.measure import Measured
from tinygrad_rnn.viz.net.ranks import RankedNet

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz

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


def test_nothing_is_read_from_names_by_regular_expressions() -> None:
    for path in TOP.rglob("*.py"):
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "re" not in imported, path


def test_ops_are_known_by_what_they_declare_not_by_name() -> None:
    """Only the places of textbook cells know ops by name: those are pictures of these very ops."""
    names = re.compile("|".join(rf"[\"']{op.name}[\"']" for op in tg.operations() if op.name not in ("step", "scan")))
    allowed = {"layouts/cells.py", "unrolled.py"}
    for path in sorted(TOP.rglob("*.py")):
        code = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if ".op " in line)
        if path.relative_to(TOP).as_posix() not in allowed:
            assert not names.findall(code), path


def test_a_picture_is_made_once() -> None:
    drawing = viz.unrolled(rnn.LSTMCell(4), 3)
    picture = drawing.picture
    for part in (picture, picture.nodes[0], picture.edges[0], picture.boxes[0]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.role = "op"  # type: ignore[misc,union-attr]
    before = repr(picture)
    assert drawing.source
    assert drawing.mermaid()
    assert viz.to_html(drawing)
    assert repr(picture) == before


def test_ranking_leaves_the_net_as_it_was() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(3)]), [[[1.0], [2.0]]])
    net = Measured(tg.tanh(outputs) @ tg.Parameter([[1.0], [1.0], [1.0]], name="V"), "test").net
    before = repr(net)
    ranked = RankedNet(net, pairs_share_a_rank=True)
    assert len(ranked.net.layers) == 3 > len(net.layers)
    assert repr(net) == before
