"""The interactive page as a file: what it holds, that it needs nothing beside it, and that its numbers are right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinygrad_rnn.viz.write import program

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz

NASTY = '<b>"x\n|{}\\n한글</b></script><script>x=1</script>'
PAGE = Path(viz.__file__).parent / "write" / "page"


def data_of(page: str) -> Any:
    """The data in a page."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def texts(data: Any, numbers: list[int]) -> list[str]:
    return [data["strings"][k] for k in numbers]


def rows(data: Any, node: int) -> list[tuple[str, str]]:
    """What the page tells of a node."""
    flat = texts(data, data["nodes"][node][7])
    return list(zip(flat[::2], flat[1::2], strict=True))


def run(steps: int, impl: str = "unrolled", cell: Any = None) -> tuple[Any, Any]:
    """Outputs of an LSTM, or another cell, and a loss on the last one."""
    tg.seed(1)
    x = np.random.default_rng(0).standard_normal((2, steps, 3)).astype(np.float32)
    outputs, _ = rnn.dynamic_rnn(cell or rnn.LSTMCell(4), x, impl=impl)
    return outputs, (outputs[:, -1] ** 2).mean()


def test_the_page_holds_every_node_and_edge_of_the_graph() -> None:
    _, loss = run(5)
    graph = tg.snapshot(loss)
    data = data_of(viz.to_html(loss))
    assert len(data["nodes"]) == len(graph.nodes)
    edges = sorted((source.id, node.id) for node in graph.nodes for source in node.sources)
    assert sorted((tail, head) for tail, head, *_ in data["edges"]) == edges
    for node, drawn in zip(graph.nodes, data["nodes"], strict=True):
        path = []
        box = drawn[2]
        while box >= 0:
            path.insert(0, data["strings"][data["boxes"][box][0]])
            box = data["boxes"][box][1]
        assert node.op is None or tuple(path) == node.scope
    assert data["steps"] == ["0", "1", "2", "3", "4"]


def test_a_fused_run_is_a_box_of_what_it_stands_for_or_one_node() -> None:
    outputs, _ = run(6, "fused")
    opened, closed = data_of(viz.to_html(outputs)), data_of(viz.to_html(outputs, opened=False))
    assert (len(opened["steps"]), closed["steps"]) == (6, [])
    assert len(closed["nodes"]) == len(tg.snapshot(outputs).nodes)
    labels = [texts(opened, node[0])[0] for node in opened["nodes"]]
    assert labels.count("tanh") == 12  # the candidate, and tanh of c, at each step
    assert labels.count("σ") == 18  # three gates


def test_the_page_needs_nothing_beside_it() -> None:
    page = viz.to_html(run(3)[1])
    assert not re.findall(r"https?://", page.replace('"http://www.w3.org/2000/svg"', ""))
    assert not re.findall(r"<(?:link|img|iframe|base|object)|\bsrc\s*=|\bhref\s*=|@import|\bimport\b|\bfetch\(", page)
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#head"}
    assert "default-src 'none'" in page


def test_names_cannot_leave_the_data() -> None:
    w = tg.Parameter(np.ones((2, 2)), name=NASTY)
    with tg.scope("</script><i>범위"):
        y = tg.tanh(w)
    page = viz.to_html(y, title=NASTY)
    plain = viz.to_html(tg.tanh(tg.Parameter(np.ones((2, 2)), name="w")))
    assert page.lower().count("</script") == plain.lower().count("</script")
    assert "<b>" not in page
    data = data_of(page)
    assert texts(data, data["nodes"][0][0])[0] == NASTY.replace("\n", "\\n")
    assert "</script><i>범위" in data["strings"]
    scripts = "".join(path.read_text() for path in PAGE.glob("*.js"))
    assert not re.findall(r"(inner|outer)HTML\s*\+?=|insertAdjacent|document\.write|\beval\b|new Function", scripts)


def test_the_same_graph_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "import sys, hashlib, numpy as np, tinygrad_rnn as tg; tg.seed(0)\n"
        "out, _ = tg.rnn.bidirectional_dynamic_rnn(tg.rnn.GRUCell(2), tg.rnn.GRUCell(2), np.ones((1, 3, 2), np.float32))\n"
        "print(hashlib.sha256(tg.viz.to_html((tg.concatenate(list(out), axis=2) ** 2).mean()).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(found) == 1


def test_no_layout_program_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise AssertionError("a program was asked for")

    monkeypatch.setattr(program, "find", refuse)
    assert data_of(viz.to_html(run(3)[1]))["placed"] is False
    assert data_of(viz.to_html(viz.unrolled(rnn.GRUCell(2), steps=3)))["placed"] is True


