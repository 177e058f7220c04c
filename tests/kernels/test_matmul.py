"""Products of matrices: random shapes and memory layouts against NumPy in a wider type, threads, NaN and infinity."""

import os

import numpy as np
import pytest
from common import threads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import product

NATIVE = kernels.implementations()[:-1]
EXAMPLES = int(os.environ.get("TINYGRAD_RNN_EXAMPLES", "60"))
many = settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}


@pytest.fixture(autouse=True)
def small_products_too(monkeypatch):
    monkeypatch.setattr(product, "LEAST", 0)
    with threads():
        yield


def laid_out(array, layout):
    """The same values: with the last two axes exchanged in memory, as part of a larger array, or with gaps everywhere."""
    if layout == "transposed" and array.ndim > 1:
        return np.swapaxes(np.ascontiguousarray(np.swapaxes(array, -1, -2)), -1, -2)
    if layout == "part":
        larger = np.full([n + 3 for n in array.shape], np.nan, array.dtype)
        inner = larger[tuple(slice(1, 1 + n) for n in array.shape)]
        inner[...] = array
        return inner
    if layout == "gaps":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "backwards":
        return np.ascontiguousarray(array[::-1])[::-1]
    return array


@st.composite
def products(draw):
    size = st.one_of(st.integers(1, 9), st.integers(1, 80), st.sampled_from([63, 64, 65, 128, 130]))
    M, N, K = draw(size), draw(size), draw(st.one_of(size, st.sampled_from([511, 513, 1030])))
    batch = draw(st.sampled_from([((), ())] * 4 + [((3,), (3,)), ((3,), ()), ((2, 1), (3,)), ((), (4,)), ((1,), (2,))]))
    shapes = draw(st.sampled_from([((M, K), (K, N))] * 4 + [((K,), (K, N)), ((M, K), (K,)), ((K,), (K,))]))
    shapes = [s if len(s) == 1 else (*b, *s) for b, s in zip(batch, shapes, strict=True)]
    rng, dtype = np.random.default_rng(draw(st.integers(0, 10**6))), draw(st.sampled_from(list(WIDER)))
    layouts = st.sampled_from(["plain", "transposed", "part", "gaps", "backwards"])
    a, b = (laid_out(rng.standard_normal(s).astype(dtype), draw(layouts)) for s in shapes)
    for x in (a, b):
        x.flags.writeable = False
    return a, b, rng


def bound(a, b):
    """The bound of the rounding error of each element, in units of the dtype's rounding error."""
    wide = WIDER[a.dtype]
    return np.matmul(np.abs(a).astype(wide), np.abs(b).astype(wide)) * np.finfo(a.dtype).eps * (2 + a.shape[-1] ** 0.5)


@pytest.mark.parametrize("name", kernels.implementations())
@many
@given(products())
def test_numpy_in_a_wider_type(name, case):
    a, b, rng = case
    wide = WIDER[a.dtype]
    exact = np.matmul(a.astype(wide), b.astype(wide))
    with kernels.using(name):
        got = kernels.matmul(a, b)
        assert got.dtype == a.dtype
        assert got.shape == exact.shape
        assert (np.abs(got - exact) <= bound(a, b)).all()
        if b.ndim > 1:
            bias = rng.standard_normal(b.shape[-1]).astype(a.dtype)
            assert (
                np.abs(kernels.matmul(a, b, bias=bias) - (exact + bias)) <= 2 * bound(a, b) + 1e-6 * np.abs(bias)
            ).all()
        if got.ndim:
            before = rng.standard_normal(got.shape).astype(a.dtype)
            for layout in ("plain", "part", "transposed"):
                out = laid_out(before, layout).copy(order="K") if layout != "part" else laid_out(before, layout)
                assert kernels.matmul(a, b, out=out, accumulate=True) is out
                assert (np.abs(out - (exact + before)) <= 2 * bound(a, b) + 1e-6 * np.abs(before)).all()
                assert kernels.matmul(a, b, out=out) is out
                assert (np.abs(out - exact) <= bound(a, b)).all()


@pytest.mark.parametrize("name", NATIVE)
@many
@given(products())
def test_threads_change_no_bit(name, case):
    a, b, _ = case
    with kernels.using(name):
        kernels.set_num_threads(1)
        one = kernels.matmul(a, b)
        for threads in (2, 3, 7):
            kernels.set_num_threads(threads)
            assert np.array_equal(kernels.matmul(a, b), one)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("shape", [(300, 70, 600), (40, 600, 700), (1, 200, 300), (300, 1, 200), (1, 1, 900)])
