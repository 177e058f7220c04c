"""The report of a check of gradients with a known error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_gradcheck_reports_the_used_fraction_of_the_tolerance() -> None:
    """A gradient that is off by a thousandth uses a tenth of a tolerance of a hundredth."""

    def off(x: Any) -> Any:
        return x * 0.999 + x.detach() * 0.001

    seen: list[float] = []
    assert tg.gradcheck(off, np.array([2.0]), rtol=1e-2, atol=0.0, observe=seen.append)
    assert seen == [pytest.approx(0.1, rel=1e-4)]


@pytest.mark.parametrize(
    ("factor", "cause"),
    [
        (2, "counted 2 times?"),
        (3, "counted 3 times?"),
        (4, "counted 4 times?"),
        (5, "counted 5 times?"),
        (1 / 2, "divided by 2?"),
        (1 / 3, "divided by 3?"),
        (1 / 5, "divided by 5?"),
    ],
)
def test_a_gradient_counted_or_divided_several_times_is_recognised(factor: float, cause: str) -> None:
    def off(x: Any) -> Any:
        return x * factor + x.detach() * (1 - factor)

    with pytest.raises(tg.GradcheckError) as caught:
        tg.gradcheck(off, np.arange(1.0, 6.0))
    assert cause in str(caught.value.report.cause)


def test_another_factor_is_no_count() -> None:
    with pytest.raises(tg.GradcheckError) as caught:
        tg.gradcheck(lambda x: x * 7 - x.detach() * 6, np.arange(1.0, 6.0))
    assert str(caught.value.report.cause) == "every element is off by the factor 7"


def test_an_input_that_the_op_of_that_name_lacks_is_numbered() -> None:
    def tanh(a: Any, b: Any) -> Any:
        return a * b.detach()

    with pytest.raises(tg.GradcheckError) as caught:
        tg.gradcheck(tanh, [np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    assert caught.value.report.input == "inputs[1]"