def test_values_are_those_of_the_run() -> None:
    for impl in ("fused", "unrolled"):
        outputs, loss = run(7, impl)
        data = data_of(viz.to_html(loss))
        h = {step: value for step, name, _, value, _ in data["states"] if data["strings"][name] == "h"}
        norms = [np.linalg.norm(outputs.data[:, t].astype(np.float64)) for t in range(7)]
        np.testing.assert_allclose([h[t] for t in range(7)], norms, rtol=1e-3)


def test_gradients_are_those_that_grad_flow_measures() -> None:
    for impl in ("fused", "unrolled"):
        _, loss = run(7, impl)
        data = data_of(viz.to_html(loss))
        flow = viz.grad_flow(loss)
        for letter, wanted in (("h", flow.h), ("c", flow.c)):
            found = {step: grad for step, name, _, _, grad in data["states"] if data["strings"][name] == letter}
            np.testing.assert_allclose([found[t] for t in range(7)], wanted, rtol=1e-3)


def test_what_hovering_tells_of_a_node() -> None:
    x = tg.tensor([[1.0, -2.0]], requires_grad=True, name="x", dtype=np.float64)
    w = tg.Parameter(np.array([[0.5], [0.25]]), name="w")
    y = tg.tanh(x @ w + 1.0)
    data = data_of(viz.to_html((y**2).sum()))
    by_op = {dict(rows(data, i))["op"]: rows(data, i) for i in range(len(data["nodes"]))}
    value = np.tanh(1.0)
    assert ("shape", "(1, 1) float64") in by_op["tanh"]
    assert ("value", f"{value:.4g}") in by_op["tanh"]
    assert ("gradient", f"norm {2 * value:.4g}") in by_op["tanh"]
    assert ("value", "-2 … 1, mean -0.5") in by_op["input"]
    assert ("first", "1, -2") in by_op["input"]
    assert ("bytes", "16") in by_op["parameter"]
    slope = 2 * value * (1 - value**2)
    assert ("gradient", f"norm {np.linalg.norm([slope, -2 * slope]):.4g}") in by_op["parameter"]


def test_a_value_that_the_graph_does_not_keep_is_computed_or_given_or_not_shown() -> None:
    a, b = tg.Parameter(np.array([1.0, 2.0]), name="a"), tg.Parameter(np.array([3.0, 4.0]), name="b")
    total = a + b  # keeps neither
    y = (total * 2.0).sum()

    def values(**options: Any) -> dict[str, str | None]:
        data = data_of(viz.to_html(y, **options))
        return {
            dict(rows(data, i)).get("name", dict(rows(data, i))["op"]): dict(rows(data, i)).get("first")
            for i in range(5)
        }

    shown = values()
    assert (shown["a"], shown["b"]) == (None, None)
    shown = values(values=[a, b])
    assert (shown["a"], shown["b"], shown["add"]) == ("1, 2", "3, 4", "4, 6")


def test_inputs_of_an_opened_run_are_known_as_it_kept_them() -> None:
    tg.seed(0)
    cell = rnn.LSTMCell(2)
    outputs, _ = rnn.dynamic_rnn(cell, np.ones((1, 3, 2), np.float32), impl="fused")
    data = data_of(viz.to_html(outputs))
    told = {dict(rows(data, i)).get("name"): dict(rows(data, i)).get("first") for i in range(len(data["nodes"]))}
    for name, weight in (("kernel", cell.kernel), ("recurrent_kernel", cell.recurrent_kernel), ("bias", cell.bias)):
        assert told[name] == ", ".join(f"{n:.4g}" for n in weight.data.flat[:4].tolist()) + ", …"


def test_writing_changes_no_grad_and_frees_nothing() -> None:
    for impl in ("fused", "unrolled"):
        tg.seed(0)
        cell = rnn.LSTMCell(3)
        outputs, _ = rnn.dynamic_rnn(cell, np.ones((1, 3, 2), np.float32), impl=impl)
        loss = outputs.sum()
        first = viz.to_html(loss)
        assert viz.to_html(loss) == first
        assert all(p.grad is None for p in cell.parameters())
        loss.backward()
        freed = data_of(viz.to_html(loss))
        assert len(freed["nodes"]) == len(data_of(first)["nodes"])
        op = next(i for i, node in enumerate(freed["nodes"]) if texts(freed, node[0])[0] == "tanh")
        assert {"op", "shape"} <= set(dict(rows(freed, op)))
        assert "gradient" not in dict(rows(freed, op))


