"""NumPy's own functions on tensors: they reach the op, or refuse; the graph is never lost silently."""

from __future__ import annotations

import array
import tracemalloc
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff.op import Op
from tinygrad_rnn.ops import index as ops_index

A = np.random.default_rng(0).normal(size=(3, 4))
B = np.random.default_rng(1).normal(size=(4, 2))

CALLS: dict[str, Any] = {
    "tanh": lambda x, b: np.tanh(x),
    "add": lambda x, b: np.add(A, x),
    "matmul": lambda x, b: np.matmul(x, b),
    "@": lambda x, b: x @ b,
    "dot": lambda x, b: np.dot(x, b),
    "tensordot": lambda x, b: np.tensordot(x, b, 1),
    "tensordot axes": lambda x, b: np.tensordot(x, b, axes=([1], [0])),
    "einsum": lambda x, b: np.einsum("ij,jk->ki", x, b),
    "einsum implicit": lambda x, b: np.einsum("ij,jk", x, b),
    "einsum ellipsis": lambda x, b: np.einsum("...j,jk->...k", x, b),
    "einsum trace": lambda x, b: np.einsum("ii->", x[:, :3]),
    "einsum diagonal": lambda x, b: np.einsum("ii->i", x[:, :3]),
    "einsum sum": lambda x, b: np.einsum("ij->", x),
    "concatenate": lambda x, b: np.concatenate([x, A], axis=1),
    "concatenate flat": lambda x, b: np.concatenate([x, b, x], axis=None),
    "stack": lambda x, b: np.stack([x, A]),
    "where": lambda x, b: np.where(A > 0, x, 0.0),
    "sum": lambda x, b: np.sum(x),
    "sum axis": lambda x, b: np.sum(x, axis=0),
    "sum positional": lambda x, b: np.sum(x, 1),
    "mean": lambda x, b: np.mean(x, axis=1, keepdims=True),
    "var": lambda x, b: np.var(x, axis=0),
    "std": lambda x, b: np.std(x, axis=0),
    "max": lambda x, b: np.max(x, axis=0),
    "amin": lambda x, b: np.amin(x),
    "prod": lambda x, b: np.prod(x, axis=0),
    "cumsum": lambda x, b: np.cumsum(x, axis=1),
    "clip": lambda x, b: np.clip(x, -0.5, 0.5),
    "reshape": lambda x, b: np.reshape(x, (2, 6)),
    "ravel": lambda x, b: np.ravel(x),
    "transpose": lambda x, b: np.transpose(x),
    "swapaxes": lambda x, b: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x, b: np.moveaxis(x, 0, 1),
    "moveaxis of several": lambda x, b: np.moveaxis(x[None], [0, 1], [-1, 0]),
    "broadcast_to": lambda x, b: np.broadcast_to(x, (2, 3, 4)),
    "expand_dims": lambda x, b: np.expand_dims(x, 1),
    "squeeze": lambda x, b: np.squeeze(x[:1]),
    "flip": lambda x, b: np.flip(x, 0),
    "split": lambda x, b: np.split(x, 2, axis=1)[1],
    "pad": lambda x, b: np.pad(x, 1),
    "repeat": lambda x, b: np.repeat(x, 2, axis=0),
    "repeat each": lambda x, b: np.repeat(x, [1, 0, 3], axis=0),
    "tile": lambda x, b: np.tile(x, (2, 1)),
    "take": lambda x, b: np.take(x, [0, 2, 2], axis=1),
    "take flat": lambda x, b: np.take(x, [0, 5]),
    "abs": lambda x, b: np.abs(x),
    "power": lambda x, b: np.power(x, 3),
    "square": lambda x, b: np.square(x),
    "array * tensor": lambda x, b: A * x,
    "array - tensor": lambda x, b: A - x,
    "array / tensor": lambda x, b: A / (x * x + 1),
    "array ** tensor": lambda x, b: (A * A + 1) ** x,
    "array @ tensor": lambda x, b: A.T @ x,
    "scalar - tensor": lambda x, b: np.float64(2) - x,
    "index": lambda x, b: x[1:, ::2],
    "%": lambda x, b: x % 0.7,
    "array % tensor": lambda x, b: np.mod(np.abs(A), np.abs(x) + 0.3),
    "degrees": lambda x, b: np.degrees(x) / 50,
    "rad2deg": lambda x, b: np.rad2deg(x) / 50,
    "radians": lambda x, b: np.radians(x),
    "deg2rad": lambda x, b: np.deg2rad(x),
    "positive": lambda x, b: +x,
    "nan_to_num": lambda x, b: np.nan_to_num(np.where(A > 0, x, np.nan), nan=2.0),
    "nan_to_num of infinities": lambda x, b: np.nan_to_num(x + np.where(A > 0, 0, np.inf), posinf=1.5),
    "select": lambda x, b: np.select([A > 1, A > 0], [x, x * x], 0.5),
    "append": lambda x, b: np.append(x, b),
    "append axis": lambda x, b: np.append(x, b.T, axis=0),
    "vstack": lambda x, b: np.vstack([x, b.T, A[0]]),
    "vstack vectors": lambda x, b: np.vstack((x[0], b[:, 0])),
    "hstack": lambda x, b: np.hstack([x, A]),
    "hstack vectors": lambda x, b: np.hstack((x[0], b[:, 0], 1.0)),
    "dstack": lambda x, b: np.dstack([x, A]),
    "dstack vectors": lambda x, b: np.dstack([x[0], b[:, 0]]),
    "column_stack": lambda x, b: np.column_stack([x.T, b[:, 0]]),
    "atleast_1d": lambda x, b: np.atleast_1d(x[0, 0]),
    "atleast_2d": lambda x, b: np.atleast_2d(x[0]),
    "atleast_2d of several": lambda x, b: np.atleast_2d(x[0], b)[1],
    "atleast_3d": lambda x, b: np.atleast_3d(x),
    "atleast_3d of a vector": lambda x, b: np.atleast_3d(x[0]),
    "atleast_3d of a number": lambda x, b: np.atleast_3d(x[0, 0]),
    "array_split": lambda x, b: np.array_split(x, 3, axis=1)[0],
    "array_split at": lambda x, b: np.array_split(x, [1, 3], axis=-1)[1],
    "vsplit": lambda x, b: np.vsplit(x, [2])[0],
    "hsplit": lambda x, b: np.hsplit(x, 2)[1],
    "hsplit of a vector": lambda x, b: np.hsplit(x[0], 2)[1],
    "dsplit": lambda x, b: np.dsplit(x[None], 2)[1],
    "linspace": lambda x, b: np.linspace(x[0, 0], 2.5, 4),
    "linspace of vectors": lambda x, b: np.linspace(x[0], b[:, 0], 3, endpoint=False),
    "diagonal": lambda x, b: np.diagonal(x, 1),
    "diagonal below": lambda x, b: np.diagonal(x, offset=-1),
    "diagonal outside": lambda x, b: np.sum(x) + np.sum(np.diagonal(x, 7)),
    "diagonal of axes": lambda x, b: np.diagonal(x[None] * b.T[:, None], 0, -1, 0),
    "trace": lambda x, b: np.trace(x, 1),
    "diag of a vector": lambda x, b: np.diag(x[0], -1),
    "diag of a matrix": lambda x, b: np.diag(x, k=2),
    "diagflat": lambda x, b: np.diagflat(x, 1),
    "tril": lambda x, b: np.tril(x, 1),
    "triu": lambda x, b: np.triu(x, -1),
    "tril of a vector": lambda x, b: np.tril(x[0]),
    "triu of several": lambda x, b: np.triu(x[None] * b.T[:, None]),
    "rollaxis": lambda x, b: np.rollaxis(x[None], 2),
    "rollaxis back": lambda x, b: np.rollaxis(x[None], 0, 3),
    "flipud": lambda x, b: np.flipud(x),
    "fliplr": lambda x, b: np.fliplr(x),
    **{f"rot90 {k}": lambda x, b, k=k: np.rot90(x, k) for k in (0, 1, 2, 3, -1)},
    "rot90 axes": lambda x, b: np.rot90(x[None], axes=(2, 0)),
    "take_along_axis": lambda x, b: np.take_along_axis(x, np.argsort(A, axis=0), axis=0),
    "take_along_axis flat": lambda x, b: np.take_along_axis(x, np.array([3, 0, 0]), axis=None),
    "sort": lambda x, b: np.sort(x),
    "sort axis": lambda x, b: np.sort(x, axis=0),
    "sort flat": lambda x, b: np.sort(x, axis=None),
    "partition": lambda x, b: np.partition(x, 1, axis=-1),
    "diff": lambda x, b: np.diff(x),
    "diff twice": lambda x, b: np.diff(x, 2, axis=0),
    "diff with ends": lambda x, b: np.diff(x, prepend=0.5, append=b[:3]),
    "gradient": lambda x, b: np.gradient(x)[1],
    "gradient axis": lambda x, b: np.gradient(x, 0.5, axis=0),
    "gradient steps": lambda x, b: np.gradient(x, 0.5, 2.0)[0],
    "gradient edges": lambda x, b: np.gradient(x, axis=-1, edge_order=2),
    "outer": lambda x, b: np.outer(x[0], b),
    "inner": lambda x, b: np.inner(x, b.T),
    "inner number": lambda x, b: np.inner(x, 2.0),
    "vdot": lambda x, b: np.vdot(x[:2], b),
    "kron": lambda x, b: np.kron(x, b),
    "kron of a vector": lambda x, b: np.kron(x[0], b),
    "cross": lambda x, b: np.cross(x.T, A.T),
    "cross axes": lambda x, b: np.cross(x, A.T, axisa=0, axisc=0),
    "cross axis": lambda x, b: np.cross(x, A, axis=0),
    "dot of numbers": lambda x, b: np.dot(x, 2.0) + np.dot(3, x),
    "dot of lists": lambda x, b: np.dot([1.0, 2.0, 3.0], x) + np.dot(x[:, 0], A),
    "dot of many axes": lambda x, b: np.dot(x[None], np.multiply(b, np.ones((3, 1, 1)))),
    "dot with a vector": lambda x, b: np.dot(x[None], b[:, 0]),
    "einsum of lists": lambda x, b: np.einsum(x, [0, 1], b, [1, 2], [2, 0]),
    "einsum of lists, implicit": lambda x, b: np.einsum(x, [0, 1], b, [1, 2]),
    "einsum of lists, ellipsis": lambda x, b: np.einsum(x, [..., 1], b, [1, 2], [..., 2]),
    "clip by its older names": lambda x, b: np.clip(x, a_min=-0.5, a_max=0.5),
    "sum where": lambda x, b: np.sum(x, axis=0, where=A > 0, initial=2.0),
    "sum dtype": lambda x, b: np.sum(x, dtype=np.float64),
    "prod where": lambda x, b: np.prod(x, where=A > 0, initial=0.5, keepdims=True),
    "max where": lambda x, b: np.max(x, axis=1, where=A > 0.5, initial=0.25),
    "min initial": lambda x, b: np.min(x, axis=-1, initial=-0.5),
    "mean where": lambda x, b: np.mean(x, axis=0, where=A < 1),
    "mean where broadcast": lambda x, b: np.mean(x, where=[True, False, True, True]),
    "var where": lambda x, b: np.var(x, axis=1, where=A < 1, ddof=1),
    "std where": lambda x, b: np.std(x, axis=0, where=A < 1, keepdims=True),
    "tile by a NumPy integer": lambda x, b: np.tile(x, np.int64(2)),
    "tile by an array": lambda x, b: np.tile(x, np.array([2, 1, 2])),
    "inv": lambda x, b: np.linalg.inv(x @ x.T + np.eye(3)),
    "solve": lambda x, b: np.linalg.solve(x @ x.T + np.eye(3), b[:3]),
    "det": lambda x, b: np.linalg.det(x[:, :3]),
    "slogdet": lambda x, b: np.linalg.slogdet(x[:, :3]).logabsdet,
    "cholesky": lambda x, b: np.linalg.cholesky(x @ x.T),
    "eigh": lambda x, b: np.linalg.eigh(x @ x.T)[0],
    "eigvalsh": lambda x, b: np.linalg.eigvalsh(x @ x.T),
    "svd": lambda x, b: np.linalg.svd(x, full_matrices=False)[2],
    "singular values": lambda x, b: np.linalg.svd(x, compute_uv=False),
    "svdvals": lambda x, b: np.linalg.svdvals(x),
    "pinv": lambda x, b: np.linalg.pinv(x),
    "norm": lambda x, b: np.linalg.norm(x),
    "norm axis": lambda x, b: np.linalg.norm(x, axis=-1, keepdims=True),
    **{f"norm {p}": lambda x, b, p=p: np.linalg.norm(x, p, axis=0) for p in (1, 2, 3, 2.5, np.inf, -np.inf)},
    **{
        f"matrix norm {p}": lambda x, b, p=p: np.linalg.norm(x, p)
        for p in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    },
    "matrix norm axes": lambda x, b: np.linalg.norm(x[None], 2, axis=(2, 0), keepdims=True),
    "vector_norm": lambda x, b: np.linalg.vector_norm(x[None], axis=(0, 2), ord=3),
    "vector_norm of all": lambda x, b: np.linalg.vector_norm(x, keepdims=True),
    "matrix_norm": lambda x, b: np.linalg.matrix_norm(np.swapaxes(x[None], 0, 1), ord=1),
    "diagonal of matrices": lambda x, b: np.linalg.diagonal(x[None], offset=1),
    "trace of matrices": lambda x, b: np.linalg.trace(x[None]),
    "cross of vectors": lambda x, b: np.linalg.cross(x.T, A.T),
    "matrix_transpose": lambda x, b: np.matrix_transpose(x[None]),
    "linalg.matmul": lambda x, b: np.linalg.matmul(x, b),
    "linalg.outer": lambda x, b: np.linalg.outer(x[0], b[:, 0]),
    "norm of two axes": lambda x, b: np.linalg.norm(x[None], axis=(0, 1)),
    "fancy index": lambda x, b: x[[0, 1, 1], [2, 3, 3]],
    "boolean index": lambda x, b: x[A > 0],
}


