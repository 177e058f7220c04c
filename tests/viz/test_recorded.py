"""What loops over time record: steps, the states that they begin with and hand on, and what these are called."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_unrolled import data, names

import tinygrad_rnn as tg
from tinygrad_rnn import layers, rnn, viz


class Memory(NamedTuple):
    c: Any
    h: Any


class Peephole(rnn.RNNCell):
    """An LSTM of one's own that names nothing with rnn.gate; its states are named by their NamedTuple."""

    state_size = Memory(3, 3)
    output_size = 3

    def build_parameters(self, input_size: int) -> None:
        self.add("kernel", (input_size + 3, 12), "glorot_uniform")
        self.add("peephole", (3,), "zeros")

    def call(self, x: Any, state: Any) -> Any:
        i, f, g, o = tg.split(tg.concatenate([x, state.h], axis=-1) @ self.kernel, 4, axis=-1)
        c = tg.sigmoid(f + self.peephole * state.c) * state.c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o + self.peephole * c) * tg.tanh(c)
        return h, Memory(c, h)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("lengths", [None, [3, 1]])
def test_states_are_called_by_the_fields_of_their_tuple(impl: str, lengths: Any) -> None:
    x = tg.Tensor(np.ones((2, 3, 4), np.float32), requires_grad=True, name="x")
    outputs, state = rnn.dynamic_rnn(Peephole(), x, sequence_length=lengths, impl=impl)
    drawing = viz.unrolled((outputs, state))
    assert sorted(names(drawing, "state")) == ["c₂", "h₂"]
    assert sorted(names(drawing, "constant")) == ["c₋₁", "h₋₁"]
    assert Counter(edge.role for edge in drawing.picture.edges if edge.role != "data") == {
        "memory": 4,
        "state": 4,
        "weight": 1,
    }


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_loop_of_ones_own_is_drawn_as_a_drivers(wrapped: bool) -> None:
    cell, x = rnn.LSTMCell(3), data(2, 4, 5)
    state = cell.zero_state(2)
    if wrapped:
        for _t, x_t in rnn.steps(x):
            _, state = cell(x_t, state)
    else:
        for t in range(4):
            with tg.step(t):
                _, state = cell(x[:, t], state)
    driven = rnn.dynamic_rnn(cell, x)[1]
    for view in (viz.unrolled, viz.folded):
        ours, theirs = view(state).picture, view(driven).picture
        assert Counter(node.lines for node in ours.nodes) == Counter(node.lines for node in theirs.nodes)
        assert Counter(e.role for e in ours.edges) == Counter(e.role for e in theirs.edges)


def test_steps_end_with_the_loop() -> None:
    def broken() -> None:
        for t, _ in rnn.steps(np.ones((2, 3, 4))):
            if t:
                raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        broken()
    for _ in rnn.steps(np.ones((2, 3, 4))):
        break
    assert tg.autodiff.state.ambient.get().scope == ()
    assert [x.shape for _, x in rnn.steps(np.ones((2, 3, 4)), time_major=True)] == [(3, 4)] * 2
    assert [x.shape for _, x in rnn.steps(np.ones((2, 3, 4)))] == [(2, 4)] * 3
    with pytest.raises(ValueError, match=r"steps: inputs have shape \(3,\), expected \(B, T, …\)"):
        next(rnn.steps(np.ones(3)))
    with pytest.raises(TypeError, match="step: t is 'a', expected an integer"):
        tg.step("a")  # type: ignore[arg-type]


def test_a_snapshot_tells_with_which_states_a_run_began() -> None:
    """Plain data: places in the snapshot, no nodes."""
    h0 = tg.Parameter(np.zeros((2, 3), np.float32), name="h0")
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(3), data(2, 3, 4), initial_state=h0, impl="unrolled")
    graph = tg.snapshot(outputs)
    runs = {id(part.run): part.run for node in graph.nodes for part in node.scope if part.kind == "step"}
    (run,) = (run for run in runs.values() if run.complete)
    ((name, source),) = run.initial_states
    assert (name, graph.nodes[source.id].name) == ("h", "h0")


def test_a_backward_layer_of_its_own_counts_from_its_last_step() -> None:
    """In order of time: the first number is that of x_0, which such a layer reads last."""
    x = tg.Tensor(np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32), requires_grad=True, name="x")
    layer = layers.LSTM(4, go_backwards=True)
    loss = (layer(x) ** 2).sum()
    flow = viz.grad_flow(loss)
    expected = np.linalg.norm(tg.grad(loss, x).numpy(), axis=(0, 2))
    assert flow.layers[0].backward
    np.testing.assert_allclose(flow.inputs, expected, rtol=1e-5)
