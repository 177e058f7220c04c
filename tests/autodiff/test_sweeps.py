"""Sweeps that stop at what was computed on the way."""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_rnn as tg


def test_a_sweep_to_what_was_computed_leaves_the_graph_below_it() -> None:
    """So the rest of the way can be gone later; what was passed is freed."""
    x = tg.tensor(3.0, requires_grad=True)
    h = x * x
    y = h * h * h
    (by_h,) = tg.grad(y, [h])
    assert by_h.item() == 3 * 81
    assert tg.grad(h, x).item() == 6
    with pytest.raises(RuntimeError, match="freed by an earlier backward pass"):
        tg.grad(y, h)


@pytest.mark.parametrize("retain", [False, True])
def test_a_graph_is_freed_unless_it_is_to_be_retained(retain: bool) -> None:
    x = tg.tensor(3.0, requires_grad=True)
    y = tg.exp(x * 2.0)
    y.backward(retain_graph=retain)

    def again() -> Any:
        y.backward()
        return x.grad

    if retain:
        assert again() == pytest.approx(2 * 2 * y.item())
    else:
        with pytest.raises(RuntimeError, match="freed by an earlier backward pass"):
            again()


@pytest.mark.parametrize("counter", [1, 2])
def test_the_first_node_of_a_process_gets_its_gradient(counter: int) -> None:
    """Nodes are counted from 1."""
    x = tg.tensor(3.0, requires_grad=True)
    assert x._node is not None
    x._node.counter = counter
    (x * x).backward()
    assert x.grad == 6.0
