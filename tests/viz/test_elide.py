"""Long recorded graphs are cut before they are read: the picture must be that of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_unrolled import data
from tinygrad_rnn.viz.net import elide as module

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz

V = tg.Parameter(np.ones((3, 2), np.float32), name="V")


def run(cell: rnn.RNNCell, steps: int = 40, lengths: Any = None) -> Any:
    return rnn.dynamic_rnn(cell, data(3, steps, 4), lengths, impl="unrolled")


def stacked() -> Any:
    return run(rnn.MultiRNNCell([rnn.GRUCell(3), rnn.BasicRNNCell(3)]))


def both_ways() -> Any:
    outputs, _ = rnn.bidirectional_dynamic_rnn(rnn.LSTMCell(3), rnn.GRUCell(3), data(3, 40, 4), impl="unrolled")
    return tg.concatenate(outputs, axis=-1)


def one_on_top_of_another() -> Any:
    return rnn.dynamic_rnn(rnn.GRUCell(3), run(rnn.GRUCell(3))[0], impl="unrolled")


def tagger() -> Any:
    with tg.scope("readout"):
        return tg.softmax_cross_entropy(run(rnn.LSTMCell(3))[0] @ V, np.zeros((3, 40), int))


def last_of_readout() -> Any:
    with tg.scope("readout"):
        y = run(rnn.LSTMCell(3))[0] @ V
    return (y[:, -1] ** 2).sum()


def one_from_the_middle() -> Any:
    return (run(rnn.LSTMCell(3))[0][:, 20] ** 2).sum()


def fed_back() -> Any:
    one, h, y, outputs = rnn.GRUCell(3).build(3), tg.Tensor(np.zeros((2, 3), np.float32)), data(2, 3), []
    for t in range(40):
        with tg.step(t):
            y, h = one(y, h)
        outputs.append(y)
    return tg.stack(outputs)


CUT: list[Callable[[], Any]] = [
    lambda: run(rnn.LSTMCell(3)),
    lambda: run(rnn.GRUCell(3), lengths=[40, 7, 0]),
    stacked,
    both_ways,
    one_on_top_of_another,
    tagger,
    last_of_readout,
    one_from_the_middle,
    fed_back,
]


def encoder_and_decoder() -> Any:
    _, state = run(rnn.GRUCell(3, name="encoder"))
    return rnn.dynamic_rnn(rnn.GRUCell(3, name="decoder"), data(3, 30, 4), initial_state=state, impl="unrolled")


def losses_added_one_by_one() -> Any:
    one, h = rnn.GRUCell(3).build(4), tg.Tensor(np.zeros((2, 3), np.float32))
    loss: Any = 0.0
    for t in range(40):
        with tg.step(t):
            _, h = one(data(2, 4), h)
        loss = loss + h.sum()
    return loss


def unlike_steps() -> Any:
    w, h = tg.Parameter(np.eye(3, dtype=np.float32), name="w"), tg.Tensor(np.zeros((2, 3), np.float32))
    for t in range(40):
        with tg.step(t):
            h = (tg.tanh if t % 2 else tg.sigmoid)(h @ w)
    return h


def far_back() -> Any:
    """A state that skips a step."""
    w, states = tg.Parameter(np.eye(3, dtype=np.float32), name="w"), [tg.Tensor(np.zeros((2, 3), np.float32))] * 2
    for t in range(40):
        with tg.step(t):
            states.append(tg.tanh(states[-1] @ w + states[-2]))
    return states[-1]


WHOLE: list[Callable[[], Any]] = [encoder_and_decoder, losses_added_one_by_one, unlike_steps, far_back]


STEPS: list[Any] = [(2, 2), (0, 3), (3, 0), (1, 4), 4, None]


@pytest.mark.parametrize("make", CUT + WHOLE)
def test_the_picture_is_that_of_the_whole(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    target = make()
    graph = tg.snapshot(target)
    assert (module.shorten(graph, 3)[1] > 0) == (make in CUT)
    short = [viz.folded(target).source, *(viz.unrolled(target, steps=steps).source for steps in STEPS)]
    monkeypatch.setattr(module, "shorten", lambda graph, keep: (graph, 0))
    whole = [viz.folded(target).source, *(viz.unrolled(target, steps=steps).source for steps in STEPS)]
    for mine, wanted in zip(short, whole, strict=True):
        assert _lines(mine) == _lines(wanted)


def _lines(source: str) -> list[str]:
    """The text without the ids, in which steps have other numbers."""
    return sorted(line[line.index("[") :] for line in source.splitlines() if "[" in line)


def test_a_cut_graph_is_a_graph() -> None:
    graph, left_out = module.shorten(tg.snapshot(run(rnn.LSTMCell(3))), 3)
    assert left_out == 34
    assert [node.id for node in graph.nodes] == list(range(len(graph.nodes)))
    assert all(s.id < node.id for node in graph.nodes for s in node.sources)
    assert sum(node.op == "tanh" for node in graph.nodes) == 6 * 2
    assert {part for node in graph.nodes for part in node.scope if part.startswith("t=")} == {
        f"t={t}" for t in range(6)
    }
