"""Optimisers, clipping and schedules against PyTorch's, their state, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import load

import tinygrad_rnn as tg
from tinygrad_rnn import optim

GOLDEN = load("torch_optim_steps")
CLIP = load("torch_optim_clip")
RATES = load("torch_optim_schedules")


def parameters() -> dict[str, tg.Parameter]:
    return {k: tg.Parameter(v, name=k) for k, v in GOLDEN.under("param").items()}


def make(name: str, params: Any) -> optim.Optimizer:
    option = GOLDEN.meta["options"][name]
    return getattr(optim, option["optimiser"])(list(params.values()), **option["given"])


def run(optimizer: Any, params: dict[str, tg.Parameter], start: int, stop: int) -> None:
    for t in range(start, stop):
        for key, p in params.items():
            p.grad = GOLDEN[f"gradients/{key}"][t]
        optimizer.step()


@pytest.mark.parametrize("name", list(GOLDEN.meta["options"]))
def test_fifty_steps_are_pytorchs(name: str) -> None:
    params = parameters()
    optimizer = make(name, params)
    for t in range(50):
        run(optimizer, params, t, t + 1)
        for key, p in params.items():
            assert np.allclose(p.data, GOLDEN[f"steps/{name}/{key}"][t], rtol=0, atol=1e-12), (t, key)


@pytest.mark.parametrize("name", list(GOLDEN.meta["options"]))
def test_state_restores_a_run_bit_for_bit(name: str, tmp_path: Any) -> None:
    params = parameters()
    optimizer = make(name, params)
    run(optimizer, params, 0, 20)
    tg.save(tmp_path / "state", optimizer.state_dict())
    middle = {k: p.data for k, p in params.items()}
    run(optimizer, params, 20, 40)
    other = parameters()
    for k, p in other.items():
        p.data = middle[k]
    fresh = make(name, other)
    fresh.lr = 123.0
    fresh.load_state_dict(tg.load(tmp_path / "state"))
    run(fresh, other, 20, 40)
    for k, p in params.items():
        assert np.array_equal(p.data, other[k].data)


@pytest.mark.parametrize("name", list(GOLDEN.meta["options"]))
def test_arrays_are_never_written_into(name: str) -> None:
    params = parameters()
    optimizer = make(name, params)
    run(optimizer, params, 0, 1)
    seen = [p.data for p in params.values()] + [v for v in optimizer.state_dict().values() if isinstance(v, np.ndarray)]
    copies = [a.copy() for a in seen]
    for a in seen:
        a.flags.writeable = False
    run(optimizer, params, 1, 3)
    optim.clip_by_global_norm(params.values(), 1e-3)
    optim.clip_by_value(params.values(), 1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(seen, copies, strict=True))


def test_float32_stays_float32() -> None:
    for kind in (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW):
        p = tg.Parameter([1.0, 2.0])
        optimizer = kind([p], **({"momentum": 0.9, "nesterov": True} if kind is optim.SGD else {}))
        (p * p).sum().backward()
        optim.clip_by_global_norm([p], 0.1)
        optim.clip_by_value([p], 0.1)
        optimizer.step()
        assert p.dtype == np.float32
        assert all(a.dtype == np.float32 for slot in optimizer.state.values() for a in slot)


def test_parameters_without_gradient_are_left_alone() -> None:
    a, b = tg.Parameter([1.0]), tg.Parameter([1.0])
    optimizer = optim.Adam([a, b], weight_decay=0.1)
    a.grad = np.ones(1)
    optimizer.step()
    assert a.item() < 1
    assert b.item() == 1
    assert optimizer.counts == [1, 0]
    optimizer.zero_grad()
    assert a.grad is None


def test_clipping_is_pytorchs() -> None:
    params = {k: tg.Parameter(np.zeros(v.shape[1:])) for k, v in CLIP.under("gradients").items()}
    options = CLIP.meta["options"]
    for t in range(20):
        for key, p in params.items():
            p.grad = CLIP[f"gradients/{key}"][t]
        assert np.isclose(optim.clip_by_global_norm(params.values(), options["max_norm"]), CLIP["norm"][t], rtol=1e-14)
        for key, p in params.items():
            assert np.allclose(p.grad, CLIP[f"by_norm/{key}"][t], rtol=0, atol=1e-14)
            p.grad = CLIP[f"gradients/{key}"][t]
        optim.clip_by_value(params.values(), options["clip_value"])
        for key, p in params.items():
            assert np.array_equal(p.grad, CLIP[f"by_value/{key}"][t])


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("step", lambda o: optim.StepLR(o, 12, 0.5)),
        ("cosine", lambda o: optim.CosineLR(o, 50, 0.001)),
        ("cosine_zero", lambda o: optim.CosineLR(o, 49)),
    ],
)
def test_schedules_are_pytorchs(key: str, make: Any) -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=RATES.meta["options"]["lr"])
    schedule = make(optimizer)
    rates = []
    for t in range(50):
        rates.append(optimizer.lr)
        schedule.step()
        if t == 20:  # a schedule restored elsewhere continues with the same rates
            state = schedule.state_dict()
            optimizer = optim.SGD([tg.Parameter([1.0])], lr=77.0)
            schedule = make(optimizer)
            schedule.load_state_dict(state)
    assert np.allclose(rates, RATES[f"lr/{key}"], rtol=1e-12, atol=1e-15)


def test_a_cosine_schedule_stays_at_its_minimum() -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=1.0)
    schedule = optim.CosineLR(optimizer, 3, floor=0.25)
    for _ in range(9):
        schedule.step()
    assert optimizer.lr == 0.25


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    params = parameters()
    optimizer = make("adam", params)
    run(optimizer, params, 0, 3)
    before = optimizer.state_dict()
    other = optim.Adam([tg.Parameter(np.zeros((2, 2)))])
    with pytest.raises(ValueError, match=r"does not fit Adam of 2 parameters: missing m\.1; missing v\.1; counts has"):
        optimizer.load_state_dict(other.state_dict())
    wrong = {**before, "m.0": np.zeros((9, 9)), "extra": 1}
    with pytest.raises(ValueError, match=r"unexpected extra; m\.0 has shape \(9, 9\), expected \(4, 3\)"):
        optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert all(np.array_equal(after[k], before[k]) for k in before)
    with pytest.raises(ValueError, match=r"StepLR got \['lr'\], expected \['base', 'count', 'part'\]"):
        optim.StepLR(optimizer, 3).load_state_dict({"lr": 1})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: optim.SGD(p, 0.5), 1 - 0.5 * 2),
        (lambda p: optim.SGD(p, 0.5, momentum=0.9), 1 - 0.5 * 2),
        (lambda p: optim.RMSprop(p, 0.5, centered=True, momentum=0.9), None),
        (lambda p: optim.RMSprop(p, 0.5), 1 - 0.5 * 2 / np.sqrt(0.01 * 4)),
        (lambda p: optim.Adam(p, 0.5), 0.5),
        (lambda p: optim.AdamW(p, 0.5, weight_decay=0.1), 0.95 - 0.5),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_parameter_without_axes(make: Any, expected: float | None, dtype: Any, tmp_path: Any) -> None:
    """One step of x² from 1; data and state stay arrays of the parameter's dtype, and go through a file."""
    p = tg.Parameter(np.array(1, dtype))
    optimizer = make([p])
    for step in range(2):
        optimizer.zero_grad()
        (p * p).backward()
        optimizer.step()
        if step == 0 and expected is not None:
            assert p.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)
        for array in (p.data, *(a for slot in optimizer.state.values() for a in slot)):
            assert isinstance(array, np.ndarray)
            assert (array.shape, array.dtype) == ((), dtype)
    tg.save(tmp_path / "state", optimizer.state_dict())
    again = make([p])
    again.load_state_dict(tg.load(tmp_path / "state"))
    assert again.state_dict() == optimizer.state_dict()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lr": np.nan}, r"lr is nan, expected a finite number"),
        ({"lr": np.inf}, r"lr is inf, expected a finite number"),
        ({"lr": -0.1}, r"lr is -0.1, expected a number >= 0"),
        ({"lr": "fast"}, r"lr has dtype <U4, expected numbers"),
        ({"counts": np.array([1, -1])}, r"counts is \[1, -1\], expected integers >= 0"),
        ({"counts": np.array([1.0, np.inf])}, r"counts is \[1.0, inf\], expected integers >= 0"),
        ({"m.0": np.zeros((4, 3), bool)}, r"m.0 has dtype bool, expected numbers"),
    ],
)
def test_invalid_numbers_in_the_state_of_an_optimiser_change_nothing(changes: dict[str, Any], text: str) -> None:
    optimizer = make("adam", parameters())
    before = optimizer.state_dict()
    optimizer.load_state_dict(before)  # no step yet: counts of 0 fit
    with pytest.raises(ValueError, match=text):
        optimizer.load_state_dict({**before, **changes})
    after = optimizer.state_dict()
    assert all(np.array_equal(after[k], before[k]) for k in before)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"base": np.nan}, "StepLR: base is np.float64.nan., expected a number >= 0"),
        ({"base": -1}, "StepLR: base is np.int64.-1., expected a number >= 0"),
        ({"count": -1}, "StepLR: count is np.int64.-1., expected a non-negative integer"),
        ({"count": np.nan}, "StepLR: count is np.float64.nan., expected a non-negative integer"),
        ({"count": 1.5}, "StepLR: count is np.float64.1.5., expected a non-negative integer"),
        ({"part": 2.0}, "StepLR: part is np.float64.2.0., expected a number from 0 to 1"),
        ({"part": np.nan}, "StepLR: part is np.float64.nan., expected a number from 0 to 1"),
        ({"base": 1e308, "count": 10**6}, "out of range|too large"),
    ],
)
def test_invalid_numbers_in_the_state_of_a_schedule_change_nothing(changes: dict[str, Any], text: str) -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=1.0)
    schedule = optim.StepLR(optimizer, 2, 10.0)
    before = schedule.state_dict()
    with pytest.raises((ValueError, OverflowError), match=text):
        schedule.load_state_dict({**before, **changes})
    assert (schedule.state_dict(), optimizer.lr) == (before, 1.0)


