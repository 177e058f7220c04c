"""Writing ONNX files: recurrent layers and cells, and the layers before and after them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import nn, ops, rnn
from ...autodiff.op import Op
from ...autodiff.state import training
from ...module import Module
from ...saving import Path, check_place, write_atomically
from ..gates import Arrays, split_biases
from ..torch import NAMES
from ..torch import to_cell as from_torch
from .library import onnx
from .weights import from_cell

Shape = tuple[Any, ...]  # sizes; a letter is an axis of any size

OPSET, IR = 17, 8
CELL_TYPES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def export(model: Any, path: Path, *, lengths: bool = False, initial_state: bool = False) -> None:
    """Write a model as an ONNX file that takes any batch size and any number of steps. No partial file is left on errors.

    model, in evaluation mode, is one of: nn.RNN, nn.LSTM or nn.GRU; a cell (BasicRNNCell, LSTMCell or GRUCell with
    activations among tanh, relu and sigmoid, or a MultiRNNCell of them), run batch-major as rnn.dynamic_rnn does; a Keras
    layer (RNN and its subclasses, Bidirectional, Embedding, Dense, TimeDistributed, Dropout, Masking); or a Sequential or
    list of modules, each applied to the output of the one before: those, nn.Linear, Embedding, LayerNorm, Tanh, ReLU,
    Sigmoid, Softmax, functions such as tg.tanh, and Dropout (the identity here). A module with a forward method of your
    own is written as the list of its submodules.

    Inputs of the graph: "input", in the model's layout (integers if an Embedding is first); with lengths=True also
    "lengths" (B) int32; with initial_state=True also "h_0" and for an LSTM "c_0". Outputs: "output", "h_n", "c_n", in the
    shapes of the model (a cell's are (B, H)); a Keras layer has final states if return_state is set. If several layers of
    a list, or cells of a stack, have a state, the names begin with their index, as in "1.h_0"; those of a Bidirectional
    layer begin with "fw." and "bw.". For Keras layers `lengths` replace masks, so padding is at the end of each row. ONNX
    Runtime computes in float32.

    Raises ImportError without the onnx package, TypeError that names a module that cannot be written and the reason, and
    FileNotFoundError if the folder is missing.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> tg.interop.onnx.export([tg.nn.GRU(3, 4), tg.nn.Linear(4, 2)], path)
    >>> tg.interop.onnx.load(path).inputs
    ('input',)
    >>> tg.interop.onnx.export(tg.nn.GRU(3, 4), path, lengths=True, initial_state=True)
    >>> tg.interop.onnx.load(path).inputs
    ('input', 'lengths', 'h_0')
    """
    library = onnx("interop.onnx.export")
    place = check_place(path)
    steps = list(model) if isinstance(model, (list, tuple, nn.Sequential)) else [model]
    if not steps:
        raise ValueError("interop.onnx.export: model is an empty list, expected at least one module")
    recurrent = [step for step in steps if runs_over_time(step)]
    layouts = {getattr(step, "batch_first", True) for step in recurrent}
    if len(layouts) > 1:
        raise ValueError(
            "interop.onnx.export: some layers of the list are batch-major and others time-major; make them with "
            "batch_first=True, which is how cells are run"
        )
    leading = ("T", "B") if layouts == {False} else ("B", "T")
    graph = Graph(library, lengths, initial_state, leading if recurrent else ("B",))
    with training(False):
        x = write(graph, steps, "")
    graph.add("Identity", [x], ["output"])
    graph.outputs.insert(0, ("output", graph.dtype, graph.shape))
    write_atomically(place, graph.serialized())


def runs_over_time(step: Any) -> bool:
    """Whether a module is a cell, or has one inside, or a recurrent layer of `nn`."""
    classes = (rnn.RNNCell, nn.RNN, nn.LSTM, nn.GRU)
    return isinstance(step, Module) and any(isinstance(module, classes) for module in step.modules())


def write(g: Graph, steps: Sequence[Any], x: str) -> str:
    """Write modules one after another; returns the name of the last output."""
    outer, several = g.prefix, sum(map(runs_over_time, steps)) > 1
    for i, step in enumerate(steps):
        writer = next((WRITERS[cls] for cls in type(step).__mro__ if cls in WRITERS), None)
        if isinstance(step, Op) and step in FUNCTIONS:
            writer = _pointwise(FUNCTIONS[step])
        if writer is None:
            raise TypeError(f"interop.onnx.export: {_unwritable(step)}")
        if isinstance(step, Module) and not step.built:
            raise ValueError(
                f"interop.onnx.export: {step.scope_name} has no parameters yet; call it once, or .build(size)"
            )
        g.prefix = f"{outer}{i}." if several else outer
        x = writer(g, step, x)
    g.prefix = outer
    return x


def _unwritable(step: Any) -> str:
    """The error message for a module that has no writer."""
    children = [name for name, _ in step.named_children()] if isinstance(step, Module) else []
    if children:
        listed = ", ".join(f"model.{name}" for name in children)
        return (
            f"{type(step).__name__} has a forward of its own, Python code that cannot be written as ONNX; give its parts in "
            f"the order they are called, export([{listed}], path)"
        )
    known = ", ".join(sorted({cls.__name__ for cls in WRITERS}))
    what = f"the class {step.__name__}" if isinstance(step, type) else type(step).__name__
    return f"{what} cannot be written as ONNX, expected one of {known}, or a list"


class Graph:
    """An ONNX graph being written: nodes, arrays, inputs and outputs."""

    def __init__(self, library: Any, lengths: bool, initial_state: bool, leading: Shape):
        self.onnx, self.initial_state = library, initial_state
        self.shape = self.leading = leading  # of the current output, and its axes before the features
        self.wants_lengths = lengths
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self.inputs: list[tuple[str, Any, Shape]] = []
        self.outputs: list[tuple[str, Any, Shape]] = []
        self.dtype: Any = None
        self.prefix = ""

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str] | None = None, **attributes: Any) -> str:
        """Add a node; returns the name of its first output."""
        names = list(outputs) if outputs else [f"{op.lower()}_{len(self.nodes)}"]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def array(self, value: Any, name: str = "") -> str:
        """Add an array to the file; returns its name."""
        name = f"{name or 'constant'}_{len(self.arrays)}"
        self.arrays.append(self.onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        self.inputs.append((name, np.dtype(dtype), shape))
        return name

    def first(self, x: str, dtype: Any, *features: Any) -> str:
        """x, or the graph's input if x is empty."""
        if x:
            return x
        self.shape = (*self.leading, *features)
        return self.input("input", dtype, self.shape)

    def widen(self, size: int) -> None:
        """Set the number of features of the current output."""
        self.shape = (*self.leading, size)

    def output(self, name: str, shape: Shape) -> str:
        self.outputs.append((name, self.dtype, shape))
        return name

    def parameter(self, p: Any, name: str) -> str:
        self.dtype = p.dtype
        return self.array(p.data, name)

    def lengths(self) -> str:
        """The name of the input of lengths, added in second place on first use; "" if lengths=False."""
        if self.wants_lengths and not any(name == "lengths" for name, *_ in self.inputs):
            self.inputs.insert(1, ("lengths", np.int32, ("B",)))
        return "lengths" if self.wants_lengths else ""

    def serialized(self) -> bytes:
        helper = self.onnx.helper

        def value(name: str, dtype: Any, shape: Any) -> Any:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

        inputs = [value(*one) for one in self.inputs]
        outputs = [value(*one) for one in self.outputs]
        graph = helper.make_graph(self.nodes, "tinygrad_rnn", inputs, outputs, self.arrays)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR, producer_name="tinygrad_rnn")
        self.onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data