@pytest.mark.parametrize("name", CALLS)
def test_numpy_functions_give_tensors_with_right_values_and_gradients(name: str) -> None:
    f = CALLS[name]
    x, b = tg.tensor(A, requires_grad=True), tg.tensor(B, requires_grad=True)
    result = f(x, b)
    assert isinstance(result, tg.Tensor)
    assert result.requires_grad
    np.testing.assert_allclose(result.data, f(A, B), rtol=1e-13, atol=1e-14)
    assert tg.gradcheck(f, [A, B])
    assert tg.gradgradcheck(f, [A, B])


@pytest.mark.parametrize(
    "f",
    [
        np.shape,
        np.ndim,
        np.argmax,
        np.isnan,
        np.round,
        np.zeros_like,
        np.ones_like,
        np.sign,
        np.floor,
        lambda x: np.allclose(x, A),
        lambda x: np.array_equal(x, A),
        lambda x: np.greater(x, 0),
        lambda x: np.argsort(x, axis=0),
        lambda x: np.full_like(x, 2.0),
        lambda x: np.any(x > 0),
    ],
)
def test_functions_without_gradient_compute_on_the_data(f: Any) -> None:
    result = f(tg.tensor(A, requires_grad=True))
    assert not isinstance(result, tg.Tensor)
    np.testing.assert_array_equal(result, f(A))


