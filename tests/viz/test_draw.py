"""The op-level view and the drawing itself: counts, determinism, escaping, depth, and life without a Graphviz program."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from tinygrad_rnn.viz.write import program

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz
from tinygrad_rnn.errors import DrawingError

NASTY = '<b>"x\n|{}\\n한글</b>'


def lstm_step() -> Any:
    cell = rnn.LSTMCell(3).build(4)
    return cell(tg.Tensor(np.zeros((2, 4), np.float32), name="x"), cell.zero_state(2))


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TINYGRAD_RNN_DOT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(program, "_script_folders", lambda: [str(tmp_path)])


def test_an_lstm_step_has_the_nodes_its_equations_say() -> None:
    picture = viz.draw(lstm_step()).picture
    labels = sorted(node.lines[0] for node in picture.nodes if node.role == "op")
    # x W + b, + h U, split; three gates and the candidate; f c, i g, their sum; tanh c, o times it
    assert labels == sorted(["@", "+", "@", "+", "split", "σ", "σ", "σ", "tanh", "×", "×", "+", "tanh", "×"])
    roles = [node.role for node in picture.nodes]
    assert (roles.count("parameter"), roles.count("input"), roles.count("constant")) == (3, 1, 2)
    assert len(picture.edges) == 8 * 2 + 6 * 1  # eight ops of two inputs, six of one
    assert {box.label for box in picture.boxes} == {"lstm_cell", "i", "f", "g", "o", "c", "h"}
    assert {box.parent for box in picture.boxes} == {None, "b1"}
    assert [node.lines[0] for node in picture.nodes if node.strong] == ["+", "×"]


def test_a_leaf_used_many_times_is_drawn_once_outside_the_steps() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.BasicRNNCell(3), np.ones((2, 5, 4), np.float32), impl="unrolled")
    picture = viz.draw(outputs).picture
    shared = [node for node in picture.nodes if node.lines[0] == "recurrent_kernel"]
    assert len(shared) == 1
    assert shared[0].box == picture.boxes[0].id
    assert sum(edge.tail == shared[0].id for edge in picture.edges) == 5
    assert [box.label for box in picture.boxes if box.label.startswith("t=")] == [f"t={t}" for t in range(5)]


def test_the_same_graph_gives_the_same_bytes() -> None:
    script = (
        "import numpy as np, tinygrad_rnn as tg; from tinygrad_rnn import rnn, viz; tg.seed(1);"
        "o = rnn.dynamic_rnn(rnn.GRUCell(3), np.ones((2, 4, 2), np.float32));"
        "print(viz.draw(o).source, viz.unrolled(o).source, viz.unrolled(rnn.LSTMCell(2), steps=(2, 1)).source)"
    )
    runs = {subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1
    assert len(runs.pop()) > 1000


def test_names_are_drawn_as_written() -> None:
    with tg.scope(NASTY):
        out = tg.tanh(tg.Parameter([1.0], name=NASTY))
    drawing = viz.draw(out)
    svg = drawing.svg()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert texts.count("&lt;b&gt;&quot;x\\n|{}\\n한글&lt;/b&gt;") == 2, texts  # the parameter and the box
    assert drawing.source.count("한글") >= 2


def test_mermaid_text(tmp_path: Path) -> None:
    with tg.scope(NASTY):
        out = tg.tanh(tg.Parameter([1.0], name=NASTY) * 2)
    text = viz.draw(out).mermaid()
    assert text.count("#lt;b#gt;#quot;x#92;\u200bn|{}#92;\u200bn한글#lt;/b#gt;") == 2
    assert text.count("subgraph") == text.count("end\n") == 1
    assert text.count("-.->") == 1
    assert text.count(" --> ") == 1
    drawing = viz.unrolled(rnn.LSTMCell(2))
    assert drawing.save(tmp_path / "x.mmd").read_text(encoding="utf-8") == drawing.mermaid()
    assert drawing.mermaid().count("subgraph") == 3
    assert drawing.mermaid().count("==>") == 8


def test_labels_may_be_switched_on_and_off() -> None:
    w = tg.Parameter([[1.0, 2.0]], name="w")
    assert viz.draw(tg.tanh(w), shapes=False).picture.nodes[0].lines == ("w",)
    assert viz.draw(tg.tanh(w), dtypes=True).picture.nodes[1].lines == ("tanh", "(1, 2)", "float32")
    assert not viz.draw(lstm_step(), clusters=False).picture.boxes
    assert viz.draw(tg.snapshot(tg.tanh(w))).source == viz.draw(tg.tanh(w)).source


def test_depth_closes_scopes() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(3), np.ones((2, 5, 4), np.float32), impl="unrolled")
    whole, steps, one = (viz.draw(outputs, depth=depth).picture for depth in (None, 1, 0))
    assert [node.lines for node in one.nodes] == [("lstm_cell", "71 ops, 3 weights")]
    closed = [node.lines for node in steps.nodes if node.role == "fused"]
    assert closed == [(f"t={t}", "14 ops") for t in range(5)]
    pairs = {(edge.tail, edge.head) for edge in steps.edges}
    assert len(pairs) == len(steps.edges)
    assert len(whole.nodes) > len(steps.nodes)
    assert viz.draw(outputs, depth=9).source == viz.draw(outputs).source
    with pytest.raises(ValueError, match="depth is -1"):
        viz.draw(outputs, depth=-1)


def test_a_fused_op_is_one_node_that_can_be_opened() -> None:
    runs = [
        rnn.dynamic_rnn(rnn.GRUCell(3, seed=1), np.ones((2, 5, 4), np.float32), impl=i) for i in ("auto", "unrolled")
    ]
    fused, plain = viz.draw(runs[0]).picture, viz.draw(runs[1]).picture
    assert [node.lines[0] for node in fused.nodes if node.role == "fused"] == ["GRU over time"]
    opened = viz.draw(runs[0], opened=True).picture
    labels = [sorted(node.lines for node in picture.nodes if node.role == "op") for picture in (opened, plain)]
    assert labels[0] == sorted([*labels[1], ("unstack", "5 × (2, 4)")])  # of x, which is a constant
    assert len(opened.edges) == len(plain.edges) + 1
    loss = tg.softmax_cross_entropy(tg.Parameter(np.zeros((2, 3)), name="w"), np.array([0, 1]))
    assert len(viz.draw(loss, opened=True).picture.nodes) > len(viz.draw(loss).picture.nodes) == 2
    assert viz.draw(tg.snapshot(loss), opened=True).source == viz.draw(loss).source  # without targets it stays closed


def test_a_deep_chain_becomes_text_without_recursion() -> None:
    x = tg.Parameter([1.0], name="x")
    y = x
    for _ in range(20_000):
        y = tg.tanh(y)
    source = viz.draw(y).source
    assert source.count(" -> ") == 20_000


def test_a_graph_shows_itself_and_saves_itself(tmp_path: Path) -> None:
    out = tg.tanh(tg.Parameter([1.0], name="w"))
    assert "<svg" in tg.snapshot(out)._repr_mimebundle_()["image/svg+xml"]
    drawing = viz.draw(out)
    assert "<svg" in drawing._repr_mimebundle_()["image/svg+xml"]
    assert drawing.save(tmp_path / "x.svg").read_text().count("<text") == 4
    assert drawing.save(tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert drawing.save(tmp_path / "x.dot").read_text() == drawing.source
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.dot", "x.png", "x.svg"]
    with pytest.raises(ValueError, match="has no ending to tell the format by"):
        drawing.save(tmp_path / "x")
    with pytest.raises(DrawingError, match=r"made no nonsense \(code \d+\): "):
        drawing.save(tmp_path / "x.nonsense")


@pytest.mark.parametrize("name", ["&#65;", "&alpha;", "&amp;", "a & b", "&nbsp;", "<&lt;>"])
def test_names_are_shown_as_written(name: str) -> None:
    drawing = viz.draw(tg.tanh(tg.Parameter([1.0], name=name)))
    for picture in (drawing.svg(), program.run(drawing.source, "svg").decode()):
        assert name in [
            "".join(text.itertext()) for text in ElementTree.fromstring(picture).iter() if text.tag.endswith("text")
        ]


@pytest.mark.usefixtures("no_program")
def test_no_other_file_is_written_over(tmp_path: Path) -> None:
    drawing = viz.unrolled(rnn.GRUCell(2))
    own = tmp_path / "net.dot"
    own.write_text("digraph { mine }")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"wrote .*net\.svg\.dot instead"):
            written = drawing.save(tmp_path / "net.svg")
    assert own.read_text() == "digraph { mine }"
    assert written.read_text() == drawing.source
    drawing.save(own)
    with pytest.warns(UserWarning, match=r"wrote .*net\.dot instead"):
        assert drawing.save(tmp_path / "net.png") == own


@pytest.mark.usefixtures("no_program")
def test_without_a_program(tmp_path: Path) -> None:
    drawing = viz.draw(tg.tanh(tg.Parameter([1.0], name="w")))
    with pytest.warns(UserWarning, match=r"wrote .*x\.dot instead: .*pip install graphviz-pure") as caught:
        written = drawing.save(tmp_path / "x.svg")
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert written == tmp_path / "x.dot"
    assert written.read_text() == drawing.source
    with pytest.raises(DrawingError, match=r"tried: TINYGRAD_RNN_DOT \(not set\), dot on PATH, graphviz-pure on PATH"):
        drawing.svg()
    bundle = drawing._repr_mimebundle_()
    assert "image/svg+xml" not in bundle
    assert bundle["text/vnd.mermaid"].startswith("flowchart")
    assert "pip install graphviz-pure" in bundle["text/plain"]
    graph = tg.snapshot(tg.tanh(tg.Parameter([1.0])))
    assert "pip install graphviz-pure" in graph._repr_mimebundle_()["text/plain"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.dot"]


def test_what_the_user_names_is_used_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawing = viz.unrolled(rnn.GRUCell(2))
    with pytest.raises(DrawingError, match="argument program names '/no/such/dot'"):
        drawing.svg(program="/no/such/dot")
    monkeypatch.setenv("TINYGRAD_RNN_DOT", "/no/such/dot")
    with pytest.raises(DrawingError, match="environment variable TINYGRAD_RNN_DOT names '/no/such/dot'"):
        drawing.svg()
    own = tmp_path / "my dot; exit 3"
    own.write_text("#!/bin/sh\ncat > /dev/null; echo drawn\n")
    own.chmod(0o755)
    monkeypatch.setenv("TINYGRAD_RNN_DOT", str(own))
    assert drawing.svg() == "drawn\n"
    with pytest.raises(DrawingError, match="did not answer with a layout in JSON but with b'drawn"):
        viz.draw(tg.tanh(tg.Parameter([1.0]))).svg()
    own.write_text("#!/bin/sh\ncat > /dev/null; printf '\\377\\376'\n")
    with pytest.raises(DrawingError, match="what the program wrote is no SVG text"):
        drawing.svg()
    with pytest.raises(DrawingError, match="did not answer with a layout in JSON"):
        viz.draw(tg.tanh(tg.Parameter([1.0]))).svg()
    own.write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(DrawingError, match=r"not done after 0\.2 s .* tg.step\(t\)"):
        drawing.svg(timeout=0.2)
    own.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    with pytest.raises(DrawingError, match=r"drawing: my dot; exit 3 made no svg \(code 3\): broken"):
        drawing.svg()


def test_formats_that_a_program_cannot_write_are_named() -> None:
    drawing = viz.unrolled(rnn.GRUCell(2))
    if program.find().endswith("graphviz-pure"):
        with pytest.raises(
            DrawingError, match="pdf needs Graphviz itself: apt install graphviz, brew install graphviz"
        ):
            drawing.render("pdf")
    else:
        assert drawing.render("pdf").startswith(b"%PDF")


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(TypeError, match="no tensor with a graph"):
        viz.draw(tg.tensor([1.0]))
    with pytest.raises(ValueError, match="direction is 'up'"):
        viz.draw(tg.tanh(tg.Parameter([1.0])), direction="up")


def test_the_core_does_not_wait_for_the_drawer() -> None:
    script = "import sys, tinygrad_rnn; print([m for m in sys.modules if 'viz' in m])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
    script = "import sys, tinygrad_rnn.viz; print([m for m in sys.modules if m.startswith('graphviz')])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_steps_of_a_loop_without_marks_are_boxes_of_their_own() -> None:
    cell, x = rnn.GRUCell(3), np.ones((2, 4, 5), np.float32)
    h = cell.zero_state(2)
    for t in range(4):
        _, h = cell(x[:, t], h)
    picture = viz.draw(h).picture
    calls = [box.id for box in picture.boxes if box.label == "gru_cell"]
    parents = {box.id: box.parent for box in picture.boxes}
    ops = Counter(parents[node.box] or node.box for node in picture.nodes if node.role == "op" and node.box)
    assert len(calls) == 4
    assert ops == dict.fromkeys(calls, 18)
    assert {node.lines[0] for node in picture.nodes if node.box is None} == {"kernel", "recurrent_kernel", "bias"}


def test_two_loops_with_marks_are_not_one() -> None:
    w = tg.Parameter(np.eye(3, dtype=np.float32), name="w")
    h = tg.Tensor(np.ones((2, 3), np.float32))
    for _ in range(2):
        for t in range(3):
            with tg.step(t):
                h = tg.tanh(h @ w)
    boxes = viz.draw(h).picture.boxes
    assert [box.label for box in boxes] == ["t=0", "t=1", "t=2"] * 2


@pytest.mark.parametrize("depth", [1, 2])
def test_a_bidirectional_stack_runs_from_left_to_right(depth: int) -> None:
    outputs: Any = np.ones((2, 3, 4), np.float32)
    for _ in range(3):
        both, _ = rnn.bidirectional_dynamic_rnn(rnn.GRUCell(4), rnn.GRUCell(4), outputs, impl="unrolled")
        outputs = tg.concatenate(both, axis=-1)
    drawing = viz.draw(outputs, depth=depth)
    assert drawing._arrange is not None
    picture = drawing._arrange()
    assert [box.label for box in picture.boxes if box.parent is None] == ["fw", "bw"] * 3
    x = {node.id: node.at[0] for node in picture.nodes if node.at is not None}
    assert all(x[edge.tail] < x[edge.head] for edge in picture.edges)
