"""Views of what was computed: heat maps, attention, the numbers inside a step; held to what the run itself gives."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from test_room import check_labels
from test_unrolled import check_places

import tinygrad_rnn as tg
from tinygrad_rnn import nn, rnn, viz

RNG = np.random.default_rng(0)
LENGTHS = [6, 3]


def data(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


# -- heat maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("of", ["i", "f", "g", "o", "c", "h"])
def test_a_heat_map_shows_a_gate_of_one_row_as_far_as_it_runs(impl: str, of: str) -> None:
    cell, x = rnn.LSTMCell(4, seed=1), data(2, 6, 3)
    outputs, _ = rnn.dynamic_rnn(cell, x, sequence_length=LENGTHS, impl=impl)
    _, _, trace = rnn.dynamic_rnn(cell, x, sequence_length=LENGTHS, return_trace=True)
    for row, length in enumerate(LENGTHS):
        shown = viz.heatmap(outputs, of=of, row=row).values
        assert shown.shape == (4, 6)
        np.testing.assert_allclose(shown[:, :length], trace[of].data[row, :length].T, rtol=1e-5)
        assert np.isnan(shown[:, length:]).all()
    mean = viz.heatmap(outputs, of=of, row=None).values
    np.testing.assert_allclose(mean[:, 0], trace[of].data[:, 0].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(mean[:, 4], trace[of].data[0, 4], rtol=1e-5)  # where one row runs alone


def test_a_heat_map_of_a_backward_layer_is_in_order_of_time() -> None:
    x, cells = data(2, 6, 3), (rnn.GRUCell(4, seed=1), rnn.GRUCell(4, seed=2))
    outputs, _ = rnn.bidirectional_dynamic_rnn(*cells, x, sequence_length=LENGTHS)
    for number, some in enumerate(outputs):
        for row, length in enumerate(LENGTHS):
            shown = viz.heatmap(outputs, of="h", row=row, layer=number).values
            np.testing.assert_allclose(shown[:, :length], some.data[row, :length].T, rtol=1e-5)


def test_a_heat_map_of_a_gradient() -> None:
    """d loss / d h_t of a loop written out: every h_t is a tensor to take the gradient of."""
    cell, x = rnn.GRUCell(3, seed=1), data(2, 5, 3)
    outputs, _ = rnn.dynamic_rnn(cell, x)
    weights = data(2, 5, 3)
    shown = viz.heatmap((outputs * weights).sum(), of="h", gradient=True, row=1).values
    h, hs = cell.zero_state(2), []
    for t in range(5):
        _, h = cell(x[:, t], h)
        hs.append(h)
    loss = sum(((h * weights[:, t]).sum() for t, h in enumerate(hs)), tg.tensor(0.0))
    expected = np.stack([g.numpy()[1] for g in tg.grad(loss, hs)], axis=1)
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_a_gradient_of_rows_that_end_counts_what_each_step_gives_out(impl: str) -> None:
    """The rows of a batch do not meet: each has the gradient that it has alone, written out in NumPy."""
    cell, x, weights = rnn.BasicRNNCell(3, seed=1), data(2, 6, 3), data(2, 6, 3)
    outputs, _ = rnn.dynamic_rnn(cell, x, sequence_length=LENGTHS, impl=impl)
    loss = (outputs * weights).sum()
    h, U = outputs.data, cell.recurrent_kernel.data
    for row, length in enumerate(LENGTHS):
        expected = np.full((6, 3), np.nan)
        for t in reversed(range(length)):
            after = expected[t + 1] * (1 - h[row, t + 1] ** 2) @ U.T if t + 1 < length else 0.0
            expected[t] = weights[row, t] + after
        shown = viz.heatmap(loss, of="h", gradient=True, row=row).values
        np.testing.assert_allclose(shown, expected.T, rtol=1e-4, atol=1e-6)


def pixels(svg: str) -> Any:
    """The pixels of the first image in an SVG, (rows, columns, 3)."""
    found = re.search(r'base64,([^"]+)"', svg)
    assert found
    png = base64.b64decode(found[1])
    columns, rows = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT") + 4
    raw = zlib.decompress(png[start : png.index(b"IEND") - 8])
    return np.frombuffer(raw, np.uint8).reshape(rows, 1 + 3 * columns)[:, 1:].reshape(rows, columns, 3)


def test_colours_of_a_heat_map() -> None:
    picture = viz.Heatmap([[0.0, 1.0], [-1.0, np.nan]], "a < b", units=["low", "high"], steps=["one", "two"])
    shown = pixels(picture.svg())
    rows, columns, _ = shown.shape
    halves = [shown[: rows // 2], shown[rows // 2 :]]  # the first unit is the highest
    quarters = [[half[:, : columns // 2], half[:, columns // 2 :]] for half in halves]
    expected = [[(255, 255, 255), (0, 114, 178)], [(213, 94, 0), (190, 190, 190)]]
    for own, colours in zip(quarters, expected, strict=True):
        for quarter, colour in zip(own, colours, strict=True):
            assert (quarter == colour).all()  # sharp edges, whatever shows it
    assert [text in picture.svg() for text in ("a &lt; b", ">low<", ">two<")] == [True] * 3
    assert (
        'style="max-width:100%;height:auto"' in picture._repr_mimebundle_()["image/svg+xml"]
    )  # no wider than its page


def test_wrong_arguments_of_heat_maps() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3), data(2, 4, 3))
    with pytest.raises(ValueError, match="heatmap: no layer has 'f', expected one of h, n, r, z"):
        viz.heatmap(outputs, of="f")
    with pytest.raises(ValueError, match="heatmap: row is 2, expected less than 2, the batch"):
        viz.heatmap(outputs, row=2)
    with pytest.raises(ValueError, match="heatmap: layer is 1, expected less than 1"):
        viz.heatmap(outputs, layer=1)
    with pytest.raises(ValueError, match="Heatmap: units has 1 texts, expected 3"):
        viz.heatmap(outputs, units=["a"])
    with pytest.raises(TypeError, match="heatmap: target is int"):
        viz.heatmap(3)
    with pytest.raises(ValueError, match="does not end in"):
        viz.heatmap(outputs).save("x.png")


# -- attention ---------------------------------------------------------------------------------------------------------


def attended(impl: str = "auto") -> tuple[Any, Any]:
    memory = data(2, 5, 4) * 3
    mechanism = rnn.LuongAttention(4, memory, memory_sequence_length=[5, 3], seed=0)
    cell = rnn.AttentionWrapper(rnn.GRUCell(4, seed=0), mechanism)
    x = data(2, 3, 3) * 3
    outputs, _ = rnn.dynamic_rnn(cell, x, impl=impl)
    return outputs, rnn.dynamic_rnn(cell, x, return_trace=True)[2]["alignments"].data


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("row", [0, 1])
def test_attention_is_as_strong_as_its_weight(impl: str, row: int) -> None:
    outputs, weights = attended(impl)
    words = ["le", "chat", "est", "noir", "."]
    drawing = viz.attention(outputs, row=row, memory=words)
    assert [node.lines[0] for node in drawing.picture.nodes if node.role == "input"] == words
    samples = [e for e in drawing.picture.edges if e.tail.startswith("legend")]
    assert len(samples) == 5  # in one row of the legend
    assert len({node.at[1] for node in drawing.picture.nodes if node.at and node.id.startswith("legend")}) == 1
    edges = [edge for edge in drawing.picture.edges if edge not in samples]
    drawn = {(edge.tail, edge.head): edge.look[1] for edge in edges if edge.look}
    expected = {(f"m{s}", f"t{t}") for t in range(3) for s in range(5) if weights[row, t, s] >= 0.01}
    assert set(drawn) == expected
    order = sorted(expected, key=lambda pair: weights[row, int(pair[1][1:]), int(pair[0][1:])])
    assert [drawn[pair] for pair in order] == sorted(drawn.values())
    check_places(drawing)
    check_labels(drawing)
    np.testing.assert_allclose(viz.heatmap(outputs, of="alignments", row=row).values, weights[row].T, rtol=1e-5)


def test_attention_needs_weights() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3), data(2, 4, 3))
    with pytest.raises(ValueError, match="attention: no layer has 'alignments', expected one of h, n, r, z"):
        viz.attention(outputs)
    with pytest.raises(ValueError, match="attention: memory has 1 texts, expected 5"):
        viz.attention(attended()[0], memory=["a"])


# -- one step with its numbers -----------------------------------------------------------------------------------------


def test_the_numbers_inside_a_step() -> None:
    cell = rnn.BasicRNNCell(2, seed=0).build(3)
    x, h = np.array([[1.0, 0.5, -2.0]], np.float32), np.array([[0.25, -0.75]], np.float32)
    before = cell.kernel.data.copy()
    drawing = viz.cell(cell, values=(x, h))
    lines = {node.lines[0]: node.lines[1:] for node in drawing.picture.nodes}
    new = np.tanh(x @ cell.kernel.data + cell.bias.data + h @ cell.recurrent_kernel.data)

    def text(row: Any) -> str:
        return "  ".join(f"{n:.3g}".replace("-", "−") for n in row)

    assert lines["xₜ"] == (text(x[0]),)
    assert lines["hₜ₋₁"] == (text(h[0]),)
    assert lines["hₜ"] == lines["tanh"] == (text(new[0]),)
    assert lines["kernel"] == tuple(text(row) for row in cell.kernel.data)
    np.testing.assert_array_equal(cell.kernel.data, before)
    with pytest.raises(ValueError, match="values of 9 numbers cannot be read, expected at most 8"):
        viz.cell(rnn.GRUCell(9), values=(np.ones((1, 2), np.float32), np.zeros((1, 9), np.float32)))


def test_a_cell_that_attends_to_an_encoder_is_drawn() -> None:
    seen, _ = rnn.dynamic_rnn(rnn.GRUCell(4), data(3, 5, 3))
    cell = rnn.AttentionWrapper(rnn.GRUCell(4), rnn.LuongAttention(4, seen))
    for view in (viz.cell, viz.unrolled, viz.folded):
        assert view(cell).source
    assert seen.requires_grad


@pytest.mark.parametrize(("ours", "theirs"), [(nn.LSTMCell, rnn.LSTMCell), (nn.RNNCell, rnn.BasicRNNCell)])
def test_cells_of_the_other_face_are_drawn(ours: Any, theirs: Any) -> None:
    assert len(viz.cell(ours(3, 4)).picture.nodes) >= len(viz.cell(theirs(4)).picture.nodes)


# -- two cells ---------------------------------------------------------------------------------------------------------


def marked(drawing: viz.Drawing, cell: str) -> list[str]:
    return sorted(n.lines[0] for n in drawing.picture.nodes if n.fill is not None and n.id.startswith(cell))


def test_what_only_one_of_two_cells_does_is_marked() -> None:
    same = viz.diff(rnn.LSTMCell(4), rnn.LSTMCell(4))
    assert marked(same, "a") == marked(same, "b") == []
    peepholes = viz.diff(rnn.LSTMCell(4), rnn.LSTMCell(4, use_peepholes=True))
    assert marked(peepholes, "a") == []
    assert [n for n in marked(peepholes, "b") if n.startswith("peephole")] == ["peephole_f", "peephole_i", "peephole_o"]
    assert marked(peepholes, "b").count("×") == marked(peepholes, "b").count("+") == 3  # each weight times c, added
    two = viz.diff(rnn.LSTMCell(4), rnn.GRUCell(4))
    assert "cₜ₋₁" in marked(two, "a")
    assert [box.label for box in two.picture.boxes if box.parent in ("a", "b")] == ["lstm_cell", "gru_cell"]
    ops = {node.id: node for node in two.picture.nodes}
    read = {(edge.tail[0], ops[edge.tail].lines[0]): ops[edge.head] for edge in two.picture.edges}
    for leaf in ("xₜ", "kernel", "bias"):  # both begin with x W + b
        assert read["a", leaf].fill is read["b", leaf].fill is None
    assert two.svg().count("<svg") == 1
    with pytest.raises(TypeError, match="diff: target is int"):
        viz.diff(rnn.LSTMCell(4), 3)


def test_two_cells_stand_side_by_side() -> None:
    drawing = viz.diff(rnn.LSTMCell(4), rnn.GRUCell(4))
    assert drawing._arrange is not None
    picture = drawing._arrange()
    check_places(viz.Drawing(picture))
    first, second = (box.corners for box in picture.boxes if box.parent is None)
    assert first is not None
    assert second is not None
    assert first[2] < second[0]
    assert first[1] == second[1]


def test_the_flow_of_gradients_is_saved(tmp_path: Any) -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3), data(2, 4, 3))
    flow = viz.grad_flow(outputs.sum())
    assert flow.save(tmp_path / "flow.svg").read_text(encoding="utf-8") == flow.plot().svg()


def test_steps_of_an_attention_are_called_as_everywhere() -> None:
    memory = np.ones((1, 2, 3), np.float32)
    cell = rnn.AttentionWrapper(rnn.GRUCell(4), rnn.LuongAttention(4, memory))
    picture = viz.attention(rnn.dynamic_rnn(cell, np.ones((1, 3, 3), np.float32))[0]).picture
    assert [node.lines[0] for node in picture.nodes if node.role == "output"] == ["t=0", "t=1", "t=2"]
    roles = {(edge.head, edge.role) for edge in viz.cell(cell).picture.edges if edge.head.endswith("'")}
    assert ("h'", "state") in roles