@pytest.mark.parametrize("f", [np.spacing, np.unwrap, np.linalg.qr, np.fft.fft, np.interp, np.median, np.nextafter])
def test_functions_without_an_op_are_refused_by_name(f: Any) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    arguments = (x, x) if f is np.nextafter else (0.5, [0.0, 1.0], x) if f is np.interp else (x,)
    name = {np.linalg.qr: "linalg.qr", np.fft.fft: "fft.fft"}.get(f, f.__name__)
    with pytest.raises(TypeError, match=rf"^np\.{name} has no op for tensors.*detach"):
        f(*arguments)


@pytest.mark.parametrize(
    ("f", "way"),
    [
        (lambda x: np.ptp(x), lambda x: x.max() - x.min()),
        (lambda x: np.nansum(x), lambda x: tg.nan_to_num(x).sum()),
        (lambda x: np.average(x, weights=np.abs(A)), lambda x: (x * np.abs(A)).sum() / np.abs(A).sum()),
    ],
)
def test_errors_for_functions_without_an_op_name_the_replacement(f: Any, way: Any) -> None:
    with pytest.raises(TypeError, match=r"^np\.[\w.]+ has no op for tensors\. In its place: .*[\[(].*\. If"):
        f(tg.tensor(A))
    np.testing.assert_allclose(way(tg.tensor(A)).data, f(A))


