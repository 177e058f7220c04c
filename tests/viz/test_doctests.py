"""The examples in the docstrings of viz run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from tinygrad_rnn import viz

NAMES = sorted(module.name for module in pkgutil.iter_modules(viz.__path__))


@pytest.mark.parametrize("name", ["", *NAMES])
def test_examples(name: str) -> None:
    module = importlib.import_module(f"tinygrad_rnn.viz.{name}".rstrip("."))
    assert doctest.testmod(module).failed == 0
