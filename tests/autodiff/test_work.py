"""What ops declare of their work, against counts that others made."""

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff.work import MOVES, UNDECLARED, per_result
from tinygrad_rnn.check.ops import function_of
from tinygrad_rnn.check.samples import Sampler, as_case


def flops(result: Any) -> int:
    """The operations of all ops in a graph."""
    graph = tg.snapshot(result)
    sizes = [[graph.nodes[s.id].shapes[s.output] for s in node.sources] for node in graph.nodes]
    return sum(n.work.flops(read, n.shapes, n.options) for n, read in zip(graph.nodes, sizes, strict=True) if n.op)


def test_every_op_declares_its_work() -> None:
    assert [op.name for op in tg.operations() if op.work is UNDECLARED] == []


def test_an_op_without_it_is_refused() -> None:
    @tg.primitive(label="x", samples=lambda r: [r(2)])
    def undeclared(x: Any) -> Any:
        return x

    @undeclared.vjp
    def _(g: Any) -> Any:
        return g

    try:
        with pytest.raises(TypeError, match="undeclared does not declare its work"):
            tg.autodiff.op.check_registry()
        undeclared.work = per_result()
        tg.autodiff.op.check_registry()
    finally:
        del tg.autodiff.tensor.registry["undeclared"]


def test_an_op_without_gradients_gives_an_array_unless_it_asks_for_tensors() -> None:
    @tg.primitive(label="signs", samples=lambda r: [r(2)], differentiable=False, work=MOVES)
    def signs(x: Any) -> Any:
        return np.sign(x)

    try:
        assert type(signs(tg.tensor([-2.0, 3.0]))) is np.ndarray
    finally:
        del tg.autodiff.tensor.registry["signs"]


X = tg.Parameter(np.ones((8, 16), np.float32))
W = tg.Parameter(np.ones((16, 32), np.float32))
B = tg.Parameter(np.ones(32, np.float32))
P = tg.Parameter(np.ones((2, 3, 4), np.float32))
Q = tg.Parameter(np.ones((2, 4, 5), np.float32))


@pytest.mark.parametrize(
    ("result", "xla"),
    [  # flops and transcendentals together, by jax.jit(f).lower(…).cost_analysis() of jax 0.7 on the CPU
        (lambda: X @ W, 8192),
        (lambda: tg.ops.linear(X, W, B), 8448),
        (lambda: tg.tanh(X), 128),
        (lambda: X + X, 128),
        (lambda: tg.einsum("bij,bjk->bik", P, Q), 240),
        (lambda: tg.reshape(tg.transpose(X), shape=(128,)), 0),
        (lambda: tg.mean(X, axis=-1), 128),
        (lambda: tg.ops.mse(X, X), 384),
        (lambda: tg.log_softmax(X), 640),
        (lambda: tg.softmax(X), 632),
        (lambda: tg.logsumexp(X, axis=-1), 544),
        (lambda: tg.sum(X, axis=-1), 120),
        (lambda: tg.max(X, axis=-1), 120),
        (lambda: tg.var(X, axis=-1), 523),
    ],
)
def test_flops_are_those_that_xla_counts(result: Any, xla: int) -> None:
    """A reduction counts its first element, too, which XLA does not: up to 1 in 16 here."""
    assert flops(result()) == pytest.approx(xla, rel=1 / 15)


@pytest.mark.parametrize(
    ("result", "textbook"),
    [  # Golub & Van Loan, Matrix Computations: LU, Cholesky, symmetric QR and Golub-Reinsch SVD with vectors
        (lambda a: tg.linalg.inv(a), 2 * 6**3),
        (lambda a: tg.linalg.solve(a, tg.Parameter(np.ones((6, 2)))), 2 * 6**3 / 3 + 2 * 6**2 * 2),
        (lambda a: tg.linalg.solve(a, tg.Parameter(np.ones(6))), 2 * 6**3 / 3 + 2 * 6**2),
        (lambda a: tg.linalg.det(a), 2 * 6**3 / 3),
        (lambda a: tg.linalg.cholesky(a), 6**3 / 3),
        (lambda a: tg.linalg.eigh(a)[0], 9 * 6**3),
        (lambda a: tg.linalg.pinv(a), 22 * 6**3),
    ],
)
def test_flops_of_factors_are_the_textbooks(result: Any, textbook: float) -> None:
    assert flops(result(tg.Parameter(4 * np.eye(6)))) == textbook


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "cell", [tg.rnn.BasicRNNCell, tg.rnn.LSTMCell, tg.rnn.GRUCell, lambda n, **o: tg.rnn.GRUCell(n, True, **o)]
)
def test_a_step_a_run_and_their_primitives_count_the_same(cell: Any, bias: bool) -> None:
    cell = cell(4, use_bias=bias)
    x = np.ones((2, 5, 3), np.float32)
    outputs, _ = tg.rnn.dynamic_rnn(cell, x)
    primitives = tg.autodiff.graph.unfuse(outputs)
    assert len(tg.snapshot(primitives).nodes) > 10
    assert flops(outputs) == flops(primitives)
    h, _ = cell(x[:, 0], cell.zero_state(2))
    node = h._node.node
    assert node.op.name == "cell_step"
    read = [p.shape for p in node.parents if p is not None]
    once = node.op.work.flops(read, node.shape, node.options)
    assert once == flops(h)  # which a snapshot counts opened
    assert flops(outputs) == 5 * once or not bias  # a run over time has a bias of zeros


def test_flops_count_every_step_of_a_scan_and_every_op_of_a_fused_chain() -> None:
    x = tg.Parameter(np.ones((2, 5, 3), np.float32))

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x + h)
        return h, h

    outputs, _ = tg.scan(step, x, np.zeros((2, 3), np.float32), lengths=[5, 2])
    assert flops(outputs) == 7 * 2 * 3
    chain = tg.fuse(lambda x: tg.tanh(x) * 2)
    assert flops(chain(x)) == 2 * 30


MOVING = [op for op in tg.operations() if op.work.effect not in ("computes", "contracts") and op.differentiable]


@pytest.mark.parametrize("op", MOVING, ids=lambda op: op.name)
def test_ops_that_only_move_data_count_0_flops(op: Any) -> None:
    for sample in op.samples(Sampler(0)):
        case = as_case(sample)
        result = function_of(op, case)(*[tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in case.arrays])
        output_shapes = [r.shape for r in (result if isinstance(result, tuple) else (result,))]
        assert op.work.flops([a.shape for a in case.arrays], output_shapes, {**op.defaults, **case.options}) == 0