def test_conversions_and_writes_that_would_lose_the_graph_are_refused() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for escape in (np.asarray, np.array, lambda t: t.numpy(), lambda t: np.array(list(t))):
        with pytest.raises(TypeError, match=r"\.detach\(\)"):
            escape(x)
    for f in (lambda: np.add(x, 1, out=np.zeros(2)), lambda: np.tanh(np.zeros(2), out=(x,))):
        with pytest.raises(TypeError, match="out= and in-place"):
            f()
    a = np.zeros(2)
    with pytest.raises(TypeError, match="write x = x \\+ y"):
        a += x
    with pytest.raises(TypeError, match=r"np\.add\.reduce has no op"):
        np.add.reduce(x)
    with pytest.raises(TypeError, match=r"detach"):
        tg.tensor(x)
    with pytest.raises(TypeError, match=r"detach.*tg\.stack joins a list of tensors"):
        tg.tensor([x[0], x[1]])
    with pytest.raises(TypeError, match="option min is a tensor that requires grad"):
        tg.clip(x, min=x)
    assert np.asarray(x.detach()).tolist() == [1, 2]


def test_in_place_operators_rebind() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x
    y += 1
    assert y is not x
    assert x.tolist() == [1, 2]


def test_wrong_options_of_numpy_functions_are_named() -> None:
    x = tg.tensor(A, requires_grad=True)
    with pytest.raises(TypeError, match="cumsum: got an option 'dtype'"):
        np.cumsum(x, dtype=np.float32)
    for f in (np.sum, np.prod, np.max, np.amin, np.mean, np.var, np.std):
        with pytest.raises(TypeError, match=r"^\w+: got an option 'out'.*assign the result"):
            f(x, out=np.zeros(()))
    with pytest.raises(ValueError, match="max: got where without initial"):
        np.max(x, where=A > 0)
    with pytest.raises(TypeError, match="mode='edge' has no op"):
        np.pad(x, 1, mode="edge")


@pytest.mark.parametrize("n", [3, 40])
def test_scatter_add_adds_repeated_rows(n: int) -> None:
    """The embedding's gradient, for both implementations of scatter_add, with negative and repeated indices."""
    rng = np.random.default_rng(n)
    table = tg.tensor(rng.normal(size=(5, 3)), requires_grad=True)
    indices = rng.integers(-5, 5, size=(n, 2))
    weights = rng.normal(size=(n, 2, 3))
    (table[indices] * weights).sum().backward()
    expected = np.zeros((5, 3))
    for i, w in zip(indices.ravel(), weights.reshape(-1, 3), strict=True):
        expected[i] += w
    np.testing.assert_allclose(table.grad, expected, rtol=1e-12)


def test_losses_are_stable_for_huge_logits() -> None:
    z = tg.tensor(np.array([[1e4, 0.0, -1e4], [-1e4, 1e4, 0.0]]), requires_grad=True)
    loss = tg.softmax_cross_entropy(z, [0, 0], reduction="none")
    assert loss.tolist() == [0.0, 2e4]
    loss.sum().backward()
    assert z.grad.tolist() == [[0, 0, 0], [-1, 1, 0]]
    y = tg.tensor(np.array([1e4, -1e4, 1e4]), requires_grad=True)
    bce = tg.binary_cross_entropy_with_logits(y, [1, 0, 0], reduction="none")
    assert bce.tolist() == [0, 0, 1e4]
    bce.sum().backward()
    assert y.grad.tolist() == [0, 0, 1]


