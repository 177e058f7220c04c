"""The contents and the order of the report of a failed check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def report(fn: Any, *inputs: Any, **options: Any) -> Any:
    with pytest.raises(tg.GradcheckError) as caught:
        tg.gradcheck(fn, list(inputs), **options)
    return caught.value.report


def off(x: Any, by: Any) -> Any:
    """x, with gradient 1 + by."""
    return x * (1 + np.array(by)) - x.detach() * np.array(by)


def test_the_worst_come_first_and_five_of_them() -> None:
    by = [0.0, 1e-2, -1e6, 1e-4, 1e4, 0.0, -1.0, 1e2]
    failure = report(lambda x: off(x, by), np.arange(1.0, 9.0))
    assert failure.wrong == 6
    assert [m.input_index[0] for m in failure.worst] == [2, 4, 7, 6, 1]
    assert [m.analytic - m.numeric for m in failure.worst] == pytest.approx([-1e6, 1e4, 1e2, -1.0, 1e-2], rel=1e-3)


def test_nan_is_worse_than_any_number() -> None:
    """The square root of the square of 0 has slope 0 · ∞."""

    def fn(x: Any) -> Any:
        zero = x[1] - x[1].detach()
        return tg.stack([off(x[0], 1e6), x[1] + tg.sqrt(zero * zero)])

    failure = report(fn, np.array([1.0, 2.0]))
    assert failure.worst[0].input_index == (1,)
    assert "NaN" in failure.cause


@pytest.mark.parametrize(("size", "tried"), [(399, True), (400, True), (401, False)])
def test_outputs_are_tried_one_by_one_up_to_four_hundred(size: int, tried: bool) -> None:
    failure = report(lambda x: tg.broadcast_to(off(x, 1.0), shape=(size,)), np.array(2.0))
    assert (failure.worst[0].output_index is not None) == tried
    assert failure.worst[0].output == ("output" if tried else "random projection")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_where_every_comparison_is_nan(value: float) -> None:
    """The same NaN twice is no lack of determinism."""
    with pytest.raises(tg.GradcheckError, match="output 0 holds NaN or infinity at this point"):
        tg.gradcheck(lambda x: x * 0 + value, np.array([1.0, 2.0]))


def test_the_ratio_of_an_error_is_analytic_over_numeric() -> None:
    failure = report(lambda x: off(x, [1.0, 0.0]), np.array([1.0, 2.0]))
    assert failure.worst[0].ratio == pytest.approx(2.0)
    infinite = report(lambda x: off(x, -1.0) * 0 + x - x.detach(), np.array(1.0))
    assert infinite.worst[0].ratio == np.inf
    still = failure.worst[0]._replace(analytic=0.0, numeric=0.0)
    assert still.ratio == 1.0


def test_of_equal_errors_the_first_is_named() -> None:
    failure = report(lambda x: tg.stack([off(x, 0.5), off(x, 1.0), off(x, -1.0)]), np.array(2.0))
    assert failure.worst[0].output_index == (1,)
