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
def test_turned_weights_give_the_same_bits(cell_type: str, after: Any, sizes: Any, dtype: Any, isa: str) -> None:
    B, T, D, H = sizes
    rng, wide = np.random.default_rng(0), GATES[cell_type] * H
    x, W, U = (rng.normal(size=shape).astype(dtype) for shape in ((B, T, D), (D, wide), (H, wide)))
    b, g = rng.normal(size=wide).astype(dtype), rng.normal(size=(B, T, H)).astype(dtype)
    options = {"reset_after": after} if cell_type == "gru" else {}
    forward, backward = getattr(kernels, f"{cell_type}_forward"), getattr(kernels, f"{cell_type}_backward")
    with kernels.using(isa):
        found = []
        for w, u in ((W, U), (W.T.copy().T, U), (W, U.T.copy().T), (W.T.copy().T, U.T.copy().T)):
            for save in (False, True, "recompute"):
                outputs, final, saved = forward(x, w, u, b, **options, save=save)
                results = [outputs, *(final if isinstance(final, tuple) else (final,))]
                found.append((save, [*results, *(d for d in backward(saved, g) if d is not None)] if save else results))
        for save, results in found:
            for got, wanted in zip(results, next(r for s, r in found if s == save), strict=True):
                np.testing.assert_array_equal(got, wanted)