def test_masked_entries_change_neither_results_nor_gradients() -> None:
    z = np.random.default_rng(0).normal(size=(2, 3, 4))
    z[0, 2] = np.nan
    x = tg.tensor(z, requires_grad=True)
    mask = np.array([[True, True, False], [True, True, True]])
    targets = np.array([[0, 1, 99], [2, 3, 0]])
    with np.errstate(invalid="raise"):
        loss = tg.softmax_cross_entropy(x, targets, mask=mask)
    loss.backward()
    assert np.isfinite(loss.item())
    assert np.all(x.grad[0, 2] == 0)
    assert np.all(np.isfinite(x.grad))
    empty = tg.softmax_cross_entropy(tg.tensor(z, requires_grad=True), targets, mask=np.zeros((2, 3), bool))
    assert empty.item() == 0


def test_an_empty_batch_has_loss_0() -> None:
    z = tg.tensor(np.zeros((0, 4)), requires_grad=True)
    for loss in (
        tg.softmax_cross_entropy(z, []),
        tg.binary_cross_entropy_with_logits(z, np.zeros((0, 4))),
        tg.mse(z, z),
    ):
        assert loss.item() == 0
        (g,) = tg.grad(loss, [z])
        assert g.shape == (0, 4)


def test_bad_targets_are_named() -> None:
    z = tg.tensor(np.zeros((2, 3, 4)), requires_grad=True)
    with pytest.raises(ValueError, match=r"targets\[1, 2\] is 4, expected 0 <= target < 4"):
        tg.softmax_cross_entropy(z, [[0, 1, 2], [3, 0, 4]])
    with pytest.raises(ValueError, match=r"targets\[0, 1\] is -1"):
        tg.softmax_cross_entropy(z, [[0, -1, 2], [3, 0, 0]])
    with pytest.raises(TypeError, match="targets have dtype float64, expected integers"):
        tg.softmax_cross_entropy(z, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"targets have shape \(2,\), expected \(2, 3\)"):
        tg.softmax_cross_entropy(z, [0, 1])
    with pytest.raises(ValueError, match="reduction is 'avg', expected one of"):
        tg.softmax_cross_entropy(z, np.zeros((2, 3), int), reduction="avg")
    with pytest.raises(ValueError, match=r"mask has shape \(2,\), expected the targets' shape \(2, 3\)"):
        tg.softmax_cross_entropy(z, np.zeros((2, 3), int), mask=[True, False])
    for targets in ([0.0, 1.001], [-0.001, 1.0], [0.5, np.nan], [np.inf, 0.5]):
        with pytest.raises(ValueError, match=r"targets lie in .*, expected \[0, 1\]"):
            tg.binary_cross_entropy_with_logits(tg.tensor([0.0, 0.0]), targets)
    assert tg.binary_cross_entropy_with_logits(tg.tensor([0.0, 0.0]), [0.0, 1.0]).item() == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match=r"targets lie in \[-1.0, 2.0\], expected \[0, 1\]"):
        tg.binary_cross_entropy_with_logits(tg.tensor([0.0, 0.0]), [-1.0, 2.0])
    with pytest.raises(ValueError, match=r"mse: target has shape \(2,\), expected the prediction's shape \(2, 1\)"):
        tg.mse(tg.tensor([[1.0], [2.0]]), tg.tensor([1.0, 2.0]))


def test_axes_of_size_0() -> None:
    for k in (0, 4):
        a, b = tg.tensor(np.ones((3, 5, k)), requires_grad=True), tg.tensor(np.ones((k, 4 - k)), requires_grad=True)
        np.testing.assert_array_equal(tg.matmul(a, b).data, a.data @ b.data)
        tg.matmul(a, b).sum().backward()
        assert (a.grad.shape, b.grad.shape) == (a.shape, b.shape)
    cell = tg.rnn.LayerNormLSTMCell(6)
    tg.rnn.dynamic_rnn(cell, np.zeros((3, 5, 0)))[0].sum().backward()
    assert cell.kernel.grad.shape == (0, 24)
    x = tg.tensor(np.zeros((0, 3)), requires_grad=True)
    tg.prod(x, axis=1).sum().backward()
    assert x.grad.shape == (0, 3)
    assert tg.logsumexp(x, axis=0).tolist() == [-np.inf] * 3


def test_an_axis_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="source: axis 5 is out of bounds for array of dimension 2"):
        np.moveaxis(tg.tensor(A), 5, 0)


