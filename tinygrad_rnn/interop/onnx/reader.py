"""Reading ONNX files: a graph becomes a module that calls this package's ops, cells and driver."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ...autodiff.tensor import Tensor
from ...module import Module, Parameter
from ...saving import Path, read_bytes
from .library import onnx
from .operators import CASTS, OPERATORS, refused


class Instruction(NamedTuple):
    """One node of an ONNX graph as plain data."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.op} ({self.name or ', '.join(self.outputs)})"


class Model(Module):
    """A loaded ONNX graph: model(x, ...) or model(name=x, ...) returns its output, or a tuple of several.

    `inputs` and `outputs` are the names in order. Floating arrays are parameters, named "weights.…", so the model can be
    trained and has a state_dict. Inputs are arrays or tensors; outputs are tensors (arrays if integers).

    >>> import os, tempfile, numpy as np, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> tg.interop.onnx.export([tg.nn.Linear(3, 2), tg.nn.Tanh()], path)
    >>> model = tg.interop.onnx.load(path)
    >>> model.inputs, model.outputs, model(np.ones((4, 3), np.float32)).shape
    (('input',), ('output',), (4, 2))
    """

    def __init__(
        self,
        path: str,
        steps: list[Instruction],
        inputs: dict[str, Any],
        outputs: tuple[str, ...],
        arrays: dict[str, Any],
        opset: int,
    ):
        self.path, self.steps, self.outputs, self.opset = path, steps, outputs, opset
        self.inputs = tuple(inputs)
        self.input_dtypes = inputs
        self.constants = {name: a for name, a in arrays.items() if a.dtype.kind != "f"}
        self.weights = {name: Parameter(a, name=name) for name, a in arrays.items() if a.dtype.kind == "f"}

    def forward(self, *inputs: Any, **named: Any) -> Any:
        values: dict[str, Any] = {"": None, **self.constants, **self.weights, **self._named(inputs, named)}
        for step in self.steps:
            try:
                results = OPERATORS[step.op](
                    *(values[name] for name in step.inputs),
                    **step.attributes,
                    _opset=self.opset,
                    _count=len(step.outputs),
                )
            except (ArithmeticError, IndexError, TypeError, ValueError) as error:
                raise type(error)(f"{self.path}: {step}: {error}") from error
            results = results if isinstance(results, tuple) else (results,)
            values |= zip(step.outputs, results, strict=False)
        outputs = tuple(values[name] for name in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _named(self, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """The inputs by name: floats as tensors, the rest as arrays, in the dtype that the graph declares."""
        values = dict(zip(self.inputs, positional, strict=False)) | named
        mismatched = [name for name in self.inputs if name not in values] + [n for n in values if n not in self.inputs]
        if mismatched or len(positional) > len(self.inputs) or len(values) != len(positional) + len(named):
            received = [*self.inputs[: len(positional)], *named]
            raise TypeError(
                f"{self.path}: the inputs are {self.inputs}, {len(positional) + len(named)} came: {received}"
            )
        converted: dict[str, Any] = {}
        for name, value in values.items():
            dtype = self.input_dtypes[name]
            array = value.data if isinstance(value, Tensor) else np.asarray(value)
            if not hasattr(value, "dtype") or (array.dtype.kind in "iu" and dtype.kind in "iu"):
                array = array.astype(dtype)
            if array.dtype != dtype:
                raise TypeError(f"{self.path}: {name} has dtype {array.dtype}, expected {dtype}")
            converted[name] = array if dtype.kind != "f" else value if isinstance(value, Tensor) else Tensor(array)
        return converted

    @property
    def scope_name(self) -> str:
        return "onnx"

    def describe(self) -> str:
        return f"{os.path.basename(self.path)!r}, inputs={self.inputs}, outputs={self.outputs}"


def load(path: Path) -> Model:
    """Read an ONNX file as a callable Model.

    Supported are RNN, GRU, LSTM (direction, layout, sequence_lens, initial states, linear_before_reset, and for RNN the
    activations Tanh, Relu, Sigmoid), MatMul, Gemm, Gather, Softmax, arithmetic, and operators on shapes. External data
    (arrays in separate files) is read only from the model's folder and its subfolders. Raises ImportError without the onnx
    package, FileNotFoundError for a missing file, and ValueError that names the file if it is not an ONNX model, or lists
    every unsupported operator and attribute.

    >>> import os, tempfile, numpy as np, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> tg.interop.onnx.export(tg.nn.LSTM(3, 4), path, lengths=True)
    >>> model = tg.interop.onnx.load(path)
    >>> output, h_n, c_n = model(np.ones((5, 2, 3), np.float32), lengths=[5, 3])
    >>> output.shape, h_n.shape
    ((5, 2, 4), (1, 2, 4))
    """
    owner = "interop.onnx.load"
    library = onnx(owner)
    name = os.fspath(path)
    proto = _parsed(library, owner, name, read_bytes(owner, path))
    graph = proto.graph
    opset = next((int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
    arrays = {a.name: np.array(library.numpy_helper.to_array(a)) for a in graph.initializer}
    steps = [_step(library, node) for node in graph.node]
    problems = [problem for step in steps for problem in _faults(step)]
    unsupported = [f"{key} has dtype {a.dtype}" for key, a in arrays.items() if a.dtype not in READ]
    types = {i.name: i.type.tensor_type.elem_type for i in graph.input if i.name not in arrays}
    unsupported += [
        f"the input {key} is of type {type_number}" for key, type_number in types.items() if type_number not in CASTS
    ]
    if graph.sparse_initializer:
        unsupported.append("sparse arrays")
    if problems or unsupported:
        raise ValueError(f"{owner}: {name} holds what is not supported here: " + "; ".join([*problems, *unsupported]))
    inputs = {key: np.dtype(CASTS[type_number]) for key, type_number in types.items()}
    return Model(name, steps, inputs, tuple(o.name for o in graph.output), arrays, opset)


READ = tuple(np.dtype(d) for d in CASTS.values())


def _parsed(library: Any, owner: str, name: str, content: bytes) -> Any:
    """The file as a ModelProto of the onnx package; ValueError that names the file if it is not an ONNX model."""
    decode = import_module("google.protobuf.message").DecodeError
    try:
        proto = library.load_model_from_string(content)
        for tensor in _tensors(proto):
            _bring_in(library, tensor, os.path.dirname(os.path.abspath(name)))
        arrays = {a.name: library.numpy_helper.to_array(a) for a in proto.graph.initializer}
        reason = _broken(proto, {*arrays, *(i.name for i in proto.graph.input)})
    except (decode, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if reason:
        raise ValueError(f"{owner}: {name} ({len(content)} bytes) is no ONNX model: {reason}")
    return proto


def _tensors(proto: Any) -> list[Any]:
    """Every array of a parsed file: weights, and attributes of operators."""
    attributes = [a for node in proto.graph.node for a in node.attribute]
    return [*proto.graph.initializer, *(a.t for a in attributes), *(t for a in attributes for t in a.tensors)]


def _bring_in(library: Any, tensor: Any, folder: str) -> None:
    """Replace an array's reference to another file by its bytes. The file must be in the model's folder, links resolved."""
    if tensor.data_location != library.TensorProto.EXTERNAL:
        return
    place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    real, top = os.path.realpath(os.path.join(folder, place)), os.path.realpath(folder)
    if not place or os.path.isabs(place) or os.path.commonpath([real, top]) != top:
        raise ValueError(f"{tensor.name!r} is kept in {place!r}, expected a file in the model's folder or below it")
    if not os.path.isfile(real):
        raise ValueError(f"{tensor.name!r} is kept in {place!r}, and the model's folder holds no such file")
    library.external_data_helper.load_external_data_for_tensor(tensor, folder)
    tensor.data_location = library.TensorProto.DEFAULT
    del tensor.external_data[:]


def _broken(proto: Any, known: set[str]) -> str:
    """Why a parsed file is not a valid model, "" if it is. known: the names of its arrays and inputs."""
    if not proto.graph.output or not proto.opset_import:
        return "it holds no graph with outputs, or no opset"
    known = {"", *known}
    for node in proto.graph.node:
        for name in node.input:
            if name not in known:
                return f"{name!r}, an input of {node.op_type}, comes from nowhere"
        known |= set(node.output)
    lost = [o.name for o in proto.graph.output if o.name not in known]
    return f"the output {lost[0]!r} comes from nowhere" if lost else ""


def _step(library: Any, node: Any) -> Instruction:
    attributes = {}
    for attribute in node.attribute:
        value = library.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, list):
            value = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
        elif type(value).__name__ == "TensorProto":
            value = np.array(library.numpy_helper.to_array(value))
        elif type(value).__name__ == "GraphProto":
            value = None  # operators with subgraphs are not supported
        attributes[attribute.name] = value
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    return Instruction(op, node.name, tuple(node.input), tuple(node.output), attributes)


def _faults(step: Instruction) -> list[str]:
    """The reasons why a node is not supported."""
    if step.op not in OPERATORS:
        return [f"operator {step}"]
    return [f"{step}: {reason}" for reason in refused(step.op, step.inputs, step.attributes)]