def test_a_value_that_is_no_number_is_told() -> None:
    x = tg.tensor(np.array([1.0, np.nan, np.inf]), requires_grad=True, name="x")
    data = data_of(viz.to_html((x * x).sum()))
    assert any("2 not finite" in text for _, text in rows(data, 0))


def test_masks_are_counted() -> None:
    x = tg.tensor(np.ones((2, 2)), requires_grad=True, name="x")
    mask = np.array([[True, False], [True, True]])
    data = data_of(viz.to_html(tg.where(mask, x, x * 2.0).sum()))
    assert ("value", "3 of 4 true") in [row for i in range(len(data["nodes"])) for row in rows(data, i)]


def test_every_kind_of_target(tmp_path: Path) -> None:
    outputs, loss = run(3)
    for target in (outputs, (outputs, loss), {"loss": loss}, tg.snapshot(loss), rnn.LSTMCell(4), rnn.GRUCell(2)):
        assert data_of(viz.to_html(target))["nodes"]
    for drawing in (viz.draw(loss), viz.folded(outputs), viz.unrolled(outputs), viz.unrolled(loss, color="grad_norm")):
        data = data_of(viz.to_html(drawing))
        assert (len(data["nodes"]), len(data["edges"])) == (len(drawing.picture.nodes), len(drawing.picture.edges))
        path = drawing.save(tmp_path / "picture.html")
        assert path.read_bytes() == viz.to_html(drawing).encode()
    written = viz.to_html(loss, tmp_path / "net.html")
    assert written == tmp_path / "net.html"
    assert written.read_text(encoding="utf-8") == viz.to_html(loss)
    with pytest.raises(TypeError, match="no tensor with a graph"):
        viz.to_html(tg.tensor([1.0]))


def test_a_scale_of_colours_stands_in_the_legend() -> None:
    drawing = viz.draw(run(3)[1], color="time", legend=True)
    data = data_of(viz.to_html(drawing))
    assert len(data["nodes"]) == len(drawing.picture.nodes) - 1  # the legend itself
    assert data["scale"][0] == ["", "time of an op's forward"]
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour, _ in data["scale"][1:])


def test_gates_of_a_cell_are_boxes_around_their_ops() -> None:
    data = data_of(viz.to_html(rnn.LSTMCell(4)))
    titles = {data["strings"][box[0]]: i for i, box in enumerate(data["boxes"])}
    inside = [i for i, node in enumerate(data["nodes"]) if node[2] == titles["forget\ngate f"]]
    assert [texts(data, data["nodes"][i][0]) for i in inside] == [["σ"]]
    outer = titles["lstm_cell"]
    assert data["boxes"][titles["forget\ngate f"]][1] == outer


def test_a_long_net_stays_small() -> None:
    assert len(viz.to_html(run(50)[1]).encode()) < 1_000_000


def test_the_page_s_style_and_names_stay_inside_it() -> None:
    """Put into another document (a notebook's cell), no rule of the style applies there, and no global name is made."""
    page = viz.to_html(run(3)[1])
    assert '<html lang="en" class="tinygrad-rnn">' in page
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style is not None
    rules = re.sub(r"/\*.*?\*/|@media[^{]*\{", "", style[1], flags=re.S)
    selectors = [
        s.strip() for rule in re.findall(r"([^{}]+)\{", rules) for s in re.sub(r"\([^)]*,[^)]*\)", "", rule).split(",")
    ]
    assert len(selectors) > 60
    assert [s for s in selectors if not re.match(r"(:root|html)?:where\(\.tinygrad-rnn\)", s)] == []
    script = page[page.rindex("<script>") : page.rindex("</script>")]
    assert script.startswith('<script>\n"use strict";\n{\n')
    assert script.rstrip().endswith("}")


def test_states_of_every_layer_have_names_of_their_own() -> None:
    tg.seed(1)
    stack = rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.LSTMCell(3), rnn.GRUCell(2)])
    _, loss = run(5, cell=stack)
    data = data_of(viz.to_html(loss))
    names = [data["strings"][name] for _, name, *_ in data["states"]]
    layers = ("lstm_cell 1", "lstm_cell 2", "gru_cell")
    assert set(names) == {*(f"h in {layer}" for layer in layers), *(f"c in {layer}" for layer in layers[:2])}
    assert [step for (step, *_), name in zip(data["states"], names, strict=True) if name == "h in gru_cell"] == list(
        range(5)
    )
    flow = viz.grad_flow(loss)
    found = {
        step: grad
        for (step, _, _, _, grad), name in zip(data["states"], names, strict=True)
        if name == "h in lstm_cell 1"
    }
    np.testing.assert_allclose([found[t] for t in range(5)], flow.layers[0].states["h"], rtol=1e-3)
