"""Weights that are stored transposed, as PyTorch's are, are read in place, with the same bits as from a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_rnn import kernels

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
SIZES = [(1, 1, 3, 4), (1, 3, 64, 64), (2, 4, 5, 17), (7, 3, 1, 1), (5, 6, 33, 20), (3, 2, 16, 70)]


@pytest.mark.parametrize("isa", kernels.implementations()[:-1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("cell_type", "after"), [("rnn", None), ("lstm", None), ("gru", False), ("gru", True)])
def test_transposed_weights_give_the_same_bits(cell_type: str, after: Any, sizes: Any, dtype: Any, isa: str) -> None:
    B, T, D, H = sizes
    rng, wide = np.random.default_rng(0), GATES[cell_type] * H
    x, W, U = (rng.normal(size=shape).astype(dtype) for shape in ((B, T, D), (D, wide), (H, wide)))
    b, g = rng.normal(size=wide).astype(dtype), rng.normal(size=(B, T, H)).astype(dtype)
    options = {"reset_after": after} if cell_type == "gru" else {}
    forward, backward = getattr(kernels, f"{cell_type}_forward"), getattr(kernels, f"{cell_type}_backward")
    with kernels.using(isa):
        actual = []
        for w, u in ((W, U), (W.T.copy().T, U), (W, U.T.copy().T), (W.T.copy().T, U.T.copy().T)):
            for save in (False, True, "recompute"):
                outputs, final, saved = forward(x, w, u, b, **options, save=save)
                results = [outputs, *(final if isinstance(final, tuple) else (final,))]
                actual.append(
                    (save, [*results, *(d for d in backward(saved, g) if d is not None)] if save else results)
                )
        for save, results in actual:
            for got, wanted in zip(results, next(r for s, r in actual if s == save), strict=True):
                np.testing.assert_array_equal(got, wanted)


def ours(cell_type: str, weight: Any) -> Any:
    """A weight whose rows are in PyTorch's order of gates, in ours."""
    if cell_type != "gru" or weight is None:
        return weight
    r, z, n = np.split(weight, 3)
    return np.concatenate([z, r, n])


@pytest.mark.parametrize("isa", kernels.implementations())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [*SIZES, (0, 3, 4, 5), (2, 0, 4, 5), (9, 30, 40, 500)])
@pytest.mark.parametrize(
    ("cell_type", "option"), [("rnn", "tanh"), ("rnn", "relu"), ("lstm", None), ("gru", False), ("gru", True)]
)
def test_weights_in_torch_layout_give_the_same_bits(
    cell_type: str, option: Any, sizes: Any, dtype: Any, isa: str
) -> None:
    """Outputs, states, gates and gradients are those of converted weights with the sum of both biases; gradients are in the
    layout of the weights, in C order."""
    B, T, D, H = sizes
    rng, wide = np.random.default_rng(0), GATES[cell_type] * H
    shapes = ((B, T, D), (wide, D), (wide, H), wide, wide)
    x, W, U, b, c = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    second = None if option is False else c
    g, initial = rng.normal(size=(B, T, H)).astype(dtype), (None,) * (2 if cell_type == "lstm" else 1)
    one, two = ours(cell_type, b), ours(cell_type, second)
    if cell_type != "gru":
        one, two = b + c, None
    with kernels.using(isa):
        for save in (False, True, "recompute"):
            run: Any = kernels.sequence_forward
            outputs, final, saved = run(cell_type, option, (x, W, U, b, second), initial, save=save, torch=True)
            converted = (x, ours(cell_type, W).T, ours(cell_type, U).T, one, two)
            wanted, wanted_final, wanted_saved = run(cell_type, option, converted, initial, save=save)
            for a, want in zip((outputs, *final), (wanted, *wanted_final), strict=True):
                np.testing.assert_array_equal(a, want)
            if not save:
                continue
            for letter, values in wanted_saved.trace().items():
                np.testing.assert_array_equal(saved.trace()[letter], values)
            needs = (True,) * 4 + (second is not None, *[True] * len(initial))
            _, dW, dU, db, dc, *_ = grads = kernels.sequence_backward(saved, g, initial, needs)
            needs = (True,) * 4 + (two is not None, *[True] * len(initial))
            dx, *weights, want_db, want_dc = kernels.sequence_backward(wanted_saved, g, initial, needs)[:5]
            want_dc = None if option is False else want_db if cell_type != "gru" else ours(cell_type, want_dc)
            tolerance = {"rtol": 1e-4, "atol": 1e-3} if isa == "reference" else {"rtol": 0, "atol": 0}
            for got, want in zip((grads[0], dW, dU), (dx, *(ours(cell_type, w.T) for w in weights)), strict=True):
                assert got is not None
                assert got.flags.c_contiguous
                np.testing.assert_allclose(got, want, **tolerance)
            np.testing.assert_allclose(db, ours(cell_type, want_db), **tolerance)
            if want_dc is not None:
                np.testing.assert_allclose(dc, want_dc, **tolerance)
