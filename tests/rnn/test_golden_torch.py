"""Cells and drivers against PyTorch: every recurrent torch_ file's outputs, states and gradients.

Its stacks are composed here: MultiRNNCell for one direction; for two, one bidirectional_dynamic_rnn a layer, joined.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import load, names

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

from . import golden as g
from .golden import IMPLS

FILES = [name for name in names("torch_") if name.split("_")[1] in ("rnn", "lstm", "gru")]
BIDIRECTIONAL = [name for name in FILES if load(name).meta["options"]["bidirectional"]]
PLAIN = [name for name in FILES if name not in BIDIRECTIONAL]


def initial_state(tensors: dict[str, tg.Tensor], number: int) -> Any:
    """The state of one layer and direction out of (layers x directions, B, H)."""
    parts = {name: t[number] for name, t in g.under(tensors, "initial/").items()}
    return g.state_of("lstm" if "c" in parts else "h", parts)


def stacked(states: list[Any]) -> dict[str, tg.Tensor]:
    """The final states in PyTorch's form."""
    parts = [g.parts_of(state) for state in states]
    return {key: tg.stack([p[key] for p in parts]) for key in parts[0]}


def test_every_file_is_used():
    """The others hold ops and optimisers, which are tested with those."""
    rest = [name for name in names("torch_") if name not in FILES]
    assert FILES
    assert all(name.startswith(("torch_op_", "torch_optim_")) for name in rest)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", PLAIN)
def test_dynamic_rnn(name, impl):
    golden = load(name)
    options, weights = golden.meta["options"], golden.under("weight")
    module, layers = options["module"], range(options["num_layers"])
    tensors = g.leaves(golden)
    cells = [g.torch_cell(golden.meta["options"]) for _ in layers]
    for i, cell in enumerate(cells):
        cell.load_state_dict(g.from_torch(module, weights, f"l{i}"))
    states = [initial_state(tensors, i) for i in layers]
    output, final = rnn.dynamic_rnn(
        rnn.MultiRNNCell(cells) if len(cells) > 1 else cells[0],
        tensors["x"],
        golden.get("sequence_length"),
        None if states[0] is None else tuple(states) if len(cells) > 1 else states[0],
        time_major=options["time_major"],
        impl=impl,
    )
    g.backward(golden, {"output": output, **stacked(list(final) if len(cells) > 1 else [final])})
    gradients: dict[str, np.ndarray] = {}
    for i, cell in enumerate(cells):
        gradients |= g.to_torch(module, g.gradients_of(cell), f"l{i}")
    g.compare_gradients(golden, tensors, gradients)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_bidirectional_dynamic_rnn(name, impl):
    golden = load(name)
    options, weights = golden.meta["options"], golden.under("weight")
    module = options["module"]
    tensors = g.leaves(golden)
    x, cells, finals = tensors["x"], {}, []
    for i in range(options["num_layers"]):
        for suffix in (f"l{i}", f"l{i}_reverse"):
            cells[suffix] = g.torch_cell(golden.meta["options"])
            cells[suffix].load_state_dict(g.from_torch(module, weights, suffix))
        outputs, states = rnn.bidirectional_dynamic_rnn(
            cells[f"l{i}"],
            cells[f"l{i}_reverse"],
            x,
            golden.get("sequence_length"),
            initial_state(tensors, 2 * i),
            initial_state(tensors, 2 * i + 1),
            impl=impl,
        )
        x = tg.concatenate(outputs, axis=-1)
        finals += states
    g.backward(golden, {"output": x, **stacked(finals)})
    gradients: dict[str, np.ndarray] = {}
    for suffix, cell in cells.items():
        gradients |= g.to_torch(module, g.gradients_of(cell), suffix)
    g.compare_gradients(golden, tensors, gradients)