def test_power_at_zero() -> None:
    x = tg.tensor(np.array([0.0, 0.0, 2.0]), requires_grad=True)
    p = tg.tensor(np.array([0.0, 2.0, 3.0]), requires_grad=True)
    (x**p).sum().backward()
    assert x.grad.tolist() == [0, 0, 12]
    np.testing.assert_allclose(p.grad, [0, 0, 8 * np.log(2)])
    x.grad = None
    (x**0).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_infinite_derivatives_come_without_a_warning() -> None:
    """pytest turns warnings into errors here."""
    for f, wanted in (
        (np.sqrt, np.inf),
        (lambda x: x**0.5, np.inf),
        (lambda x: np.sqrt(np.var(np.stack([x, x]))), np.nan),
        (lambda x: 0 * np.sqrt(x), np.nan),
    ):
        x = tg.tensor(0.0, requires_grad=True)
        f(x).backward()
        np.testing.assert_equal(x.grad, np.float32(wanted))
        np.testing.assert_equal(tg.grad(f(x), x, create_graph=True).item(), wanted)
        y = f(x)
        with np.errstate(divide="raise", invalid="raise"), pytest.raises(FloatingPointError):
            y.backward()


def test_sigmoid_keeps_small_values() -> None:
    x = np.array([-700.0, -30.0, 0.0, 30.0, 700.0])
    with np.errstate(over="raise"):
        y = tg.sigmoid(x)
    np.testing.assert_allclose(
        y, [np.exp(-700.0), 1 / (1 + np.exp(30.0)), 0.5, 1 / (1 + np.exp(-30.0)), 1.0], rtol=1e-15
    )


def test_ties_share_the_gradient() -> None:
    x = tg.tensor([1.0, 3.0, 3.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [0, 0.5, 0.5]
    y = tg.tensor([1.0], requires_grad=True)
    tg.maximum(y, 1.0).sum().backward()
    assert y.grad.tolist() == [0.5]


# -- NaN, ties and other edges: what PyTorch gives ------------------------------------------------------------------

NAN, INF = np.nan, np.inf


def gradients(f: Any, *values: Any) -> list[Any]:
    """Gradients of f(...).sum(), by both sweeps, which must agree."""
    points = [tg.tensor(np.array(v, np.float64), requires_grad=True) for v in values]
    with np.errstate(divide="ignore"):
        total = f(*points).sum()
    recorded = tg.grad(total, points, create_graph=True, retain_graph=True)
    total.backward()
    for p, r in zip(points, recorded, strict=True):
        np.testing.assert_array_equal(p.grad, r.data)
    return [p.grad for p in points]


@pytest.mark.parametrize(
    ("f", "a", "b", "by_a", "by_b"),
    [
        (np.maximum, [1.0, NAN, NAN, 2.0, 3.0], [NAN, 1.0, NAN, 2.0, 1.0], [1, 1, 1, 0.5, 1], [1, 1, 1, 0.5, 0]),
        (np.minimum, [1.0, NAN, NAN, 2.0, 3.0], [NAN, 1.0, NAN, 2.0, 1.0], [1, 1, 1, 0.5, 0], [1, 1, 1, 0.5, 1]),
        (np.fmax, [1.0, NAN, NAN, 2.0, 3.0], [NAN, 1.0, NAN, 2.0, 1.0], [1, 0, 1, 0.5, 1], [0, 1, 1, 0.5, 0]),
        (np.fmin, [1.0, NAN, NAN, 2.0, 3.0], [NAN, 1.0, NAN, 2.0, 1.0], [1, 0, 1, 0.5, 0], [0, 1, 1, 0.5, 1]),
        (
            lambda a, b: a**b,
            [-2.0, 0.0, 0.0, 0.0, NAN, 2.0],
            [3.0, 2.0, 0.0, -1.0, 0.0, NAN],
            [12, 0, 0, -INF, 0, NAN],
            [NAN, 0, 0, -INF, NAN, NAN],
        ),
    ],
    ids=["maximum", "minimum", "fmax", "fmin", "power"],
)
def test_two_operands_at_nan_and_ties(f: Any, a: Any, b: Any, by_a: Any, by_b: Any) -> None:
    grads = gradients(f, a, b)
    np.testing.assert_array_equal(grads[0], by_a)
    np.testing.assert_array_equal(grads[1], by_b)
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(f(tg.tensor(a), tg.tensor(b)).data, np.float32(f(np.array(a), np.array(b))))


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (np.max, [1.0, NAN, 3.0], [NAN, NAN, NAN]),
        (np.min, [1.0, NAN, 3.0], [NAN, NAN, NAN]),
        (lambda x: np.max(x, axis=1), [[1.0, NAN], [1.0, 3.0]], [[NAN, NAN], [0, 1]]),
        (tg.relu, [NAN, 0.0, -1.0, 1.0, INF], [1, 0, 0, 1, 1]),
        (lambda x: tg.clip(x, -1, 1), [NAN, 1.0, -2.0, 0.0], [0, 1, 0, 1]),
        (np.std, [2.0, 2.0, 2.0], [0, 0, 0]),
        (lambda x: np.std(x, axis=1), [[2.0, 2.0], [1.0, 3.0]], [[0, 0], [-0.5, 0.5]]),
        (lambda x: np.var(x, ddof=2), [1.0, 3.0], [-INF, INF]),
        (lambda x: np.var(x, ddof=3), [1.0, 3.0], [-INF, INF]),
    ],
)
@pytest.mark.filterwarnings("ignore:Degrees of freedom:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
def test_one_operand_at_nan_ties_and_constants(f: Any, x: Any, expected: Any) -> None:
    np.testing.assert_array_equal(gradients(f, x)[0], expected)


def test_entries_that_are_not_selected_get_gradient_0_from_an_infinite_cotangent() -> None:
    """A mask that multiplies would make NaN of 0 times infinity."""
    for f in (tg.relu, lambda x: tg.clip(x, min=0), lambda x: tg.maximum(x, 0.0)):
        assert gradients(lambda x, f=f: np.sqrt(f(x)), [-1.0])[0] == 0


def test_integers_and_booleans_carry_no_gradient() -> None:
    x = tg.tensor([0.5, 2.0], requires_grad=True)
    for dtype in (int, bool, np.int8, "uint8"):
        cast = x.astype(dtype)
        assert (cast.requires_grad, cast.is_leaf, cast.dtype) == (False, True, np.dtype(dtype))
    (x.astype(bool) * x).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_product_of_many_factors_is_pulled_back_in_linear_time_and_memory() -> None:
    """20,000 factors: their matrix would take 3 GB."""
    a = np.random.default_rng(0).uniform(0.99, 1.01, 20_000)
    x = tg.tensor(a, requires_grad=True)
    tracemalloc.start()
    x.prod().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(x.grad, np.prod(a) / a, rtol=1e-9)
    assert peak < 100 * x.data.nbytes


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_a_products_derivatives_with_factors_of_zero(n: int, zeros: int) -> None:
    """d prod / dx_i is the product of the others, d² / dx_i dx_j that of all but i and j."""
    a = np.arange(1.0, n + 1)
    a[:zeros] = 0
    x = tg.tensor(a, requires_grad=True)
    slope = tg.grad(x.prod(), x, create_graph=True)
    assert slope.tolist() == [np.prod(np.delete(a, i)) for i in range(n)]
    for i in range(n):
        second = tg.grad(slope[i], x, retain_graph=True) if slope.requires_grad else np.zeros(n)
        assert second.tolist() == [0 if i == j else np.prod(np.delete(a, [i, j])) for j in range(n)]


@pytest.mark.parametrize("sections", [[4, 2], [2, 10], [-2], [5, 1, 3], [0, 6], [-1, -4, 2]])
def test_split_at_indices_in_any_order(sections: Any) -> None:
    a = np.arange(6.0)
    x = tg.tensor(a, requires_grad=True)
    parts, plain = np.split(x, sections), np.split(a, sections)
    assert [p.tolist() for p in parts] == [p.tolist() for p in plain]
    sum((i + 1) * part.sum() for i, part in enumerate(parts)).backward()
    expected = np.zeros(6)
    for i, part in enumerate(plain):
        expected[part.astype(int)] += i + 1  # an element's value is its position
    assert x.grad.tolist() == expected.tolist()


# -- indices ---------------------------------------------------------------------------------------------------------


class Series:
    """Like a column of another library, which NumPy reads through __array__ only."""

    def __init__(self, values: Any):
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.values, dtype)

    def __repr__(self) -> str:
        return f"Series({self.values})"


