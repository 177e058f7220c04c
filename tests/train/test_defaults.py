"""Defaults of optimisers and schedules are those that PyTorch's documentation gives; those of training and data our own."""

from __future__ import annotations

from typing import Any

import pytest
from reference.signatures import differing

from tinygrad_rnn import data, optim, train

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
DOCUMENTED: dict[Any, dict[str, Any]] = {
    optim.SGD: {"lr": 1e-3, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    optim.RMSprop: {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False},
    optim.Adam: {**ADAM, "weight_decay": 0.0},
    optim.AdamW: {**ADAM, "weight_decay": 1e-2},
    optim.StepLR: {"gamma": 0.1},
    optim.CosineLR: {"total": None, "floor": 0.0},  # PyTorch's eta_min
    train.fit: {
        **dict.fromkeys(("epochs", "steps", "seconds", "state", "clip", "schedule", "validation", "patience"), None),
        **{"keep_best": False, "resume": False, "progress": True, "show": ("loss", 1.0), "accumulate": 1},
    },
    train.evaluate: {"state": None, "limit": None, "weight": None, "parallel": None},
    data.Batches: {"shuffle": True, "pool": 20},
    data.TextChunks: {"remainder": False},
    data.sample: {"temperature": 1.0, "top_k": None},
    data.generate: {"temperature": 0.0, "end": None, "top_k": None},
    data.pad: {"value": 0},
}


@pytest.mark.parametrize("ours", DOCUMENTED, ids=lambda f: f.__qualname__)
def test_defaults(ours: Any) -> None:
    assert differing(ours, DOCUMENTED[ours]) == {}
