"""The Keras layers against Keras: every keras_ file's outputs, states and gradients, fused and unrolled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import Golden, load, names
from rnn import golden as g

import tinygrad_rnn as tg
from tinygrad_rnn import interop, layers
from tinygrad_rnn.module import Module

FILES = names("keras_") + names("keraslayers_")
NAMES = ("kernel", "recurrent_kernel", "bias")


def sides(golden: Golden) -> tuple[str, ...]:
    return ("fw/", "bw/") if golden.meta["options"]["bidirectional"] else ("",)


def weights_of(golden: Golden, what: str = "weight") -> list[np.ndarray]:
    """The file's weights as Keras lists them."""
    keys = [f"{what}/{side}{name}" for side in sides(golden) for name in NAMES]
    return [golden[key] for key in keys if golden.get(key) is not None]


def make(golden: Golden, unroll: bool = False, built: bool = True) -> layers.Layer:
    """The layer of the file, on its weights."""
    options = golden.meta["options"]
    kept = ("return_sequences", "return_state", "go_backwards", "unit_forget_bias", "reset_after", "activation")
    kept = (*kept, "recurrent_activation", "use_bias")
    arguments = {key: options[key] for key in kept if key in options}
    cls, dtype = getattr(layers, options["layer"]), golden.meta["dtype"]
    layer: layers.Layer = cls(options["units"], unroll=unroll, dtype=dtype, name="layer", **arguments)
    if options["bidirectional"]:
        layer = layers.Bidirectional(layer, merge_mode=options["merge_mode"])
    layer.ensure_built(golden["x"].shape)
    if built:
        layer.set_weights(weights_of(golden))
    return layer


def gradients(cell: Module) -> dict[str, np.ndarray]:
    """A cell's gradients by Keras's names."""
    return {path.rpartition(".")[2]: p.grad for path, p in cell.named_parameters()}


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
    parts = [layer.forward_layer, layer.backward_layer] if options["bidirectional"] else [layer]
    actual = {s + key: a for s, one in zip(sides(golden), parts, strict=True) for key, a in gradients(one.cell).items()}
    g.compare_gradients(golden, tensors, actual)


@pytest.mark.parametrize("name", [n for n in FILES if "bidirectional" not in n and n.endswith("sequences_f64")])
def test_weights_go_both_ways(name: str) -> None:
    """Through the layer and through the pure functions: bit for bit, and in the layout of the file."""
    golden = load(name)
    layer: Any = make(golden)
    weights = weights_of(golden)
    cls = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru"}[golden.meta["options"]["layer"]]
    ours = interop.keras.to_cell(
        cls, {f"sequential/layer/cell/{key}": a for key, a in zip(NAMES, weights, strict=True)}
    )
    assert list(layer.cell.state_dict()) == list(NAMES)
    own = interop.keras.from_cell(cls, layer.cell.state_dict())  # a GRU's bias as Keras has it, (2, 3H)
    for arrays in (layer.get_weights(), own, interop.keras.from_cell(cls, ours)):
        for a, b in zip(arrays, weights, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [n for n in FILES if n.endswith("f64")])
def test_weights_begin_as_in_keras(name: str) -> None:
    golden = load(name)
    layer = make(golden, built=False)
    assert [w.shape for w in layer.get_weights()] == [w.shape for w in weights_of(golden)]
    assert layer.count_params() == sum(w.size for w in weights_of(golden))
    biases = [w for i, w in enumerate(layer.get_weights()) if i % 3 == 2] if len(layer.get_weights()) % 3 == 0 else []
    for actual, wanted in zip(biases, weights_of(golden, "fresh/weight"), strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_every_file_is_used() -> None:
    assert len(FILES) >= 40
    assert tg.layers is layers
