"""Every implementation against the equations and against finite differences, in float64."""

import numpy as np
import pytest
from common import CELLS, Problem, naive

from tinygrad_rnn import kernels

LAYOUTS = [
    {},
    {"reverse": True},
    {"time_major": True},
    {"lengths": [3, 0, 5, 1]},
    {"lengths": [2, 5, 0, 3], "reverse": True},
    {"lengths": [5, 1, 4, 4], "reverse": True, "time_major": True},
]


@pytest.fixture(params=kernels.implementations(), autouse=True)
def implementation(request):
    with kernels.using(request.param):
        yield request.param


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_forward_follows_the_equations(cell, layout):
    p = Problem(cell, 4, 5, 3, 6, seed=1, **layout)
    outputs, state, _ = p.forward()
    expected, expected_state = naive(p)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-13)
    for got, want in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def numeric(p, k, eps=1e-6):
    gradient = np.zeros_like(p.args[k])
    for index in np.ndindex(gradient.shape):
        sides = []
        for shift in (eps, -eps):
            args = [None if a is None else a.copy() for a in p.args]
            args[k][index] += shift
            sides.append(p.loss(args))
        gradient[index] = (sides[0] - sides[1]) / (2 * eps)
    return gradient


@pytest.mark.parametrize("save", [True, "recompute"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_match_finite_differences(cell, layout, save):
    p = Problem(cell, 4, 5, 3, 6, seed=2, **layout)
    gradients = p.backward(p.forward(save=save)[2])
    for k, (name, got) in enumerate(zip(p.names, gradients, strict=True)):
        if p.args[k] is None:
            assert got is None
            continue
        assert got.dtype == np.float64
        assert got.shape == p.args[k].shape
        np.testing.assert_allclose(got, numeric(p, k), rtol=2e-6, atol=2e-7, err_msg=name)


def test_a_wrong_gradient_is_noticed():
    p = Problem("lstm", 4, 5, 3, 6, seed=2)
    dU = p.backward(p.forward()[2])[2] * 1.001
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(dU, numeric(p, 2), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("save", [True, "recompute"])
def test_cotangents_of_every_cell_state(save):
    p = Problem("lstm", 4, 5, 3, 6, seed=3, lengths=[5, 2, 0, 4])
    weight = np.random.default_rng(4).standard_normal((4, 5, 6))
    gradients = kernels.lstm_backward(p.forward(save=save)[2], None, None, None, d_cells=weight)
    p.loss = lambda args: float((p.forward(args)[2].trace()["c"] * weight).sum())
    for k, got in enumerate(gradients):
        np.testing.assert_allclose(got, numeric(p, k), rtol=2e-6, atol=2e-7, err_msg=p.names[k])


@pytest.mark.parametrize("cell", CELLS)
def test_needs_picks_the_gradients(cell):
    p = Problem(cell, 3, 4, 3, 5, seed=5)
    every = p.backward(p.forward()[2])
    for k in range(len(every)):
        wanted = [j == k for j in range(len(every))]
        got = p.backward(p.forward()[2], needs=wanted)
        for j, (a, b) in enumerate(zip(got, every, strict=True)):
            if j != k or b is None:
                assert a is None
            else:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_backward_twice_gives_the_same(cell):
    p = Problem(cell, 3, 4, 3, 5, seed=6)
    saved = p.forward()[2]
    for a, b in zip(p.backward(saved), p.backward(saved), strict=True):
        assert (a is None and b is None) or np.array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_missing_states_and_cotangents_are_zero(cell):
    p = Problem(cell, 3, 4, 3, 5, seed=7)
    zeros = [np.zeros_like(a) if name in ("h0", "c0") else a for a, name in zip(p.args, p.names, strict=True)]
    nothing = [None if name in ("h0", "c0") else a for a, name in zip(p.args, p.names, strict=True)]
    one, two = p.forward(zeros), p.forward(nothing)
    np.testing.assert_array_equal(one[0], two[0])
    for gradient in getattr(kernels, f"{p.cell_type}_backward")(two[2]):
        assert gradient is None or not gradient.any()


@pytest.mark.parametrize("save", [True, "recompute"])
@pytest.mark.parametrize("cell", CELLS)
def test_trace_shows_every_gate_and_state(cell, save):
    p = Problem(cell, 4, 5, 3, 6, seed=8, lengths=[5, 2, 0, 4])
    outputs, state, saved = p.forward(save=save)
    trace = saved.trace()
    assert set(trace) == {"rnn": {"h"}, "lstm": set("ifgoch"), "gru": set("zrnh")}[p.cell_type]
    np.testing.assert_array_equal(trace["h"], outputs)
    if p.cell_type == "lstm":
        np.testing.assert_allclose(trace["o"] * np.tanh(trace["c"]), outputs, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(trace["c"][3, 3], state[0][3])
    if p.cell_type == "gru":
        before = np.concatenate([p.args[-1][:, None], outputs[:, :-1]], axis=1)
        expected = trace["z"] * before + (1 - trace["z"]) * trace["n"]
        np.testing.assert_allclose(expected[0], outputs[0], rtol=1e-12, atol=1e-13)
    for array in trace.values():
        assert not array[1, 2:].any()
        assert not array[2].any()
