"""Every op in the registry, on every one of its samples: gradients of orders 1 and 2, dtypes, layouts, constants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.check.samples import Case, Sampler, as_case

EVERY = list(tg.operations())
OPS = [op for op in EVERY if op.differentiable]
CASES = [(op, i) for op in OPS for i in range(len(op.samples(Sampler())))]
IDS = [f"{op.name}-{i}" for op, i in CASES]
CALLS = [(op, i) for op in EVERY for i in range(len(op.samples(Sampler())))]  # those without a gradient, too
CALL_IDS = [f"{op.name}-{i}" for op, i in CALLS]

FORMULAS: dict[str, Any] = {  # what ops without a NumPy function compute, in extended precision
    "_identity": lambda x: x,
    "detach": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x.astype(np.longdouble))),
    "relu": lambda x: x * (x > 0),
    "softplus": lambda x: np.log(1 + np.exp(x.astype(np.longdouble))),
    "erf": lambda x: 1 - np.vectorize(math.erfc)(x),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "logsumexp": lambda x, **o: np.log(np.sum(np.exp(x.astype(np.longdouble)), **o)),
    "softmax": lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True),
    "log_softmax": lambda x, axis=-1: np.log(np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)),
    "pad": lambda x, width, value=0.0: np.pad(x, width, constant_values=value),
    "getitem": lambda x, index: x[index],
    "astype": lambda x, dtype: x.astype(dtype),
    "unstack": lambda x, axis=0: list(np.moveaxis(x, axis, 0)),
    "split": lambda x, sections, axis=0: np.split(x, sections, axis),
    "clip": lambda x, min=None, max=None: np.clip(x, min, max),
    "product_of": lambda *a, formula: np.einsum(formula, *a),
    "logabsdet": lambda x: np.log(np.abs(np.linalg.det(x))),
    "cholesky": lambda x, upper=False: np.linalg.cholesky(x, upper=upper),
    "eigh": lambda x, UPLO="L": np.linalg.eigh(x, UPLO),
    "thin_svd": lambda x: np.linalg.svd(x, full_matrices=False),
    "p_norm": lambda x, p=2, axis=None, keepdims=False: np.sum(np.abs(x) ** p, axis, keepdims=keepdims) ** (1 / p),
}


def reduced(losses: np.ndarray, mask: Any, reduction: str) -> Any:
    losses = losses if mask is None else losses * mask
    n = losses.size if mask is None else np.sum(mask)
    return losses if reduction == "none" else losses.sum() / (n if reduction == "mean" else 1)


def cross_entropy(z: np.ndarray, targets: Any, mask: Any = None, reduction: str = "mean") -> Any:
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    return reduced(-np.log(np.take_along_axis(p, np.asarray(targets)[..., None], -1)[..., 0]), mask, reduction)


def binary(z: np.ndarray, targets: Any, mask: Any = None, reduction: str = "mean") -> Any:
    p = 1 / (1 + np.exp(-z))
    return reduced(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)), mask, reduction)


def scattered(x: np.ndarray, index: Any, shape: Any) -> np.ndarray:
    out = np.zeros(shape)
    np.add.at(out, index, x)
    return out


def reversed_rows(x: np.ndarray, lengths: Any, time_axis: int = 1) -> np.ndarray:
    out = np.moveaxis(x, time_axis, 1).copy()
    for row, n in zip(out, [out.shape[1]] * len(out) if lengths is None else lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    return np.moveaxis(out, 1, time_axis)


def sigma(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def scanned(*arrays: np.ndarray, run: Any) -> list[np.ndarray]:
    """The two steps of program/samples.py by their equations, each row alone over its own steps."""
    x, lengths = (arrays[0].swapaxes(0, 1) if run.time_major else arrays[0]), run.lengths
    batch, steps = x.shape[:2]
    finals = [a.copy() for a in arrays[1 : 1 + len(run.loops.inputs.state)]]
    outputs = [np.zeros((batch, steps, f.shape[1])) for f in finals[:1]]
    if len(finals) == 2:
        outputs.append(np.zeros_like(x))
    for b in range(batch):
        n = steps if lengths is None else lengths[b]
        for t in range(n - 1, -1, -1) if run.reverse else range(n):
            if len(finals) == 1:
                memory, h = arrays[2][b], finals[0][b]
                scores = np.exp(memory @ h)
                finals[0][b] = outputs[0][b, t] = np.tanh(x[b, t] + scores @ memory / scores.sum())
            else:
                w, u, shift, v = arrays[3:]
                z, candidate = np.split(x[b, t] @ w + finals[0][b] @ u, 2)
                finals[1][b] = sigma(z) * finals[1][b] + np.tanh(candidate)
                finals[0][b] = np.tanh(finals[1][b] @ v) * (z > 0.5)
                outputs[0][b, t], outputs[1][b, t] = finals[0][b] + shift, x[b, t]
    return [o.swapaxes(0, 1) if run.time_major else o for o in outputs] + finals


def chained(*arrays: np.ndarray, run: Any) -> Any:
    """The two functions of program/samples.py."""
    x, y = arrays
    if len(run.inner) == 1:
        centred = x - x.mean(-1, keepdims=True)
        return (y * centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 0.1),)
    return np.tanh(x * y), (np.exp(x) * y).sum(-1)


def row_by_row(step: Any, x: np.ndarray, states: Any, size: int, trace: Any = None, **o: Any) -> list[np.ndarray]:
    """A recurrent net by its equations, each row alone over its own steps: outputs, final states, and every c."""
    if o["time_major"]:
        x = x.transpose(1, 0, 2)
    batch, steps = x.shape[:2]
    outputs, every = np.zeros((batch, steps, size)), np.zeros((batch, steps, size))
    final = [np.zeros((batch, size)) for _ in states]
    for b in range(batch):
        state = [s[b] for s in states]
        times = list(range(steps if o["lengths"] is None else o["lengths"][b]))
        for t in reversed(times) if o["reverse"] else times:
            state = step(x[b, t], *state)
            outputs[b, t], every[b, t] = state[-1], state[0]
        for f, s in zip(final, state, strict=True):
            f[b] = s
    if o.get("layer_axis"):
        final = [f[None] for f in final]
    turn = (1, 0, 2) if o["time_major"] else (0, 1, 2)
    return [outputs.transpose(turn), *final, *([every.transpose(turn)] if trace else [])]


def weights_of(cell_type: str, arrays: Any, torch: bool) -> tuple[Any, ...]:
    """The inputs of an op over time with the weights in our layout and two biases."""
    x, w, u, b, b2, *states = arrays
    if np.ndim(b) == 2:
        b, b2 = b
    zeros = np.zeros(w.shape[0 if torch else 1])
    b, b2 = zeros if b is None else b, zeros if b2 is None else b2
    if torch:
        w, u = w.T, u.T
    if torch and cell_type == "gru":  # PyTorch's r z n
        w, u, b, b2 = ((lambda r, z, n: np.concatenate([z, r, n], -1))(*np.split(a, 3, -1)) for a in (w, u, b, b2))
    return x, w, u, b, b2, *states


def rnn(x: Any, w: Any, u: Any, b: Any, b2: Any, h0: Any, activation: str = "tanh", **o: Any) -> Any:
    phi = np.tanh if activation == "tanh" else lambda z: np.maximum(z, 0)
    return row_by_row(lambda x, h: [phi(x @ w + h @ u + b + b2)], x, [h0], len(u), **o)


def lstm(x: Any, w: Any, u: Any, b: Any, b2: Any, c0: Any, h0: Any, **o: Any) -> Any:
    def step(x: Any, c: Any, h: Any) -> Any:
        i, f, g, out = np.split(x @ w + h @ u + b + b2, 4)
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        return [c, sigma(out) * np.tanh(c)]

    return row_by_row(step, x, [c0, h0], len(u), **o)


def gru(x: Any, w: Any, u: Any, b: Any, b2: Any, h0: Any, reset_after: bool = False, **o: Any) -> Any:
    wz, wr, wn = np.split(w, 3, axis=1)
    uz, ur, un = np.split(u, 3, axis=1)
    bz, br, bn = np.split(b, 3)
    cz, cr, cn = np.split(b2, 3)

    def step(x: Any, h: Any) -> Any:
        z, r = sigma(x @ wz + h @ uz + bz + cz), sigma(x @ wr + h @ ur + br + cr)
        n = np.tanh(x @ wn + bn + r * (h @ un + cn)) if reset_after else np.tanh(x @ wn + bn + (r * h) @ un)
        return [z * h + (1 - z) * n]

    return row_by_row(step, x, [h0], len(u), **o)


def stepped(*arrays: Any, cell_type: str, option: Any, torch: bool = False) -> Any:
    """One step as a sequence of one."""
    x, *others = weights_of(cell_type, arrays, torch)
    time: Any = {"lengths": None, "reverse": False, "time_major": False}
    if cell_type == "lstm":
        return lstm(x[:, None], *others, **time)[1:]
    if cell_type == "gru":
        return gru(x[:, None], *others, reset_after=option, **time)[1:]
    return rnn(x[:, None], *others, activation=option, **time)[1:]


FORMULAS |= {
    "cell_step": stepped,
    "reorder_blocks": lambda x, order, axis=-1: np.concatenate([np.split(x, len(order), axis)[k] for k in order], axis),
    "scan": scanned,
    "fused": chained,
    "rnn_sequence": lambda *a, recompute, torch=False, **o: rnn(*weights_of("rnn", a, torch), **o),
    "lstm_sequence": lambda *a, recompute, torch=False, **o: lstm(*weights_of("lstm", a, torch), **o),
    "gru_sequence": lambda *a, recompute, torch=False, **o: gru(*weights_of("gru", a, torch), **o),
    "reverse_sequence": reversed_rows,
    "softmax_cross_entropy": cross_entropy,
    "binary_cross_entropy_with_logits": binary,
    "mse": lambda p, t, reduction="mean": reduced((p - t) ** 2, None, reduction),
    "scatter_add": scattered,
    "rows_of": lambda x, index: x[index],
    "linear": lambda x, w, b, transposed=False: x @ (w.T if transposed else w) + (0 if b is None else b),
}


def sample(op: Any, i: int, seed: int = 0) -> Case:
    return as_case(op.samples(Sampler(seed))[i])


def call(op: Any, case: Case, arrays: Any = None) -> Any:
    arrays = case.arrays if arrays is None else arrays
    return op(list(arrays), **case.options) if op.variadic else op(*arrays, **case.options)


def function_of(op: Any, case: Case) -> Any:
    def f(*arrays: Any) -> Any:
        return call(op, case, arrays)

    f.__name__ = op.name
    return f


def differentiable(op: Any, case: Case) -> list[int]:
    return [
        i
        for i, a in enumerate(case.arrays)
        if i not in op.constants and np.asarray(a).dtype.kind == "f" and not isinstance(a, float)
    ]


def subsets(items: list[int]) -> Iterator[tuple[int, ...]]:
    for n in range(1, len(items) + 1):
        yield from itertools.combinations(items, n)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("op", "i"), CASES, ids=IDS)
def test_gradients(op: Any, i: int, order: int) -> None:
    """Every non-empty subset of the inputs requires grad while the others are constants."""
    case = sample(op, i)
    for subset in subsets(differentiable(op, case)):
        arrays = [
            a if j in subset else tg.tensor(a) if isinstance(a, np.ndarray) else a for j, a in enumerate(case.arrays)
        ]
        assert tg.gradcheck(function_of(op, case), arrays, order=order)


@pytest.mark.parametrize(("op", "i"), CALLS, ids=CALL_IDS)
def test_forward_equals_numpy(op: Any, i: int) -> None:
    case = sample(op, i)
    formula = FORMULAS.get(op.name) or op.numpy
    spread = ("product_of", "scan", "fused", "cell_step")
    arrays = [list(case.arrays)] if op.variadic and op.name not in spread else case.arrays
    options = dict(case.options)
    positional = list(options.values()) if op.name in ("reshape", "swapaxes", "broadcast_to") else []
    expected = formula(*arrays, *positional, **({} if positional else options))
    actual = call(op, case, [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in case.arrays])
    several = isinstance(actual, tuple)
    for f, e in zip(actual if several else [actual], expected if several else [expected], strict=True):
        np.testing.assert_allclose(np.asarray(f), np.asarray(e, np.float64), rtol=1e-13, atol=1e-13)
        assert f.shape == np.shape(e)


@pytest.mark.parametrize(("op", "i"), CALLS, ids=CALL_IDS)
def test_plain_arrays_give_plain_arrays(op: Any, i: int) -> None:
    case = sample(op, i)
    raw = call(op, case)
    wrapped = call(op, case, [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in case.arrays])
    for r, f in zip(
        raw if isinstance(raw, tuple) else [raw], wrapped if isinstance(wrapped, tuple) else [wrapped], strict=True
    ):
        assert not isinstance(r, tg.Tensor)
        assert np.array_equal(r, np.asarray(f), equal_nan=True)
        assert isinstance(f, tg.Tensor) == (op.differentiable or op.tensors)


def test_an_op_without_a_gradient_refuses_a_vjp() -> None:
    with pytest.raises(TypeError, match="vjp of greater: the op is declared with differentiable=False"):
        tg.greater.vjp(lambda g: g)


def backward_of(op: Any, case: Case, dtype: Any, form: Any = lambda a: a) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs, and gradients under fixed random cotangents, with the inputs' arrays put in another form."""
    leaves = []
    arrays = []
    for j, a in enumerate(case.arrays):
        if j in differentiable(op, case):
            leaf = tg.tensor(np.asarray(a, dtype), requires_grad=True)
            leaf.data = form(leaf.data)
            leaves.append(leaf)
            arrays.append(leaf)
        else:
            arrays.append(a)
    options = {k: (dtype if k == "dtype" else v) for k, v in case.options.items()}
    out = call(op, Case(case.arrays, options), arrays)
    outs = list(out) if isinstance(out, tuple) else [out]
    rng = np.random.default_rng(5)
    total = sum((o * rng.normal(size=o.shape).astype(dtype)).sum() for o in outs)
    total.backward()
    return [o.data for o in outs], [leaf.grad for leaf in leaves]


