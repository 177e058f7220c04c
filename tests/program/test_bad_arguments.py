"""Invalid arguments of tg.scan: the type of each error, and that it names the argument, what was expected and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

X, STATE, LONG = np.ones((2, 5, 3)), np.ones((2, 4)), np.ones((7, 5, 3))
W, U = tg.tensor(np.ones((3, 4))), tg.tensor(np.ones((4, 4)))
ORDER = r"the order is scan\(step, inputs, state\)"


def step(x: Any, h: Any) -> Any:
    h = tg.tanh(x @ W + h @ U)
    return h, h


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: tg.scan(step, STATE, X), ValueError, rf"matmul: .*inputs have shape \(2, 4\) and the state.*{ORDER}"),
        (lambda: tg.scan(step, STATE, X, impl="fused"), ValueError, rf"impl='fused' cannot run.*{ORDER}"),
        (lambda: tg.scan(step, STATE, LONG), ValueError, rf"state has an array of shape \(7, 5, 3\).*{ORDER}"),
        (lambda: tg.scan(step, STATE[0], X), ValueError, rf"inputs have shape \(4,\), expected \(B, T, …\).*{ORDER}"),
        (lambda: tg.scan(X, STATE, step), TypeError, rf"step is ndarray, expected a function; {ORDER}"),
        (lambda: tg.scan(step, X, STATE[:1]), ValueError, r"\(1, 4\), expected \(2, …\): a row for each of the batch$"),
        (lambda: tg.scan(step, (X, LONG), STATE), ValueError, "expected one batch and time in all"),
        (lambda: tg.scan(step, X, STATE, length=4), ValueError, "length is 4, inputs have 5 steps"),
        (lambda: tg.scan(step, None, STATE), ValueError, "length is None, expected the number of steps"),
        (lambda: tg.scan(step, None, None, length=3), ValueError, "neither inputs nor state holds an array"),
        (lambda: tg.scan(step, X, STATE, lengths=[1, 6]), ValueError, r"lengths\[1\] is 6, expected 0 <= length <= 5"),
        (lambda: tg.scan(step, X, STATE, impl="native"), ValueError, "impl is 'native', expected 'auto'"),
        (lambda: tg.scan(step, "x", STATE), TypeError, "inputs is str, expected arrays in nested tuples"),
        (lambda: tg.scan(lambda x, h: h, X, STATE), TypeError, r"the step returned Tensor, expected the pair"),
        (lambda: tg.scan(lambda x, h: (h, (h, h)), X, STATE), TypeError, "expected the state's structure"),
        (lambda: tg.scan(lambda x, h: (h, h[:, :1]), X, STATE), ValueError, "expected the state's shapes and dtypes"),
        (lambda: tg.scan(lambda x, h: (h.sum(), h), X, STATE), ValueError, r"the output of step 0 has shape \(\)"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_an_error_raised_by_the_step_is_passed_on_unchanged() -> None:
    class Mine(ValueError):
        def __init__(self, number: int, text: str):
            super().__init__(number, text)

    def fails(x: Any, h: Any) -> Any:
        raise Mine(3, "wrong")

    for inputs, state in ((X, STATE), (STATE, X)):
        with pytest.raises(Mine) as caught:
            tg.scan(fails, inputs, state)
        assert caught.value.args == (3, "wrong")