P = tg.Parameter([1.0])
MODEL = tg.nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: optim.SGD([]), ValueError, r"SGD: params is empty"),
        (lambda: optim.SGD(MODEL), TypeError, r"SGD: params is a Linear.*pass model.parameters\(\)"),
        (lambda: optim.SGD(P), TypeError, r"SGD: params is a Parameter, expected an iterable"),
        (lambda: optim.Adam([P, 3.0]), TypeError, r"Adam: params\[1\] is a float, expected a tg.Parameter"),
        (lambda: optim.Adam([P * 2]), ValueError, r"Adam: params\[0\] of shape \(1,\) was computed by an op"),
        (lambda: optim.Adam([tg.tensor([1.0])]), ValueError, r"params\[0\] of shape \(1,\) does not require grad"),
        (lambda: optim.AdamW([P, P]), ValueError, r"AdamW: params\[0\] and params\[1\] are the same parameter"),
        (lambda: optim.SGD([P], lr=-1), ValueError, r"SGD: lr is -1, expected a number >= 0"),
        (lambda: optim.SGD([P], lr="fast"), TypeError, r"SGD: lr is 'fast', expected a number"),
        (lambda: optim.SGD([P], lr=float("nan")), ValueError, r"SGD: lr is nan"),
        (lambda: optim.SGD([P], lr=float("inf")), ValueError, r"SGD: lr is inf"),
        (lambda: optim.SGD([P], nesterov=True), ValueError, r"SGD: nesterov=True needs momentum > 0"),
        (lambda: optim.Adam([P], betas=(0.9, 1.0)), ValueError, r"Adam: betas\[1\] is 1.0, expected.*below 1"),
        (lambda: optim.RMSprop([P], alpha=2), ValueError, r"RMSprop: alpha is 2, expected a number from 0 to 1"),
        (lambda: optim.clip_by_value([P], 0), ValueError, r"clip_by_value: the limit is 0, expected a number > 0"),
        (lambda: optim.clip_by_global_norm([P], -1), ValueError, r"clip_by_global_norm: the limit is -1"),
        (lambda: optim.StepLR(MODEL, 3), TypeError, r"StepLR: optimizer is Linear, expected an Optimizer"),
        (lambda: optim.StepLR(optim.SGD([P]), 0), ValueError, r"StepLR: step_size is 0, expected a positive"),
        (lambda: optim.CosineLR(optim.SGD([P]), 2.5), ValueError, r"CosineLR: total is 2.5, expected a positive"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_a_resumed_schedule_without_an_end_continues_at_its_step() -> None:
    states = []
    for state in (None, {"base": 0.5, "count": 3}):
        optimizer = optim.SGD([tg.Parameter([1.0])], 0.5)
        schedule = optim.StepLR(optimizer, 2)
        if state is None:
            for _ in range(3):
                schedule.step()
        else:
            schedule.load_state_dict(state)
        states.append((optimizer.lr, schedule.state_dict()["count"]))
    assert states[0] == states[1]
    assert states[0][1] == 3
