"""The Keras face against Keras: every keras_ file's outputs, states and gradients, fused and unrolled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import Golden, load, names
from rnn import golden as g

import tinygrad_rnn as tg
from tinygrad_rnn import interop, layers
from tinygrad_rnn.module import Module

FILES = names("keras_")
NAMES = ("kernel", "recurrent_kernel", "bias")


def make(golden: Golden, unroll: bool) -> layers.Layer:
    options = golden.meta["options"]
    kept = ("return_sequences", "return_state", "go_backwards", "unit_forget_bias", "reset_after", "activation")
    kept = (*kept, "recurrent_activation")
    arguments = {key: options[key] for key in kept if key in options}
    layer = getattr(layers, options["layer"])(
        options["units"], unroll=unroll, dtype=golden.meta["dtype"], name="layer", **arguments
    )
    if options["bidirectional"]:
        layer = layers.Bidirectional(layer, merge_mode=options["merge_mode"], dtype=golden.meta["dtype"])
    layer.ensure_built(golden["x"].shape)
    sides = ("fw/", "bw/") if options["bidirectional"] else ("",)
    layer.set_weights([golden[f"weight/{side}{name}"] for side in sides for name in NAMES])
    return layer


def gradients(cell: Module) -> list[np.ndarray]:
    found = {path.rpartition(".")[2]: p.grad for path, p in cell.named_parameters()}
    if "recurrent_bias" in found:
        found["bias"] = np.stack([found["bias"], found["recurrent_bias"]])
    return [found[name] for name in NAMES]


@pytest.mark.parametrize("unroll", [False, True], ids=["fused", "unrolled"])
@pytest.mark.parametrize("name", FILES)
def test_outputs_states_and_gradients(name: str, unroll: bool) -> None:
    golden = load(name)
    options, tensors = golden.meta["options"], g.leaves(golden)
    layer: Any = make(golden, unroll)
    initial = [tensors[f"initial/{part}"] for part in options["state_order"] if f"initial/{part}" in tensors]
    output, *states = layer(tensors["x"], mask=golden.get("mask"), initial_state=initial or None)
    keys = [f"state/{part}" for part in options["state_order"]]
    g.backward(golden, {"output": output, **dict(zip(keys, states, strict=True))})
    sides = {"": layer}
    if options["bidirectional"]:
        sides = {"fw/": layer.forward_layer, "bw/": layer.backward_layer}
    found = {side + key: a for side, one in sides.items() for key, a in zip(NAMES, gradients(one.cell), strict=True)}
    g.compare_gradients(golden, tensors, found)


@pytest.mark.parametrize("name", [n for n in FILES if "bidirectional" not in n and n.endswith("sequences_f64")])
def test_weights_go_both_ways(name: str) -> None:
    """Through the layer and through the pure functions: bit for bit, and in the layout of the file."""
    golden = load(name)
    layer, weights = make(golden, False), [golden[f"weight/{key}"] for key in NAMES]
    kind = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru"}[golden.meta["options"]["layer"]]
    ours = interop.keras.to_cell(
        kind, {f"sequential/layer/cell/{key}": a for key, a in zip(NAMES, weights, strict=True)}
    )
    assert {key: a.tolist() for key, a in ours.items()} == {
        key: a.tolist() for key, a in layer.cell.state_dict().items()
    }
    for found in (layer.get_weights(), interop.keras.from_cell(kind, ours)):
        for a, b in zip(found, weights, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [n for n in FILES if n.endswith("sequences_f64")])
def test_weights_begin_as_in_keras(name: str) -> None:
    golden = load(name)
    options = golden.meta["options"]
    arguments = {key: options[key] for key in ("reset_after", "unit_forget_bias") if key in options}
    layer: Any = getattr(layers, options["layer"])(options["units"], dtype="float64", **arguments)
    if options["bidirectional"]:
        layer = layers.Bidirectional(layer, dtype="float64")
    layer.ensure_built(golden["x"].shape)
    sides = ("fw/", "bw/") if options["bidirectional"] else ("",)
    for i, side in enumerate(sides):
        np.testing.assert_array_equal(layer.get_weights()[3 * i + 2], golden[f"fresh/weight/{side}bias"])
    shapes = [golden[f"weight/{side}{key}"].shape for side in sides for key in NAMES]
    assert [w.shape for w in layer.get_weights()] == shapes
    assert layer.count_params() == sum(int(np.prod(s)) for s in shapes)


def test_every_file_is_used() -> None:
    assert len(FILES) > 30
    assert tg.layers is layers
