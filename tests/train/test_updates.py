"""Optimisers and clipping by the native kernels: the same bits as NumPy's, and no array in use elsewhere changes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, optim
from tinygrad_rnn.autodiff.node import may_overwrite
from tinygrad_rnn.layers import optimizers

NATIVE = kernels.implementations()[:-1]
Make = Callable[[Any], optim.Optimizer]
OPTIMISERS: dict[str, Make] = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "sgd with momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "sgd with nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01),
    "rmsprop with all": lambda p: optim.RMSprop(p, 0.01, weight_decay=0.1, momentum=0.9, centered=True),
    "adam": lambda p: optim.Adam(p, 0.01),
    "adam with decay": lambda p: optim.Adam(p, 0.01, weight_decay=0.1),
    "adamw": lambda p: optim.AdamW(p, 0.01, weight_decay=0.1),
    "keras adam": lambda p: optimizers.Adam(p, 0.01),
    "keras adamw": lambda p: optimizers.AdamW(p, 0.01),
    "keras rmsprop": lambda p: optimizers.RMSprop(p, 0.01, momentum=0.5, weight_decay=0.1),
}
SHAPES = [(), (1,), (0, 3), (17,), (5, 7), (2, 3, 4), (300, 101)]


def steps(make: Make, seed: int, shapes: list[tuple[int, ...]], dtype: Any, count: int = 3) -> list[Any]:
    """Parameters and state after some steps, with gradients in all memory layouts and some of them missing."""
    rng = np.random.default_rng(seed)
    params = [tg.Parameter(rng.normal(size=shape).astype(dtype)) for shape in shapes]
    optimizer = make(params)
    for t in range(count):
        for i, p in enumerate(params):
            g = rng.normal(size=p.shape).astype(dtype)
            if (i + t) % 3 == 1 and g.ndim:
                g = np.asfortranarray(g)
            if (i + t) % 3 == 2 and g.ndim:
                g = np.repeat(g, 2, axis=0)[::2]
            p.grad = None if i == t and i else g
        optimizer.step()
    return [p.data for p in params] + [a for slot in optimizer.state.values() for a in slot]


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("name", OPTIMISERS)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=5),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_every_optimiser_gives_numpys_bits(isa: str, name: str, seed: int, shapes: Any, dtype: Any) -> None:
    with kernels.using(isa):
        actual = steps(OPTIMISERS[name], seed, shapes, dtype)
    with kernels.using("reference"):
        expected = steps(OPTIMISERS[name], seed, shapes, dtype)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype == dtype
        assert np.array_equal(a, b)


def test_updates_are_the_same_with_any_number_of_threads() -> None:
    results = []
    before = kernels.get_num_threads()
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        results.append(steps(OPTIMISERS["adam"], 0, [(700, 500), (3,)], np.float32))
    kernels.set_num_threads(before)
    for arrays in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(arrays, results[0], strict=True))


def test_infinities_and_nan_go_through() -> None:
    for name in ("adam", "rmsprop", "sgd with momentum"):
        results = []
        for isa in kernels.implementations():
            with kernels.using(isa), np.errstate(all="ignore"):
                p = tg.Parameter(np.ones(40, np.float32))
                optimizer = OPTIMISERS[name]([p])
                for _ in range(2):
                    p.grad = np.resize(np.array([np.nan, np.inf, -np.inf, 0, 1e-30, 1e38], np.float32), 40)
                    optimizer.step()
                results.append(p.data)
        assert all(np.array_equal(a, results[-1], equal_nan=True) for a in results)


def test_a_custom_update_rule_is_used() -> None:
    class Half(optim.Adam):
        def update(self, x: Any, g: Any, i: int) -> Any:
            return x / 2

    class Kept(optim.Adam):
        def keep(self, slot: str, i: int, value: Any) -> Any:
            return super().keep(slot, i, np.zeros_like(value))

    class Same(optim.SGD):
        def __init__(self, params: Any):
            super().__init__(params, lr=0.5)

    for make, expected in ((Half, 1.0), (Kept, 2.0), (Same, 1.5)):
        p = tg.Parameter([2.0])
        p.grad = np.ones(1)
        make([p]).step()
        assert p.tolist() == [expected]


def test_moments_change_in_place_unless_they_are_held() -> None:
    if not NATIVE:
        pytest.skip("NumPy's path makes new arrays")
    p = tg.Parameter(np.ones(50, np.float32))
    optimizer = optim.Adam([p])
    where = optimizer.state["m"][0].ctypes.data
    for _ in range(3):
        p.grad = np.ones(50, np.float32)
        optimizer.step()
    assert optimizer.state["m"][0].ctypes.data == where
    held = optimizer.state_dict()
    part = optimizer.state["v"][0][10:20]
    copies = {k: np.array(v) for k, v in held.items()}
    old = part.copy()
    p.grad = np.ones(50, np.float32)
    optimizer.step()
    assert all(np.array_equal(held[k], v) for k, v in copies.items())
    assert np.array_equal(part, old)
    assert not np.array_equal(optimizer.state["m"][0], held["m.0"])


@pytest.mark.parametrize("size", [50, 200_000])  # separate memory, and memory reused by the next array
def test_arrays_referenced_elsewhere_are_not_changed(size: int) -> None:
    p = tg.Parameter(np.ones(size, np.float32))
    optimizer = optim.SGD([p], 0.1)
    held: list[Any] = []
    for t in range(6):
        (p * np.float32(t + 1)).sum().backward()
        held.append((p.data, p.data[3:9], p.grad))
        optim.clip_by_global_norm([p], 1e-3)
        optimizer.step()
        optimizer.zero_grad()
    for (x, part, g), t in zip(held, range(6), strict=True):
        assert np.all(g == t + 1)
        assert np.array_equal(part, x[3:9])
        assert len(set(x.tolist())) == 1
    values = [x[0] for x, _, _ in held]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 6


def test_a_parameter_gets_a_new_array() -> None:
    """Values cached for a parameter's array are keyed by the array, so a step must assign a new one."""
    p = tg.Parameter(np.ones(200_000, np.float32))
    optimizer = optim.SGD([p], 0.1)
    before = p.data
    p.grad = np.ones_like(before)
    optimizer.step()
    assert p.data is not before
    assert np.all(before == 1)