# -- recurrent layers ------------------------------------------------------------------------------------------------


def _sequence(
    g: Graph,
    cell_type: str,
    cells: list[Arrays],
    x: str,
    states: list[str],
    *,
    functions: Sequence[str] = (),
    batch_major: bool,
    backward: bool = False,
) -> tuple[str, list[str]]:
    """Write one layer over time: one cell (forward or backward), or a forward and a backward one.

    x, batch-major or not; states: the initial h (and c), each (directions, B, H), or none; functions: φ, preceded by the
    gates' σ if there are gates. Returns the outputs, in the layout of x and in order of time, and the final states.
    """
    weights = [from_cell(cell_type, arrays) for arrays in cells]
    units, both = weights[0]["R"].shape[1], len(cells) == 2
    w, r, b = (g.array(np.stack([one[name] for one in weights]), name) for name in ("W", "R", "B"))
    lengths = g.lengths()
    direction = "bidirectional" if both else "reverse" if backward else "forward"
    attributes: dict[str, Any] = {"hidden_size": units, "direction": direction}
    if cell_type == "gru":
        attributes["linear_before_reset"] = int("recurrent_bias" in cells[0])
    if functions:
        one = [*functions, functions[-1]] if cell_type == "lstm" else functions
        attributes["activations"] = [name.capitalize() for name in one] * len(cells)
    time_major = g.add("Transpose", [x], perm=[1, 0, 2]) if batch_major else x
    number = len(g.nodes)
    names = [f"{part}_{number}" for part in ("Y", "Y_h", "Y_c")[: 3 if cell_type == "lstm" else 2]]
    y = g.add(CELL_TYPES[cell_type], [time_major, w, r, b, lengths, *states], names, **attributes)
    # Y is (T, directions, B, H)
    y = g.add("Transpose", [y], perm=[2, 0, 1, 3] if batch_major else [0, 2, 1, 3])
    y = g.add("Reshape", [y, g.array(np.array([0, 0, units * len(cells)]))])
    return y, names[1:]


