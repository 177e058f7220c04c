"""How each op that is not elementwise is lowered: as a view of its input, or as a few instructions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from .program import Instruction
from .view import ROW, Unsupported, number, sliced, steps

if TYPE_CHECKING:
    from .lowering import Lowering

_OWN_NAME = (
    "abs sign exp exp2 expm1 log log2 log10 log1p sqrt square reciprocal sin cos tan sinh cosh tanh arcsin arccos arctan "
    "arcsinh arccosh arctanh sigmoid softplus relu gelu erf floor ceil trunc isnan isinf isfinite logical_not logical_and "
    "logical_or logical_xor maximum minimum fmax fmin arctan2 hypot logaddexp logaddexp2 remainder copysign where"
)
CODES = {  # elementwise ops: the interpreter's name for each
    **{name: name for name in _OWN_NAME.split()},
    **{"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "power": "pow", "negative": "neg"},
    **{"greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "equal": "eq", "not_equal": "ne"},
}
REDUCTIONS = {"sum": "sum", "prod": "prod", "max": "max", "min": "min"}
IDENTITIES = ("detach", "_identity")  # ops whose result is their input


def _reshape(self: Lowering, i: Instruction) -> None:
    view = self._contiguous(self._operand(i.inputs[0]), stage_slot=i.outputs[0] in self.live_out)
    shape = self._inner(i.outputs[0])
    self.views[i.outputs[0]] = view._replace(shape=shape, strides=steps(shape))


def _identity(self: Lowering, i: Instruction) -> None:
    self.views[i.outputs[0]] = self._operand(i.inputs[0])


def _permuted(self: Lowering, i: Instruction) -> None:
    slot = i.inputs[0]
    assert type(slot) is int
    view, info = self._operand(slot), self.loop.slots[slot]
    ndim = len(info.shape)
    if info.layout.per_row != 1:
        raise Unsupported(i.op.name)
    if "axes" in i.options:
        order = [a % ndim for a in i.options["axes"] or reversed(range(ndim))]
    else:
        order = list(range(ndim))
        a, b = i.options["axis1"] % ndim, i.options["axis2"] % ndim
        order[a], order[b] = order[b], order[a]
    inner = [a - 1 for a in order[1:]]
    self.views[i.outputs[0]] = view._replace(
        shape=tuple(view.shape[a] for a in inner), strides=tuple(view.strides[a] for a in inner)
    )


def _new_axes(self: Lowering, i: Instruction) -> None:
    """expand_dims and squeeze: sizes of 1 come and go; the other axes keep their strides."""
    view = self._operand(i.inputs[0])
    rest = iter([s for n, s in zip(view.shape, view.strides, strict=True) if n != 1])
    shape = self._inner(i.outputs[0])
    self.views[i.outputs[0]] = view._replace(shape=shape, strides=tuple(0 if n == 1 else next(rest) for n in shape))


def _broadcast(self: Lowering, i: Instruction) -> None:
    out = i.outputs[0]
    view = self._aligned(i.inputs[0], out)
    shape = self._inner(out)
    if view.where == ROW:
        self.views[out] = view.to(shape)
    else:
        self._each("copy", self._result(out), view)


def _getitem(self: Lowering, i: Instruction) -> None:
    slot = i.inputs[0]
    assert type(slot) is int
    self.views[i.outputs[0]] = sliced(self._operand(slot), i.options["index"], self.loop.slots[slot].layout.per_row)


def _scatter(self: Lowering, i: Instruction) -> None:
    """Zeros, and the input where the index points."""
    if self._is_view(i):
        return _reshape(self, i)
    out = self._result(i.outputs[0])
    self._each("copy", out, number(0.0))
    to = sliced(out, i.options["index"], self.loop.slots[i.outputs[0]].layout.per_row)
    self._each("copy", to, self._operand(i.inputs[0])._replace(shape=to.shape))


def _split(self: Lowering, i: Instruction) -> None:
    slot = i.inputs[0]
    assert type(slot) is int
    view = self._operand(slot)
    (axis,) = self._axes(i, slot)
    at = 0
    for out in i.outputs:
        shape = self._inner(out)
        n = view.shape[axis] // len(i.outputs) if i.op.name == "unstack" else shape[axis]
        strides = view.strides
        if i.op.name == "unstack":
            n, strides = 1, (*view.strides[:axis], *view.strides[axis + 1 :])
        self.views[out] = view._replace(offset=view.offset + at * view.strides[axis], shape=shape, strides=strides)
        at += n


def _joined(self: Lowering, i: Instruction) -> None:
    """concatenate and stack: each input is copied to its part of the result, unless it was computed there."""
    out = self._result(i.outputs[0])
    (axis,) = self._axes(i, i.outputs[0])
    at = 0
    for part in i.inputs:
        view = self._operand(part)
        if i.op.name == "stack":
            view = view._replace(
                shape=(*view.shape[:axis], 1, *view.shape[axis:]),
                strides=(*view.strides[:axis], 0, *view.strides[axis:]),
            )
        n = view.shape[axis]
        to = out._replace(offset=out.offset + at * out.strides[axis], shape=view.shape)
        if n and to != view:
            self._each("copy", to, view)
        at += n


def _padded(self: Lowering, i: Instruction) -> None:
    out = self._result(i.outputs[0])
    self._each("copy", out, number(float(i.options["value"])))
    view = self._operand(i.inputs[0])
    ndim = len(self.loop.slots[i.outputs[0]].shape)
    before = np.broadcast_to(np.asarray(i.options["width"]), (ndim, 2))[ndim - len(view.shape) :, 0]
    offset = sum(int(n) * s for n, s in zip(before, out.strides, strict=True))
    self._each("copy", out._replace(offset=out.offset + offset, shape=view.shape), view)


def _reduction(self: Lowering, i: Instruction) -> None:
    slot = i.inputs[0]
    assert type(slot) is int
    view, axes, name = self._operand(slot), self._axes(i, slot), i.op.name
    if any(a < 0 for a in axes):
        raise Unsupported(f"{name} over the rows")
    extra = set(i.options) - {"axis", "keepdims", "ddof"}
    if any(i.options[k] not in (None, True) for k in extra):
        raise Unsupported(f"{name} with {', '.join(sorted(extra))}")
    out = self._result(i.outputs[0])
    n = float(prod(view.shape[a] for a in axes))
    if name in REDUCTIONS:
        self._reduced(REDUCTIONS[name], view, axes, out)
        return
    shape = tuple(1 if a in axes else k for a, k in enumerate(view.shape))
    wide = out._replace(shape=shape, strides=steps(shape))
    if name == "mean":
        self._reduced("sum", view, axes, out)
        self._each("div", wide, wide, number(n))
    elif name == "logsumexp":
        top = self._reduced("max", view, axes)
        finite = self._each("isfinite", self._scratch(shape), top)
        self._each("where", top, finite, top, number(0.0))
        e = self._each("sub", self._scratch(view.shape), view, top)
        self._each("exp", e, e)
        self._reduced("sum", e, axes, out)
        self._each("log", wide, wide)
        self._each("add", wide, wide, top)
    else:  # var and std
        centre = self._reduced("sum", view, axes)
        self._each("div", centre, centre, number(n))
        c = self._each("sub", self._scratch(view.shape), view, centre)
        self._each("square", c, c)
        self._reduced("sum", c, axes, out)
        self._each("div", wide, wide, number(n - i.options["ddof"]))
        if name == "std":
            self._each("sqrt", wide, wide)


def _softmax(self: Lowering, i: Instruction) -> None:
    slot = i.inputs[0]
    assert type(slot) is int
    view, axes = self._operand(slot), self._axes(i, slot)
    out = self._result(i.outputs[0])
    top = self._reduced("max", view, axes)
    if i.op.name == "softmax":
        self._each("sub", out, view, top)
        self._each("exp", out, out)
        self._each("div", out, out, self._reduced("sum", out, axes))
        return
    self._each("sub", out, view, top)
    e = self._each("exp", self._scratch(view.shape), out)
    total = self._reduced("sum", e, axes)
    self._each("log", total, total)
    self._each("sub", out, out, total)


def _clip(self: Lowering, i: Instruction) -> None:
    out, view = self._result(i.outputs[0]), self._operand(i.inputs[0])
    for code, limit in (("maximum", i.options["min"]), ("minimum", i.options["max"])):
        if limit is not None:
            if not isinstance(limit, (int, float, np.number)):
                raise Unsupported("clip with arrays as limits")
            view = self._each(code, out, view, number(float(limit)))
    if view is not out:
        self._each("copy", out, view)


def _round(self: Lowering, i: Instruction) -> None:
    if i.options["decimals"] != 0:
        raise Unsupported("round with decimals")
    self._each("rint", self._result(i.outputs[0]), self._operand(i.inputs[0]))


def _astype(self: Lowering, i: Instruction) -> None:
    if np.dtype(i.options["dtype"]) != self.dtype:
        raise Unsupported(f"astype to {np.dtype(i.options['dtype'])}")
    _identity(self, i)


def _matmul(self: Lowering, i: Instruction) -> None:
    if self._with_weight(i):
        out = self._result(i.outputs[0])
        self._product(i, out, None, False)
        return
    a, b = (self._operand(v) for v in i.inputs)
    rows = [bool(self.loop.slots[v].layout.per_row) if type(v) is int else False for v in i.inputs]
    if any(self.loop.slots[v].layout.per_row > 1 for v in i.inputs if type(v) is int):
        raise Unsupported("matmul of regrouped rows")
    out = self._result(i.outputs[0])
    if rows[0] and not rows[1] and len(b.shape) == 1:  # rows times a vector
        b = b._replace(shape=(b.shape[0], 1), strides=(1, 0))
        if len(a.shape) == 1:
            a = a._replace(shape=(1, *a.shape), strides=(0, *a.strides))
        out = out._replace(shape=(*a.shape[:-1], 1), strides=steps((*a.shape[:-1], 1)))
    if not all(rows):  # a matrix of weights meets each row's own
        w = b if rows[0] else a
        extra = max(0, len(w.shape) - 2)
        if extra and w.shape[0] == 1:
            w = w._replace(shape=w.shape[1:], strides=w.strides[1:])
            a, b = (a, w) if rows[0] else (w, b)
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise Unsupported("matmul of a vector and each row's matrix")
    batch = out.shape[:-2]
    if len(batch) > 1:
        raise Unsupported("matmul of more than one axis of matrices in a row")
    (m, k), n = a.shape[-2:], b.shape[-1]
    left = a.to((*batch, m, k))
    right = b.to((*batch, k, n))
    s, t, o = left.strides, right.strides, out.strides
    first = (s[0], t[0], o[0]) if batch else (0, 0, 0)
    self._emit(
        "rowproduct",
        (batch[0] if batch else 1, m, n, k),
        out._replace(shape=(), strides=(first[2], o[-2], o[-1])),
        [
            left._replace(shape=(), strides=(first[0], s[-2], 0, s[-1])),
            right._replace(shape=(), strides=(first[1], 0, t[-1], t[-2])),
        ],
    )


VIEWS: dict[str, Callable[[Lowering, Instruction], None]] = {
    **{
        "reshape": _reshape,
        "transpose": _permuted,
        "swapaxes": _permuted,
        "expand_dims": _new_axes,
        "squeeze": _new_axes,
    },
    **{"broadcast_to": _broadcast, "getitem": _getitem, "split": _split, "unstack": _split, "astype": _astype},
    **dict.fromkeys(IDENTITIES, _identity),
}
RULES = {
    **VIEWS,
    **{
        "scatter_add": _scatter,
        "concatenate": _joined,
        "stack": _joined,
        "pad": _padded,
        "clip": _clip,
        "round": _round,
    },
    **dict.fromkeys((*REDUCTIONS, "mean", "var", "std", "logsumexp"), _reduction),
    **{"softmax": _softmax, "log_softmax": _softmax, "matmul": _matmul},
}
