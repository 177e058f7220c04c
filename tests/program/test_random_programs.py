"""Random steps: scan in NumPy and in the native interpreter agrees with the plain loop, forward, backward and in second
order. TINYGRAD_RNN_EXAMPLES sets how many steps are drawn."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scan_cases import BACKENDS

import tinygrad_rnn as tg
from tinygrad_rnn import kernels

EXAMPLES = int(os.environ.get("TINYGRAD_RNN_EXAMPLES", "150"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
CLOSE = 1e-10

UNARY: dict[str, Any] = {
    "tanh": tg.tanh,
    "sigmoid": tg.sigmoid,
    "sin": tg.sin,
    "softplus": tg.softplus,
    "relu": tg.relu,
    "gelu": lambda a: tg.gelu(tg.tanh(a)),
    "erf": tg.erf,
    "abs": tg.abs,
    "negative": lambda a: -a,
    "square": lambda a: tg.tanh(a) ** 2,
    "bell": lambda a: tg.exp(-tg.square(tg.tanh(a))),
    "log": lambda a: tg.log(1.5 + tg.tanh(a)),
    "root": lambda a: tg.sqrt(1.5 + tg.tanh(a)),
    "arctan": tg.arctan,
    "clip": lambda a: tg.clip(a, -0.3, 0.7),
    "affine": lambda a: 2 * a * 0.25 + 1 - a / 3,
    "floor": lambda a: a - 0.1 * tg.floor(a * 2),
    "sign": lambda a: tg.tanh(a) * tg.sign(a),
    "detach": lambda a: tg.tanh(a) + a.detach(),
    "softmax": tg.softmax,
    "log_softmax": lambda a: 0.3 * tg.log_softmax(a),
    "logsumexp": lambda a: tg.logsumexp(a, axis=1, keepdims=True),
    "sum": lambda a: 0.3 * a.sum(axis=-1, keepdims=True),
    "mean": lambda a: a - a.mean(axis=1, keepdims=True),
    "max": lambda a: a - a.max(axis=1, keepdims=True),
    "normalised": lambda a: (a - a.mean(axis=1, keepdims=True)) / tg.sqrt(0.5 + a.var(axis=1, keepdims=True)),
    "flipped": lambda a: a[:, ::-1],
    "first": lambda a: a[:, :1],
    "halves": lambda a: tg.concatenate([a[:, a.shape[1] // 2 :], a[:, : a.shape[1] // 2]], axis=1),
    "picked": lambda a: a[:, [0, -1]],
    "apart": lambda a: tg.tanh(a.reshape(a.shape[0] * a.shape[1], 1)).reshape(a.shape[0], a.shape[1]),
    "split": lambda a: tg.multiply(*tg.split(tg.concatenate([a, tg.sin(a)], axis=1), 2, axis=1)),
    "stacked": lambda a: tg.stack([a, tg.tanh(a)], axis=1).max(axis=1),
    "padded": lambda a: tg.pad(a[:, :1], ((0, 0), (0, 2))),
    "last": lambda a: tg.squeeze(a[:, -1:], axis=1)[:, None],
    "own": lambda a: tg.tanh((a[:, None, :] @ (a[:, :, None] * a[:, None, :]))[:, 0]),
    "pairs": lambda a: tg.tanh(a[:, :, None] * tg.swapaxes(a[:, :, None], 1, 2)).sum(axis=2),
    "quiet": lambda a: a + without_grad(a),
}
BINARY: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * tg.tanh(b),
    "divide": lambda a, b: a / (1.5 + tg.tanh(b)),
    "maximum": tg.maximum,
    "minimum": tg.minimum,
    "where": lambda a, b: tg.where(a > b, a, tg.tanh(b)),
    "mask": lambda a, b: a * (b > 0.1) + b * tg.logical_not(b > 0.1),
    "gate": lambda a, b: tg.sigmoid(a) * b + (1 - tg.sigmoid(a)) * tg.tanh(a),
    "hypot": lambda a, b: tg.hypot(tg.tanh(a), 1 + tg.sigmoid(b)),
    "power": lambda a, b: (1 + tg.sigmoid(a)) ** tg.tanh(b),
}


def without_grad(a):
    with tg.no_grad():
        return tg.cos(a * a)


def joined(a, b):
    return tg.concatenate([a, b], axis=1)


class RandomStep:
    """A step of randomly drawn operations. A weight is created when an operation first needs one of its shape."""

    def __init__(self, case: dict[str, Any]):
        self.moves, self.rng = case["moves"], np.random.default_rng(case["seed"])
        self.weights: dict[str, Any] = {}
        self.sizes, self.outputs = case["states"], case["outputs"]

    def weight(self, which: int, *shape: int) -> Any:
        name = f"{shape} {which % 2}"
        if name not in self.weights:
            scale = 0.5 / max(1, shape[0]) ** 0.5
            self.weights[name] = tg.tensor(self.rng.normal(size=shape) * scale, requires_grad=which % 7 > 0)
        return self.weights[name]

    def step(self, x, states, *constants):
        pool = [x, *states, *constants[:1]]
        for name, i, j, k in self.moves:
            a, b = pool[i % len(pool)], pool[j % len(pool)]
            n = int(a.shape[1])
            if name in UNARY:
                v = UNARY[name](a)
            elif name in BINARY:
                if b.shape[1] != n and n != 1 and b.shape[1] != 1:
                    b = b @ self.weight(k, int(b.shape[1]), n)
                v = BINARY[name](a, b)
            elif name == "product":
                v = a @ self.weight(k, n, 1 + k % 4)
            elif name == "twice":
                w = self.weight(k, n, n)
                v = a @ w + tg.sin(a) @ tg.tanh(w) + a @ w.T * w[0] + w.sum()
            elif name == "affine of both":
                m = 1 + k % 4
                v = a @ self.weight(k, n, m) + b @ self.weight(j, int(b.shape[1]), m) + self.weight(i, m) + 1
            elif name == "product of both":
                v = joined(a, b) @ self.weight(k, n + int(b.shape[1]), 1 + k % 4)
            elif name == "expression of weights":
                p, q = tg.split(tg.exp(self.weight(k, 2 * n)), 2)
                v = a * p / (p + q)
            elif name == "joined":
                v = joined(a, b)[:, k % 2 : 4]
            elif name == "list":
                v = a * [0.5 + (k + c) % 3 / 3 for c in range(n)]
            elif name == "attention" and len(constants) > 1:
                memory = constants[1]
                if k % 2:
                    flat = memory.reshape(memory.shape[0] * 3, 2)
                    memory = tg.tanh(flat @ self.weight(j, 2, 2)).reshape(memory.shape[0], 3, 2)
                q = a @ self.weight(k, n, 2)
                scores = tg.softmax((memory @ q[:, :, None])[:, :, 0])
                v = (memory * scores[:, :, None]).sum(axis=1)
            else:
                v = tg.cos(a)
            pool.append(tg.tanh(v) if k % 3 == 0 else v)
        new = []
        for k, size in enumerate(self.sizes):
            v = pool[-1 - k % len(pool)]
            v = v if v.shape[1] == size else v @ self.weight(k, int(v.shape[1]), size)
            new.append(0.7 * tg.tanh(v))
        return tuple(pool[i % len(pool)] for i in self.outputs), tuple(new)


MOVES = [
    *UNARY, *BINARY, "product", "twice", "product of both", "expression of weights", "joined", "list", "attention",
    *["affine of both"] * 4,
]  # fmt: skip


@st.composite
def cases(draw, most_steps=20):
    """The arguments of a scan, as numbers."""
    pick = st.integers(0, 99)
    B, T = draw(st.sampled_from([3, 1, 2, 5, 7, 0])), draw(st.sampled_from([3, 2, 1, 4, 0, 6, most_steps]))
    lengths = st.lists(st.integers(0, T), min_size=B, max_size=B)
    return {
        "B": B,
        "T": T,
        "x": draw(st.integers(1, 4)),
        "states": draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)),
        "constants": draw(st.integers(0, 2)),
        "moves": tuple(draw(st.lists(st.tuples(st.sampled_from(MOVES), pick, pick, pick), min_size=1, max_size=30))),
        "outputs": tuple(draw(st.lists(pick, min_size=1, max_size=2))),
        "lengths": draw(st.one_of(st.none(), lengths)),
        "reverse": draw(st.booleans()),
        "time_major": draw(st.booleans()),
        "recompute": draw(st.booleans()),
        "needs": draw(st.integers(0, 7)),
        "seed": draw(st.integers(0, 9999)),
    }


def results(case: dict[str, Any], impl: str, second: bool) -> dict[str, np.ndarray]:
    """Values, gradients and, if asked for, the gradients of a random combination of the gradients."""
    rng = np.random.default_rng(case["seed"])
    random_step = RandomStep(case)
    B, T, needs = case["B"], case["T"], case["needs"]

    def array(requires_grad, *shape):
        return tg.tensor(rng.normal(size=shape), requires_grad=bool(requires_grad))

    x = array(needs & 1, *((T, B) if case["time_major"] else (B, T)), case["x"])
    if case["lengths"] is not None and T:
        rows = x.data if not case["time_major"] else x.data.swapaxes(0, 1)
        rows[np.arange(T) >= np.array(case["lengths"], int).reshape(B, 1)] = np.nan
    state = tuple(array(needs & 2, B, n) for n in case["states"])
    constants = (array(needs & 4, B, 2), array(needs & 4, B, 3, 2))[: case["constants"]]
    options = {k: case[k] for k in ("lengths", "reverse", "time_major", "recompute")}
    random_step.step(tg.tensor(np.ones((2, case["x"]))), tuple(tg.tensor(np.ones((2, n))) for n in case["states"]),
              *(tg.tensor(np.ones((2, *c.shape[1:]))) for c in constants))  # fmt: skip
    outputs, final = tg.scan(random_step.step, x, state, constants=constants, impl=impl, **options)
    named = {f"output {k}": v for k, v in enumerate(outputs)} | {f"state {k}": v for k, v in enumerate(final)}
    arrays = {name: v.data for name, v in named.items()}
    leaves = {"x": x, **{f"h{k}": s for k, s in enumerate(state)}, **{f"c{k}": c for k, c in enumerate(constants)}}
    leaves = {k: t for k, t in (leaves | random_step.weights).items() if t.requires_grad}
    loss = sum((v * rng.normal(size=v.shape)).sum() for v in named.values())
    if not (isinstance(loss, tg.autodiff.tensor.Tensor) and loss.requires_grad):
        return arrays
    grads = tg.grad(loss, list(leaves.values()), create_graph=second)
    arrays |= {f"gradient of {k}": np.asarray(getattr(g, "data", g)) for k, g in zip(leaves, grads, strict=True)}
    if second:
        again = sum((g * rng.normal(size=g.shape)).sum() for g in grads)
        if isinstance(again, tg.autodiff.tensor.Tensor) and again.requires_grad:
            again.backward()
        for k, t in leaves.items():
            arrays[f"second order, {k}"] = np.zeros(t.shape) if t.grad is None else t.grad
    return arrays


def close(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    for name in got.keys() | want.keys():
        a = got.get(name)
        b = want.get(name)
        a, b = (np.zeros_like(b) if a is None else a), (np.zeros_like(a) if b is None else b)
        assert a.dtype == b.dtype, name
        np.testing.assert_allclose(a, b, rtol=0, atol=CLOSE * max(1.0, np.abs(b).max(initial=0)), err_msg=name)


@many
@given(case=cases())
def test_first_order(case):
    want = results(case, "unrolled", False)
    for backend in BACKENDS:
        with kernels.using(backend):
            close(results(case, "fused", False), want)


@settings(many, max_examples=max(1, EXAMPLES // 2))
@given(case=cases(most_steps=8))
def test_second_order(case):
    want = results(case, "unrolled", True)
    for backend in BACKENDS:
        with kernels.using(backend):
            close(results(case, "fused", True), want)
