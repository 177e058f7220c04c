"""Backward sweeps that end at intermediate results, the oldest node, and the attributes of scopes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import tinygrad_rnn as tg


def test_a_sweep_to_what_was_computed_leaves_the_graph_below_it() -> None:
    """So a later sweep can continue from there; the nodes that were visited are freed."""
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


def test_a_scope_is_a_string_with_kind_number_and_run() -> None:
    with tg.scope("encoder"):
        (scope,) = tg.autodiff.state.ambient.get().scope
    assert (scope, scope.kind, scope.number, scope.run) == ("encoder", "scope", 0, None)
    layer = type(scope)("cell_2", "layer", 2)
    for same in (layer, copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert (same, same.kind, same.number, same.run) == ("cell_2", "layer", 2, None)
    plain = type(scope)("encoder")
    assert (plain.kind, plain.number, plain.run) == ("scope", 0, None)


def test_a_constant_has_nothing_to_sweep_whether_it_has_a_name_or_not() -> None:
    for t in (tg.tensor(1.0), tg.tensor(1.0, name="constant"), tg.tensor(1.0, requires_grad=True).detach()):
        with pytest.raises(TypeError, match="backward: the tensor does not require grad"):
            t.backward()
