"""The examples in the docstrings of nn."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from tinygrad_rnn import nn

NAMES = [f"{nn.__name__}.{m.name}" for m in pkgutil.iter_modules(nn.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("name", nn.__all__)
def test_every_public_name_is_explained(name: str) -> None:
    assert ">>>" in (getattr(nn, name).__doc__ or ""), name
