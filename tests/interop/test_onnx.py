"""ONNX files: exported models give the same numbers in ONNX Runtime and when loaded again; errors for bad files name the file.

The weights' conversion is tested without the onnx package, the rest where it is installed.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import load, names
from rnn import golden as g

import tinygrad_rnn as tg
from tinygrad_rnn import nn, rnn
from tinygrad_rnn.interop import onnx as convert
from tinygrad_rnn.interop import torch

from . import standard

F4 = np.float32
LENGTHS = np.array([3, 6, 0, 4], np.int32)


def array(*shape: int, seed: int = 0, dtype: Any = F4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def exported(model: Any, folder: Path, **options: Any) -> str:
    pytest.importorskip("onnx")
    path = str(folder / "model.onnx")
    convert.export(model, path, **{"lengths": True, "initial_state": True, **options})
    return path


def test_a_file_exported_without_options_has_one_input(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path, x = str(tmp_path / "model.onnx"), array(2, 5, 3)
    for model in (nn.LSTM(3, 4, batch_first=True), rnn.GRUCell(4).build(3), tg.layers.GRU(4, return_state=True)):
        run = partial(rnn.dynamic_rnn, model) if isinstance(model, rnn.RNNCell) else model
        wanted = arrays_of([t for one in run(x) for t in (one if isinstance(one, tuple) else (one,))])
        convert.export(model, path)
        assert_same_outputs(path, {"input": x}, wanted)


def runtime(path: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(inputs)
    return session.run(None, inputs)


def arrays_of(results: Any) -> list[np.ndarray]:
    flat = [t for one in results for t in (one if isinstance(one, tuple) else (one,))]
    return [t.data for t in flat]


def assert_same_outputs(path: str, inputs: dict[str, np.ndarray], wanted: list[np.ndarray]) -> None:
    """The loaded file and, where it is installed, ONNX Runtime give these numbers, by 1e-5."""
    again = convert.load(path)
    assert again.inputs == tuple(inputs)
    loaded = again(*inputs.values())
    loaded = arrays_of(loaded if isinstance(loaded, tuple) else (loaded,))
    for results in (loaded, *([runtime(path, inputs)] if find_spec("onnxruntime") else [])):
        for a, b in zip(results, wanted, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


LAYERS = {
    "rnn_tanh": lambda **o: nn.RNN(3, 4, seed=0, **o),
    "rnn_relu": lambda **o: nn.RNN(3, 4, nonlinearity="relu", seed=0, **o),
    "lstm": lambda **o: nn.LSTM(3, 4, seed=0, **o),
    "gru": lambda **o: nn.GRU(3, 4, seed=0, **o),
}


@pytest.mark.parametrize("options", [
    {}, {"batch_first": True}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"num_layers": 3, "bias": False},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("cell_type", LAYERS)
def test_layers_give_the_same_numbers(cell_type: str, options: dict[str, Any], tmp_path: Path) -> None:
    layer = LAYERS[cell_type](**options)
    path = exported(layer, tmp_path)
    count = layer.num_layers * layer.directions
    for batch, steps in [(4, 6), (2, 3), (1, 1)]:
        x = array(*((batch, steps) if layer.batch_first else (steps, batch)), 3)
        lengths = np.minimum(LENGTHS[:batch], steps).astype(np.int32)
        states = [array(count, batch, 4, seed=i) for i in range(2 if cell_type == "lstm" else 1)]
        hx = tuple(states) if cell_type == "lstm" else states[0]
        inputs = {"input": x, "lengths": lengths, **dict(zip(("h_0", "c_0"), states, strict=False))}
        assert_same_outputs(path, inputs, arrays_of(layer(x, hx, lengths=lengths)))


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("initial_state", [False, True])
def test_lengths_and_states_can_be_left_out(lengths: bool, initial_state: bool, tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4, bidirectional=True, seed=0)
    path = exported(layer, tmp_path, lengths=lengths, initial_state=initial_state)
    x, h, c = array(6, 4, 3), array(2, 4, 4), array(2, 4, 4, seed=1)
    inputs = {"input": x} | ({"lengths": LENGTHS} if lengths else {}) | ({"h_0": h, "c_0": c} if initial_state else {})
    results = layer(x, (h, c) if initial_state else None, lengths=LENGTHS if lengths else None)
    assert_same_outputs(path, inputs, arrays_of(results))


CELLS = {
    "rnn": lambda: rnn.BasicRNNCell(4, seed=0),
    "relu": lambda: rnn.BasicRNNCell(4, activation="relu", seed=0),
    "lstm": lambda: rnn.LSTMCell(4, seed=0),
    "gru before": lambda: rnn.GRUCell(4, seed=0),
    "gru after": lambda: rnn.GRUCell(4, reset_after=True, seed=0),
    "dropout": lambda: rnn.DropoutWrapper(rnn.GRUCell(4, seed=0), output_keep_prob=0.5),
}


@pytest.mark.parametrize("cell_type", CELLS)
def test_cells_give_the_same_numbers(cell_type: str, tmp_path: Path) -> None:
    cell = CELLS[cell_type]().build(3)
    for p in cell.parameters():
        p.data = p.data + 0.3 * array(*p.shape)
    path = exported(cell, tmp_path)
    x, h, c = array(4, 6, 3), array(4, 4), array(4, 4, seed=1)
    state = rnn.LSTMState(c=c, h=h) if cell_type == "lstm" else h
    with tg.training(False):
        output, final = rnn.dynamic_rnn(cell, x, LENGTHS, state)
    wanted = [output, final.h, final.c] if cell_type == "lstm" else [output, final]
    inputs = {"input": x, "lengths": LENGTHS, "h_0": h} | ({"c_0": c} if cell_type == "lstm" else {})
    assert_same_outputs(path, inputs, arrays_of(wanted))


def test_a_stack_of_cells(tmp_path: Path) -> None:
    cell = rnn.MultiRNNCell([rnn.LSTMCell(4, seed=0), rnn.GRUCell(5, seed=1)]).build(3)
    path = exported(cell, tmp_path)
    x, c, h, h1 = array(4, 6, 3), array(4, 4), array(4, 4, seed=1), array(4, 5, seed=2)
    output, (first, second) = rnn.dynamic_rnn(cell, x, LENGTHS, (rnn.LSTMState(c, h), h1))
    inputs = {"input": x, "lengths": LENGTHS, "0.h_0": h, "0.c_0": c, "1.h_0": h1}
    assert_same_outputs(path, inputs, arrays_of([output, first.h, first.c, second]))
    assert convert.load(path).outputs == ("output", "0.h_n", "0.c_n", "1.h_n")


def test_several_recurrent_steps_of_a_list(tmp_path: Path) -> None:
    first, second = nn.GRU(3, 4, batch_first=True, seed=0), rnn.BasicRNNCell(5, seed=0).build(4)
    path = exported([first, second], tmp_path)
    x, h, h1 = array(4, 6, 3), array(1, 4, 4), array(4, 5)
    y, h_n = first(x, h, lengths=LENGTHS)
    output, final = rnn.dynamic_rnn(second, y, LENGTHS, h1)
    assert_same_outputs(
        path, {"input": x, "lengths": LENGTHS, "0.h_0": h, "1.h_0": h1}, arrays_of([output, h_n, final])
    )


def test_functions_and_activations_of_a_list(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), tg.tanh, nn.Softmax(dim=-1), tg.exp, nn.LogSoftmax(dim=-1))
    x = array(4, 3)
    assert_same_outputs(exported(net, tmp_path), {"input": x}, [net(x).data])


def test_a_language_model(tmp_path: Path) -> None:
    steps = [
        nn.Embedding(7, 3, seed=0), nn.Dropout(0.5), nn.LSTM(3, 4, batch_first=True, seed=0), nn.LayerNorm(4), nn.Tanh(),
        nn.Linear(4, 5, seed=0), nn.ReLU(), nn.Linear(5, 7, bias=False, seed=1), nn.Sigmoid(),
    ]  # fmt: skip
    path = exported(nn.Sequential(*steps), tmp_path, initial_state=False)
    indices = np.random.default_rng(0).integers(0, 7, (4, 6))
    x, (h, c) = steps[2](steps[0](indices), lengths=LENGTHS)
    for step in steps[3:]:
        x = step(x)
    assert_same_outputs(path, {"input": indices, "lengths": LENGTHS}, arrays_of([x, h, c]))


def test_float64_is_kept(tmp_path: Path) -> None:
    layer = nn.GRU(3, 4, dtype=np.float64, seed=0)
    model = convert.load(exported(layer, tmp_path, lengths=False))
    x, h = array(5, 2, 3, dtype=np.float64), array(1, 2, 4, dtype=np.float64)
    assert np.allclose(model(x, h)[0].data, layer(x, h)[0].data, rtol=0, atol=1e-14)
    with pytest.raises(TypeError, match=r"input has dtype float32, expected float64"):
        model(x.astype(F4), h)


def test_a_loaded_model_trains_and_names_its_inputs(tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4, seed=0)
    model = convert.load(exported([layer, nn.Linear(4, 2, seed=0)], tmp_path))
    x, zeros = array(5, 2, 3), np.zeros((1, 2, 4), F4)
    loss = model(c_0=zeros, h_0=zeros, input=x, lengths=[5, 3])[0].sum()
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert len(model.state_dict()) == 5
    copy = convert.load(model.path)
    copy.load_state_dict({key: value * 2 for key, value in model.state_dict().items()})
    assert not np.array_equal(copy(x, [5, 3], zeros, zeros)[0].data, model(x, [5, 3], zeros, zeros)[0].data)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again(x, [5, 3], zeros, zeros)[0].data, model(x, [5, 3], zeros, zeros)[0].data)
    assert "inputs=('input', 'lengths', 'h_0', 'c_0')" in repr(model)
    for positional, named in [
        ((x,), {}),
        ((x,) * 5, {}),
        ((x, [5, 3], zeros), {"h_0": zeros}),
        ((x,), {"lengths": 0, "z": 0}),
    ]:
        with pytest.raises(TypeError, match=r"the inputs are \('input', 'lengths', 'h_0', 'c_0'\)"):
            model(*positional, **named)
    with pytest.raises(ValueError, match=r"LSTM \(Y_.*sequence_lens\[0\] is 6, expected 0 <= length <= 5"):
        model(x, [6, 3], zeros, zeros)


# -- files of others ---------------------------------------------------------------------------------------------------


def written(
    folder: Path, nodes: list[Any], inputs: dict[str, Any], outputs: list[str], arrays: Any = (), opset: int = 17
) -> str:
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    types = {key: h.np_dtype_to_tensor_dtype(np.dtype(value)) for key, value in inputs.items()}
    graph = h.make_graph(
        [h.make_node(op, i, o, **a) for op, i, o, a in nodes],
        "g",
        [h.make_tensor_value_info(key, value, None) for key, value in types.items()],
        [h.make_tensor_value_info(key, 1, None) for key in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), key) for key, a in dict(arrays).items()],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8)
    path = str(folder / "other.onnx")
    Path(path).write_bytes(model.SerializeToString())
    return path


def evaluated(path: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime computes, or, where it is not installed, the evaluator of the onnx package (no recurrent layers)."""
    if find_spec("onnxruntime"):
        return runtime(path, inputs)
    return import_module("onnx.reference").ReferenceEvaluator(path).run(None, inputs)