@pytest.mark.parametrize(
    "index",
    [
        ((0, 0), (1, 1)),
        (slice(None), (1, 1)),
        ((1, 1), slice(None), None),
        (Series([2, 2]), 0),
        array.array("l", [1, 1, 0]),
        (array.array("l", [1, 1]), array.array("l", [0, 0])),
        Series([1, 1]),
        range(3),
        (..., (2, 2, 0)),
        (np.int64(1), [0, 0]),
        [[1, 1], [0, 1]],
        [],
        ((), ()),
        Series([True, False, True]),
    ],
    ids=str,
)
def test_gradients_of_a_repeated_index_are_added(index: Any) -> None:
    """Against a sum over what NumPy picks from an array of positions."""
    a = np.arange(12.0).reshape(3, 4)
    picked = a[np.asarray(index) if isinstance(index, Series) else index]
    x = tg.tensor(a, requires_grad=True)
    y = x[index]
    assert y.tolist() == picked.tolist()
    y.sum().backward()
    expected = np.bincount(picked.ravel().astype(int), minlength=12).reshape(3, 4)
    assert x.grad.tolist() == expected.tolist()
    assert tg.ops.scatter_add(np.ones(picked.shape), index=index, shape=(3, 4)).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.uint64])
@pytest.mark.parametrize("n", [3, 40])
def test_embedding_with_indices_of_any_integer_type(dtype: Any, n: int) -> None:
    table = tg.tensor(np.zeros((300, 2)), requires_grad=True)
    ids = np.arange(n).astype(dtype) % 7
    table[ids].sum().backward()
    assert table.grad[:, 0].tolist() == np.bincount(ids, minlength=300).tolist()


@pytest.mark.parametrize("n", [3, 9])
def test_scatter_add_refuses_indices_out_of_range(n: int) -> None:
    with pytest.raises(IndexError, match=r"scatter_add: index 5 is out of bounds"):
        tg.ops.scatter_add(tg.tensor(np.ones((n, 2))), index=np.full(n, 5), shape=(4, 2))


