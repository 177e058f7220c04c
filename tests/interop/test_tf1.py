"""Conversion of TensorFlow 1 weights to our cells and back: outputs of the golden files, forget bias, refused options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import load, names
from rnn import golden as g

from tinygrad_rnn import rnn
from tinygrad_rnn.interop import tf1 as convert
from tinygrad_rnn.interop import torch

CELL_TYPES = {"basic": "rnn", "lstm": "lstm", "gru": "gru"}
FILES = [n for n in names("tf1_") if not any(part in n for part in ("static", "residual", "hello"))]


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def parts(golden: Any) -> dict[str, tuple[str, dict[str, np.ndarray]]]:
    """The cells of a file by the prefix of their weights: (cell_type, weights)."""
    kinds, weights = golden.meta["options"]["cells"], golden.under("weight")
    sides = ("fw/", "bw/") if "fw/kernel" in weights or "fw/gates/kernel" in weights else ("",)
    inner = [""] if len(kinds) == 1 else [f"{i}/" for i in range(len(kinds))]
    return {
        side + i: (CELL_TYPES[cell_type], g.under(weights, side + i))
        for side in sides
        for i, cell_type in zip(inner, kinds, strict=True)
    }


def make(cell_type: str, golden: Any, weights: dict[str, np.ndarray]) -> Any:
    options = golden.meta["options"]
    units, bias = options["num_units"], options.get("forget_bias", 1.0)
    if cell_type == "rnn":
        cell: Any = rnn.BasicRNNCell(units, activation=options.get("activation", "tanh"))
    else:
        lstm_options = {k: options[k] for k in ("use_peepholes", "cell_clip", "num_proj", "proj_clip") if k in options}
        cell = rnn.LSTMCell(units, **lstm_options) if cell_type == "lstm" else rnn.GRUCell(units)
    cell.load_state_dict(convert.to_cell(cell_type, weights, forget_bias=bias))
    return cell


@pytest.mark.parametrize("name", FILES)
def test_golden_weights_run_in_our_cells(name: str) -> None:
    golden = load(name)
    cells = {prefix: make(cell_type, golden, weights) for prefix, (cell_type, weights) in parts(golden).items()}
    tensors = golden.under("initial")

    def state(prefix: str) -> Any:
        cell_type = parts(golden)[prefix][0]
        return g.state_of(cell_type, g.under(tensors, prefix))

    lengths = golden.get("sequence_length")
    if "fw/" in cells:
        states = [state(side) for side in cells]
        outputs, _ = rnn.bidirectional_dynamic_rnn(*cells.values(), golden["x"], lengths, *states)
        for side, output in zip(("fw", "bw"), outputs, strict=True):
            g.compare(golden, f"output/{side}", output.data)
        return
    many = len(cells) > 1
    cell = rnn.MultiRNNCell(list(cells.values())) if many else cells[""]
    initial = None if not tensors else tuple(map(state, cells)) if many else state("")
    time_major = golden.meta["options"]["time_major"]
    g.compare(golden, "output", rnn.dynamic_rnn(cell, golden["x"], lengths, initial, time_major=time_major)[0].data)


@pytest.mark.parametrize("name", FILES)
def test_weights_survive_conversion_there_and_back(name: str) -> None:
    golden = load(name)
    bias = golden.meta["options"].get("forget_bias", 1.0)
    for cell_type, weights in parts(golden).values():
        back = convert.from_cell(cell_type, convert.to_cell(cell_type, weights, forget_bias=bias), forget_bias=bias)
        assert list(back) == list(weights) or sorted(back) == sorted(weights)
        for key, value in weights.items():
            assert back[key].dtype == value.dtype
            assert np.allclose(back[key], value, rtol=0, atol=1e-6 if value.dtype == np.float32 else 1e-15), key


@pytest.mark.parametrize("cell_type", ["rnn", "lstm"])
def test_from_tf1_to_torch_and_back(cell_type: str) -> None:
    golden = load("tf1_lstm_full_f64" if cell_type == "lstm" else "tf1_rnn_tanh_full_f64")
    weights = golden.under("weight")
    through = torch.to_cell(cell_type, torch.from_cell(cell_type, convert.to_cell(cell_type, weights)))
    for key, value in convert.from_cell(cell_type, through).items():
        assert np.allclose(value, weights[key], atol=1e-15)


def test_weights_of_one_gru_form_are_refused_by_the_other() -> None:
    before = convert.to_cell("gru", load("tf1_gru_full_f64").under("weight"))
    with pytest.raises(ValueError, match=r"PyTorch's GRU resets after the product"):
        torch.from_cell("gru", before)
    suffix = "_l0"
    weights = load("torch_gru_1layer_full_f64").under("weight")
    after = torch.to_cell("gru", {key.removesuffix(suffix): value for key, value in weights.items()})
    with pytest.raises(ValueError, match=r"recurrent_bias has no counterpart here: TF1's GRUCell resets before"):
        convert.from_cell("gru", after)


def test_forget_bias_is_added_once() -> None:
    w = {"kernel": array(5, 8).astype(np.float32), "bias": np.zeros(8, np.float32)}
    bias = convert.to_cell("lstm", w, forget_bias=2.5)["bias"]
    assert bias.tolist() == [0, 0, 2.5, 2.5, 0, 0, 0, 0]
    assert bias.dtype == np.float32
    assert not convert.from_cell("lstm", convert.to_cell("lstm", w, forget_bias=2.5), forget_bias=2.5)["bias"].any()


LSTM = {"kernel": array(5, 8), "bias": array(8)}
GRU = {"gates/kernel": array(5, 4), "gates/bias": array(4), "candidate/kernel": array(5, 2), "candidate/bias": array(2)}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: convert.to_cell("peephole", LSTM), r"cell_type is 'peephole'"),
        (lambda: convert.to_cell("lstm", {"kernel": LSTM["kernel"]}), r"missing bias; expected kernel, bias"),
        (lambda: convert.to_cell("rnn", LSTM | {"w_f_diag": array(2)}), r"unexpected w_f_diag"),
        (
            lambda: convert.to_cell("lstm", LSTM | {"w_f_diag": array(3)}),
            r"w_f_diag has shape \(3,\), expected \(2,\)",
        ),
        (
            lambda: convert.to_cell("lstm", LSTM | {"projection/kernel": array(3, 1)}),
            r"projection/kernel has shape \(3, 1\), expected \(2, P\)",
        ),
        (
            lambda: convert.to_cell("lstm", LSTM | {"bias": array(12)}),
            r"kernel has shape \(5, 8\), expected \(D\+H, 12\)",
        ),
        (lambda: convert.to_cell("rnn", {"kernel": array(2, 3), "bias": array(3)}), r"2 rows, expected D \+ 3"),
        (lambda: convert.to_cell("gru", LSTM), r"missing gates/kernel; missing gates/bias; .*unexpected kernel"),
        (
            lambda: convert.to_cell("gru", GRU | {"gates/bias": array(3)}),
            r"gates/bias has shape \(3,\), expected \(4,\)",
        ),
        (lambda: convert.to_cell("gru", GRU, reset_after=True), r"TF1's GRUCell resets before.*no weights make"),
        (lambda: convert.from_cell("lstm", {"kernel": array(3, 8)}), r"missing recurrent_kernel; missing bias"),
        (lambda: convert.from_cell("gru", {"kernel": array(3, 6), "recurrent_kernel": array(2, 6)}), r"missing bias"),
    ],
)
def test_what_cannot_be_converted(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def layer_norm_weights() -> dict[str, np.ndarray]:
    shapes = {"kernel": (7, 16), **{f"{n}/{p}": (4,) for n in (*convert.NORMS, "state") for p in ("gamma", "beta")}}
    return {name: array(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def test_a_layer_normalized_cell_both_ways() -> None:
    weights = layer_norm_weights()
    arrays = convert.to_layer_norm_cell(weights, forget_bias=0.5)
    cell = rnn.LayerNormLSTMCell(4)
    cell.load_state_dict(arrays)
    back = convert.from_layer_norm_cell(cell.state_dict(), forget_bias=0.5)
    assert sorted(back) == sorted(weights)
    assert all(np.allclose(back[key], weights[key], atol=1e-15) for key in weights)
    x, c, h = array(2, 3), array(2, 4, seed=1), array(2, 4, seed=2)
    i, j, f, o = np.split(np.concatenate([x, h], 1) @ weights["kernel"], 4, -1)

    def norm(v: np.ndarray, name: str) -> np.ndarray:
        v = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-12)
        return v * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    new = c * sigmoid(norm(f, "forget") + 0.5) + sigmoid(norm(i, "input")) * np.tanh(norm(j, "transform"))
    wanted = np.tanh(norm(new, "state")) * sigmoid(norm(o, "output"))
    assert np.allclose(cell(x, rnn.LSTMState(c, h))[0].data, wanted, atol=1e-13)


def test_layer_norm_weights_that_do_not_fit() -> None:
    weights = layer_norm_weights()
    with pytest.raises(ValueError, match=r"bias has no counterpart here: it belongs to layer_norm=False"):
        convert.to_layer_norm_cell(weights | {"bias": array(16)})
    with pytest.raises(ValueError, match=r"forget/beta has shape \(3,\), expected \(4,\)"):
        convert.to_layer_norm_cell(weights | {"forget/beta": array(3)})
    with pytest.raises(ValueError, match=r"missing gain"):
        convert.from_layer_norm_cell({"kernel": array(3, 16)})
    with pytest.raises(ValueError, match=r"to_layer_norm_cell: the kernel has 3 rows, expected D \+ 4 of them"):
        convert.to_layer_norm_cell(weights | {"kernel": array(3, 16)})
    with pytest.raises(ValueError, match=r"kernel has shape \(7, 12\), expected \(D\+H, 16\)"):
        convert.to_layer_norm_cell(weights | {"kernel": array(7, 12)})
    ours = convert.to_layer_norm_cell(weights)
    for name, shape, wanted in (
        ("kernel", (3, 12), r"\(D, 16\)"),
        ("recurrent_kernel", (3, 16), r"\(4, 16\)"),
        ("recurrent_kernel", (4, 12), r"\(4, 16\)"),
        ("gain", (4,), r"\(16,\)"),
        ("shift", (20,), r"\(16,\)"),
        ("state_shift", (3,), r"\(4,\)"),
    ):
        with pytest.raises(ValueError, match=rf"from_layer_norm_cell: .*{name} has shape .*, expected {wanted}"):
            convert.from_layer_norm_cell(ours | {name: array(*shape)})


@pytest.mark.parametrize("cell_type", ["rnn", "lstm"])
def test_a_kernel_with_fewer_rows_than_units_is_refused(cell_type: str) -> None:
    """As many rows as units are a cell without inputs; one fewer is no cell."""
    gates = {"rnn": 1, "lstm": 4}[cell_type]
    converted = convert.to_cell(cell_type, {"kernel": array(3, 3 * gates), "bias": array(3 * gates)})
    assert (converted["kernel"].shape, converted["recurrent_kernel"].shape) == ((0, 3 * gates), (3, 3 * gates))
    with pytest.raises(ValueError, match=r"the kernel has 2 rows, expected D \+ 3 of them"):
        convert.to_cell(cell_type, {"kernel": array(2, 3 * gates), "bias": array(3 * gates)})
    gru = {
        "gates/kernel": array(2, 4),
        "gates/bias": array(4),
        "candidate/kernel": array(2, 2),
        "candidate/bias": array(2),
    }
    assert convert.to_cell("gru", gru)["kernel"].shape == (0, 6)
