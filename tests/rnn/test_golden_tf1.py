"""Cells and drivers against TensorFlow 1: every tf1_ file's outputs, states and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import Golden, load, names

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

from . import golden as g
from .golden import IMPLS

FILES = names("tf1_")
BIDIRECTIONAL = [name for name in FILES if "bidirectional" in name]
STATIC = [name for name in FILES if "static" in name]
PLAIN = [name for name in FILES if name not in BIDIRECTIONAL + STATIC]


def make(golden: Golden, side: str = "") -> rnn.RNNCell:
    """The cell of a file with its weights, under "fw/" or "bw/" where there are two."""
    options = golden.meta["options"]
    kinds, units = options["cells"], options["num_units"]
    made: list[Any] = []
    state: dict[str, np.ndarray] = {}
    inputs = golden["x"].shape[-1]
    for i, cell_type in enumerate(kinds):
        if cell_type == "basic":
            made.append(rnn.BasicRNNCell(units, activation=options.get("activation", "tanh")))
        elif cell_type == "lstm":
            names = ("use_peepholes", "cell_clip", "num_proj", "proj_clip")
            made.append(rnn.LSTMCell(units, **{name: options[name] for name in names if name in options}))
        else:
            made.append(rnn.GRUCell(units))
        weights = g.under(golden.under("weight"), side + (f"{i}/" if len(kinds) > 1 else ""))
        ours = g.from_tf1(cell_type, weights, inputs, options.get("forget_bias", 1.0))
        path = f"cells.{i}." if len(kinds) > 1 else "cell." if options["residual"] else ""
        state |= {path + name: array for name, array in ours.items()}
        inputs = units
    cell = made[0] if len(made) == 1 else rnn.MultiRNNCell(made)
    if options["residual"]:
        cell = rnn.ResidualWrapper(cell)
    cell.load_state_dict(state)
    return cell


def initial_state(golden: Golden, tensors: dict[str, tg.Tensor], side: str = "") -> Any:
    kinds = golden.meta["options"]["cells"]
    parts = g.under(tensors, f"initial/{side}")
    if len(kinds) == 1 or not parts:
        return g.state_of(kinds[0], parts)
    return tuple(g.state_of(cell_type, g.under(parts, f"{i}/")) for i, cell_type in enumerate(kinds))


def weight_gradients(golden: Golden, cell: rnn.RNNCell, side: str = "") -> dict[str, np.ndarray]:
    options = golden.meta["options"]
    kinds = options["cells"]
    if len(kinds) == 1:
        ours = g.gradients_of(cell, "cell." if options["residual"] else "")
        return {side + name: a for name, a in g.to_tf1(kinds[0], ours).items()}
    return {
        f"{i}/{name}": a
        for i, cell_type in enumerate(kinds)
        for name, a in g.to_tf1(cell_type, g.gradients_of(cell, f"cells.{i}.")).items()
    }


def test_every_file_is_used():
    assert FILES
    assert sorted(PLAIN + BIDIRECTIONAL + STATIC) == FILES
    assert all(load(name).meta["options"]["driver"] == "dynamic_rnn" for name in PLAIN)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", PLAIN)
def test_dynamic_rnn(name, impl):
    golden = load(name)
    cell, tensors = make(golden), g.leaves(golden)
    output, state = rnn.dynamic_rnn(
        cell,
        tensors["x"],
        golden.get("sequence_length"),
        initial_state(golden, tensors),
        time_major=golden.meta["options"]["time_major"],
        impl=impl,
    )
    g.backward(golden, {"output": output, **g.parts_of(state)})
    g.compare_gradients(golden, tensors, weight_gradients(golden, cell))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_bidirectional_dynamic_rnn(name, impl):
    golden = load(name)
    tensors = g.leaves(golden)
    cells = {side: make(golden, side + "/") for side in ("fw", "bw")}
    states = {f"initial_state_{side}": initial_state(golden, tensors, side + "/") for side in cells}
    outputs, finals = rnn.bidirectional_dynamic_rnn(
        cells["fw"], cells["bw"], tensors["x"], golden.get("sequence_length"), **states, impl=impl
    )
    results: dict[str, Any] = {f"output/{side}": output for side, output in zip(cells, outputs, strict=True)}
    for side, final in zip(cells, finals, strict=True):
        results |= g.parts_of(final, f"state/{side}/")
    g.backward(golden, results)
    weights = {}
    for side, cell in cells.items():
        weights |= weight_gradients(golden, cell, side + "/")
    g.compare_gradients(golden, tensors, weights)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", STATIC)
def test_static_rnn(name, impl):
    golden = load(name)
    cell, tensors = make(golden), g.leaves(golden)
    outputs, state = rnn.static_rnn(
        cell,
        tg.unstack(tensors["x"], axis=1),
        initial_state(golden, tensors),
        sequence_length=golden.get("sequence_length"),
        impl=impl,
    )
    g.backward(golden, {"output": tg.stack(outputs, axis=1), **g.parts_of(state)})
    g.compare_gradients(golden, tensors, weight_gradients(golden, cell))


@pytest.mark.parametrize("cell", [rnn.BasicRNNCell(2), rnn.LSTMCell(2)], ids=["rnn", "lstm"])
def test_the_course_snippet(cell):
    golden = load("tf1_hello_rnn_f32" if isinstance(cell, rnn.BasicRNNCell) else "tf1_hello_lstm_f32")
    h, e, l, o = np.eye(4, dtype=np.float32)  # noqa: E741
    x_data = np.array([[h, e, l, l, o], [e, o, l, l, l], [l, l, e, e, l]], dtype=np.float32)
    np.testing.assert_array_equal(x_data, golden["x"])
    outputs, _states = rnn.dynamic_rnn(cell, x_data, sequence_length=[5, 3, 4], dtype=np.float32)
    assert outputs.shape == (3, 5, 2) == golden["output"].shape
    assert outputs.dtype == np.float32
    assert not outputs.data[1, 3:].any()
    assert not outputs.data[2, 4:].any()


@pytest.mark.parametrize("cell_type", ["lstm", "gru"])
def test_biases_begin_as_in_tf1(cell_type):
    """Ours after building are the library's own fresh biases in our layout, forget_bias added."""
    golden = load(f"tf1_{cell_type}_full_f64")
    fresh = {**golden.under("weight"), **golden.under("fresh/weight")}
    cell = rnn.LSTMCell(4) if cell_type == "lstm" else rnn.GRUCell(4)
    cell.build(3, np.float64)
    np.testing.assert_array_equal(cell.bias.data, g.from_tf1(cell_type, fresh, 3, 1.0)["bias"])


@pytest.mark.parametrize("key", ["grad/x", "grad/weight/bias", "output", "state/c", "grad/initial/h", "loss"])
def test_the_comparison_fails_for_one_wrong_number(key):
    """The comparison fails if one number in a file is off by more than the tolerance."""
    golden = load("tf1_lstm_ragged_state_f64")
    array = golden[key].copy()
    array.flat[array.size // 2] += 3e-9 * max(1, abs(array).max())
    false = Golden(golden.name, {**golden.arrays, key: array}, golden.meta)
    cell, tensors = make(false), g.leaves(false)
    output, state = rnn.dynamic_rnn(cell, tensors["x"], false["sequence_length"], initial_state(false, tensors))

    def check() -> None:
        g.backward(false, {"output": output, **g.parts_of(state)})
        g.compare_gradients(false, tensors, weight_gradients(false, cell))

    with pytest.raises(AssertionError, match=key):
        check()
