"""The examples in the docstrings of interop."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from tinygrad_rnn import interop

NAMES = [f"{interop.__name__}.{m.name}" for m in pkgutil.iter_modules(interop.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
