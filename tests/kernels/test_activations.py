"""sigmoid and tanh of the kernels, to 4 units in the last place of the truth, over the whole range."""

import warnings

import numpy as np
import pytest

from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import reference

NATIVE = kernels.implementations()[:-1]
SIGMOID, TANH = 0, 1


def run(isa, which, z):
    if isa == "reference":
        return (reference.sigmoid if which == SIGMOID else np.tanh)(z)
    out = np.empty_like(z)
    getattr(kernels._native, f"activation_{z.dtype}")(isa, which, z, out)
    return out


def truth(which, z):
    z = z.astype(np.longdouble)
    if which == TANH:
        return np.tanh(z)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def points(dtype):
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    spread = np.concatenate(
        [
            np.linspace(-120, 120, 200_001),
            np.linspace(-1, 1, 100_001),
            np.linspace(-750, 750, 100_001),
            np.exp(rng.uniform(np.log(float(info.smallest_subnormal)), np.log(float(info.max)), 200_000)),
            [0.0, info.smallest_subnormal, info.tiny, info.eps, info.max, 88.72, 103.97, 104.0, 709.78, 745.13, 746.0],
            np.arange(-160, 160) * np.log(2) / 2,
        ]
    ).astype(dtype)
    return np.concatenate([spread, -spread])


@pytest.mark.parametrize("isa", [*NATIVE, "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("which", [SIGMOID, TANH])
def test_within_four_ulp(which, dtype, isa):
    z = points(dtype)
    want = truth(which, z)
    got = run(isa, which, z)
    unit = np.spacing(np.abs(want.astype(dtype))).astype(np.longdouble)
    error = np.abs(got.astype(np.longdouble) - want) / unit
    worst = int(np.argmax(error))
    assert error[worst] <= 4, f"{float(error[worst])} ulp at {z[worst]!r}: {got[worst]!r}, expected {want[worst]!r}"


@pytest.mark.parametrize("isa", [*NATIVE, "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_and_specials(dtype, isa):
    z = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30], dtype)
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        if isa != "reference":
            np.testing.assert_array_equal(run(isa, SIGMOID, z), np.array([0.5, 0.5, 1, 0, np.nan, 1, 0], dtype))
            tanh = run(isa, TANH, z)
            np.testing.assert_array_equal(tanh, np.array([0, -0.0, 1, -1, np.nan, 1, -1], dtype))
            assert np.signbit(tanh[1])
            assert not np.signbit(tanh[0])
    x = np.array([[[3e38], [-3e38], [0.0]]], dtype)
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        with kernels.using(isa):
            one = np.ones
            outputs = kernels.lstm_forward(x, one((1, 4), dtype) * 9, one((1, 4), dtype), one(4, dtype))[0]
    assert np.isfinite(outputs).all()
