"""Values and texts that need no computation, or are NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_the_repr_abbreviates_arrays_of_more_than_sixty_elements() -> None:
    whole, cut = repr(tg.tensor(np.arange(60))), repr(tg.tensor(np.arange(61)))
    assert all(f"{n}" in whole for n in range(60))
    assert "shape" not in whole
    assert cut.replace("\n", "") == "tensor([ 0,  1,  2, ..., 58, 59, 60], int64, shape=(61,))"


@pytest.mark.parametrize("op", [tg.softmax, tg.log_softmax])
def test_classes_are_the_last_axis(op: Any) -> None:
    outputs = op(tg.tensor([[0.0, 0.0], [5.0, 5.0], [1.0, 1.0]]))
    np.testing.assert_allclose(
        np.exp(outputs.data) if op is tg.log_softmax else outputs.data, np.full((3, 2), 0.5), rtol=1e-6
    )


def test_sums_of_exponentials_go_over_everything_and_keep_no_axis() -> None:
    output = tg.logsumexp(tg.tensor(np.zeros((2, 3))))
    assert output.shape == ()
    assert output.item() == pytest.approx(np.log(6))
    assert tg.logsumexp(tg.tensor(np.zeros((2, 3))), axis=1).tolist() == pytest.approx([np.log(3)] * 2)


def test_steps_are_reversed_along_axis_1() -> None:
    assert tg.ops.reverse_sequence(tg.tensor([[1, 2, 3], [4, 5, 6]])).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert tg.concatenate([tg.tensor([[1]]), tg.tensor([[2]])]).tolist() == [[1], [2]]
    assert tg.pad(tg.tensor([1]), width=1).tolist() == [0, 1, 0]


FLAT: dict[str, Callable[[Any], Any]] = {
    "sort": lambda x: np.sort(x, axis=None),
    "partition": lambda x: np.partition(x, 2, axis=None),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([4, 0, 0]), axis=None),
    "take": lambda x: np.take(x, [[5, 0], [1, 1]]),
    "repeat": lambda x: np.repeat(x, 2),
    "repeats": lambda x: np.repeat(x, [0, 1, 2, 0, 1, 3]),
    "cumsum": lambda x: np.cumsum(x),
    "roll": lambda x: np.roll(x, 2),
    "append": lambda x: np.append(x, x),
    "flip": lambda x: np.flip(x),
    "prod": lambda x: np.prod(x),
}


@pytest.mark.parametrize("name", FLAT)
def test_without_an_axis_the_array_is_flat(name: str) -> None:
    x = np.array([[3.0, -1.0, 2.5], [0.5, 4.0, -2.0]])
    np.testing.assert_allclose(FLAT[name](tg.tensor(x, requires_grad=True)).data, FLAT[name](x), rtol=1e-12)
    assert tg.gradcheck(FLAT[name], [x])


def test_vector_products_are_numpys() -> None:
    a, b = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]]), np.array([[2.0, 5.0, -3.0], [1.5, 0.25, 7.0]])
    t, u = tg.tensor(a), tg.tensor(b)
    np.testing.assert_allclose(tg.cross(t, u).data, [[-9.0, 9.0, 9.0], [28.25, -5.0, -5.875]])
    np.testing.assert_allclose(np.cross(t, u).data, np.cross(a, b))
    np.testing.assert_allclose(np.linalg.cross(t, u).data, np.cross(a, b))
    np.testing.assert_allclose(np.cross(t.T, u.T, axis=0).data, np.cross(a, b).T)
    np.testing.assert_allclose(np.cross(t.T, u, axisa=0, axisb=1, axisc=0).data, np.cross(a, b).T)


def test_inner_products_go_over_the_last_axes() -> None:
    a, b = np.arange(12.0).reshape(2, 2, 3), np.arange(6.0).reshape(2, 3) - 2
    np.testing.assert_allclose(np.inner(tg.tensor(a), tg.tensor(b)).data, np.inner(a, b))
    np.testing.assert_allclose(np.inner(tg.tensor(b), tg.tensor(a)).data, np.inner(b, a))


@pytest.mark.parametrize(
    ("a", "b"), [((2,), (3,)), ((2, 3), (4,)), ((4,), (2, 3)), ((2, 1, 2), (3, 2)), ((3, 2), (2, 1, 2)), ((), (2, 2))]
)
def test_kronecker_products_are_numpys(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=a), rng.normal(size=b)
    product = tg.kron(tg.tensor(x), tg.tensor(y))
    np.testing.assert_allclose(product.data, np.kron(x, y))
    assert product.shape == np.kron(x, y).shape


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ((2, 5), (3, 4), r"b has shape \(3, 4\), expected \(5, \*\) to follow a of shape \(2, 5\)"),
        ((2, 5), (3,), r"b has shape \(3,\), expected \(5,\) to follow a of shape \(2, 5\)"),
        ((5,), (3, 4), r"b has shape \(3, 4\), expected \(5, \*\) to follow a of shape \(5,\)"),
        ((), (3,), r"got shapes \(\) and \(3,\), expected axes in both"),
        ((3,), (), r"got shapes \(3,\) and \(\), expected axes in both"),
    ],
)
def test_products_that_do_not_fit(a: tuple[int, ...], b: tuple[int, ...], wanted: str) -> None:
    with pytest.raises(ValueError, match=f"matmul: {wanted}"):
        tg.matmul(tg.tensor(np.ones(a)), tg.tensor(np.ones(b)))


def test_a_constant_tensor_keeps_one_leaf_with_its_name() -> None:
    """So that a drawing shows the same array once, and by its name."""
    x, mask = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([1.0, 0.0], name="mask")
    plain = tg.tensor([3.0, 4.0])
    for constant in (mask, plain):
        first, second = (x * constant)._node, (x + constant)._node
        assert first is not None
        assert second is not None
        assert first.parents[1] is second.parents[1] is constant._node
    assert mask.name == "mask"
    assert (plain.is_leaf, plain.requires_grad) == (True, False)


def test_a_list_beside_a_tensor_is_a_constant_of_the_graph() -> None:
    """Its shape is that of the resulting array; drawings show it like an array."""
    x = tg.tensor(np.ones((2, 3)), requires_grad=True)
    joined = tg.concatenate([x, [[1.0, 2.0, 3.0]]])
    assert [(node.kind, node.shapes) for node in tg.snapshot(joined).nodes[:2]] == [
        ("input", ((2, 3),)),
        ("constant", ((1, 3),)),
    ]
    (joined * np.arange(9.0).reshape(3, 3)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_one_vector_may_be_passed_in_a_list() -> None:
    """For one input, the vector or [vector]; for an input with one row, a list of numbers is the row."""
    x, v = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    for value in (v, [v], (v,), [tg.tensor(v)]):
        assert tg.jvp(lambda t: t * t, x, value).tolist() == [6.0, 20.0]
        assert tg.hvp(lambda t: (t * t * t).sum(), x, value).tolist() == [18.0, 60.0]
    row = np.array([[1.0, 2.0]])
    assert tg.jvp(lambda t: t * t, row, [[3.0, 5.0]]).tolist() == [[6.0, 20.0]]
    assert tg.jvp(lambda t, u: t * u, [x, x], [v, v]).tolist() == [6.0, 20.0]
    for wrong in ([v, v], [], [row]):
        with pytest.raises(ValueError, match="jvp: "):
            tg.jvp(lambda t: t * t, x, wrong)


AXES = [(), (3,), (2, 3), (4, 2, 3)]


@pytest.mark.parametrize("a", AXES, ids=str)
@pytest.mark.parametrize("b", [(), (3,), (3, 2), (4, 3, 2)], ids=str)
def test_dot_of_any_axes_is_numpys(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=a), rng.normal(size=b)
    for f in (np.dot, np.outer):
        np.testing.assert_allclose(f(tg.tensor(x), tg.tensor(y)).data, f(x, y), atol=1e-12)
    for f, other in ((np.inner, rng.normal(size=(5, 3))), (np.vdot, rng.normal(size=x.shape[::-1]))):
        np.testing.assert_allclose(f(tg.tensor(x), tg.tensor(other)).data, f(x, other), atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
@pytest.mark.parametrize("axisc", [0, -1])
def test_cross_puts_its_vectors_where_numpy_does(shape: tuple[int, ...], axisc: int) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=shape), rng.normal(size=shape)
    np.testing.assert_allclose(tg.cross(tg.tensor(a), tg.tensor(b), axisc=axisc).data, np.cross(a, b, axisc=axisc))
    with pytest.raises(ValueError, match=r"cross: the vectors have 3 and 2 components, expected 3"):
        tg.cross(tg.tensor(a), tg.tensor(b[..., :2]))


def test_differences_of_no_order_and_of_no_axis() -> None:
    x = np.array([1.0, 4.0, 9.0])
    for n in range(4):
        np.testing.assert_array_equal(tg.diff(tg.tensor(x), n).data, np.diff(x, n))
    for bad in (lambda: tg.diff(tg.tensor(x), -1), lambda: tg.diff(tg.tensor(3.0))):
        with pytest.raises(
            ValueError, match=r"diff: got n=-?1 and x of shape .*, expected n >= 0 and at least one axis"
        ):
            bad()


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7, 9])
def test_arrays_are_split_as_evenly_as_numpy_splits_them(parts: int) -> None:
    x = np.arange(14.0).reshape(7, 2)
    for axis, y in ((0, x), (1, x.T)):
        pieces = np.array_split(tg.tensor(y, requires_grad=True), parts, axis=axis)
        wanted = np.array_split(y, parts, axis=axis)
        assert [part.shape for part in pieces] == [part.shape for part in wanted]
        assert all(np.array_equal(a.data, b) for a, b in zip(pieces, wanted, strict=True))


def test_leaves_of_a_graph_are_labelled_by_name_and_kind() -> None:
    w, x = tg.Parameter([1.0], name="w"), tg.tensor([2.0], requires_grad=True)
    one = tg.tensor([4.0])
    one.name = "one"
    nodes = tg.autodiff.graph.snapshot(w * x + np.array([3.0]) - one).nodes
    assert [(node.label, node.kind, node.name) for node in nodes if node.op is None] == [
        ("w", "parameter", "w"),
        ("input", "input", None),
        ("one", "constant", "one"),
        ("constant", "constant", None),
    ]


def test_the_bytes_of_a_graph_are_those_of_its_arrays() -> None:
    x, m = tg.tensor(np.ones((3, 4)), requires_grad=True), tg.tensor(np.ones(5, np.float32), requires_grad=True)
    by_op = {node.op: node.bytes for node in tg.snapshot([tg.tanh(x), tg.exp(m), tg.unstack(x * 2, axis=0)[0]]).nodes}
    assert (by_op["tanh"], by_op["exp"], by_op["unstack"]) == (3 * 4 * 8, 5 * 4, 3 * 4 * 8)


def test_a_fused_op_s_vjp_takes_its_inputs_in_order() -> None:
    def declared(rule: Any) -> None:
        def pair(a: Any, b: Any) -> Any:
            return a * b

        op = tg.primitive(label="pair", samples=lambda r: [])(pair)
        try:
            op.vjp(rule)
            op.expands(lambda a, b: a * b)
        finally:
            tg.autodiff.tensor.registry.pop("pair", None)

    declared(lambda g, a, b: (g * b, g * a))
    declared(lambda g, a, b, out: (g * b, g * a))
    for rule in (lambda g, b, a: (g * b, g * a), lambda g, a: (g, g), lambda g, out, a, b: (g * b, g * a)):
        with pytest.raises(TypeError, match=r"a fused op's vjp takes every input first, in order: \('a', 'b'\)"):
            declared(rule)


@pytest.mark.parametrize(
    ("formula", "shapes"),
    [
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("iij->j", [(3, 3, 2)]),
        ("iji->j", [(3, 2, 3)]),
        ("jii->ji", [(2, 3, 3)]),
        ("iii->i", [(3, 3, 3)]),
        ("iijj->ij", [(3, 3, 2, 2)]),
        ("ijij->", [(3, 2, 3, 2)]),
        ("iij,jk->ik", [(3, 3, 2), (2, 4)]),
        ("ij,kkj->ik", [(3, 2), (4, 4, 2)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("ii...->...", [(3, 3, 2)]),
        ("...ij,...jk", [(4, 2, 3), (3, 2)]),
        ("ba,cb", [(2, 3), (4, 2)]),
        ("i,j,k->kji", [(2,), (3,), (4,)]),
    ],
)
def test_sums_of_products_by_a_formula_are_numpys(formula: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in shapes]
    actual = tg.einsum(formula, *map(tg.tensor, arrays))
    np.testing.assert_allclose(actual.data, np.einsum(formula, *arrays), atol=1e-12)
    assert tg.gradcheck(lambda *operands: tg.einsum(formula, *operands), arrays)


def test_sums_of_exponentials_of_large_numbers() -> None:
    for shift in (0.0, 1000.0, -1000.0):
        x = tg.tensor(np.array([0.0, 1.0, -np.inf]) + shift, requires_grad=True)
        y = tg.logsumexp(x)
        assert y.item() == pytest.approx(shift + np.log(1 + np.e), rel=1e-12)
        y.backward()
        assert x.grad is not None
        np.testing.assert_allclose(x.grad, np.array([1, np.e, 0]) / (1 + np.e), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (3, 3), (2, 2, 4), (2, 4, 2), (2, 3, 3)])
def test_singular_vectors_of_any_matrices(shape: tuple[int, ...]) -> None:
    """Wide, tall and square matrices, also batches: the product of the factors is the matrix, in values and all
    derivatives."""
    a = np.random.default_rng(0).normal(size=shape)

    def product(x: Any) -> Any:
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        return (u * s[..., None, :]) @ vh

    np.testing.assert_allclose(product(tg.tensor(a)).data, a, atol=1e-12)
    x, w = tg.tensor(a, requires_grad=True), np.random.default_rng(1).normal(size=shape)
    (product(x) * w).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, w, atol=1e-9)
    assert tg.gradcheck(lambda x: np.linalg.svd(x, full_matrices=False)[1], a)


@pytest.mark.parametrize("least", [0, 1, 2, 4])
def test_rows_are_added_whichever_is_the_least(least: int) -> None:
    """Enough rows for the method that sorts them."""
    index = np.array([least + i % (6 - least) for i in range(40)])
    x, wanted = np.random.default_rng(0).normal(size=(40, 3)), np.zeros((6, 3))
    np.add.at(wanted, index, x)
    np.testing.assert_allclose(tg.ops.scatter_add(x, index=index, shape=(6, 3)), wanted, atol=1e-12)


def test_full_singular_vectors_are_supported_for_square_matrices_only() -> None:
    for shape in ((2, 2), (3, 2, 2), (2, 3, 3)):
        a = np.random.default_rng(0).normal(size=shape)
        u, s, vh = np.linalg.svd(tg.tensor(a))
        np.testing.assert_allclose(((u * s[..., None, :]) @ vh).data, a, atol=1e-12)
    for shape in ((2, 3), (3, 3, 2), (2, 2, 3)):
        x = tg.tensor(np.random.default_rng(0).normal(size=shape))
        with pytest.raises(ValueError, match="pass full_matrices=False for matrices that are not square"):
            np.linalg.svd(x)
        np.testing.assert_allclose(np.linalg.svd(x, compute_uv=False).data, np.linalg.svd(x.data, compute_uv=False))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (2, 3, 3), (3, 2, 2), (4, 1, 1)])
@pytest.mark.parametrize("singular", [False, True])
def test_determinants_of_several_matrices(shape: tuple[int, ...], singular: bool) -> None:
    a = np.random.default_rng(0).normal(size=shape)
    if singular:
        a[..., -1, :] = 0.0
    np.testing.assert_allclose(np.linalg.det(tg.tensor(a)).data, np.linalg.det(a), atol=1e-12)
    assert tg.gradcheck(np.linalg.det, a)


STACKS = [(3, 3), (2, 3, 3), (2, 4, 3, 3), (4, 1, 2, 2)]


@pytest.mark.parametrize("shape", STACKS)
def test_linear_algebra_of_stacks_of_matrices_is_numpys(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=shape) + 3 * np.eye(shape[-1])
    b, v = rng.normal(size=(*shape[:-1], 2)), rng.normal(size=shape[-1])
    t = tg.tensor(a)
    np.testing.assert_allclose(np.linalg.solve(t, tg.tensor(b)).data, np.linalg.solve(a, b), atol=1e-10)
    np.testing.assert_allclose(np.linalg.inv(t).data, np.linalg.inv(a), atol=1e-10)
    np.testing.assert_allclose(np.linalg.det(t).data, np.linalg.det(a), rtol=1e-10)
    for actual, wanted in zip(np.linalg.slogdet(t), np.linalg.slogdet(a), strict=True):
        np.testing.assert_allclose(actual.data if isinstance(actual, tg.Tensor) else actual, wanted, rtol=1e-10)
    symmetric = a @ np.swapaxes(a, -1, -2)
    np.testing.assert_allclose(np.linalg.cholesky(tg.tensor(symmetric)).data, np.linalg.cholesky(symmetric), atol=1e-10)
    np.testing.assert_allclose(np.linalg.eigvalsh(tg.tensor(symmetric)).data, np.linalg.eigvalsh(symmetric), atol=1e-9)
    np.testing.assert_allclose(np.matmul(t, tg.tensor(v)).data, a @ v, atol=1e-12)
    for f in (np.linalg.inv, np.linalg.det, lambda x: np.linalg.solve(x, b), lambda x: np.linalg.slogdet(x)[1]):
        assert tg.gradcheck(f, a)
    assert tg.gradcheck(lambda x: np.linalg.cholesky(x @ tg.swapaxes(x, -1, -2)), a)
    with pytest.raises(ValueError, match=r"solve: "):
        np.linalg.solve(t, tg.tensor(rng.normal(size=(*shape[:-2], shape[-1] + 1, 2))))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_vectors_of_a_cross_product_along_any_axis(axis: int) -> None:
    rng = np.random.default_rng(0)
    a, b = (np.moveaxis(rng.normal(size=(4, 5, 3)), -1, axis) for _ in range(2))
    np.testing.assert_allclose(np.cross(tg.tensor(a), tg.tensor(b), axis=axis).data, np.cross(a, b, axis=axis))
    last = np.moveaxis(b, axis, -1)
    actual = np.cross(tg.tensor(a), tg.tensor(last), axisa=axis, axisc=axis)
    np.testing.assert_allclose(actual.data, np.cross(a, last, axisa=axis, axisc=axis))


def test_rounding_is_to_whole_numbers_unless_decimals_are_given() -> None:
    x = tg.tensor(np.array([1.26, -2.74, 0.5]), requires_grad=True)
    for f in (lambda *n: x.round(*n), lambda *n: np.round(x, *n)):
        assert f().tolist() == [1.0, -3.0, 0.0]
        assert f(1).tolist() == pytest.approx([1.3, -2.7, 0.5])


@pytest.mark.parametrize("sparse", [False, True])
def test_indices_and_targets_may_change_before_the_backward_pass(sparse: bool) -> None:
    table = tg.nn.Embedding(4, 1, sparse=sparse)
    index = np.array([0, 1])
    y = table(index).sum()
    index[:] = 3
    y.backward()
    assert np.asarray(table.weight.grad).ravel().tolist() == [1.0, 1.0, 0.0, 0.0]

    x = tg.tensor(np.zeros((2, 2)), requires_grad=True)
    rows, columns = np.array([0]), np.array([1])
    y = x[rows, columns].sum()
    rows[:] = columns[:] = 0
    y.backward()
    assert np.asarray(x.grad).tolist() == [[0.0, 1.0], [0.0, 0.0]]

    logits, targets, mask = tg.tensor(np.zeros((2, 2)), requires_grad=True), np.array([0, 1]), np.array([True, True])
    loss = tg.softmax_cross_entropy(logits, targets, mask=mask, reduction="sum")
    targets[:], mask[:] = 0, False
    loss.backward()
    assert np.asarray(logits.grad).tolist() == [[-0.5, 0.5], [0.5, -0.5]]
