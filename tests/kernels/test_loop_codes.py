"""Every instruction of the interpreter.

Elementwise codes to 4 units in the last place of the truth, over the whole range, or bit for bit as NumPy where that
rounds once; reductions and products in every layout.
"""

import ctypes
import itertools

import numpy as np
import pytest
from loops import CODES, PAIRS, REDUCTIONS, Builder, at, interpret, number, steps_of, weight

from tinygrad_rnn import kernels

NATIVE = kernels.implementations()[:-1]
pytestmark = pytest.mark.skipif(not NATIVE, reason=f"no native kernels: {kernels.info()['missing']}")
isas = pytest.mark.parametrize("isa", NATIVE)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])

INEXACT_PAIRS = ["pow", "arctan2", "hypot", "logaddexp", "logaddexp2"]
INEXACT = [
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin",
    "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "sigmoid", "softplus", "gelu", "erf",
]  # fmt: skip
EXACT = [code for code in CODES if code not in INEXACT + INEXACT_PAIRS]


def apply(code, isa, *arrays):
    """The code over arrays of one shape (n,), in rows of 250 elements, so that vectors and their tails both run."""
    n, width = len(arrays[0]), 250
    b = Builder(arrays[0].dtype)
    slots = [b.sequence(width) for _ in arrays]
    b.where = "before"
    b.map(code, b.sequence(width, written=True), *slots)
    rows = -(-n // width)
    padded = [np.resize(a, (1, rows, width)) for a in arrays]
    out = np.empty((1, rows, width), arrays[0].dtype)
    b.run(1, rows, [*padded, out], isa=isa)
    return out.reshape(-1)[:n]


def long_erf(x):
    erfl = ctypes.CDLL(None).erfl
    erfl.restype, erfl.argtypes = ctypes.c_longdouble, [ctypes.c_longdouble]
    return np.array([erfl(v) for v in x], np.longdouble)


def long_gelu(x):
    c = 2 * np.sqrt(2 / np.arccos(np.longdouble(-1)))
    z = x * (c + c * np.longdouble("0.044715") * x * x)
    return x * np.where(z >= 0, 1, np.exp(-np.abs(z))) / (1 + np.exp(-np.abs(z)))


def truth(code, *arrays):
    arrays = [a.astype(np.longdouble) for a in arrays]
    if code == "erf":
        return long_erf(arrays[0])
    with np.errstate(all="ignore"):
        return long_gelu(*arrays) if code == "gelu" else CODES[code](*arrays)


def specials(dtype):
    info = np.finfo(dtype)
    ends = [
        0.0,
        info.smallest_subnormal,
        info.tiny,
        info.eps,
        0.5,
        1.0,
        2.0,
        3.0,
        88.72,
        103.97,
        709.78,
        745.13,
        info.max,
    ]
    ends = np.array([*ends, np.inf], dtype)
    return np.concatenate([ends, -ends, np.array([np.nan], dtype)])


def points(dtype, n):
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    wide = np.exp(rng.uniform(np.log(float(info.smallest_subnormal)), np.log(float(info.max)), n)).astype(dtype)
    spread = [np.linspace(-120, 120, n), np.linspace(-2, 2, n), np.linspace(-750, 750, n), wide, -wide]
    near_ends = [np.linspace(-14, -10, n // 4), np.linspace(-40, -20, n // 4)]  # where gelu and erf fade
    near_one = 1 + np.exp(rng.uniform(np.log(float(info.eps)), 0, n)) * rng.choice([-1, 1], n)
    return np.concatenate(
        [*spread, *near_ends, near_one, np.arange(-160, 160) * np.log(2) / 2, specials(dtype)]
    ).astype(dtype)


def pairs(dtype):
    both = np.array(list(itertools.product(specials(dtype), repeat=2)), dtype).T
    x = points(dtype, 6000)
    rng = np.random.default_rng(1)
    y = np.concatenate([rng.permutation(x[: len(x) // 2]), rng.standard_normal(len(x) - len(x) // 2).astype(dtype) * 5])
    return np.concatenate([both[0], x]), np.concatenate([both[1], y.astype(dtype)])


def assert_within(code, dtype, got, want, units, *inputs):
    """`got` is within this many units in the last place of `want`, and equal to it where `want` is not a number."""
    with np.errstate(over="ignore"):
        rounded = want.astype(dtype)
    odd = ~np.isfinite(rounded)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.spacing(np.abs(np.where(odd, 1, rounded))).astype(np.longdouble)
        if code.startswith("logaddexp"):  # where the result is near 0 it is a difference: units of the operands
            unit = np.maximum(
                unit, np.spacing(np.max(np.abs([np.where(np.isfinite(a), a, 0) for a in inputs]), axis=0))
            )
        error = np.where(odd | np.isnan(rounded), 0, np.abs(got.astype(np.longdouble) - want) / unit)
    # near the largest number, infinity and finite values may be exchanged
    same = (got == rounded) | np.isnan(rounded) | (np.abs(got) >= np.finfo(dtype).max * (1 - 4 * np.finfo(dtype).eps))
    assert same[odd].all()
    error = np.where(
        np.isfinite(got) | odd,
        error,
        np.where(np.abs(rounded) >= np.finfo(dtype).max * (1 - 4 * np.finfo(dtype).eps), 0, np.inf),
    )
    worst = int(np.argmax(error))
    at_worst = [a[worst] for a in inputs]
    assert error[worst] <= units, (
        f"{code}: {float(error[worst])} ulp at {at_worst}: {got[worst]!r}, expected {want[worst]!r}"
    )


@isas
@dtypes
@pytest.mark.parametrize("code", INEXACT)
def test_within_four_ulp(code, dtype, isa):
    x = points(dtype, 20_000)
    assert_within(code, dtype, apply(code, isa, x), truth(code, x), 4, x)


@isas
@dtypes
@pytest.mark.parametrize("code", INEXACT_PAIRS)
def test_pairs_within_four_ulp(code, dtype, isa):
    x, y = pairs(dtype)
    assert_within(code, dtype, apply(code, isa, x, y), truth(code, x, y), 4, x, y)


@isas
@dtypes
@pytest.mark.parametrize("code", EXACT)
def test_instructions_that_equal_numpy_bit_for_bit(code, dtype, isa):
    if code == "where" or code in PAIRS:
        x, y = pairs(dtype)
        arrays = [np.roll(x, 7), x, y]
    elif code in CODES and CODES[code] in [f for f in CODES.values() if getattr(f, "nin", 1) == 2]:
        arrays = list(pairs(dtype))
    else:
        arrays = [points(dtype, 6000)]
    with np.errstate(all="ignore"):
        want = np.asarray(CODES[code](*arrays)).astype(dtype)
    got = apply(code, isa, *arrays)
    np.testing.assert_array_equal(got, want)
    if code not in ("relu", "maximum", "minimum", "fmax", "fmin"):  # which zero these choose is open
        where = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[where]), np.signbit(want[where]))


@isas
@dtypes
@pytest.mark.parametrize("code", ["exp", "expm1", "log", "log1p", "tanh", "sin", "arctan", "erf", "gelu"])
def test_the_sign_of_zero(code, dtype, isa):
    zeros = np.array([0.0, -0.0], dtype)
    got = apply(code, isa, zeros)
    if code == "exp":
        np.testing.assert_array_equal(got, [1, 1])
    elif code == "log":
        np.testing.assert_array_equal(got, [-np.inf, -np.inf])
    else:
        np.testing.assert_array_equal(got, [0, 0])
        np.testing.assert_array_equal(np.signbit(got), [False, True])


def laid_out(rng, shape):
    """Offset and strides of an operand in a row, and the row's size: axes permuted, some reversed, with gaps."""
    order = rng.permutation(len(shape))
    strides, step = [0] * len(shape), int(rng.integers(1, 3)) if rng.random() < 0.4 else 1
    for d in order[::-1] if rng.random() < 0.6 else order:
        strides[d] = step
        step *= shape[d] + int(rng.integers(0, 2))
    offset, size = int(rng.integers(0, 4)), 0
    for d in range(len(shape)):
        if rng.random() < 0.15:
            strides[d] = -strides[d]
            offset += -strides[d] * max(shape[d] - 1, 0)
    size = offset + sum(max(0, s) * max(n - 1, 0) for s, n in zip(strides, shape, strict=True)) + 1
    return offset, strides, size + int(rng.integers(0, 3))


def random_instruction(rng, b):
    """One instruction over new slots; returns the sizes of its sequences, the output's last, and of its weights."""
    shape = tuple(int(n) for n in rng.integers(1, 7, rng.integers(0, 6)))
    if rng.random() < 0.5 and shape:
        shape = (*shape[:-1], int(rng.integers(1, 70)))
    code = str(rng.choice(["add", "mul", "where", "tanh", "copy", *REDUCTIONS]))
    reduced = int(rng.integers(0, len(shape) + 1)) if code in REDUCTIONS else 0
    inputs, sizes, weights = [], [], []
    for _ in range({"add": 2, "mul": 2, "where": 3}.get(code, 1)):
        choice = rng.random()
        if choice < 0.15 and code not in REDUCTIONS:
            inputs.append(number(rng.standard_normal()))
            continue
        offset, strides, size = laid_out(rng, shape)
        strides = [0 if s > 0 and rng.random() < 0.15 else s for s in strides]
        if choice < 0.3 and code not in REDUCTIONS:
            weights.append(size)
            inputs.append(weight(len(weights) - 1, shape, offset, strides))
        else:
            sizes.append(size)
            inputs.append(at(b.sequence(size), shape, offset, strides))
    kept = shape[: len(shape) - reduced]
    offset, strides, size = laid_out(rng, kept)
    out = b.sequence(size, written=True, packed=True)
    b.emit(code, shape, at(out, kept, offset, strides), inputs, (reduced,) if code in REDUCTIONS else ())
    return [*sizes, size], weights


@isas
@dtypes
def test_random_layouts(isa, dtype):
    """An instruction writes all elements of its output and no others."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        b = Builder(dtype)
        sizes, weights = random_instruction(rng, b)
        B, T = 2, 3

        def draw(*size):  # of a size whose products neither vanish nor overflow
            return (rng.choice([-1, 1], size) * rng.uniform(0.9, 1.1, size)).astype(dtype)

        weights, arrays = [draw(n) for n in weights], [draw(B, T, n) for n in sizes]
        arrays[-1] = arrays[-1].reshape(B * T, -1)
        actual, want = [a.copy() for a in arrays], [a.copy() for a in arrays]
        b.run(B, T, actual, weights=weights, isa=isa)
        interpret(b, B, T, want, weights=weights)
        rtol, atol = (1e-3, 1e-3) if dtype == np.float32 else (1e-11, 1e-11)
        np.testing.assert_allclose(actual[-1], want[-1], rtol=rtol, atol=atol)


@isas
@dtypes
@pytest.mark.parametrize(
    "shape", [(1, 1, 5, 3), (2, 3, 17, 4), (1, 40, 1, 33), (3, 1, 1, 70), (1, 7, 66, 1), (2, 2, 2, 2), (1, 6, 9, 0)]
)
@pytest.mark.parametrize("transposed", list(itertools.product([False, True], repeat=3)))
def test_rowproducts_in_every_layout(isa, dtype, shape, transposed):
    rng = np.random.default_rng(0)
    b, m, n, k = shape
    sizes = {"a": (b, m, k), "b": (b, k, n), "c": (b, m, n)}
    strides = {}
    for (name, size), swap in zip(sizes.items(), transposed, strict=True):
        first, second, third = steps_of((size[0], size[2], size[1]) if swap else size)
        strides[name] = (first, third, second) if swap else (first, second, third)
    loop = Builder(dtype)
    slots = [loop.sequence(int(np.prod(size)), written=name == "c") for name, size in sizes.items()]
    (a0, a1, a2), (b0, b1, b2) = strides["a"], strides["b"]
    loop.emit(
        "rowproduct", shape, at(slots[2], (), 0, strides["c"]),
        [at(slots[0], (), 0, (a0, a1, 0, a2)), at(slots[1], (), 0, (b0, 0, b2, b1))],
    )  # fmt: skip
    arrays = [rng.standard_normal((2, 3, int(np.prod(size)))).astype(dtype) for size in sizes.values()]
    actual, want = [x.copy() for x in arrays], [x.copy() for x in arrays]
    loop.run(2, 3, actual, isa=isa)
    interpret(loop, 2, 3, want)
    np.testing.assert_allclose(actual[2], want[2], rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12)


@isas
@dtypes
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("m", [1, 3, 200])
@pytest.mark.parametrize(("N", "K"), [(1, 1), (16, 7), (19, 33), (64, 600), (70, 5)])
def test_products_of_blocks_and_sub_rows(isa, dtype, accumulate, transposed, m, N, K):
    """Columns of a larger matrix, and sub-rows whose neighbours must not change."""
    rng = np.random.default_rng(0)
    b = Builder(dtype)
    x, out = b.sequence(m * K + 2), b.sequence(m * N + 3, written=True)
    b.where = "before"
    b.map("copy", out, 7.0)
    rows, columns = (N, K) if transposed else (K, N)
    matrix, bias = rng.standard_normal((rows + 1, columns + 4)).astype(dtype), rng.standard_normal(N + 5).astype(dtype)
    b.product(
        out, x, 0, N, K, out_offset=1, left_offset=2, offset=columns + 4 + 3, row=columns + 4, transposed=transposed,
        accumulate=accumulate, bias=None if accumulate else 1, bias_offset=5, m=m,
    )  # fmt: skip
    arrays = [rng.standard_normal((2, 3, b.size(slot))).astype(dtype) for slot in (x, out)]
    actual, want = [a.copy() for a in arrays], [a.copy() for a in arrays]
    b.run(2, 3, actual, weights=[matrix, bias], isa=isa)
    interpret(b, 2, 3, want, weights=[matrix, bias])
    np.testing.assert_allclose(actual[1], want[1], rtol=0, atol=2e-4 if dtype == np.float32 else 1e-12)


@isas
@dtypes
@pytest.mark.parametrize("n", [1, 5, 16, 37, 64, 70, 130])
def test_a_product_summed_by_the_next_instruction_has_the_bits_of_the_two(isa, dtype, n):
    """The loop fuses the two where nothing else reads the product: in scratch, but not in an array that is written."""
    b = Builder(dtype)
    x, y, product, sums = b.sequence(n), b.sequence(n), b.sequence(n, written=True), b.sequence(2, written=True)
    inside = b.scratch(n)
    for k, slot in enumerate((product, inside)):
        b.map("mul", slot, x, y)
        b.emit("sum", (n,), at(sums, (), k, ()), [at(slot, (n,))], (1,))
    arrays = [np.random.default_rng(n).standard_normal((7, 3, b.size(slot))).astype(dtype) for slot in (x, y)]
    arrays += [np.empty((7, 3, m), dtype) for m in (n, 2)]
    b.run(7, 3, arrays, isa=isa)
    np.testing.assert_array_equal(arrays[3][..., 1], arrays[3][..., 0])
    np.testing.assert_array_equal(arrays[2], arrays[0] * arrays[1])
    np.testing.assert_allclose(
        arrays[3][..., 1],
        (arrays[0].astype(np.float64) * arrays[1]).sum(-1),
        atol=1e-12 if dtype == np.float64 else 1e-4,
    )


def operand_of(rng, b, slots, out, offset, n):
    """A number, or n elements or one of a slot; of the output's only the very place that is written."""
    other = int(rng.choice(slots))
    start = int(rng.integers(0, b.size(other) - n + 1))
    if rng.random() < 0.15:
        return number(rng.standard_normal())
    if other == out:
        return at(out, (n,), offset)
    return at(other, (n,), start, (0,)) if rng.random() < 0.15 and n > 1 else at(other, (n,), start)


@isas
@dtypes
def test_chains_of_arithmetic(isa, dtype):
    """Instructions that the loop joins, in place, through scratch, with scalars and neighbours in one slot: the same bits."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        b = Builder(dtype)
        n = int(rng.integers(1, 40))
        slots = [b.sequence(n, written=True, packed=True) for _ in range(2)]
        slots += [b.sequence(2 * n + 1, written=True, packed=True)]
        inner = [b.temp(n), b.scratch(n), b.scratch(n), b.scratch(2 * n)]
        everywhere = [*slots, *inner, b.again(slots[0])]
        for slot in inner:
            b.map("copy", slot, float(rng.standard_normal()))
        for _ in range(12):
            slot = int(rng.choice(everywhere))
            offset = int(rng.integers(0, b.size(slot) - n + 1))
            b.emit(
                str(rng.choice(["add", "sub", "mul"])),
                (n,),
                at(slot, (n,), offset),
                [operand_of(rng, b, everywhere, slot, offset, n) for _ in range(2)],
            )
        out = b.sequence(sum(b.size(slot) for slot in inner), written=True, packed=True)
        offset = 0
        for slot in inner:
            b.map("copy", out, slot, n=b.size(slot), at_=offset)
            offset += b.size(slot)
        arrays = [rng.standard_normal((6, b.size(slot))).astype(dtype) for slot in (*slots, out)]
        actual, want = [a.copy() for a in arrays], [a.copy() for a in arrays]
        b.run(2, 3, actual, isa=isa)
        interpret(b, 2, 3, want)
        for a, c in zip(actual, want, strict=True):
            np.testing.assert_array_equal(a, c)
