"""ONNX's operators as calls of this package's ops and driver: inputs in order, attributes by name.

Each takes the node's inputs (None for an omitted one) and returns its outputs. Every call also passes `_opset`, the
file's opset, and `_count`, the number of outputs that the node declares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...autodiff.tensor import Tensor
from ...program.calls import checked_lengths
from ...rnn.driver import Time, run_cell
from ...rnn.layer_norm import normalized
from ..gates import CELLS, GATES, with_weights
from .weights import convert_weights

OPERATORS: dict[str, Callable[..., Any]] = {}


def operator(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function for these operators."""

    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS.update(dict.fromkeys(names, f))
        return f

    return register


def plain(f: Callable[..., Any]) -> Callable[..., Any]:
    """An operator without attributes."""
    return lambda *inputs, **_: f(*inputs)


OPERATORS |= {
    "Add": plain(lambda a, b: a + b),
    "Sub": plain(lambda a, b: a - b),
    "Mul": plain(lambda a, b: a * b),
    "Neg": plain(lambda a: -a),
    "MatMul": plain(lambda a, b: a @ b),
    "Tanh": plain(ops.tanh),
    "Sigmoid": plain(ops.sigmoid),
    "Relu": plain(ops.relu),
    "Exp": plain(ops.exp),
    "Sqrt": plain(ops.sqrt),
    "Identity": plain(lambda x: x),
    "Dropout": plain(lambda x, *_: x),  # evaluation mode
    "Shape": lambda x, start=0, end=None, **_: np.array(np.shape(x)[start:end], np.int64),
    "Range": plain(lambda start, limit, delta: np.arange(_data(start), _data(limit), _data(delta))),
    "Size": plain(lambda x: np.array(np.size(x), np.int64)),
    "Equal": plain(lambda a, b: _data(a) == _data(b)),
    "Greater": plain(lambda a, b: _data(a) > _data(b)),
    "Less": plain(lambda a, b: _data(a) < _data(b)),
    "Not": plain(np.logical_not),
    "Where": plain(lambda condition, a, b: ops.where(_data(condition), a, b)),
}


def _data(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def _numbers(x: Any) -> list[int]:
    return [int(n) for n in np.atleast_1d(_data(x))]


def _axes(axes: Any) -> tuple[int, ...] | None:
    return None if axes is None else tuple(_numbers(axes))


# -- arithmetic --------------------------------------------------------------------------------------------------------


@operator("Div")
def _(a: Any, b: Any, **_: Any) -> Any:
    if _data(a).dtype.kind in "iu":
        return np.trunc(_data(a) / _data(b)).astype(_data(a).dtype)
    return a / b


@operator("Gemm")
def _(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0, **_: Any
) -> Any:
    y = (a.T if transA else a) @ (b.T if transB else b)
    y = y if alpha == 1 else y * alpha
    return y if c is None else y + (c if beta == 1 else c * beta)


@operator("Softmax")
def _(x: Any, *, axis: int | None = None, _opset: int, **_: Any) -> Any:
    return _by_class(ops.softmax, x, axis, _opset)


@operator("LogSoftmax")
def _(x: Any, *, axis: int | None = None, _opset: int, **_: Any) -> Any:
    return _by_class(ops.log_softmax, x, axis, _opset)


def _by_class(f: Callable[..., Any], x: Any, axis: int | None, opset: int) -> Any:
    """Apply f over one axis; before opset 13, over all axes from `axis` on, flattened to one."""
    if opset >= 13:
        return f(x, axis=-1 if axis is None else axis)
    at = (1 if axis is None else axis) % max(1, x.ndim)
    flat = x.reshape((int(np.prod(x.shape[:at])), -1))
    return f(flat, axis=-1).reshape(x.shape)


@operator("LayerNormalization")
def _(x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, **_: Any) -> Any:
    axes = tuple(range(axis % x.ndim, x.ndim))
    y = normalized(x, axes, epsilon) * scale
    return y if bias is None else y + bias


@operator("Cast")
def _(x: Any, *, to: int, **_: Any) -> Any:
    wanted = CASTS[to]
    if isinstance(x, Tensor) and np.dtype(wanted).kind == "f":
        return x.astype(wanted)
    return _constant(_data(x).astype(wanted))


CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}  # TensorProto's numbers


