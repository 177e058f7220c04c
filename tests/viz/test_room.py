"""Room for everything: nodes, arrows and their texts keep apart where nets have many layers, states or sources."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from test_unrolled import along, check_places, data
from tinygrad_rnn.viz.scene import style

import tinygrad_rnn as tg
from tinygrad_rnn import layers, models, nn, rnn, viz

Span = tuple[float, float, float, float]


def check_labels(drawing: viz.Drawing) -> None:
    """No arrow's text lies on another's, or on a node."""
    texts: list[tuple[str, Span]] = []
    for edge in drawing.picture.edges:
        if edge.label:
            assert edge.label_at is not None
            (x, y), half = edge.label_at, style.text_width(edge.label, style.SMALL) / 2 - 2
            texts.append((edge.label, (x - half, y - 4, x + half, y + 4)))
    spans = []
    for node in drawing.picture.nodes:
        assert node.at is not None
        assert node.size is not None
        (x, y), (w, h) = node.at, node.size
        spans.append((" ".join(node.lines), (x - w / 2 + 2, y - h / 2 + 2, x + w / 2 - 2, y + h / 2 - 2)))
    for (a, one), (b, other) in [*combinations(texts, 2), *((t, s) for t in texts for s in spans)]:
        apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
        assert apart, f"{a} lies on {b}"


class ThreeStates(rnn.RNNCell):
    state_size = (3, 3, 3)
    output_size = 3

    def call(self, x: Any, state: Any) -> Any:
        a, b, c = state
        a = tg.tanh(x + a)
        b = a * b
        c = tg.sigmoid(b - c)
        return c, (a, b, c)


def test_every_state_has_a_delay_of_its_own() -> None:
    drawing = viz.folded(ThreeStates())
    delays = [node.at for node in drawing.picture.nodes if node.role == "delay"]
    assert len(set(delays)) == len(delays) == 3
    check_places(drawing)
    check_labels(drawing)


@pytest.mark.parametrize("make", [rnn.LSTMCell, rnn.GRUCell])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dtypes", [False, True])
def test_folded_encoder_and_decoder(make: Any, layers: int, dtypes: bool) -> None:
    encoder, decoder = (rnn.MultiRNNCell([make(4) for _ in range(layers)]) for _ in range(2))
    _, state = rnn.dynamic_rnn(encoder, data(2, 4, 3))
    outputs, _ = rnn.dynamic_rnn(decoder, data(2, 3, 3), initial_state=state)
    drawing = viz.folded(outputs, dtypes=dtypes)
    last = [edge for edge in drawing.picture.edges if edge.label.startswith("last")]
    assert len(last) == layers * (2 if make is rnn.LSTMCell else 1)
    assert len({edge.path for edge in last}) == len({edge.label_at for edge in last}) == len(last)
    check_places(drawing)
    check_labels(drawing)


def embedded() -> Any:
    model = models.Sequential([layers.Embedding(9, 4), layers.GRU(5, return_sequences=True), layers.Dense(3)])
    return model(np.ones((2, 6), int))


NETS: dict[str, Any] = {
    "stack": lambda: rnn.dynamic_rnn(rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(5)]), data(2, 6, 3)),
    "nn": lambda: nn.GRU(3, 4, num_layers=2, batch_first=True)(data(2, 6, 3))[0],
    "bidirectional": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True))(data(2, 6, 3)),
    "embedded": embedded,
}


@pytest.mark.parametrize("steps", [(0, 1), (1, 0), (2, 0), (0, 2), (1, 1)])
@pytest.mark.parametrize("net", NETS)
def test_weights_have_a_place_and_an_arrow_where_steps_are_left_out(net: str, steps: Any) -> None:
    drawing = viz.unrolled(NETS[net](), steps)
    weights = {node.id for node in drawing.picture.nodes if node.role == "parameter"}
    assert weights
    assert {edge.tail for edge in drawing.picture.edges if edge.role == "weight"} == weights
    check_places(drawing)


def attention(scoped: bool) -> Any:
    """A decoder that looks at every step of its encoder."""
    seen, h = rnn.dynamic_rnn(rnn.GRUCell(4, name="encoder"), data(2, 4, 3))
    decoder, y = rnn.GRUCell(4, name="decoder"), data(2, 3, 4)
    for t in range(3):
        with tg.step(t) if scoped else tg.scope(""):
            w = tg.softmax((seen @ tg.expand_dims(h, -1))[:, :, 0], axis=-1)
            context = (seen * tg.expand_dims(w, -1)).sum(axis=1)
            _, h = decoder(tg.concatenate([y[:, t], context], axis=-1), h)
    return h


def test_no_arrow_runs_through_the_name_of_a_state() -> None:
    forth, back = (rnn.MultiRNNCell([rnn.LSTMCell(4) for _ in range(2)]) for _ in range(2))
    for target in (
        nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)(data(2, 4, 3)),
        rnn.bidirectional_dynamic_rnn(forth, back, data(2, 4, 3)),
    ):
        picture = viz.unrolled(target).picture
        for text in (edge for edge in picture.edges if edge.role in ("state", "memory") and edge.label):
            assert text.label_at is not None
            (x, y), half = text.label_at, style.text_width(text.label, style.SMALL) / 2
            for edge in picture.edges:
                for a, b in pairwise(along(edge.path)):  # short pieces: by their boxes
                    beside = max(a[0], b[0]) < x - half or min(a[0], b[0]) > x + half
                    off = max(a[1], b[1]) < y - 4 or min(a[1], b[1]) > y + 4
                    assert beside or off, f"{edge.tail} -> {edge.head} runs through {text.label}"


def test_arrows_go_around_bars() -> None:
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(4), data(2, 12, 3))
    (forth, back), _ = rnn.bidirectional_dynamic_rnn(rnn.GRUCell(4), rnn.GRUCell(4), data(2, 4, 3))
    both = tg.concatenate([forth, back], axis=-1)
    p, q = tg.Tensor(np.ones((2, 4, 3), np.float32), name="p"), tg.Tensor(np.ones((2, 4, 5), np.float32), name="q")
    (a, _), (b, _) = rnn.dynamic_rnn(rnn.GRUCell(4), p), rnn.dynamic_rnn(rnn.LSTMCell(4), q)
    for target, steps in (
        (outputs.sum() + (outputs * outputs).mean(), 4),
        (outputs.sum() + (outputs * outputs).mean(), (2, 1)),
        ((outputs[:, -1] ** 2).sum() + outputs.sum() + outputs.max(), 3),
        (both.sum() + (both * both).mean() + both.max(), None),
        ((a + b).sum(), None),
        (a.sum() + (b * b).sum(), None),
        (attention(scoped=False), None),
    ):
        drawing = viz.unrolled(target, steps)
        check_places(drawing)
        check_labels(drawing)


@pytest.mark.parametrize("steps", [None, (2, 1), (1, 2), (3, 3), (0, 2), (2, 0)])
def test_what_a_decoder_reads_of_its_encoder_comes_along_one_line(steps: Any) -> None:
    drawing = viz.unrolled(attention(scoped=True), steps)
    check_places(drawing)
    check_labels(drawing)
    cells = {node.id: node.lines[0] for node in drawing.picture.nodes if node.role == "cell"}
    across = [e for e in drawing.picture.edges if (cells.get(e.tail), cells.get(e.head)) == ("encoder", "decoder")]
    if steps is None:
        across = [edge for edge in across if edge.role == "data"]
        assert len(across) == 4 * 3
        assert len({edge.path[0] for edge in across}) == 4
        assert len({edge.path[-1] for edge in across}) == 3