def test_nan_and_infinity_stay_in_their_rows_and_columns(name, dtype, shape):
    M, N, K = shape
    rng = np.random.default_rng(0)
    for transposed_a, transposed_b in np.ndindex(2, 2):
        a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
        a[M // 2, K - 1], b[0, N // 3] = np.nan, np.inf
        a, b = (
            laid_out(a, "transposed" if transposed_a else "plain"),
            laid_out(b, "transposed" if transposed_b else "plain"),
        )
        with kernels.using(name):
            got = kernels.matmul(a, b)
        hit = np.zeros((M, N), bool)
        hit[M // 2], hit[:, N // 3] = True, True
        assert (~np.isfinite(got) == hit).all()
        assert np.isnan(got[M // 2]).all()


def test_arrays_that_are_not_floating_point_are_multiplied_by_numpy():
    whole = np.arange(12).reshape(3, 4)
    assert kernels.matmul(whole, whole.T).dtype == whole.dtype
    assert (kernels.matmul(whole, whole.T) == whole @ whole.T).all()
    single = whole.astype(np.float32)
    assert kernels.matmul(single, whole.T.astype(np.float64)).dtype == np.float64
    assert (kernels.matmul(single.astype(">f4"), single.T.astype(">f4")) == whole @ whole.T).all()
    assert kernels.matmul(single[:0], single.T).shape == (0, 3)
    assert (kernels.matmul(single[:, :0], single.T[:0], bias=np.ones(3, np.float32)) == 1).all()


def test_bad_arguments_are_named():
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    with pytest.raises(ValueError, match="mismatch"):
        kernels.matmul(a, a)
    with pytest.raises(ValueError, match="accumulate adds to out"):
        kernels.matmul(a, b, accumulate=True)
    for out in (np.empty((3, 4), np.float32), np.empty((3, 5))):
        with pytest.raises(ValueError, match=r"matmul: out is ndarray .* expected an array \(3, 5\) of float32"):
            kernels.matmul(a, b, out=out)
    with pytest.raises(ValueError, match=r"matmul: bias is \(4,\) of float64, expected \(5,\) of float32"):
        kernels.matmul(a, b, bias=np.ones(4))


def test_out_may_be_an_operand():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50, 50))
    wanted = a @ b
    assert np.allclose(kernels.matmul(a, b, out=a), wanted)
    assert np.allclose(a, wanted)


@pytest.mark.parametrize(
    ("formula", "shapes"),
    [
        ("ij,jk->ik", [(40, 30), (30, 50)]),
        ("ij,kj->ki", [(40, 30), (50, 30)]),
        ("aij,ajk->aik", [(3, 20, 30), (3, 30, 40)]),
        ("aij,ajk->aik", [(3, 20, 30), (1, 30, 40)]),
        ("bthd,bshd->bhts", [(2, 20, 4, 16), (2, 30, 4, 16)]),
        ("bhts,bshd->bthd", [(2, 4, 20, 30), (2, 30, 4, 16)]),
        ("abc,bcd->da", [(20, 3, 4), (3, 4, 30)]),
        ("btd,dg->tbg", [(4, 5, 30), (30, 40)]),
        ("ij,j->", [(30, 40), (40,)]),
        ("ij,jk->ik", [(0, 30), (30, 50)]),
    ],
)
def test_einsum_and_its_gradients_by_matrices(formula, shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s) for s in shapes)
    wanted = np.einsum(formula, a, b, optimize=False)
    x, y = tg.tensor(a, requires_grad=True), tg.tensor(b, requires_grad=True)
    z = tg.einsum(formula, x, y)
    assert z.shape == wanted.shape
    np.testing.assert_allclose(z.data, wanted, atol=1e-12)
    g = rng.standard_normal(wanted.shape)
    z.backward(g)
    # The product is linear in each operand: <g, product(u, b)> = <dx, u> for any u.
    for grad, array, place in ((x.grad, a, 0), (y.grad, b, 1)):
        u = rng.standard_normal(array.shape)
        along = np.einsum(formula, *((u, b) if place == 0 else (a, u)), optimize=False)
        np.testing.assert_allclose(np.sum(grad * u), np.sum(g * along), rtol=1e-9, atol=1e-9)