def defined(node: Any, weights: dict[str, np.ndarray]) -> Any:
    """The outputs of a recurrent operator by the standard's equations and, where it is installed, by ONNX Runtime."""

    def by(path: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        op, names, outputs, attributes = node
        arrays = {**weights, **inputs}
        order = ("x", "W", "R", "B", "lengths", "h0", "c0")
        results = standard.recurrent(op, *(arrays.get(name) if name in names else None for name in order), **attributes)
        if find_spec("onnxruntime"):
            for a, b in zip(runtime(path, inputs), results, strict=False):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
        return results[: len(outputs)]

    return by


def matches_runtime(
    path: str, inputs: dict[str, np.ndarray], atol: float = 1e-5, by: Any = runtime
) -> list[np.ndarray]:
    results = convert.load(path)(**inputs)
    results = [
        np.asarray(t.data if isinstance(t, tg.Tensor) else t)
        for t in (results if isinstance(results, tuple) else (results,))
    ]
    for a, b in zip(results, by(path, inputs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)
    return results


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["RNN", "LSTM", "GRU", "GRU after"])
def test_every_direction_of_the_operators(op: str, direction: str, tmp_path: Path) -> None:
    op, *after = op.split()
    n, gates = (2 if direction == "bidirectional" else 1), {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    attributes: dict[str, Any] = {"hidden_size": 4, "direction": direction}
    attributes |= {"linear_before_reset": 1} if after else {}
    attributes |= {"activations": ["Relu", "Sigmoid"][:n]} if op == "RNN" else {}
    weights = {"W": array(n, 4 * gates, 3), "R": array(n, 4 * gates, 4, seed=1), "B": array(n, 8 * gates, seed=2)}
    more = {"c0": array(n, 4, 4, seed=4)} if op == "LSTM" else {}
    inputs = {
        "x": array(6, 4, 3, seed=5),
        "lengths": np.array([3, 6, 1, 4], np.int32),
        "h0": array(n, 4, 4, seed=3),
        **more,
    }
    outputs = ["Y", "Yh", "Yc"] if op == "LSTM" else ["Y", "Yh"]
    node = (op, ["x", "W", "R", "B", "lengths", "h0", *more], outputs, attributes)
    path = written(tmp_path, [node], {key: value.dtype for key, value in inputs.items()}, outputs, weights)
    results = matches_runtime(path, inputs, by=defined(node, weights))
    turned = {key: value.swapaxes(0, 1) if value.ndim == 3 else value for key, value in inputs.items()}
    node = (*node[:3], {**attributes, "layout": 1})
    path = written(tmp_path, [node], {key: value.dtype for key, value in inputs.items()}, outputs, weights)
    y, *finals = arrays_of(convert.load(path)(**turned))
    assert np.allclose(y, results[0].transpose(2, 0, 1, 3), atol=1e-6)
    assert all(np.allclose(a, b.swapaxes(0, 1), atol=1e-6) for a, b in zip(finals, results[1:], strict=True))


I8 = np.int64
SHAPES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Gemm": ([("Gemm", ["x", "w", "b"], ["y"], {"transB": 1, "alpha": 0.5, "beta": 2.0})], {"w": array(5, 6), "b": array(5)}),
    "MatMul": ([("MatMul", ["x", "w"], ["y"], {})], {"w": array(6, 5)}),
    "Gather": ([("Gather", ["x", "i"], ["y"], {"axis": 1})], {"i": np.array([[0, -1], [2, 3]], I8)}),
    "Softmax": ([("Softmax", ["x"], ["y"], {"axis": 0})], {}),
    "LogSoftmax": ([("LogSoftmax", ["x"], ["y"], {})], {}),
    "Transpose": ([("Transpose", ["x"], ["y"], {})], {}),
    "Reshape": ([("Reshape", ["x", "s"], ["y"], {})], {"s": np.array([2, 0, -1], I8)[[1, 0, 2]][1:]}),
    "Reshape 0": ([("Reshape", ["x", "s"], ["y"], {})], {"s": np.array([0, 3, 2], I8)}),
    "Flatten": ([("Flatten", ["x"], ["y"], {"axis": 0})], {}),
    "Squeeze": ([("Unsqueeze", ["x", "a"], ["u"], {}), ("Squeeze", ["u", "b"], ["y"], {})],
                {"a": np.array([0, 3], I8), "b": np.array([3], I8)}),
    "Squeeze all": ([("Unsqueeze", ["x", "a"], ["u"], {}), ("Squeeze", ["u"], ["y"], {})], {"a": np.array([0, 3], I8)}),
    "Concat": ([("Concat", ["x", "w"], ["y"], {"axis": -1})], {"w": array(4, 1)}),
    "Split": ([("Split", ["x", "s"], ["a", "y"], {"axis": 1})], {"s": np.array([2, 4], I8)}),
    "Split even": ([("Split", ["x"], ["a", "y"], {"axis": 0})], {}),
    "Slice": ([("Slice", ["x", "s", "e", "a", "p"], ["y"], {})],
              {"s": np.array([5, 1], I8), "e": np.array([-(2**63), 100], I8), "a": np.array([1, 0], I8),
               "p": np.array([-2, 1], I8)}),
    "Shape": ([("Shape", ["x"], ["s"], {}), ("Slice", ["s", "b", "c"], ["t"], {}), ("ConstantOfShape", ["t"], ["z"], {}),
               ("Expand", ["z", "s"], ["e"], {}), ("Add", ["x", "e"], ["y"], {})],
              {"b": np.array([1], I8), "c": np.array([2], I8)}),
    "Constant": ([("Constant", [], ["c"], {"value_floats": [2.0]}), ("Mul", ["x", "c"], ["m"], {}),
                  ("Div", ["m", "d"], ["y"], {})],
                 {"d": array(6) + 9}),
    "Where": ([("Greater", ["x", "z"], ["g"], {}), ("Not", ["g"], ["n"], {}), ("Where", ["n", "x", "w"], ["y"], {})],
              {"z": np.zeros((), F4), "w": array(6)}),
    "LayerNormalization": ([("LayerNormalization", ["x", "w", "b"], ["y"], {})], {"w": array(6), "b": array(6, seed=1)}),
    "Cast": ([("Cast", ["x"], ["i"], {"to": 7}), ("Cast", ["i"], ["f"], {"to": 1}), ("Sub", ["x", "f"], ["y"], {})], {}),
}  # fmt: skip


SHAPES |= {  # by the defaults that the standard gives attributes
    "Gemm plain": ([("Gemm", ["x", "w"], ["y"], {})], {"w": array(6, 5)}),
    "Gemm halved": ([("Gemm", ["x", "w", "b"], ["y"], {"transA": 1, "beta": 0.5})], {"w": array(4, 5), "b": array(5)}),
    "Gemm added": ([("Gemm", ["x", "w", "b"], ["y"], {"alpha": 2.0})], {"w": array(6, 5), "b": array(4, 1)}),
    "Gather rows": ([("Gather", ["x", "i"], ["y"], {})], {"i": np.array([1, -1], I8)}),
    "Flatten rows": ([("Flatten", ["x"], ["y"], {})], {}),
    "Flatten cubes": ([("Unsqueeze", ["x", "a"], ["u"], {}), ("Flatten", ["u"], ["y"], {"axis": -1})],
                      {"a": np.array([1], I8)}),
    "LayerNormalization of both": ([("LayerNormalization", ["x", "w"], ["y"], {"axis": 0})], {"w": array(4, 6)}),
    "LayerNormalization eps": ([("LayerNormalization", ["x", "w"], ["y"], {"epsilon": 0.5})], {"w": array(6)}),
    "Reshape kept": ([("Reshape", ["x", "s"], ["y"], {"allowzero": 0})], {"s": np.array([0, 2, 3], I8)}),
    "Constant": ([("Constant", [], ["c"], {"value_ints": [5, 0, 2]}), ("Gather", ["x", "c"], ["y"], {"axis": 1})], {}),
    "Constant float": ([("Constant", [], ["c"], {"value_float": 2.5}), ("Mul", ["x", "c"], ["y"], {})], {}),
    "ConstantOfShape": ([("ConstantOfShape", ["s"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})],
                        {"s": np.array([4, 6], I8)}),
    "ConstantOfShape scalar": ([("ConstantOfShape", ["s"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})],
                               {"s": np.array([], I8)}),
    "Div": ([("Div", ["a", "b"], ["c"], {}), ("Cast", ["c"], ["f"], {"to": 1}), ("Add", ["x", "f"], ["y"], {})],
            {"a": np.array([7, -7, 6, -6, 1, 0], I8), "b": np.array([2, 2, -4, -4, 3, 5], I8)}),
    "Slice of rows": ([("Slice", ["x", "s", "e"], ["y"], {})], {"s": np.array([1, 2], I8), "e": np.array([3, -1], I8)}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_operators_are_onnx_runtimes(name: str, tmp_path: Path) -> None:
    nodes, arrays = SHAPES[name]
    matches_runtime(written(tmp_path, nodes, {"x": F4}, ["y"], arrays), {"x": array(4, 6)}, by=evaluated)


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_softmax_before_opset_13(axis: int | None, tmp_path: Path) -> None:
    attributes = {} if axis is None else {"axis": axis}
    path = written(tmp_path, [("Softmax", ["x"], ["y"], attributes)], {"x": F4}, ["y"], opset=11)
    x = array(2, 3, 4)
    flat = np.exp(x.reshape({None: 2, 0: 1, 2: 6}[axis], -1))  # rows before the axis, one softmax over all after it
    wanted = (flat / flat.sum(1, keepdims=True)).reshape(x.shape)
    np.testing.assert_allclose(convert.load(path)(x).data, wanted, atol=1e-6)
    if find_spec("onnxruntime"):  # onnx's own evaluator takes the rule of opset 13
        matches_runtime(path, {"x": x})


@pytest.mark.parametrize("to", [1, 11])
def test_gradients_pass_casts_between_floats(to: int, tmp_path: Path) -> None:
    path = written(tmp_path, [("Cast", ["x"], ["c"], {"to": to}), ("Mul", ["c", "c"], ["y"], {})], {"x": F4}, ["y"])
    x = tg.tensor(array(3), requires_grad=True)
    convert.load(path)(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, 2 * x.data, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "split", "opset", "sizes"),
    [
        ({"num_outputs": 3}, None, 18, [3, 3, 1]),
        ({"num_outputs": 2}, None, 18, [4, 3]),
        ({"num_outputs": 4}, None, 18, [2, 2, 2, 1]),
        ({}, [1, 4, 2], 13, [1, 4, 2]),
        ({"split": [5, 2]}, None, 11, [5, 2]),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_split_into_uneven_parts(
    options: Any, split: Any, opset: int, sizes: list[int], axis: int, tmp_path: Path
) -> None:
    """The standard: equal parts with the last one smaller, or the sizes that are given."""
    x = np.arange(14, dtype=F4).reshape((7, 2) if axis == 0 else (2, 7))
    names = [f"y{i}" for i in range(len(sizes))]
    inputs, arrays = (["x"], {}) if split is None else (["x", "sizes"], {"sizes": np.array(split, np.int64)})
    path = written(tmp_path, [("Split", inputs, names, {"axis": axis, **options})], {"x": F4}, names, arrays, opset)
    ends = np.cumsum([0, *sizes])
    wanted = [x.take(range(a, b), axis) for a, b in itertools.pairwise(ends)]
    for piece, expected in zip(convert.load(path)(x), wanted, strict=True):
        np.testing.assert_array_equal(piece.data, expected)


def test_integer_division_rounds_to_zero(tmp_path: Path) -> None:
    nodes = [("Div", ["x", "d"], ["i"], {}), ("Cast", ["i"], ["y"], {"to": 1})]
    path = written(tmp_path, nodes, {"x": I8}, ["y"], {"d": np.array(2, I8)})
    assert matches_runtime(path, {"x": np.array([-3, 3], I8)})[0].tolist() == [-1, 1]


W, R = array(1, 16, 3), array(1, 16, 4)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (("Conv", ["x", "W"], ["y"], {}), r"operator Conv \(y\)"),
        (("Einsum", ["x"], ["y"], {"equation": "ij->ji"}), r"operator Einsum \(y\)"),
        (("LSTM", ["x", "W", "R"], ["y"], {"clip": 1.0}), r"LSTM \(y\): clip=1.0"),
        (("LSTM", ["x", "W", "R"], ["y"], {"input_forget": 1}), r"input_forget=1"),
        (("LSTM", ["x", "W", "R", "", "", "", "", "R"], ["y"], {}), r"P \(peepholes\)"),
        (
            ("LSTM", ["x", "W", "R"], ["y"], {"activations": ["Sigmoid", "Tanh", "Relu"]}),
            r"activations=.*expected sigmoid tanh tanh",
        ),
        (
            ("RNN", ["x", "W", "R"], ["y"], {"activations": ["Elu"]}),
            r"activations=\['Elu'\], expected tanh in each direction, or relu, sigmoid, tanh in their places",
        ),
        (
            ("GRU", ["x", "W", "R"], ["y"], {"activations": ["Sigmoid"]}),
            r"activations=\['Sigmoid'\], expected sigmoid tanh",
        ),
        (("LSTM", ["x", "W", "R"], ["y"], {"direction": "sideways"}), r"direction='sideways'"),
        (("Cast", ["x"], ["y"], {"to": 10}), r"Cast \(y\): to=10, expected float32"),
        (("Constant", [], ["y"], {"value_string": "a"}), r"Constant \(y\): it holds no numbers"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(node: Any, text: str, tmp_path: Path) -> None:
    path = written(tmp_path, [node], {"x": F4}, ["y"], {"W": W, "R": R})
    with pytest.raises(ValueError, match=r"other.onnx holds what is not supported here: .*" + text):
        convert.load(path)


def test_a_damaged_file_ends_in_an_error_that_names_it(tmp_path: Path) -> None:
    """Bytes of a file changed at random: it loads, or it is refused by name; nothing else happens."""
    path = Path(exported([nn.Embedding(5, 3, seed=0), nn.LSTM(3, 4, 2, seed=0), nn.Linear(4, 2, seed=0)], tmp_path))
    good, rng, refusals = path.read_bytes(), np.random.default_rng(0), []
    for _ in range(200):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), rng.integers(1, 4)):
            bad[at] = rng.integers(256)
        path.write_bytes(bad)
        try:
            convert.load(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all("model.onnx" in text for text in refusals)


def with_external_weight(folder: Path, location: str) -> Path:
    """A model y = x + w that declares its w as stored in a separate file."""
    onnx = pytest.importorskip("onnx")
    path = Path(written(folder, [("Add", ["x", "w"], ["y"], {})], {"x": F4}, ["y"], {"w": np.arange(3, dtype=F4)}))
    proto = onnx.load(path)
    (w,) = proto.graph.initializer
    w.ClearField("raw_data")
    w.ClearField("float_data")
    w.data_location = onnx.TensorProto.EXTERNAL
    w.external_data.add(key="location", value=location)
    path.write_bytes(proto.SerializeToString())
    return path


def test_arrays_in_other_files_are_read_from_the_model_s_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    for place in (folder, folder / "below", elsewhere):
        place.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "w.bin").write_bytes(np.full(3, 9, F4).tobytes())  # what must not be read
    for location in ("w.bin", "below/w.bin"):
        (folder / location).write_bytes(np.arange(3, dtype=F4).tobytes())
        path = with_external_weight(folder, location)
        for name in (path, os.path.relpath(path)):
            assert convert.load(name)(np.ones(3, F4)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("location", ["../secret", "below/../../secret", "/absolute", "", "link", "missing.bin", "."])
def test_arrays_in_other_files_do_not_leave_the_model_s_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(np.ones(3, F4).tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    location = str(tmp_path / "secret") if location == "/absolute" else location
    path = with_external_weight(folder, location)
    with pytest.raises(
        ValueError, match=r"model: 'w' is kept in .*(expected a file in the model's folder|no such file)"
    ):
        convert.load(path)


def test_all_faults_are_listed(tmp_path: Path) -> None:
    nodes = [("Erf", ["x"], ["e"], {}), ("LSTM", ["e", "W", "R"], ["y"], {"clip": 2.0})]
    path = written(tmp_path, nodes, {"x": F4}, ["y"], {"W": W, "R": R, "half": np.ones(2, np.float16)})
    with pytest.raises(ValueError, match=r"operator Erf \(e\); LSTM \(y\): clip=2.0; half has dtype float16"):
        convert.load(path)


def test_garbage_is_named(tmp_path: Path) -> None:
    good = Path(exported(nn.LSTM(3, 4), tmp_path)).read_bytes()
    random = np.random.default_rng(0)
    contents = [
        b"",
        b"hello",
        b"\x00" * 100,
        random.bytes(500),
        b"\x08\x08",
        *(good[: len(good) * i // 7] for i in range(1, 7)),
    ]
    path = tmp_path / "bad.onnx"
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"bad.onnx \({len(content)} bytes\) is no ONNX model"):
            convert.load(path)
    with pytest.raises(FileNotFoundError, match=r"interop.onnx.load: there is no file .*nowhere.onnx"):
        convert.load(tmp_path / "nowhere.onnx")


class Own(nn.Module):
    def __init__(self) -> None:
        self.table, self.rnn = nn.Embedding(5, 3), nn.GRU(3, 4)

    def forward(self, ids: Any) -> Any:
        return self.rnn(self.table(ids))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: [nn.Linear(3, 4), np.tanh], TypeError, r"export: ufunc cannot be written as ONNX, expected one of"),
        (lambda: nn.LSTM, TypeError, r"export: the class LSTM cannot be written"),
        (lambda: [], ValueError, r"model is an empty list"),
        (lambda: [nn.GRU(3, 4), rnn.GRUCell(4).build(4)], ValueError, r"some layers of the list are batch-major"),
        (lambda: rnn.LSTMCell(4), ValueError, r"lstm_cell has no parameters yet; call it once, or .build"),
        (
            lambda: rnn.BasicRNNCell(4, activation=tg.softplus).build(3),
            TypeError,
            r"basic_rnn_cell cannot be written as ONNX: its function softplus is none of tanh, relu, sigmoid",
        ),
        (
            lambda: Own(),
            TypeError,
            r"Own has a forward of its own, .*; give its parts in the order .*, export\(\[model.table, model.rnn\], path\)",
        ),
        (
            lambda: rnn.LayerNormLSTMCell(4).build(3),
            TypeError,
            r"layer_norm_lstm_cell cannot be written as ONNX: ONNX has no operator",
        ),
        (lambda: rnn.ResidualWrapper(rnn.GRUCell(3).build(3)), TypeError, r"ONNX has no operator for ResidualWrapper"),
    ],
)
def test_what_cannot_be_exported(make: Any, error: type[Exception], text: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(error, match=text):
        convert.export(make(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_export_writes_all_or_nothing(tmp_path: Path) -> None:
    path = Path(exported(nn.GRU(3, 4), tmp_path))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        convert.export([nn.GRU(3, 4), np.tanh], path)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match=r"there is no folder"):
        convert.export(nn.GRU(3, 4), tmp_path / "nowhere" / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_without_the_onnx_package_the_error_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: convert.load("model.onnx"), lambda: convert.export(nn.GRU(3, 4), tmp_path / "model.onnx")):
        with pytest.raises(ImportError, match=r"needs the onnx package: pip install 'tinygrad_rnn\[onnx\]'"):
            call()


# -- weights, without the onnx package ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in names("torch_") if "1layer_full_f64" in n])
def test_weights_both_ways(name: str) -> None:
    golden = load(name)
    cell_type = golden.meta["options"]["module"].lower()
    ours = torch.to_cells(cell_type, golden.under("weight"))["l0"]
    theirs = convert.from_cell(cell_type, ours)
    back = convert.to_cell(cell_type, theirs, linear_before_reset=True)
    assert all(np.array_equal(back[key], value) for key, value in ours.items())
    x = golden["x"]
    w, r, (wb, rb) = theirs["W"], theirs["R"], np.split(theirs["B"], 2)
    h, c = np.zeros((2, len(x), 4))
    for t in range(x.shape[1]):  # ONNX's equations, in its order of gates
        of_x, of_h = x[:, t] @ w.T + wb, h @ r.T + rb
        if cell_type == "lstm":
            i, o, f, g_ = np.split(of_x + of_h, 4, -1)
            c = c / (1 + np.exp(-f)) + np.tanh(g_) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
        elif cell_type == "gru":
            (zx, rx, nx), (zh, rh, nh) = np.split(of_x, 3, -1), np.split(of_h, 3, -1)
            z = 1 / (1 + np.exp(-zx - zh))
            h = (1 - z) * np.tanh(nx + nh / (1 + np.exp(-rx - rh))) + z * h
        else:
            h = np.tanh(of_x + of_h)
        g.compare(golden.__class__(name, {"h": golden["output"][:, t]}, golden.meta), "h", h)


def test_the_two_biases_of_a_gru_without_linear_before_reset_are_one() -> None:
    weights = {"W": array(6, 3), "R": array(6, 2), "B": array(12)}
    converted = convert.to_cell("gru", weights)
    assert set(converted) == {"kernel", "recurrent_kernel", "bias"}
    assert np.array_equal(converted["bias"], weights["B"][:6] + weights["B"][6:])
    with pytest.raises(ValueError, match=r"P has no counterpart here: peepholes"):
        convert.to_cell("lstm", weights | {"P": array(6)})
    with pytest.raises(ValueError, match=r"W has shape \(6, 3\), expected \(8, D\)"):
        convert.to_cell("lstm", weights)


def test_an_op_without_an_onnx_name_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(TypeError, match=r"interop\.onnx\.export: .*cannot be written as ONNX"):
        convert.export([nn.Linear(3, 2), tg.cumsum], str(tmp_path / "model.onnx"))


def test_weights_of_other_shapes_are_refused_by_name() -> None:
    good = {"W": array(8, 3), "R": array(8, 2), "B": array(16)}
    assert convert.to_cell("lstm", good)["bias"].shape == (8,)
    for name, shape, wanted in [
        ("B", (8,), r"\(16,\)"),
        ("B", (1, 16), r"\(16,\)"),
        ("W", (6, 3), r"\(8, D\)"),
        ("W", (8,), r"\(8, D\)"),
        ("R", (6, 2), r"\(8, 2\)"),
    ]:
        came = rf"\({', '.join(map(str, shape))}{',' * (len(shape) == 1)}\)"
        with pytest.raises(ValueError, match=rf"interop.onnx.to_cell: {name} has shape {came}, expected {wanted}"):
            convert.to_cell("lstm", good | {name: array(*shape)})


@pytest.mark.parametrize("declared", [F4, np.float64, I8, np.int32, np.bool_])
def test_inputs_are_taken_in_the_dtype_that_the_graph_declares(declared: Any, tmp_path: Path) -> None:
    """Python numbers take the dtype of the input, integers are converted to its integer type; any other dtype is refused."""
    path = written(tmp_path, [("Cast", ["x"], ["y"], {"to": 11})], {"x": declared}, ["y"])
    model, kind = convert.load(path), np.dtype(declared).kind
    for values in ([1, 0], (1.0, 0.0), [True, False]):
        assert model(values).tolist() == [1.0, 0.0]
    for dtype in (F4, np.float64, I8, np.int32, np.uint8, np.bool_):
        x = np.array([1, 0], dtype)
        if dtype == declared or (kind == "i" and x.dtype.kind in "iu"):
            assert model(x).tolist() == [1.0, 0.0]
            continue
        with pytest.raises(TypeError, match=rf"x has dtype {x.dtype}, expected {np.dtype(declared)}"):
            model(x)


def declared(path: str) -> list[tuple[str, list[Any]]]:
    """The outputs that a file declares, with their shapes: numbers, and letters for axes of any size."""
    proto = pytest.importorskip("onnx").load(path)
    sides = [(o.name, o.type.tensor_type.shape.dim) for o in proto.graph.output]
    return [(name, [d.dim_value or d.dim_param for d in dims]) for name, dims in sides]


X, IDS = array(2, 5, 3), np.ones((2, 5), int)
B_T, T_B = ["B", "T"], ["T", "B"]
FILES: dict[str, tuple[Any, Any, list[tuple[str, list[Any]]]]] = {
    "lstm": (lambda: nn.LSTM(3, 4, 2, bidirectional=True), X,
             [("output", [*T_B, 8]), ("h_n", [4, "B", 4]), ("c_n", [4, "B", 4])]),
    "gru": (lambda: nn.GRU(3, 4, batch_first=True), X, [("output", [*B_T, 4]), ("h_n", [1, "B", 4])]),
    "cell": (lambda: rnn.LSTMCell(4).build(3), X, [("output", [*B_T, 4]), ("h_n", ["B", 4]), ("c_n", ["B", 4])]),
    "head": (lambda: [nn.GRU(3, 4), nn.Linear(4, 5), tg.tanh], X, [("output", [*T_B, 5]), ("h_n", [1, "B", 4])]),
    "table": (lambda: [nn.Embedding(9, 3), nn.LayerNorm(3)], IDS[0], [("output", ["B", 3])]),
    "linear": (lambda: nn.Linear(3, 4), X[0], [("output", ["B", 4])]),
    "keras": (lambda: tg.layers.GRU(4), X, [("output", ["B", 4])]),
    "keras states": (lambda: tg.layers.LSTM(4, return_state=True, return_sequences=True), X,
                     [("output", [*B_T, 4]), ("h_n", ["B", 4]), ("c_n", ["B", 4])]),
    "concat": (lambda: tg.layers.Bidirectional(tg.layers.GRU(4)), X, [("output", ["B", 8])]),
    "sum": (lambda: tg.layers.Bidirectional(tg.layers.GRU(4, return_sequences=True), merge_mode="sum"), X,
            [("output", [*B_T, 4])]),
    "two kinds": (lambda: tg.layers.Bidirectional(
        tg.layers.GRU(4, return_sequences=True),
        backward_layer=tg.layers.LSTM(5, return_sequences=True, go_backwards=True),
    ), X, [("output", [*B_T, 9])]),
    "dense": (lambda: tg.models.Sequential([tg.layers.GRU(4, return_sequences=True), tg.layers.Dense(2)]), X,
              [("output", [*B_T, 2])]),
    "sentences": (lambda: tg.models.Sequential([tg.layers.Embedding(9, 3), tg.layers.GRU(4), tg.layers.Dense(2)]), IDS,
                  [("output", ["B", 2])]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_declares_the_shapes_of_its_outputs(name: str, tmp_path: Path) -> None:
    make, x, wanted = FILES[name]
    model = make()
    if not isinstance(model, (list, rnn.RNNCell)):
        model(x)
    path = exported(model, tmp_path, lengths=False, initial_state=False)
    assert declared(path) == wanted
    free = dict(zip(wanted[0][1][:2], x.shape, strict=False)) if "T" in wanted[0][1] else {"B": len(x)}
    outputs = convert.load(path)(x)
    for (_, shape), y in zip(wanted, outputs if isinstance(outputs, tuple) else (outputs,), strict=True):
        assert y.shape == tuple(free.get(n, n) for n in shape)


@pytest.mark.parametrize("left_out", ["output", "opset_import"])
def test_a_model_without_outputs_or_opset_is_refused(left_out: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = written(tmp_path, [("Relu", ["x"], ["y"], {})], {"x": F4}, ["y"])
    proto = onnx.load(path)
    del getattr(proto.graph if left_out == "output" else proto, left_out)[:]
    Path(path).write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match="it holds no graph with outputs, or no opset"):
        convert.load(path)