def _carried(g: Graph, finals: list[str], states: list[str]) -> list[str]:
    """The final states, with the initial ones in rows of length 0: ONNX does not define these, ONNX Runtime returns 0."""
    lengths = g.lengths()
    if not lengths or not states:
        return finals
    some = g.add("Greater", [lengths, g.array(np.array(0, np.int32))])
    some = g.add("Unsqueeze", [some, g.array(np.array([1]))])
    return [g.add("Where", [some, final, state]) for final, state in zip(finals, states, strict=True)]


def _state_names(cell_type: str) -> tuple[str, ...]:
    return ("h", "c") if cell_type == "lstm" else ("h",)


def _layer(g: Graph, layer: Any, x: str) -> str:
    """nn.RNN, LSTM, GRU."""
    if getattr(layer, "proj_size", 0):
        raise TypeError(
            f"interop.onnx.export: {layer.scope_name} cannot be written as ONNX: its LSTM has no projection of h (proj_size)"
        )
    g.dtype = layer.weight_ih_l0.dtype
    x = g.first(x, g.dtype, layer.input_size)
    shape = (layer.num_layers * layer.directions, "B", layer.hidden_size)
    states: list[list[str]] = [[] for _ in range(layer.num_layers)]
    if g.initial_state:
        for state_name in _state_names(layer.cell_type):
            initial = g.input(f"{g.prefix}{state_name}_0", g.dtype, shape)
            by_layer = [f"{initial}_layer_{i}" for i in range(layer.num_layers)]
            sizes = g.array(np.full(layer.num_layers, layer.directions))
            g.add("Split", [initial, sizes], by_layer, axis=0)
            for layer_states, name in zip(states, by_layer, strict=True):
                layer_states.append(name)
    finals: list[list[str]] = []
    for i, state in enumerate(states):
        torch_weights = [{n: getattr(layer, n + e) for n in NAMES if hasattr(layer, n + e)} for e in layer.endings(i)]
        cells = [from_torch(layer.cell_type, arrays) for arrays in torch_weights]
        functions = [layer.nonlinearity] if layer.cell_type == "rnn" else []
        x, final = _sequence(g, layer.cell_type, cells, x, state, functions=functions, batch_major=layer.batch_first)
        finals.append(_carried(g, final, state))
    for state_name, names in zip(_state_names(layer.cell_type), zip(*finals, strict=True), strict=True):
        g.add("Concat", names, [g.output(f"{g.prefix}{state_name}_n", shape)], axis=0)
    g.widen(layer.hidden_size * layer.directions)
    return x


def _functions(cell: Any) -> list[str]:
    """The names of a cell's activations, σ before φ; TypeError for a cell that ONNX has no operator for."""
    if not isinstance(cell, (rnn.BasicRNNCell, rnn.LSTMCell, rnn.GRUCell)):
        reason = f"ONNX has no operator for {type(cell).__name__}"
    else:
        functions = [cell.activate] if isinstance(cell, rnn.BasicRNNCell) else list(cell.functions[::-1])
        names = [str(getattr(f, "__name__", f)) for f in functions]
        unsupported = [name for name in names if name not in ("tanh", "relu", "sigmoid")]
        overridden = cell.redefined()
        reason = f"{type(cell).__name__} defines its own {overridden}" if overridden else ""
        if isinstance(cell, rnn.LSTMCell) and not cell.plain:
            reason = "peepholes, cell_clip and num_proj are not written"
        if unsupported:
            reason = f"its function {unsupported[0]} is none of tanh, relu, sigmoid"
        if not reason:
            return names
    raise TypeError(f"interop.onnx.export: {cell.scope_name} cannot be written as ONNX: {reason}")


class OverTime(NamedTuple):
    """Names of a cell's results over a sequence: outputs (B, T, H) in order of time, the last output, the final states."""

    outputs: str
    last: str  # 0 for a row of length 0
    finals: dict[str, str]