@pytest.mark.parametrize(
    ("index", "shape", "sorts"),
    [
        (np.arange(9) % 4, (4, 2), True),
        (np.zeros((3, 3), int), (4, 2, 2), True),
        (np.arange(8) % 4, (4, 2), False),
        (np.arange(40) % 4, (4,), False),
        ((np.arange(9) % 4, np.zeros(9, int)), (4, 2), False),
        (slice(0, 3), (4, 2), False),
    ],
)
def test_many_rows_are_added_by_sorting(index: Any, shape: Any, sorts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorting is used for an embedding's gradient, not for few indices, single elements and slices."""
    calls: list[Any] = []
    rows = ops_index._added_rows
    monkeypatch.setattr(ops_index, "_added_rows", lambda *a: (calls.append(a), rows(*a))[1])
    x = np.random.default_rng(0).normal(size=np.zeros(shape)[index].shape)
    expected = np.zeros(shape)
    np.add.at(expected, index, x)
    np.testing.assert_allclose(tg.ops.scatter_add(x, index=index, shape=shape), expected, rtol=1e-13)
    assert bool(calls) == sorts


def test_scatter_add_of_empty_rows() -> None:
    assert tg.ops.scatter_add(np.zeros((9, 0)), index=np.zeros(9, int), shape=(4, 0)).shape == (4, 0)


# -- ops without a gradient ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: x > 0, "greater"),
        (lambda x: 0 < x, "greater"),  # noqa: SIM300
        (lambda x: np.zeros(2) < x, "less"),
        (lambda x: x <= x, "less_equal"),
        (lambda x: x == 0, "equal"),
        (lambda x: x != 0, "not_equal"),
        (lambda x: np.sign(x), "sign"),
        (lambda x: np.rint(x), "round"),
        (lambda x: np.round(x, 1), "round"),
        (lambda x: x.round(1), "round"),
        (lambda x: np.logical_not(x), "logical_not"),
        (lambda x: x.detach(), "detach"),
        (lambda x: tg.grad(tg.relu(x).sum(), x), "less_equal"),
        (lambda x: tg.grad(tg.abs(x).sum(), x), "sign"),
        (lambda x: tg.grad(tg.maximum(x, 0.0).sum(), x), "less"),
        (lambda x: tg.grad(tg.clip(x, min=0.0).sum(), x), "less_equal"),
        (lambda x: tg.grad(x.max(), x), "equal"),
    ],
)
def test_comparisons_rounding_and_detach_are_calls_of_ops(
    call: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go through Op.__call__, from Tensor's operators, NumPy's functions and vjps."""
    seen: list[str] = []
    plain = Op.__call__

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(self.name)
        return plain(self, *args, **options)

    monkeypatch.setattr(Op, "__call__", watched)
    call(tg.tensor([-1.25, 2.5], requires_grad=True))
    assert name in seen


def test_detach_shares_the_data() -> None:
    x = tg.tensor([1.0], requires_grad=True)
    d = x.detach()
    assert (type(d), d.requires_grad, d.is_leaf) == (tg.Tensor, False, True)
    assert np.shares_memory(d.data, x.data)
    assert isinstance(tg.detach(np.ones(2)), np.ndarray)


def test_comparisons_with_lists_and_with_values_that_are_not_numbers() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert (x == [1.0, 3.0]).tolist() == [True, False]
    assert np.all((x == None) == [False, False])  # noqa: E711
    with pytest.raises(ValueError, match=r"less: operands could not be broadcast.*a of shape \(2,\)"):
        _ = x < np.zeros(3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.int64])
@pytest.mark.parametrize(
    ("x", "condition"),
    [
        ((3, 4), (3, 4)),
        ((4,), (3, 1)),
        ((3, 1), (4,)),
        ((), (2,)),
        ((2,), ()),
        ((), ()),
        ((0, 3), (3,)),
    ],
)
def test_where_with_0_is_numpys(x: Any, condition: Any, dtype: Any) -> None:
    """The special case for common arguments gives the same bits as np.where, also for NaN, infinities and the sign of 0."""
    rng = np.random.default_rng(0)
    values = np.array([NAN, INF, -INF, -0.0, 1.5, -2.0]) if np.dtype(dtype).kind == "f" else np.arange(6)
    a = rng.choice(values, (*x, 2)).astype(dtype)[..., 0]  # not contiguous
    for flags in (rng.random(condition) < 0.5, rng.integers(0, 3, condition), (rng.random(condition) < 0.5).tolist()):
        for actual, expected in (
            (tg.where(flags, a, 0), np.where(flags, a, 0)),
            (tg.where(flags, 0, a), np.where(flags, 0, a)),
            (tg.where(flags, a, -0.0), np.where(flags, a, -0.0)),
        ):
            assert np.asarray(actual).dtype == expected.dtype
            assert np.asarray(actual).tobytes() == expected.tobytes()
            assert np.shape(actual) == expected.shape
