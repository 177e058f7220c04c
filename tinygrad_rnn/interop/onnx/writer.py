"""Writing ONNX files: recurrent layers, cells, and what stands before and behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import nn, ops, rnn
from ...autodiff.op import Op
from ...autodiff.state import training
from ...module import Module
from ...saving import Path, _write, check_place
from ..gates import Arrays, separate
from ..torch import NAMES
from ..torch import to_cell as from_torch
from .library import onnx
from .weights import from_cell

Shape = tuple[Any, ...]  # numbers, and letters for what is free

OPSET, IR = 17, 8
KINDS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def export(model: Any, path: Path, *, lengths: bool = False, initial_state: bool = False) -> None:
    """Write a model as an ONNX file whose batch and time are free, whole or not at all.

    model: nn.RNN, nn.LSTM or nn.GRU; a cell (BasicRNNCell, LSTMCell, GRUCell, with tanh, relu and sigmoid in any place, a
    MultiRNNCell of them, as rnn.dynamic_rnn runs it, batch-major); a Keras layer (RNN and its kinds, Bidirectional,
    Embedding, Dense, TimeDistributed, Dropout, Masking); or a Sequential of either face or a list of modules, each fed with
    the one before (a recurrent one of `nn` hands on its outputs): those, nn.Linear, Embedding, LayerNorm, Tanh, ReLU,
    Sigmoid, Softmax, functions such as tg.tanh, and Dropout, which does nothing there. It is written as it stands outside
    training. A module whose forward is Python code of yours is written as the list of its parts.

    Inputs of the graph: "input" alone, laid out as the model takes it (integers if an Embedding is first); with lengths=True
    "lengths" (B) int32 beside it, with initial_state=True "h_0" and for an LSTM "c_0". Outputs: "output", "h_n", "c_n",
    shaped as the model's (a cell's are (B, H)); a Keras layer gives final states if it has return_state. Where several layers
    of a list, or cells of a stack, have a state, its names begin with their number, "1.h_0", and those of a Bidirectional
    layer with "fw." and "bw.". For Keras layers `lengths` stand in the place of masks, whose padding is then at the end of a
    row. ONNX Runtime computes float32.

    Raises ImportError without the onnx package, TypeError that names a module which cannot be written and why,
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
    _write(place, graph.serialized())


def runs_over_time(step: Any) -> bool:
    """Whether a module is a cell, or has one inside, or a recurrent layer of `nn`."""
    kinds = (rnn.RNNCell, nn.RNN, nn.LSTM, nn.GRU)
    return isinstance(step, Module) and any(isinstance(module, kinds) for module in step.modules())


def write(g: Graph, steps: Sequence[Any], x: str) -> str:
    """Modules one after another."""
    outer, several = g.prefix, sum(map(runs_over_time, steps)) > 1
    for i, step in enumerate(steps):
        found = next((WRITERS[kind] for kind in type(step).__mro__ if kind in WRITERS), None)
        if isinstance(step, Op) and step in FUNCTIONS:
            found = _pointwise(FUNCTIONS[step])
        if found is None:
            raise TypeError(f"interop.onnx.export: {_unwritable(step)}")
        if isinstance(step, Module) and not step.built:
            raise ValueError(
                f"interop.onnx.export: {step.scope_name} has no parameters yet; call it once, or .build(size)"
            )
        g.prefix = f"{outer}{i}." if several else outer
        x = found(g, step, x)
    g.prefix = outer
    return x


def _unwritable(step: Any) -> str:
    """Why a step has no writer, and the way out."""
    parts = [name for name, _ in step.named_children()] if isinstance(step, Module) else []
    if parts:
        listed = ", ".join(f"model.{name}" for name in parts)
        return (
            f"{type(step).__name__} has a forward of its own, Python code that cannot be written as ONNX; give its parts in "
            f"the order they are called, export([{listed}], path)"
        )
    known = ", ".join(sorted({kind.__name__ for kind in WRITERS}))
    what = f"the class {step.__name__}" if isinstance(step, type) else type(step).__name__
    return f"{what} cannot be written as ONNX, expected one of {known}, or a list"


