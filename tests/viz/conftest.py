"""Every drawing that a test here makes is held to the stored one: its nodes, edges, labels, colours and boxes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import figures
import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import viz

STORED = figures.load()
STORING = bool(os.environ.get("TINYGRAD_RNN_STORE_FIGURES"))
made_anew: dict[str, list[figures.Figure]] = {}


@pytest.fixture(autouse=True)
def as_stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tg.seed(0)
    if isinstance(generator := getattr(request.module, "RNG", None), np.random.Generator):
        generator.bit_generator.state = np.random.default_rng(0).bit_generator.state
    made: list[figures.Figure] = []
    begin = viz.Drawing.__init__

    def recorded(self: viz.Drawing, picture: Any, *args: Any, **options: Any) -> None:
        begin(self, picture, *args, **options)
        made.append(figures.describe(picture))

    monkeypatch.setattr(viz.Drawing, "__init__", recorded)
    yield
    test = request.node.nodeid.rpartition("/")[2]
    if STORING:
        made_anew[test] = made
        return
    for k, (stored, now) in enumerate(zip(STORED.get(test, ()), made, strict=False)):
        if stored != now:
            pytest.fail(f"drawing {k} of {test} is not as stored:\n{figures.difference(stored, now)}")
    assert len(made) == len(STORED.get(test, made)), f"{test} made {len(made)} drawings"


def pytest_sessionfinish() -> None:
    if made_anew:
        figures.store({**STORED, **{test: made for test, made in made_anew.items() if made}})