class SingleSampler(Sampler):
    """Draws float32."""

    def __call__(self, *shape: int) -> np.ndarray:
        return super().__call__(*shape).astype(np.float32)


@pytest.mark.parametrize(("op", "i"), CASES, ids=IDS)
def test_float32_stays_float32(op: Any, i: int) -> None:
    case = sample(op, i)
    traced = op.name in ("scan", "fused")  # its program is made for one dtype
    outs, grads = backward_of(op, as_case(op.samples(SingleSampler(0))[i]) if traced else case, np.float32)
    exact, exact_grads = backward_of(op, case, np.float64)
    for o, e in zip(outs + grads, exact + exact_grads, strict=True):
        assert o.dtype == np.float32
        np.testing.assert_allclose(o, e, rtol=2e-4, atol=2e-4)


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a: np.ndarray) -> np.ndarray:
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]) if a.ndim else (), 7.0, a.dtype)
    if not a.ndim:
        return a
    wide[..., ::2] = a
    return wide[..., ::2]


def fortran(a: np.ndarray) -> np.ndarray:
    return np.asfortranarray(a).reshape(a.shape, order="F")


@pytest.mark.parametrize("form", [read_only, strided, fortran])
@pytest.mark.parametrize(("op", "i"), CASES, ids=IDS)
def test_any_memory_layout_and_two_runs_equal(op: Any, i: int, form: Any) -> None:
    case = sample(op, i)
    first, again, other = (backward_of(op, case, np.float64, f) for f in (np.array, np.array, form))
    for a, b, c in zip(first[0] + first[1], again[0] + again[1], other[0] + other[1], strict=True):
        assert np.array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-12)