class Graph:
    """An ONNX graph being written: nodes, arrays, inputs and outputs."""

    def __init__(self, library: Any, lengths: bool, initial_state: bool, leading: Shape):
        self.onnx, self.initial_state = library, initial_state
        self.shape = self.leading = leading  # of what is handed on so far, and its axes before the features
        self.wants_lengths = lengths
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self.inputs: list[tuple[str, Any, Shape]] = []
        self.outputs: list[tuple[str, Any, Shape]] = []
        self.dtype: Any = None
        self.prefix = ""

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str] | None = None, **attributes: Any) -> str:
        """A node; returns the name of its first output."""
        made = list(outputs) if outputs else [f"{op.lower()}_{len(self.nodes)}"]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), made, **attributes))
        return made[0]

    def array(self, value: Any, name: str = "") -> str:
        """An array that the file holds; returns its name."""
        name = f"{name or 'constant'}_{len(self.arrays)}"
        self.arrays.append(self.onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        self.inputs.append((name, np.dtype(dtype), shape))
        return name

    def first(self, x: str, dtype: Any, *features: Any) -> str:
        """The graph's input if nothing came before, else what came."""
        if x:
            return x
        self.shape = (*self.leading, *features)
        return self.input("input", dtype, self.shape)

    def widen(self, size: int) -> None:
        """What is handed on now has this many features."""
        self.shape = (*self.leading, size)

    def output(self, name: str, shape: Shape) -> str:
        self.outputs.append((name, self.dtype, shape))
        return name

    def parameter(self, p: Any, name: str) -> str:
        self.dtype = p.dtype
        return self.array(p.data, name)

    def lengths(self) -> str:
        """The input of lengths, which stands second and is made when first asked for; "" if there is to be none."""
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
    kind: str,
    cells: list[Arrays],
    x: str,
    states: list[str],
    *,
    functions: Sequence[str] = (),
    batch_major: bool,
    backward: bool = False,
) -> tuple[str, list[str]]:
    """One layer over time, x in the layout given, one cell (backward or not) or a forward and a backward one.

    states: the initial h (and c) as (directions, B, H), or nothing; functions: φ, and before it σ where there is one.
    Returns outputs in the layout of x and in order of time, and the final states.
    """
    weights = [from_cell(kind, arrays) for arrays in cells]
    units, both = weights[0]["R"].shape[1], len(cells) == 2
    w, r, b = (g.array(np.stack([one[name] for one in weights]), name) for name in ("W", "R", "B"))
    lengths = g.lengths()
    direction = "bidirectional" if both else "reverse" if backward else "forward"
    attributes: dict[str, Any] = {"hidden_size": units, "direction": direction}
    if kind == "gru":
        attributes["linear_before_reset"] = int("recurrent_bias" in cells[0])
    if functions:
        one = [*functions, functions[-1]] if kind == "lstm" else functions
        attributes["activations"] = [name.capitalize() for name in one] * len(cells)
    time_major = g.add("Transpose", [x], perm=[1, 0, 2]) if batch_major else x
    number = len(g.nodes)
    names = [f"{part}_{number}" for part in ("Y", "Y_h", "Y_c")[: 3 if kind == "lstm" else 2]]
    y = g.add(KINDS[kind], [time_major, w, r, b, lengths, *states], names, **attributes)
    # Y is (T, directions, B, H)
    y = g.add("Transpose", [y], perm=[2, 0, 1, 3] if batch_major else [0, 2, 1, 3])
    y = g.add("Reshape", [y, g.array(np.array([0, 0, units * len(cells)]))])
    return y, names[1:]


def _carried(g: Graph, finals: list[str], states: list[str]) -> list[str]:
    """The final states with `states` in rows of length 0, where ONNX says nothing and ONNX Runtime gives 0."""
    lengths = g.lengths()
    if not lengths or not states:
        return finals
    some = g.add("Greater", [lengths, g.array(np.array(0, np.int32))])
    some = g.add("Unsqueeze", [some, g.array(np.array([1]))])
    return [g.add("Where", [some, final, state]) for final, state in zip(finals, states, strict=True)]


def _parts(kind: str) -> tuple[str, ...]:
    return ("h", "c") if kind == "lstm" else ("h",)


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
        for part in _parts(layer.kind):
            whole = g.input(f"{g.prefix}{part}_0", g.dtype, shape)
            cut = [f"{whole}_layer_{i}" for i in range(layer.num_layers)]
            sizes = g.array(np.full(layer.num_layers, layer.directions))
            g.add("Split", [whole, sizes], cut, axis=0)
            for one, name in zip(states, cut, strict=True):
                one.append(name)
    finals: list[list[str]] = []
    for i, state in enumerate(states):
        given = [{n: getattr(layer, n + e) for n in NAMES if hasattr(layer, n + e)} for e in layer.endings(i)]
        cells = [from_torch(layer.kind, arrays) for arrays in given]
        functions = [layer.nonlinearity] if layer.kind == "rnn" else []
        x, final = _sequence(g, layer.kind, cells, x, state, functions=functions, batch_major=layer.batch_first)
        finals.append(_carried(g, final, state))
    for part, names in zip(_parts(layer.kind), zip(*finals, strict=True), strict=True):
        g.add("Concat", names, [g.output(f"{g.prefix}{part}_n", shape)], axis=0)
    g.widen(layer.hidden_size * layer.directions)
    return x


