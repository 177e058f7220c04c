"""The examples in the docstrings of what stands in nn, optim, train, data and checkpoint."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["nn.basics", "optim", "train.loop", "train.checkpoint", "data", "checkpoint"])
def test_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"tinygrad_rnn.{name}"))
    assert found.attempted
    assert not found.failed
