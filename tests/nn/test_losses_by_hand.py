"""Losses of nn on numbers that can be added up by hand."""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


@pytest.mark.parametrize(("reduction", "wanted"), [("none", [1.0, 0.5, 4.0]), ("sum", 5.5), ("mean", 5.5 / 3)])
def test_absolute_differences(reduction: str, wanted: Any) -> None:
    x = tg.tensor([3.0, -1.0, 0.0], requires_grad=True)
    loss = nn.L1Loss(reduction)(x, [2.0, -0.5, 4.0])
    assert loss.tolist() == pytest.approx(wanted)
    loss.sum().backward()
    assert x.grad is not None
    part = 3 if reduction == "mean" else 1
    assert x.grad.tolist() == pytest.approx([1 / part, -1 / part, -1 / part])