def over_time(g: Graph, cell: Any, x: str, backward: bool = False) -> OverTime:
    """Write a cell over time, batch-major."""
    while isinstance(cell, rnn.DropoutWrapper):
        cell = cell.cell
    functions = _functions(cell)
    g.dtype = cell.dtype
    x = g.first(x, g.dtype, cell.input_size)
    first = g.array(np.array([0]))
    states = []
    if g.initial_state:
        for state_name in _state_names(cell.cell_type):
            initial = g.input(f"{g.prefix}{state_name}_0", g.dtype, ("B", cell.num_units))
            states.append(g.add("Unsqueeze", [initial, first]))
    zeros = np.zeros(cell.recurrent_kernel.shape[1], cell.dtype)  # for a cell without biases
    names = ("bias", "recurrent_bias") if cell.cell_type == "gru" and cell.reset_after else ("bias",)
    arrays = {**dict.fromkeys(names, zeros), **split_biases(cell.state_dict())}
    y, raw = _sequence(g, cell.cell_type, [arrays], x, states, functions=functions, batch_major=True, backward=backward)
    finals = [g.add("Squeeze", [final, first]) for final in _carried(g, raw, states)]
    g.widen(cell.num_units)
    last = raw[:1] if not states else _carried(g, raw[:1], [g.array(np.zeros(1, cell.dtype))])
    return OverTime(y, g.add("Squeeze", [last[0], first]), dict(zip(_state_names(cell.cell_type), finals, strict=True)))


def final_outputs(g: Graph, finals: dict[str, str], units: int) -> None:
    """Declare the final states as outputs of the graph."""
    for state_name, final in finals.items():
        g.add("Identity", [final], [g.output(f"{g.prefix}{state_name}_n", ("B", units))])


def _cell(g: Graph, cell: Any, x: str) -> str:
    sequence = over_time(g, cell, x)
    final_outputs(g, sequence.finals, cell.output_size)
    return sequence.outputs


def _stack(g: Graph, stack: Any, x: str) -> str:
    outer = g.prefix
    for i, cell in enumerate(stack.cells):
        g.prefix = f"{outer}{i}."
        x = _cell(g, cell, x)
    g.prefix = outer
    return x


# -- other layers ------------------------------------------------------------------------------------------------------


def _embedding(g: Graph, layer: Any, x: str) -> str:
    y = g.add("Gather", [g.parameter(layer.weight, "weight"), g.first(x, np.int64)], axis=0)
    g.widen(layer.embedding_dim)
    return y


def _linear(g: Graph, layer: Any, x: str) -> str:
    weight = g.parameter(layer.weight.T, "weight")
    y = g.add("MatMul", [g.first(x, g.dtype, layer.in_features), weight])
    g.widen(layer.out_features)
    return y if layer.bias is None else g.add("Add", [y, g.parameter(layer.bias, "bias")])


def _layer_norm(g: Graph, layer: Any, x: str) -> str:
    parameters = [g.parameter(layer.weight, "weight"), g.parameter(layer.bias, "bias")]
    axes = len(layer.normalized_shape)
    return g.add(
        "LayerNormalization", [g.first(x, g.dtype, *layer.normalized_shape), *parameters], axis=-axes, epsilon=layer.eps
    )


def _softmax(g: Graph, layer: Any, x: str) -> str:
    g.dtype = g.dtype or np.dtype(np.float32)
    op = "LogSoftmax" if isinstance(layer, nn.LogSoftmax) else "Softmax"
    return g.add(op, [g.first(x, g.dtype, "D")], axis=layer.dim)


def _pointwise(op: str) -> Callable[[Graph, Any, str], str]:
    def write(g: Graph, layer: Any, x: str) -> str:
        g.dtype = g.dtype or np.dtype(np.float32)
        return g.add(op, [g.first(x, g.dtype, "D")])

    return write


FUNCTIONS: dict[Any, str] = {
    ops.tanh: "Tanh",
    ops.relu: "Relu",
    ops.sigmoid: "Sigmoid",
    ops.softmax: "Softmax",
    ops.log_softmax: "LogSoftmax",
    ops.exp: "Exp",
}

# By class; keras_layers.py adds the Keras layers.
WRITERS: dict[type, Callable[[Graph, Any, str], str]] = {
    nn.RNN: _layer,
    nn.LSTM: _layer,
    nn.GRU: _layer,
    rnn.RNNCell: _cell,
    rnn.MultiRNNCell: _stack,
    nn.Embedding: _embedding,
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.Softmax: _softmax,
    nn.Dropout: _pointwise("Identity"),
    nn.Tanh: _pointwise("Tanh"),
    nn.ReLU: _pointwise("Relu"),
    nn.Sigmoid: _pointwise("Sigmoid"),
}
