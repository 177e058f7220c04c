"""Values that a step may return and functions it may call: states, outputs, nested functions, other scans. See cases.py."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import Cases
from scan_cases import B, D, H, ScanCase, draws, leaf

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("backend")
HERE = __file__.rpartition("/")[2]
cases = Cases(HERE)
test_fused_as_unrolled = cases.test_of_fused()


@cases.fused
def weight_used_twice():
    w = leaf(draws(3)(H, H))

    def step(x, h):
        h = tg.tanh(h @ w + tg.sin(h) @ w + (h @ w.T) * w[0] + w.sum())
        return h, h

    return ScanCase(step, weights=lambda: [w])


@cases.fused
def expressions_of_weights():
    w = leaf(draws(3)(H, 2 * H))

    def step(x, h):
        a, b = tg.split(tg.tanh(w), 2, axis=1)
        h = tg.tanh(h @ a) * tg.sigmoid(h @ b + w[0, :3])
        return h, h

    return ScanCase(step, weights=lambda: [w])


@cases.fused
def terms_in_every_order():
    w, u, b = leaf(draws(3)(D, H)), leaf(draws(4)(H, H)), leaf(draws(5)(H))

    def step(x, h):
        one = h + h + x @ w
        two = 1 + h @ u + 2.0 + x @ w + b + (x[:, :1] + b[0] + h[:, :1]) + (x[:, :1] + x[:, 1:])
        three = x[:, :1] + x[:, 1:] + h + 1
        four = (x[:, :1] + 1) + (x[:, 1:] + b) + h + x[:, :1]
        five = (one + two) + (one + three) + (h + x[:, :1]) + (h + x[:, :1])
        h = tg.tanh(one + two) + 0.1 * tg.tanh(three + four + five)
        return (h, one), h

    return ScanCase(step, weights=lambda: [w, u, b])


@cases.fused
def narrow_terms():
    """Sums of values of one column and of more."""
    w, u, v = leaf(draws(3)(D, 1)), leaf(draws(4)(H, 1)), leaf(draws(5)(D, H))

    def step(x, h):
        out = tg.tanh(x @ v + 1 + h @ u)
        h = tg.tanh((x @ w + x[:, :1]) + (x @ w + h) + h @ u)
        return out, h

    return ScanCase(step, weights=lambda: [w, u, v])


@cases.fused
def product_of_joined():
    w = leaf(draws(3)(D + H + H, H))

    def step(x, h):
        h = tg.tanh(tg.concatenate([x, h, tg.sin(h)], axis=-1) @ w)
        return h, h

    return ScanCase(step, weights=lambda: [w])


@cases.fused
def product_of_a_constant_and_joined():
    w, c = leaf(draws(3)(D + H + H, H)), draws(7)(B, H)

    def step(x, h, c):
        z = tg.concatenate([c, x, h], axis=1)
        h = tg.tanh(z @ w + z.sum(axis=1, keepdims=True))
        return (h, c), h

    return ScanCase(step, weights=lambda: [w], constants=(leaf(c),))


@cases.fused
def states_pass_through_and_swap():
    normal = draws(9)

    def step(x, state):
        a, b, c, _ = state
        return (a, c), (b, a, c, tg.tanh(x.sum(axis=1, keepdims=True)))

    state = tuple(leaf(normal(B, n)) for n in (H, H, 2, 1))
    return ScanCase(step, state=state)


@cases.fused
def output_is_the_input():
    def step(x, h):
        return (x, h), h

    return ScanCase(step)


@cases.fused
def outputs_not_used():
    def step(x, h):
        return (), tg.tanh(h + x[:, :1])

    return ScanCase(step)


class Pair(NamedTuple):
    c: Any
    h: Any


class Both(NamedTuple):
    first: Pair
    rest: tuple[Any, ...]


@cases.fused
def nested_states_inputs_and_outputs():
    normal = draws(9)
    w = leaf(normal(H, H))

    def step(x, state):
        a, (b, _) = x
        c = tg.tanh(state.first.c @ w + a[:, :1] + b)
        h = c * tg.sigmoid(state.first.h) + state.rest[0][0]
        return Pair(h, (c, (a,), None)), Both(Pair(c, h), ((state.rest[0][0] * 0.5,), None))

    state = Both(Pair(leaf(normal(B, H)), leaf(normal(B, H))), ((leaf(normal(B, 1)),), None))
    x = (leaf(normal(B, 4, D)), (leaf(normal(B, 4, H)), None))
    return ScanCase(step, x, state, weights=lambda: [w])


@cases.fused
def no_inputs():
    def step(x, h):
        h = tg.tanh(h * (2 if x is None else 3) + 0.1)
        return h, h

    return ScanCase(step, options={"length": 5})


@cases.fused
def rows_with_more_axes():
    memory = leaf(draws(3)(B, 4, H))

    def step(x, h, memory):
        keys = tg.tanh(memory)
        scores = tg.softmax((keys @ h[:, :, None])[:, :, 0])
        h = tg.tanh((memory * scores[:, :, None]).sum(axis=1) + x[:, :, None].sum(axis=1))
        return (h, scores), h

    return ScanCase(step, constants=(memory,))


@cases.fused
def matrix_state():
    normal = draws(3)
    w = leaf(normal(H, H))

    def step(x, state):
        m, n = state
        m = m * 0.9 + n[:, :, None] * x[:, None, :]
        n = tg.tanh((m @ x[:, :, None])[:, :, 0] @ w)
        return n, (m, n)

    return ScanCase(step, state=(leaf(normal(B, H, D)), leaf(normal(B, H))), weights=lambda: [w])


@cases.fused
def scan_inside_a_scan():
    w = leaf(draws(3)(H, H))

    def inner(x, h):
        h = tg.tanh(h @ w + x)
        return h, h

    def step(x, h):
        parts = tg.stack([x[:, :1] * h, x[:, 1:] + h], axis=1)
        outputs, h = tg.scan(inner, parts, h)
        return outputs.sum(axis=1), h

    return ScanCase(step, weights=lambda: [w])


@cases.fused
def cell_of_the_package_inside():
    cell = tg.rnn.GRUCell(H)
    cell.build(D, dtype=np.float64)

    def step(x, h):
        out, h = cell(x, h)
        return out * 2, h

    return ScanCase(step, weights=lambda: cell.parameters())


@cases.fused
def driver_of_the_package_inside():
    cell = tg.rnn.LSTMCell(H)
    cell.build(D, dtype=np.float64)

    def step(x, h):
        outputs, state = tg.rnn.dynamic_rnn(
            cell, tg.stack([x, 2 * x], axis=1), initial_state=tg.rnn.LSTMState(h, tg.tanh(h))
        )
        return outputs.sum(axis=1), state.c

    return ScanCase(step, weights=lambda: cell.parameters())


@cases.fused
def layers_of_the_package_inside():
    tg.seed(3)
    lin, norm = tg.nn.Linear(D, H), tg.nn.LayerNorm(H)
    for m in (lin, norm):
        m.astype(np.float64)

    def step(x, h):
        h = norm(tg.tanh(lin(x) + h))
        return h, h

    return ScanCase(step, weights=lambda: [*lin.parameters(), *norm.parameters()])