def _functions(cell: Any) -> list[str]:
    """The names of a cell's functions, σ before φ; TypeError for a cell that is no operator of ONNX."""
    if not isinstance(cell, (rnn.BasicRNNCell, rnn.LSTMCell, rnn.GRUCell)):
        why = f"ONNX has no operator for {type(cell).__name__}"
    else:
        given = [cell.activate] if isinstance(cell, rnn.BasicRNNCell) else list(cell.functions[::-1])
        names = [str(getattr(f, "__name__", f)) for f in given]
        foreign = [name for name in names if name not in ("tanh", "relu", "sigmoid")]
        own = cell.redefined()
        why = f"{type(cell).__name__} defines its own {own}" if own else ""
        if isinstance(cell, rnn.LSTMCell) and not cell.plain:
            why = "peepholes, cell_clip and num_proj are not written"
        if foreign:
            why = f"its function {foreign[0]} is none of tanh, relu, sigmoid"
        if not why:
            return names
    raise TypeError(f"interop.onnx.export: {cell.scope_name} cannot be written as ONNX: {why}")


class OverTime(NamedTuple):
    """What a cell gave over a sequence: outputs (B, T, H) in order of time, the last one, the final states, all by name."""

    outputs: str
    last: str  # 0 for a row of length 0
    finals: dict[str, str]


def over_time(g: Graph, cell: Any, x: str, backward: bool = False) -> OverTime:
    """A cell as a driver runs it, batch-major."""
    while isinstance(cell, rnn.DropoutWrapper):
        cell = cell.cell
    functions = _functions(cell)
    g.dtype = cell.dtype
    x = g.first(x, g.dtype, cell.input_size)
    first = g.array(np.array([0]))
    states = []
    if g.initial_state:
        for part in _parts(cell.kind):
            given = g.input(f"{g.prefix}{part}_0", g.dtype, ("B", cell.num_units))
            states.append(g.add("Unsqueeze", [given, first]))
    zeros = np.zeros(cell.recurrent_kernel.shape[1], cell.dtype)  # for a cell without biases
    names = ("bias", "recurrent_bias") if cell.kind == "gru" and cell.reset_after else ("bias",)
    arrays = {**dict.fromkeys(names, zeros), **separate(cell.state_dict())}
    y, raw = _sequence(g, cell.kind, [arrays], x, states, functions=functions, batch_major=True, backward=backward)
    finals = [g.add("Squeeze", [final, first]) for final in _carried(g, raw, states)]
    g.widen(cell.num_units)
    last = raw[:1] if not states else _carried(g, raw[:1], [g.array(np.zeros(1, cell.dtype))])
    return OverTime(y, g.add("Squeeze", [last[0], first]), dict(zip(_parts(cell.kind), finals, strict=True)))


def final_outputs(g: Graph, finals: dict[str, str], units: int) -> None:
    """The final states as outputs of the graph."""
    for part, final in finals.items():
        g.add("Identity", [final], [g.output(f"{g.prefix}{part}_n", ("B", units))])


def _cell(g: Graph, cell: Any, x: str) -> str:
    found = over_time(g, cell, x)
    final_outputs(g, found.finals, cell.output_size)
    return found.outputs


def _stack(g: Graph, stack: Any, x: str) -> str:
    outer = g.prefix
    for i, cell in enumerate(stack.cells):
        g.prefix = f"{outer}{i}."
        x = _cell(g, cell, x)
    g.prefix = outer
    return x


# -- what stands before and behind ------------------------------------------------------------------------------------


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
    given = [g.parameter(layer.weight, "weight"), g.parameter(layer.bias, "bias")]
    axes = len(layer.normalized_shape)
    return g.add(
        "LayerNormalization", [g.first(x, g.dtype, *layer.normalized_shape), *given], axis=-axes, epsilon=layer.eps
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

# By class; keras_layers.py, which stands on this module, adds its own.
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