def scaled_vjp(rule: Any, factor: float) -> Any:
    """A vjp whose gradients are all multiplied by a factor."""

    def wrong(*args: Any, **options: Any) -> Any:
        grads = rule(*args, **options)
        if isinstance(grads, (tuple, list)):
            return tuple(None if g is None else g * factor for g in grads)
        return grads * factor

    return wrong


def caught(op: Any, order: int) -> int:
    """On how many of the op's samples a check of this order fails."""
    n = 0
    for i in range(len(op.samples(Sampler()))):
        case = sample(op, i)
        try:
            tg.gradcheck(function_of(op, case), list(case.arrays), order=order)
        except tg.GradcheckError:
            n += 1
    return n


@pytest.mark.parametrize("factor", [1.001, 0.0], ids=["scaled", "zeroed"])
@pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])
def test_a_wrong_vjp_is_caught(op: Any, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of the check itself. The check of order 2 also compares a fused op's vjp with its expansion."""
    monkeypatch.setattr(op, "rule", scaled_vjp(op.rule, factor))
    assert caught(op, 1)
    if op.expansion is not None:
        assert caught(op, 2)


def cut(rule: Any) -> Any:
    """A vjp with correct gradients that have no graph."""

    def wrong(*args: Any, **options: Any) -> Any:
        grads = rule(*args, **options)
        if isinstance(grads, (tuple, list)):
            return tuple(g.detach() if isinstance(g, tg.Tensor) else g for g in grads)
        return grads.detach() if isinstance(grads, tg.Tensor) else grads

    return wrong


@pytest.mark.parametrize("op", [op for op in OPS if op.expansion is None], ids=lambda op: op.name)
def test_a_vjp_that_cuts_the_graph_is_caught_by_order_2(op: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op, "rule", cut(op.rule))
    assert not caught(op, 1)
    assert caught(op, 2)


def test_a_wrong_expansion_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    for op in OPS:
        if op.expansion is not None:
            right = op.expansion

            def wrong(*arrays: Any, right: Any = right, **options: Any) -> Any:
                results = right(*arrays, **options)
                return tuple(r * 1.001 for r in results) if isinstance(results, tuple) else results * 1.001

            monkeypatch.setattr(op, "expansion", wrong)
            assert caught(op, 2)
