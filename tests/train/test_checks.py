"""Arguments of train.fit at their bounds, and the accepted kinds of loss functions, validations and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, train
from tinygrad_rnn.train import checks

from .test_fit import line


@pytest.mark.parametrize("whole", [False, True])
def test_numbers_at_their_bounds(whole: bool) -> None:
    for value in (None, 1, 2, np.int64(1)):
        checks.number("n", value, 1, whole)
    for value in (1.0, 1.5, np.float32(1), float("inf")):
        if whole:
            with pytest.raises(ValueError, match=r"fit: n is .*, expected a whole number of at least 1, or None"):
                checks.number("n", value, 1, whole)
        else:
            checks.number("n", value, 1, whole)
    for value in (0, -1, True, "1", 0.99, float("nan")):
        with pytest.raises(ValueError, match=r"fit: n is .*, expected a (whole )?number of at least 1, or None"):
            checks.number("n", value, 1, whole)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        *(("epochs", 0), ("steps", 0), ("seconds", 0), ("clip", 0)),
        *(("validate_every", 1), ("checkpoint_every", 1), ("patience", 1), ("accumulate", 1)),
    ],
)
def test_the_least_value_of_every_argument_is_accepted(name: str, least: int, tmp_path: Path) -> None:
    def fit(value: Any) -> Any:
        net, loss_fn, batches = line()
        options = {"steps": 1, "validation": batches, "checkpoint": tmp_path / "run", "model": net, "progress": False}
        return train.fit(loss_fn, batches, optim.SGD(net.parameters()), **{**options, name: value})

    if name == "clip":
        with pytest.raises(ValueError, match="fit: clip is 0, expected a number above 0, or None for no limit"):
            fit(0)
    else:
        assert fit(least).step == (0 if name in ("epochs", "steps", "seconds") else 1)
    with pytest.raises(
        ValueError, match=rf"fit: {name} is {least - 1}, expected a (whole )?number of at least {least}"
    ):
        fit(least - 1)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.array([2.0]), np.array(2), tg.tensor([[2.0]])])
def test_results_of_one_element_are_scalars(value: Any) -> None:
    assert checks.scalar(value) == 2.0
    with pytest.raises(TypeError, match=r"validation\(\) returned .*, expected a loss, one number"):
        checks.scalar(np.array([2.0, 3.0]))


@pytest.mark.parametrize(
    ("batch", "weight"),
    [
        (np.zeros((2, 3)), 6),
        (tg.tensor([1.0, 2.0]), 2),
        ((np.zeros(5), np.zeros((2, 2))), 4),
        ([np.zeros(5), np.zeros(3)], 3),
        ((np.zeros(5), np.zeros(4), np.zeros((3, 3))), 9),
        ((np.zeros(5),), 1),
        ((np.zeros(5), data.pad([[1, 2, 3], [4]])), 4),
        (data.pad([[1, 2, 3], [4]]), 4),
        ({"x": np.zeros(5)}, 1),
        ((np.zeros(5), "text"), 1),
    ],
)
def test_a_batch_weighs_as_many_as_its_last_array_has_elements(batch: Any, weight: int) -> None:
    assert checks.weight(batch) == weight


def test_a_loss_may_be_of_any_shape_of_one_element() -> None:
    for loss in (tg.tensor(1.0), tg.tensor([1.0]), tg.tensor([[1.0]])):
        assert checks.call(lambda batch, loss=loss: loss, None, None, False) == (loss, None)
        assert checks.call(lambda batch, state, loss=loss: (loss, state), None, 7, True) == (loss, 7)
    for bad, text in (
        (lambda b, s: tg.tensor(1.0), r"returned a Tensor, expected \(loss, state\)"),
        (lambda b, s: (tg.tensor(1.0), s, s), r"returned a tuple, expected \(loss, state\)"),
        (lambda b, s: [tg.tensor(1.0), s], r"returned a list, expected \(loss, state\)"),
        (
            lambda b, s: ((tg.tensor(1.0), 1), s),
            r"returned a tuple as loss, expected a scalar tensor \(.mean\(\) reduces one\)$",
        ),
        (lambda b, s: (tg.tensor([1.0, 2.0]), s), r"returned a tensor of shape \(2,\) as loss, expected a scalar"),
    ):
        with pytest.raises(TypeError, match=text):
            checks.call(bad, None, 7, True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_losses_that_are_not_finite_are_refused(value: float) -> None:
    checks.finite(-1e300, 7)
    with pytest.raises(FloatingPointError, match=f"fit: the loss is {value} at step 7"):
        checks.finite(value, 7)


def test_a_state_of_many_arrays_is_resumed_in_order(tmp_path: Path) -> None:
    """Twelve arrays: "state.10" is sorted before "state.2"."""

    def run(steps: int) -> Any:
        net = nn.Linear(1, 1, seed=0)
        seen: list[list[float]] = []

        def loss_fn(batch: Any, state: Any) -> Any:
            seen.append([float(part) for part in state])
            return net(batch).sum(), tuple(part + 1.0 for part in state)

        state = tuple(tg.tensor(10.0 * i) for i in range(12))
        batches = [np.ones((1, 1), np.float32)] * 9
        options: dict[str, Any] = {"model": net, "checkpoint": tmp_path / "run", "resume": True, "progress": False}
        train.fit(loss_fn, batches, optim.SGD(net.parameters(), 0.0), steps=steps, state=state, **options)
        return seen

    assert run(2)[-1] == [10.0 * i + 1 for i in range(12)]
    assert run(4) == [[10.0 * i + 2 for i in range(12)], [10.0 * i + 3 for i in range(12)]]


@pytest.mark.parametrize(
    ("option", "needs"),
    [
        ({"validate_every": 2}, "validation"),
        ({"patience": 2}, "validation"),
        ({"keep_best": True}, "validation"),
        ({"on_validation": print}, "validation"),
        ({"checkpoint_every": 2}, "checkpoint"),
        ({"resume": True}, "checkpoint"),
    ],
    ids=str,
)
def test_options_without_effect_alone_are_refused(option: dict[str, Any], needs: str) -> None:
    net, loss_fn, batches = line()
    with pytest.raises(
        ValueError, match=f"fit: {next(iter(option))}= has no effect without {needs}=; give {needs}= too"
    ):
        train.fit(loss_fn, batches, optim.SGD(net.parameters()), epochs=1, progress=False, **option)


def test_more_arguments_that_cannot_work() -> None:
    net, loss_fn, batches = line()
    optimizer = optim.SGD(net.parameters())
    quiet: dict[str, Any] = {"epochs": 1, "progress": False}
    for options, error, text in (
        ({"show": ("loss",)}, TypeError, r"show is \('loss',\), expected a pair"),
        ({"show": ["loss", 1.0]}, TypeError, r"show is \['loss', 1.0\], expected a pair"),
        ({"schedule": 3}, ValueError, r"schedule is int 3, expected one made for this optimizer"),
        ({"parallel": 3}, TypeError, r"parallel is int 3, expected tg.parallel.MPI\(\)"),
    ):
        with pytest.raises(error, match=text):
            train.fit(loss_fn, batches, optimizer, **quiet, **options)
    train.fit(loss_fn, batches, optimizer, schedule=optim.StepLR(optimizer, 3), model=net, **quiet)