@pytest.mark.parametrize("isa", kernels.implementations())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_global_norm_is_exact_up_to_rounding(isa: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    params = [tg.Parameter(np.zeros(shape, dtype)) for shape in [(70, 300), (3, 1), (), (0,)]]
    for p in params:
        p.grad = (rng.normal(size=p.shape) * 1e3).astype(dtype)
    params[1].grad = params[1].grad.T.T[::-1]  # type: ignore[union-attr]
    square = sum(Fraction(float(g)) ** 2 for p in params for g in np.asarray(p.grad).flat)
    with kernels.using(isa):
        norm = optim.clip_by_global_norm(params, 1e9)
        assert norm == pytest.approx(float(square) ** 0.5, rel=1e-14)
        before = [np.array(p.grad) for p in params]
        optim.clip_by_global_norm([*params, params[0]], 1.0)  # listed twice, scaled once
        twice = float(np.sqrt(float(square) + float(sum(Fraction(float(g)) ** 2 for g in before[0].flat))))
        for p, g in zip(params, before, strict=True):
            assert np.allclose(p.grad, g / (twice + 1e-6), rtol=1e-6)


def test_one_gradient_of_two_parameters_is_scaled_once() -> None:
    g = np.full(10, 2.0, np.float32)
    a, b = tg.Parameter(np.zeros(10, np.float32)), tg.Parameter(np.zeros(10, np.float32))
    a.grad = b.grad = g
    norm = optim.clip_by_global_norm([a, b], 1.0)
    assert np.all(g == 2)
    assert np.allclose(a.grad, 2 / norm)
    assert np.allclose(b.grad, 2 / norm)


def test_gradients_are_not_copied_where_nobody_holds_them() -> None:
    p = tg.Parameter(np.ones((300, 200), np.float32))
    x = tg.tensor(np.ones((5, 300), np.float32))
    (x @ p).sum().backward()
    g = p.grad
    assert g is not None
    assert g.flags.writeable
    (x @ p).sum().backward()  # added up: g is held here and stays
    assert np.all(g == 5)
    assert np.all(np.asarray(p.grad) == 10)


def test_two_leaves_never_share_a_gradient() -> None:
    a, b = tg.Parameter(np.ones(4)), tg.Parameter(np.ones(4))
    seed = np.ones(4)
    (a + b).backward(seed)
    assert not np.shares_memory(a.grad, b.grad)  # type: ignore[arg-type]
    assert not np.shares_memory(a.grad, seed)  # type: ignore[arg-type]
    c = tg.Parameter(np.ones((2, 3)))
    c.reshape(-1).sum().backward()
    g = c.grad
    assert g is not None
    g += 1  # a broadcast result is copied to a separate array
    assert np.all(g == 2)


def test_only_arrays_without_other_references_may_be_overwritten() -> None:
    held = [np.zeros((4, 5))]
    array = held[0]
    assert may_overwrite(array)
    again = array
    assert not may_overwrite(array)
    assert may_overwrite(array, 1)
    del again
    part = array[1]
    assert not may_overwrite(array)
    del part
    array.flags.writeable = False
    assert not may_overwrite(array)
    held[0] = np.zeros((4, 5)).T
    array = held[0]
    assert may_overwrite(array)
    base = array.base
    assert not may_overwrite(array)
    del base
    held[0] = np.frombuffer(bytearray(8))
    array = held[0]
    assert not may_overwrite(array)
    held[0] = np.asarray(memoryview(bytearray(8)))
    array = held[0]
    assert not may_overwrite(array)