# -- shapes ------------------------------------------------------------------------------------------------------------


@operator("Gather")
def _(x: Any, indices: Any, *, axis: int = 0, **_: Any) -> Any:
    return ops.take(x, _data(indices), axis=axis) if isinstance(x, Tensor) else np.take(x, _data(indices), axis)


@operator("Transpose")
def _(x: Any, *, perm: Any = None, **_: Any) -> Any:
    return ops.transpose(x, axes=None if perm is None else tuple(perm))


@operator("Reshape")
def _(x: Any, shape: Any, *, allowzero: int = 0, **_: Any) -> Any:
    wanted = _numbers(shape) if np.size(_data(shape)) else []
    return ops.reshape(x, shape=tuple(x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(wanted)))


@operator("Flatten")
def _(x: Any, *, axis: int = 1, **_: Any) -> Any:
    rows = int(np.prod(x.shape[: axis if axis >= 0 else x.ndim + axis]))
    return ops.reshape(x, shape=(rows, x.size // rows if rows else 0))


@operator("Squeeze")
def _(x: Any, axes_input: Any = None, *, axes: Any = None, **_: Any) -> Any:
    return ops.squeeze(x, axis=_axes(axes if axes_input is None else axes_input))


@operator("Unsqueeze")
def _(x: Any, axes_input: Any = None, *, axes: Any = None, **_: Any) -> Any:
    return ops.expand_dims(x, axis=_axes(axes if axes_input is None else axes_input))


@operator("Concat")
def _(*arrays: Any, axis: int, **_: Any) -> Any:
    return ops.concatenate(list(arrays), axis=axis)


@operator("Split")
def _(
    x: Any,
    sizes_input: Any = None,
    *,
    axis: int = 0,
    split: Any = None,
    num_outputs: int | None = None,
    _count: int,
    **_: Any,
) -> Any:
    sizes = split if sizes_input is None else _numbers(sizes_input)
    if sizes is None:
        count = num_outputs or _count
        size = -(-x.shape[axis] // count)
        sizes = [size] * (count - 1)
    else:
        sizes = sizes[:-1]
    return tuple(ops.split(x, np.cumsum(sizes).tolist(), axis=axis))


@operator("Slice")
def _(x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None, **old: Any) -> Any:
    starts, ends, axes = (old.get(k, v) for k, v in (("starts", starts), ("ends", ends), ("axes", axes)))
    first, last = _numbers(starts), _numbers(ends)
    along = range(len(first)) if axes is None else _numbers(axes)
    by = [1] * len(first) if steps is None else _numbers(steps)
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        size = x.shape[axis]
        cut[axis] = slice(start, None if step < 0 and end < -size else end, step)  # None: down to index 0
    return x[tuple(cut)]


@operator("Expand")
def _(x: Any, shape: Any, **_: Any) -> Any:
    return ops.broadcast_to(x, shape=np.broadcast_shapes(x.shape, tuple(_numbers(shape))))


@operator("Constant")
def _(*, value: Any = None, **attributes: Any) -> Any:
    if value is None:
        name, numbers = next((k, v) for k, v in attributes.items() if k.startswith("value_"))
        value = np.asarray(numbers, np.float32 if "float" in name else np.int64)
    return _constant(value)


def _constant(array: Any) -> Any:
    """A float array as a tensor; other arrays stay arrays."""
    return Tensor(array) if array.dtype.kind == "f" else array


@operator("ConstantOfShape")
def _(shape: Any, *, value: Any = None, **_: Any) -> Any:
    one = np.zeros(1, np.float32) if value is None else value
    return _constant(np.full(tuple(_numbers(shape)) if np.size(_data(shape)) else (), one.ravel()[0], one.dtype))


# -- recurrent layers --------------------------------------------------------------------------------------------------

CELL_TYPES = {"RNN": "rnn", "LSTM": "lstm", "GRU": "gru"}
USUAL = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def refused(op: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> list[str]:
    """Why a known operator cannot be run with these inputs and attributes; an empty list if it can."""
    problems = []
    if op == "Cast" and attributes.get("to") not in CASTS:
        problems.append(f"to={attributes.get('to')}, expected float32, float64, int32, int64 or bool")
    if op == "Constant" and not any(k.startswith("value") and "string" not in k for k in attributes):
        problems.append("it holds no numbers")
    if op not in CELL_TYPES:
        return problems
    direction = attributes.get("direction", "forward")
    if direction not in DIRECTIONS:
        return [*problems, f"direction={direction!r}"]
    count = len(DIRECTIONS[direction])
    directions = _activations(op, attributes.get("activations"), count)
    if directions is None or any(
        len(set(functions[1:])) > 1 for functions in directions
    ):  # our LSTM has one function for g and h
        expected = f"{' '.join(USUAL[op])} in each direction, or relu, sigmoid, tanh in their places"
        problems.append(
            f"activations={attributes.get('activations')}, expected {expected}{', g and h alike' * (op == 'LSTM')}"
        )
    if attributes.get("clip"):
        problems.append(f"clip={attributes['clip']}")
    if attributes.get("input_forget"):
        problems.append("input_forget=1 (coupled gates)")
    if len(inputs) > 7 and inputs[7]:
        problems.append("P (peepholes)")
    return problems


def _activations(op: str, activations: Any, count: int) -> list[tuple[str, ...]] | None:
    """The activations of each direction, in ONNX's order f g h; None if one of them is not supported."""
    names = [str(a).lower() for a in activations or USUAL[op] * count]
    per_direction = len(USUAL[op])
    if len(names) != count * per_direction or not set(names) <= {"tanh", "relu", "sigmoid"}:
        return None
    return [tuple(names[i : i + per_direction]) for i in range(0, len(names), per_direction)]


def _recurrent(op: str) -> Callable[..., Any]:
    cell_type = CELL_TYPES[op]
    gates = GATES[cell_type]

    def run(
        x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None, *_: Any,
        direction: str = "forward", layout: int = 0, linear_before_reset: int = 0, activations: Any = None, **__: Any,
    ) -> Any:  # fmt: skip
        units, time, batch = r.shape[-1], 1 if layout else 0, x.shape[0 if layout else 1]
        counts = checked_lengths(op, lengths, batch, x.shape[time], "sequence_lens")
        functions = _activations(op, activations, len(DIRECTIONS[direction])) or []
        zeros = Tensor(np.zeros(2 * gates * units, w.dtype))
        outputs, finals = [], []
        for i, backward in enumerate(DIRECTIONS[direction]):
            arrays = convert_weights(
                cell_type, w[i], r[i], zeros if b is None else b[i], cell_type == "gru" and bool(linear_before_reset)
            )
            options: dict[str, Any] = {"activation": functions[i][-1]}
            if cell_type != "rnn":
                options["recurrent_activation"] = functions[i][0]
            if cell_type == "gru":
                options["reset_after"] = "recurrent_bias" in arrays
            cell = with_weights(CELLS[cell_type](units, **options), arrays)
            initial = [
                None if s is None else s[:, i] if layout else s[i] for s in ((c0, h0) if cell_type == "lstm" else (h0,))
            ]
            zero = cell.zero_state(batch, x.dtype)
            if cell_type == "lstm":
                state = type(zero)(*(z if value is None else value for value, z in zip(initial, zero, strict=True)))
            else:
                state = zero if initial[0] is None else initial[0]
            cell.check_input(x, 3)
            state = cell.check_state(state, batch, x.dtype, "the initial state")
            output, final = run_cell(op, cell, x, state, Time(counts, backward, not layout))
            outputs.append(output)
            finals.append((final.h, final.c) if cell_type == "lstm" else (final,))
        y = ops.stack(outputs, axis=2 if layout else 1)
        return (y, *(ops.stack(list(value), axis=1 if layout else 0) for value in zip(*finals, strict=True)))

    return run


OPERATORS |= {op: _recurrent(op) for op in CELL_TYPES}
