"""ONNX operators whose attributes are left out, or are those of an older opset: the numbers of the onnx package's own
evaluator, and where it is installed those of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .test_onnx import array, evaluated, matches_runtime, written

F4, I8 = np.float32, np.int64
Graph = tuple[list[Any], dict[str, Any]]


def shaped(nodes: list[Any], opset: int = 17, **arrays: Any) -> tuple[list[Any], dict[str, Any], int]:
    return nodes, arrays, opset


ONE = np.array(1, I8)
GRAPHS = {
    "Split rows": shaped([("Split", ["x"], ["a", "y"], {})]),
    "Split by sizes": shaped([("Split", ["x", "s"], ["a", "y"], {})], s=np.array([1, 3], I8)),
    "Split of opset 11": shaped([("Split", ["x"], ["a", "y"], {"split": [3, 1]})], 11),
    "Shape": shaped([("Shape", ["x"], ["s"], {}), ("Expand", ["w", "s"], ["y"], {})], w=array(6)),
    "Shape from": shaped([("Shape", ["x"], ["s"], {"start": 1}), ("Expand", ["w", "s"], ["y"], {})], w=array(2, 1)),
    "Shape to": shaped([("Shape", ["x"], ["s"], {"end": 1}), ("Expand", ["w", "s"], ["y"], {})], w=array(2, 1)),
    "Shape between": shaped([("Shape", ["x"], ["s"], {"start": -2, "end": -1}), ("Expand", ["w", "s"], ["y"], {})],
                            w=array(2, 1)),
    "Expand to fewer axes": shaped([("Expand", ["x", "s"], ["y"], {})], s=np.array([6], I8)),
    "Slice of opset 9": shaped([("Slice", ["x"], ["y"], {"starts": [1, 2], "ends": [3, 9], "axes": [0, 1]})], 9),
    "Slice of opset 9 from the first axis": shaped([("Slice", ["x"], ["y"], {"starts": [1], "ends": [-1]})], 9),
    "Slice back": shaped([("Slice", ["x", "s", "e", "a", "p"], ["y"], {})], s=np.array([-1], I8),
                         e=np.array([-6], I8), a=np.array([1], I8), p=np.array([-1], I8)),
    "Slice back to the end": shaped([("Slice", ["x", "s", "e", "a", "p"], ["y"], {})], s=np.array([9], I8),
                                    e=np.array([-7], I8), a=np.array([-1], I8), p=np.array([-2], I8)),
    "Squeeze of opset 11": shaped([("Unsqueeze", ["x"], ["u"], {"axes": [0, 3]}),
                                   ("Squeeze", ["u"], ["y"], {"axes": [3]})], 11),
    "Reshape to nothing": shaped([("Reshape", ["e", "s"], ["n"], {"allowzero": 1}), ("Size", ["n"], ["c"], {}),
                                  ("Cast", ["c"], ["f"], {"to": 1}), ("Add", ["x", "f"], ["y"], {})],
                                 s=np.array([3, 0], I8), e=np.zeros((0, 3), F4)),
    "Size": shaped([("Size", ["x"], ["n"], {}), ("Cast", ["n"], ["f"], {"to": 1}), ("Add", ["x", "f"], ["y"], {})]),
    "Range": shaped([("Range", ["a", "b", "c"], ["r"], {}), ("Gather", ["x", "r"], ["y"], {"axis": 1})],
                    a=np.array(1, I8), b=np.array(6, I8), c=np.array(2, I8)),
    "Equal": shaped([("Equal", ["i", "j"], ["t"], {}), ("Where", ["t", "x", "w"], ["y"], {})],
                    i=np.arange(6), j=np.array([0, 2, 2, 4, 4, 5]), w=array(6)),
    "Less": shaped([("Less", ["x", "w"], ["t"], {}), ("Where", ["t", "x", "w"], ["y"], {})], w=array(6, seed=1)),
    "Greater": shaped([("Greater", ["x", "w"], ["t"], {}), ("Where", ["t", "x", "w"], ["y"], {})], w=array(6, seed=1)),
    "Functions": shaped([("Neg", ["x"], ["n"], {}), ("Exp", ["n"], ["e"], {}), ("Sqrt", ["e"], ["s"], {}),
                         ("Sigmoid", ["s"], ["g"], {}), ("Identity", ["g"], ["i"], {}), ("Dropout", ["i"], ["d"], {}),
                         ("Relu", ["d"], ["r"], {}), ("Tanh", ["r"], ["y"], {})]),
    "ConstantOfShape": shaped([("ConstantOfShape", ["s"], ["c"], {}), ("Sub", ["c", "x"], ["y"], {})],
                              s=np.array([4, 6], I8)),
    "Constant int": shaped([("Constant", [], ["c"], {"value_int": 3}), ("Gather", ["x", "c"], ["y"], {})]),
    "Gather a row": shaped([("Gather", ["x", "i"], ["y"], {})], i=ONE),
    "Gather of integers": shaped([("Gather", ["t", "i"], ["c"], {}), ("Gather", ["x", "c"], ["y"], {"axis": 1})],
                                 t=np.array([[5, 4], [1, 0]]), i=ONE),
    "Softmax": shaped([("Softmax", ["x"], ["y"], {})]),
    "Softmax of cubes of opset 13": shaped([("Unsqueeze", ["x", "a"], ["u"], {}), ("Softmax", ["u"], ["y"], {})],
                                           13, a=np.array([0], I8)),
    "LayerNormalization of one cube": shaped([("Unsqueeze", ["x", "a"], ["u"], {}),
                                              ("LayerNormalization", ["u", "w"], ["y"], {})], a=np.array([0], I8), w=array(6)),
    "LogSoftmax of rows": shaped([("LogSoftmax", ["x"], ["y"], {"axis": 0})]),
    "LayerNormalization": shaped([("LayerNormalization", ["x", "w"], ["y"], {})], w=array(6)),
    "LayerNormalization of cubes": shaped([("Unsqueeze", ["x", "a"], ["u"], {}),
                                           ("LayerNormalization", ["u", "w"], ["y"], {})], a=np.array([1], I8), w=array(6)),
    "LogSoftmax of cubes": shaped([("Unsqueeze", ["x", "a"], ["u"], {}), ("LogSoftmax", ["u"], ["y"], {})],
                                  a=np.array([1], I8)),
    "Concat of cubes": shaped([("Unsqueeze", ["x", "a"], ["u"], {}), ("Concat", ["u", "u"], ["y"], {"axis": -1})],
                              a=np.array([1], I8)),
    "Transpose": shaped([("Unsqueeze", ["x", "a"], ["u"], {}), ("Transpose", ["u"], ["y"], {})], a=np.array([1], I8)),
    "Transpose by an order": shaped([("Unsqueeze", ["x", "a"], ["u"], {}),
                                     ("Transpose", ["u"], ["y"], {"perm": [2, 0, 1]})], a=np.array([1], I8)),
    "Flatten of everything": shaped([("Flatten", ["x"], ["y"], {"axis": 2})]),
    "Gemm with a row": shaped([("Gemm", ["x", "w", "b"], ["y"], {})], w=array(6, 5), b=array(1, 5)),
    "Gemm of both turned": shaped([("Gemm", ["x", "w"], ["y"], {"transA": 1, "transB": 1, "alpha": 3.0})],
                                  w=array(5, 4)),
    "Gemm scaled": shaped([("Gemm", ["x", "w", "b"], ["y"], {"beta": 3.0})], w=array(6, 5), b=array(5)),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_operators(name: str, tmp_path: Path) -> None:
    nodes, arrays, opset = GRAPHS[name]
    path = written(tmp_path, nodes, {"x": F4}, ["y"], arrays, opset)
    matches_runtime(path, {"x": array(4, 6, seed=2)}, by=evaluated)
