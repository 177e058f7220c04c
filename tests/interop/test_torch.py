"""Conversion of PyTorch weights to our cells and back: outputs of the golden files, and refused options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import load, names
from rnn import golden as g

import tinygrad_rnn as tg
from tinygrad_rnn import nn, rnn
from tinygrad_rnn.interop import torch as convert

FILES = [name for name in names("torch_") if name.split("_")[1] in ("rnn", "lstm", "gru")]


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("name", FILES)
def test_a_golden_state_dict_runs_in_our_cells(name: str) -> None:
    golden = load(name)
    options, weights = golden.meta["options"], golden.under("weight")
    cells = {}
    for suffix, arrays in convert.to_cells(options["module"].lower(), weights).items():
        cells[suffix] = g.torch_cell(options)
        cells[suffix].load_state_dict(arrays)
    assert list(cells) == list(dict.fromkeys(key.split("_", 2)[2] for key in weights))
    initial = golden.under("initial")

    def state(number: int) -> Any:
        return g.state_of("lstm" if "c" in initial else "h", {part: a[number] for part, a in initial.items()})

    x, time_major = golden["x"], options["time_major"]
    for i in range(options["num_layers"]):
        lengths = golden.get("sequence_length")
        if options["bidirectional"]:
            pair = cells[f"l{i}"], cells[f"l{i}_reverse"]
            arguments = (lengths, state(2 * i), state(2 * i + 1)) if initial else (lengths,)
            outputs, _ = rnn.bidirectional_dynamic_rnn(*pair, x, *arguments, time_major=time_major)
            x = tg.concatenate(outputs, axis=-1)
        else:
            x, _ = rnn.dynamic_rnn(cells[f"l{i}"], x, lengths, state(i) if initial else None, time_major=time_major)
    g.compare(golden, "output", x.data)


@pytest.mark.parametrize("name", FILES)
def test_back_again_gives_the_same_numbers(name: str) -> None:
    golden = load(name)
    options, cell_type = golden.meta["options"], golden.meta["options"]["module"].lower()
    weights = golden.under("weight")
    back = convert.from_cells(cell_type, convert.to_cells(cell_type, weights))
    assert list(back) == list(weights)
    for key, value in weights.items():
        assert back[key].shape == value.shape
        assert back[key].dtype == value.dtype
        if cell_type == "gru" or "weight" in key:
            assert np.array_equal(back[key], value), key
        elif "bias_ih" in key:
            assert np.array_equal(back[key], value + weights[key.replace("_ih", "_hh")])
        else:
            assert not back[key].any()
    keys = ("input_size", "hidden_size", "num_layers", "nonlinearity", "batch_first", "bidirectional", "proj_size")
    layer = getattr(nn, options["module"])(**{k: options[k] for k in keys if k in options}, dtype=golden.meta["dtype"])
    layer.load_state_dict(back)
    parts = golden.under("initial")
    hx = None if not parts else (parts["h"], parts["c"]) if "c" in parts else parts["h"]
    g.compare(golden, "output", layer(golden["x"], hx, lengths=golden.get("sequence_length"))[0].data)


@pytest.mark.parametrize("cell_type", ["rnn", "lstm", "gru"])
def test_from_a_cell_of_ours(cell_type: str) -> None:
    cell = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": lambda n: rnn.GRUCell(n, reset_after=True)}[
        cell_type
    ](4)
    cell.build(3, np.float64)
    for p in cell.parameters():
        p.data = p.data + 0.3 * array(*p.shape)
    module = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell_type](3, 4, batch_first=True, dtype=np.float64)
    module.load_state_dict(convert.from_cells(cell_type, {"l0": cell.state_dict()}))
    x = array(2, 5, 3)
    assert np.allclose(module(x)[0].data, rnn.dynamic_rnn(cell, x)[0].data, atol=1e-14)
    back = convert.to_cell(cell_type, convert.from_cell(cell_type, cell.state_dict()))
    assert all(np.array_equal(back[name], value) for name, value in cell.state_dict().items())
    step = getattr(nn, {"rnn": "RNNCell", "lstm": "LSTMCell", "gru": "GRUCell"}[cell_type])(3, 4, dtype=np.float64)
    step.load_state_dict(convert.from_cell(cell_type, cell.state_dict()))
    got = step(x[:, 0])
    assert np.allclose((got[0] if cell_type == "lstm" else got).data, module(x)[0].data[:, 0], atol=1e-14)


def torch_weights(gates: int, bias: bool = True) -> dict[str, np.ndarray]:
    shapes = {
        "weight_ih": (gates * 2, 3),
        "weight_hh": (gates * 2, 2),
        "bias_ih": (gates * 2,),
        "bias_hh": (gates * 2,),
    }
    return {name: array(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items()) if bias or "bias" not in name}


def test_biases() -> None:
    bare = convert.to_cell("gru", torch_weights(3, bias=False))
    assert not bare["bias"].any()
    assert not bare["recurrent_bias"].any()
    assert list(convert.from_cell("gru", bare, bias=False)) == ["weight_ih", "weight_hh"]
    w = torch_weights(3)
    w["bias_hh"][4:] = 0
    one = convert.merge_biases("gru", w)
    cells = [rnn.GRUCell(2, reset_after=True) for _ in range(2)]
    for cell, weights in zip(cells, (w, one), strict=True):
        cell.load_state_dict(convert.to_cell("gru", weights))
    first, second = (rnn.dynamic_rnn(cell, array(2, 5, 3))[0].data for cell in cells)
    assert np.allclose(first, second, atol=1e-14)


def test_cells_without_a_bias() -> None:
    w = torch_weights(4, bias=False)
    converted = without(convert.to_cell("lstm", w), "bias")
    back = convert.from_cell("lstm", converted)
    assert all(np.array_equal(back[name], w[name]) for name in w)
    assert not back["bias_ih"].any()
    assert list(convert.from_cell("lstm", converted, bias=False)) == list(w)


def test_prefixes() -> None:
    state = {f"encoder.{k}_l0": v for k, v in torch_weights(4).items()} | {"head.weight": array(2, 2)}
    layers = convert.to_cells("lstm", state, prefix="encoder.")
    assert list(layers) == ["l0"]
    assert list(convert.from_cells("lstm", layers, prefix="encoder.")) == list(state)[:4]


def test_a_projection_both_ways() -> None:
    w = torch_weights(4) | {"weight_ih": array(12, 3), "weight_hh": array(12, 2), "weight_hr": array(2, 3, seed=9)}
    w |= {"bias_ih": array(12), "bias_hh": np.zeros(12)}
    converted = convert.to_cell("lstm", w)
    assert {k: v.shape for k, v in converted.items() if "kernel" in k} == {
        "kernel": (3, 12),
        "recurrent_kernel": (2, 12),
        "projection_kernel": (3, 2),
    }
    rnn.LSTMCell(3, num_proj=2).load_state_dict(converted)
    back = convert.from_cell("lstm", converted)
    assert all(np.array_equal(back[name], w[name]) for name in w)


RNN = torch_weights(1)
OURS = {"kernel": array(3, 6), "recurrent_kernel": array(2, 6), "bias": array(6)}


def without(weights: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in weights.items() if k != name}


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: convert.to_cell("elman", RNN), ValueError, r"to_cell: cell_type is 'elman', expected one of \('rnn', 'lstm'"),
        (lambda: convert.to_cell("rnn", without(RNN, "bias_hh")), ValueError, r"missing bias_hh; expected weight_ih"),
        (lambda: convert.to_cell("rnn", RNN | {"kernel": array(2)}), ValueError, r"unexpected kernel"),
        (lambda: convert.to_cell("lstm", RNN), ValueError, r"weight_ih has shape \(2, 3\), expected \(8, D\)"),
        (lambda: convert.to_cell("rnn", RNN | {"bias_ih": array(3)}), ValueError, r"bias_ih has shape \(3,\), expected \(2,\)"),
        (lambda: convert.to_cell("rnn", RNN | {"bias_ih": np.ones(2, int)}), TypeError, r"bias_ih has dtype int64"),
        (lambda: convert.to_cell("rnn", RNN | {"weight_hr": array(2)}), ValueError, r"unexpected weight_hr"),
        (
            lambda: convert.to_cell("lstm", torch_weights(4) | {"weight_hr": array(1, 3)}),
            ValueError,
            r"weight_ih has shape \(8, 3\), expected \(12, D\)",
        ),
        (
            lambda: convert.from_cell("gru", {**OURS, "recurrent_bias": array(5)}),
            ValueError,
            r"recurrent_bias has shape \(5,\), expected",
        ),
        (
            lambda: convert.from_cell("lstm", {"kernel": array(3, 8), "recurrent_kernel": array(2, 6), "bias": array(8)}),
            ValueError,
            r"recurrent_kernel has shape \(2, 6\), expected \(2, 8\)",
        ),
        (lambda: convert.to_cell("gru", torch_weights(3), reset_after=False), ValueError, r"no weights make"),
        (lambda: convert.from_cell("gru", OURS), ValueError, r"PyTorch's GRU resets after.*use GRUCell\(n, reset_after=True"),
        (lambda: convert.from_cell("lstm", OURS), ValueError, r"kernel has shape \(3, 6\), expected \(D, 8\)"),
        (lambda: convert.from_cell("gru", without(OURS, "bias")), ValueError, r"missing bias"),
        (
            lambda: convert.from_cell("gru", OURS | {"recurrent_bias": np.zeros(6)}, bias=False),
            ValueError,
            r"bias=False leaves out bias_ih, which is not 0",
        ),
        (lambda: convert.merge_biases("gru", torch_weights(3)), ValueError, r"n part of bias_hh is not 0.*stands inside r"),
        (lambda: convert.to_cells("rnn", {"weight_l0": array(2)}), ValueError, r"'weight_l0' is no weight of a recurrent"),
        (
            lambda: convert.to_cells("rnn", {f"{k}_l1": v for k, v in RNN.items()}),
            ValueError,
            r"holds the layers \['l1'\], expected \['l0'\]",
        ),
        (lambda: convert.to_cell("rnn", RNN | {"weight_hh": array(2)}), ValueError, r"weight_hh has shape \(2,\), expected"),
        (lambda: convert.to_cells("rnn", {}), ValueError, r"holds the layers \[\], expected \['l0'\]"),
        (
            lambda: convert.to_cells("rnn", {f"{k}_l0_reverse": v for k, v in RNN.items()}),
            ValueError,
            r"expected \['l0', 'l0_reverse'\]",
        ),
        (
            lambda: convert.to_cells("rnn", without({f"{k}_l0": v for k, v in RNN.items()}, "weight_hh_l0")),
            ValueError,
            r"missing weight_hh.*\(in \*_l0\)",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_converted(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_kind_of_cell_that_pytorch_lacks_keeps_its_blocks() -> None:
    w, u, b = (np.arange(float(n)).reshape(shape) for n, shape in ((12, (4, 3)), (8, (4, 2)), (4, (4,))))
    converted = convert.convert_weights("own", w, u, b, b)
    np.testing.assert_array_equal(converted["kernel"], w.T)
    np.testing.assert_array_equal(converted["recurrent_kernel"], u.T)
    np.testing.assert_array_equal(converted["bias"], 2 * b)
