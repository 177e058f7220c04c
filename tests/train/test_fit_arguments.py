"""train.fit and evaluate: errors for invalid arguments and for those without effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, train

from .test_fit import line


def bad_calls() -> list[Any]:
    net, loss_fn, batches = line()
    optimizer = optim.SGD(net.parameters())
    fit = train.fit
    quiet: dict[str, Any] = {"epochs": 1, "progress": False}
    return [
        (lambda: fit(loss_fn, batches, optimizer), ValueError, r"there is no limit; give epochs="),
        (lambda: fit(loss_fn, [], optimizer, **quiet), ValueError, r"there are no batches in epoch 0"),
        (
            lambda: fit(loss_fn, iter(batches), optimizer, epochs=2, progress=False),
            ValueError,
            r"there are no batches in epoch 1; a generator can be read only once",
        ),
        (lambda: fit(loss_fn, batches, optimizer, checkpoint="x", **quiet), ValueError, r"checkpoint= needs model="),
        (lambda: fit(loss_fn, batches, optimizer, validate_every=0, **quiet), ValueError, r"validate_every is 0"),
        (
            lambda: fit(loss_fn, batches, optimizer, patience=2, **quiet),
            ValueError,
            r"patience= has no effect without va",
        ),
        (
            lambda: fit(loss_fn, batches, optimizer, keep_best=True, **quiet),
            ValueError,
            r"keep_best= has no effect witho",
        ),
        (
            lambda: fit(loss_fn, batches, optimizer, resume=True, **quiet),
            ValueError,
            r"resume= has no effect without chec",
        ),
        (lambda: fit(loss_fn, batches, optimizer, epochs=1.5), ValueError, r"epochs is 1.5, expected a whole number"),
        (
            lambda: fit(loss_fn, batches, optimizer, seconds=-1),
            ValueError,
            r"seconds is -1, expected a number of at lea",
        ),
        (lambda: fit(loss_fn, batches, optimizer, clip="a", **quiet), ValueError, r"clip is 'a', expected a number"),
        (lambda: fit(loss_fn, None, optimizer, **quiet), TypeError, r"batches is NoneType None, expected an iterable"),
        (
            lambda: fit(loss_fn, batches, optim.Adam, **quiet),
            TypeError,
            r"optimizer is the class Adam, expected one such",
        ),
        (lambda: fit(loss_fn, batches, optimizer, show="loss", **quiet), TypeError, r"show is 'loss', expected a pair"),
        (
            lambda: fit(loss_fn, batches, optimizer, schedule=optim.StepLR(optim.SGD([*net.parameters()]), 3), **quiet),
            ValueError,
            r"schedule is another optimizer's",
        ),
        (
            lambda: fit(loss_fn, batches, optimizer, model=nn.Linear(1, 1), **quiet),
            ValueError,
            r"the optimizer has none of the model's parameters",
        ),
        (
            lambda: fit(loss_fn, batches, optimizer, validation=lambda: None, **quiet),
            TypeError,
            r"validation\(\) returned NoneType None, expected a loss",
        ),
        (
            lambda: fit(lambda b: net(b[0]), batches, optimizer, **quiet),
            TypeError,
            r"loss_fn returned a tensor of shape \(20, 1\) as loss, expected a scalar",
        ),
        (lambda: fit(lambda b: 1.0, batches, optimizer, **quiet), TypeError, r"loss_fn returned a float as loss"),
        (
            lambda: fit(lambda b: (loss_fn(b), 1), batches, optimizer, **quiet),
            TypeError,
            r"returned a tuple as loss.*to carry a state give its first value as state=",
        ),
        (
            lambda: fit(lambda b, s: loss_fn(b), batches, optimizer, state=np.zeros(2), **quiet),
            TypeError,
            r"loss_fn\(batch, state\) returned a Tensor, expected \(loss, state\)",
        ),
        (
            lambda: fit(lambda b, s: (loss_fn(b), [s]), batches, optimizer, state=np.zeros(2), **quiet),
            TypeError,
            r"returned a state that holds a list, expected tensors in \(nested\) tuples",
        ),
        (
            lambda: fit(lambda b: tg.tensor(1.0), batches, optimizer, **quiet),
            TypeError,
            r"backward: the tensor does not require grad",
        ),
        (lambda: train.evaluate(loss_fn, []), ValueError, r"evaluate: there are no batches"),
    ]


@pytest.mark.parametrize(("call", "error", "text"), bad_calls())
def test_bad_input(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
